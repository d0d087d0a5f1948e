//! The form that an answer must have: `response_format`, `text.format`, and what vLLM's clients send for the same.

use serde_json::Value;

use super::tools;
use crate::Shape;
use crate::error::ApiError;
use crate::fields::Fields;

/// Bytes of a schema, an expression or a grammar.
const BYTES: usize = 256 * 1024;

/// Choices of `guided_choice`.
const CHOICES: usize = 1024;

/// Fields of vLLM that each ask for a form.
const GUIDED: [&str; 4] = ["guided_json", "guided_regex", "guided_choice", "guided_grammar"];

/// Reads the form that a chat or a completion asks for.
///
/// # Errors
/// 400, naming the field.
pub(super) fn read(fields: &mut Fields) -> Result<Shape, ApiError> {
    let asked = GUIDED.iter().copied().chain(["response_format"]).filter(|field| fields.has(field)).collect::<Vec<_>>();
    if let [first, second, ..] = asked[..] {
        return Err(fields.wrong(second, &format!("cannot stand beside `{first}`: an answer has one form")));
    }
    for (field, instead) in [
        (
            "grammar",
            "is not read here: send `guided_grammar` with a Lark grammar, or a JSON Schema in `response_format`",
        ),
        (
            "structured_outputs",
            "is not read here: send `guided_json`, `guided_regex`, `guided_choice` or `guided_grammar`",
        ),
    ] {
        fields.refuse_saying(field, crate::fields::Neutral::Empty, instead)?;
    }
    if let Some(shape) = guided(fields)? {
        return Ok(shape);
    }
    match fields.take("response_format") {
        None => Ok(Shape::Free),
        Some(format) => response_format(Fields::within(fields.path("response_format"), format)?),
    }
}

fn guided(fields: &mut Fields) -> Result<Option<Shape>, ApiError> {
    let schema = match fields.take("guided_json") {
        Some(Value::String(text)) => match serde_json::from_str(&text) {
            Ok(schema) => Some(schema),
            Err(_) => return Err(fields.wrong("guided_json", "has to be a JSON Schema")),
        },
        other => other,
    };
    if let Some(schema) = schema {
        return bounded(fields, "guided_json", schema).map(Some);
    }
    let choices = fields.list("guided_choice", CHOICES)?;
    if !choices.is_empty() {
        let texts: Option<Vec<String>> = choices.iter().map(|choice| choice.as_str().map(escape)).collect();
        let texts = texts.ok_or_else(|| fields.wrong("guided_choice", "has to be a list of texts"))?;
        return Ok(Some(Shape::Regex(format!("({})", texts.join("|")))));
    }
    for (field, shape) in [("guided_regex", Shape::Regex as fn(String) -> Shape), ("guided_grammar", Shape::Lark)] {
        match fields.text(field)? {
            Some(text) if (1..=BYTES).contains(&text.len()) => return Ok(Some(shape(text))),
            Some(_) => return Err(fields.wrong(field, &format!("has to have 1 to {BYTES} bytes"))),
            None => {}
        }
    }
    Ok(None)
}

/// A text as the expression that only it matches.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_ascii_punctuation() {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

fn response_format(mut fields: Fields) -> Result<Shape, ApiError> {
    match kind(&mut fields)? {
        "json_schema" => {
            let place = fields.path("json_schema");
            let Some(inner) = fields.take("json_schema") else {
                return Err(fields.wrong("json_schema", "has to be there: an object with `name` and `schema`"));
            };
            fields.finish()?;
            schema_format(Fields::within(place, inner)?)
        }
        // As llama.cpp's clients send it.
        "json_object" if fields.has("schema") => {
            let schema = fields.take("schema").unwrap_or_default();
            let shape = bounded(&fields, "schema", schema)?;
            fields.finish().map(|()| shape)
        }
        "json_object" => fields.finish().map(|()| Shape::Object),
        _ => fields.finish().map(|()| Shape::Free),
    }
}

/// Reads `text.format` of a response, where a schema stands beside its type.
///
/// # Errors
/// 400, naming the field.
pub(super) fn text_format(mut fields: Fields) -> Result<Shape, ApiError> {
    match kind(&mut fields)? {
        "json_schema" => schema_format(fields),
        "json_object" => fields.finish().map(|()| Shape::Object),
        _ => fields.finish().map(|()| Shape::Free),
    }
}

fn kind(fields: &mut Fields) -> Result<&'static str, ApiError> {
    match fields.word("type", &["text", "json_object", "json_schema"])? {
        Some(kind) => Ok(kind),
        None => Err(fields.wrong("type", "has to be `text`, `json_object` or `json_schema`")),
    }
}

/// A schema is held by grammar whether it says `strict` or not.
fn schema_format(mut fields: Fields) -> Result<Shape, ApiError> {
    tools::name(&mut fields)?;
    fields.text("description")?;
    fields.flag("strict")?;
    let Some(schema) = fields.take("schema") else {
        return Err(fields.wrong("schema", "has to be there: a JSON Schema; `json_object` asks for any object"));
    };
    let shape = bounded(&fields, "schema", schema)?;
    fields.finish().map(|()| shape)
}

/// A schema that is no larger than one may be.
///
/// # Errors
/// 400, naming the field.
pub(in crate::api) fn bounded(fields: &Fields, field: &str, schema: Value) -> Result<Shape, ApiError> {
    if !schema.is_object() && !schema.is_boolean() {
        return Err(fields.wrong(field, "has to be a JSON Schema: an object"));
    }
    if schema.to_string().len() > BYTES {
        return Err(fields.wrong(field, &format!("has more than {BYTES} bytes")));
    }
    Ok(Shape::Schema(schema))
}
