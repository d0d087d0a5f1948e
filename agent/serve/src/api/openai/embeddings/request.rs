//! What a request for vectors may say.

use serde_json::{Map, Value};

use crate::api::openai::completions::tokens;
use crate::converse::model_name;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::{EmbedInput, EmbedRequest};

/// Texts of one request.
const INPUTS: usize = 2048;

/// Tokens of one text; what fits the model is the model's to say.
const TOKENS: usize = 1 << 20;

/// A request for vectors, understood.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Vectors {
    pub(super) request: EmbedRequest,
    /// Whether vectors come as packed bytes.
    pub(super) base64: bool,
}

/// Understands a request.
///
/// # Errors
/// 400, naming the field.
pub(super) fn parse(object: Map<String, Value>) -> Result<Vectors, ApiError> {
    let mut fields = Fields::new(object);
    fields.ignore(&["user"]);
    let model = model_name(fields.text("model")?)?;
    let inputs = inputs(&mut fields)?;
    let base64 = fields.word("encoding_format", &["float", "base64"])? == Some("base64");
    let dimensions = fields.count("dimensions", 1)?;
    let way_out = "is not read here: `truncate: true` cuts a text that is too long to what fits the model";
    fields.refuse_saying("truncate_prompt_tokens", crate::fields::Neutral::Nothing, way_out)?;
    // Ours: OpenAI refuses a text that is too long, and so does this unless told otherwise.
    let truncate = fields.flag("truncate")?.unwrap_or(false);
    fields.finish()?;
    let request = EmbedRequest { model, inputs, truncate, dimensions, keep_alive: None, request_id: String::new() };
    Ok(Vectors { request, base64 })
}

fn inputs(fields: &mut Fields) -> Result<Vec<EmbedInput>, ApiError> {
    let what = "has to be a text, a list of texts, a list of tokens, or a list of such lists, none of them empty";
    let inputs = match fields.take("input") {
        Some(Value::Array(list)) if list.first().is_some_and(Value::is_number) => {
            let tokens = if list.len() > TOKENS { None } else { tokens(&list) };
            tokens.map(|tokens| vec![EmbedInput::Tokens(tokens)])
        }
        Some(Value::Array(list)) if list.len() > INPUTS => {
            return Err(fields.wrong("input", &format!("has more than {INPUTS} entries")));
        }
        Some(Value::Array(list)) => list.into_iter().map(input).collect(),
        Some(text) => input(text).map(|input| vec![input]),
        None => None,
    };
    match inputs.filter(|inputs| !inputs.is_empty()) {
        Some(inputs) => Ok(inputs),
        None => Err(fields.wrong("input", what)),
    }
}

fn input(value: Value) -> Option<EmbedInput> {
    match value {
        Value::String(text) if !text.is_empty() => Some(EmbedInput::Text(text)),
        Value::Array(list) => tokens(&list).map(EmbedInput::Tokens),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
