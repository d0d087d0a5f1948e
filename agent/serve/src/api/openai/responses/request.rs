//! What a request for a response may say.

use serde_json::{Map, Value};

use super::items;
use crate::api::openai::chat::EFFORTS;
use crate::api::openai::{format, logprobs, sampling, tools};
use crate::converse::{Asked, model_name};
use crate::error::ApiError;
use crate::fields::{Fields, Neutral};
use crate::{Chat, Message, Prompt, Role};

/// Ceilings on metadata, as OpenAI has them.
const METADATA: usize = 16;
const KEY_CHARS: usize = 64;
const VALUE_CHARS: usize = 512;

/// Entries of `include`.
const INCLUDES: usize = 16;

const ID_BYTES: usize = 128;

/// Fields that do not change the answer.
const HARMLESS: [&str; 7] = [
    "user",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    // Counts the calls of hosted tools, of which there are none.
    "max_tool_calls",
    "client_metadata",
];

/// Fields that would change the answer, and the way out.
const REFUSED: [(&str, Neutral, &str); 5] = [
    ("background", Neutral::False, "is not served: ask with `stream`, and read while it is being answered"),
    (
        "conversation",
        Neutral::Nothing,
        "is not served: go on with `previous_response_id`, or send the items as `input`",
    ),
    ("prompt", Neutral::Nothing, "is not served: no prompts are kept here, send the text as `instructions` or `input`"),
    ("context_management", Neutral::Empty, "is not served: send the items that are to be answered as `input`"),
    ("moderation", Neutral::Nothing, "is not served: leave it out"),
];

/// A request for a response, understood.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ResponseCall {
    pub(super) asked: Asked,
    pub(super) instructions: Option<String>,
    /// The conversation without instructions.
    pub(super) messages: Vec<Message>,
    /// The items of this request's input, each with an id.
    pub(super) input: Vec<Value>,
    /// The response that this one goes on from.
    pub(super) previous: Option<String>,
    pub(super) store: bool,
    /// Alternatives for each token, where scores are wanted.
    pub(super) top: Option<u8>,
    /// What the answer repeats of the request.
    pub(super) echo: Echo,
}

/// What an answer repeats, as it was written.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Echo {
    pub(super) tools: Value,
    pub(super) tool_choice: Value,
    pub(super) text: Value,
    pub(super) reasoning: Value,
    pub(super) metadata: Value,
    pub(super) user: Value,
    pub(super) safety_identifier: Value,
    pub(super) prompt_cache_key: Value,
}

impl Echo {
    fn of(request: &Map<String, Value>) -> Self {
        let take = |field: &str| request.get(field).cloned().unwrap_or_default();
        Self {
            tools: take("tools"),
            tool_choice: take("tool_choice"),
            text: take("text"),
            reasoning: take("reasoning"),
            metadata: take("metadata"),
            user: take("user"),
            safety_identifier: take("safety_identifier"),
            prompt_cache_key: take("prompt_cache_key"),
        }
    }
}

/// Understands a request.
///
/// # Errors
/// 400, naming the field.
pub(super) fn parse(object: Map<String, Value>) -> Result<ResponseCall, ApiError> {
    let echo = Echo::of(&object);
    let mut fields = Fields::new(object);
    fields.ignore(&HARMLESS);
    for (field, neutral, way_out) in REFUSED {
        fields.refuse_saying(field, neutral, way_out)?;
    }
    if fields.word("truncation", &["disabled", "auto"])? == Some("auto") {
        return Err(fields.not_served("truncation", "is `auto`, but nothing is dropped here: shorten the `input`"));
    }
    let model = model_name(fields.text("model")?)?;
    let instructions = fields.text("instructions")?.filter(|text| !text.is_empty());
    let (input, messages) = items::read(&mut fields)?;
    let tools = tools::read(&mut fields, tools::Form::Flat)?;
    let shape = match fields.take("text") {
        None => crate::Shape::Free,
        Some(text) => text_shape(Fields::within("text", text)?)?,
    };
    let thinking = thinking(&mut fields)?;
    let top = scores(&mut fields)?;
    metadata(&mut fields)?;
    let previous = fields.text("previous_response_id")?;
    if previous.as_ref().is_some_and(|id| id.len() > ID_BYTES) {
        return Err(fields.wrong("previous_response_id", "has to be the id of a response"));
    }
    let store = fields.flag("store")?.unwrap_or(true);
    let max_tokens = fields.count("max_output_tokens", 1)?;
    let sampling = sampling::sampling(&mut fields)?;
    let stream = fields.flag("stream")?.unwrap_or(false);
    sampling::include_usage(&mut fields, stream)?;
    fields.finish()?;
    let system = instructions.iter().map(|text| Message::new(Role::System, text.as_str()));
    let chat = Chat {
        messages: system.chain(messages.iter().cloned()).collect(),
        tools: tools.list,
        tool_choice: tools.choice,
        parallel_calls: tools.parallel,
        thinking,
    };
    let asked = Asked { sampling, shape, max_tokens, scores: top, stream, ..Asked::new(model, Prompt::Chat(chat)) };
    Ok(ResponseCall { asked, instructions, messages, input, previous, store, top, echo })
}

fn text_shape(mut text: Fields) -> Result<crate::Shape, ApiError> {
    text.refuse("verbosity", Neutral::Text("medium"))?;
    let shape = match text.take("format") {
        None => crate::Shape::Free,
        Some(format) => format::text_format(Fields::within("text.format", format)?)?,
    };
    text.finish().map(|()| shape)
}

fn thinking(fields: &mut Fields) -> Result<Option<bool>, ApiError> {
    let Some(reasoning) = fields.take("reasoning") else { return Ok(None) };
    let mut reasoning = Fields::within("reasoning", reasoning)?;
    let effort = reasoning.word("effort", &EFFORTS)?;
    // What was thought is told as it is; nobody writes a summary of it, which `auto` leaves open.
    for field in ["summary", "generate_summary"] {
        reasoning.refuse(field, Neutral::Text("auto"))?;
    }
    reasoning.finish()?;
    Ok(effort.map(|effort| effort != "none"))
}

/// Scores are included by name, and so many alternatives with them.
fn scores(fields: &mut Fields) -> Result<Option<u8>, ApiError> {
    let mut wanted = false;
    for (index, include) in fields.list("include", INCLUDES)?.into_iter().enumerate() {
        match include.as_str() {
            Some("message.output_text.logprobs") => wanted = true,
            // It comes in the clear.
            Some("reasoning.encrypted_content") => {}
            _ => {
                let what =
                    "is not served: `message.output_text.logprobs` and `reasoning.encrypted_content` can be included";
                return Err(fields.not_served(&format!("include[{index}]"), what));
            }
        }
    }
    let top = fields.whole("top_logprobs", 0, logprobs::MOST)?.and_then(|top| u8::try_from(top).ok());
    Ok(if wanted || top.is_some_and(|top| top > 0) { Some(top.unwrap_or(0)) } else { None })
}

fn metadata(fields: &mut Fields) -> Result<(), ApiError> {
    let what = "has to be an object of up to 16 texts, keys of up to 64 and values of up to 512 characters";
    match fields.take("metadata") {
        None => Ok(()),
        Some(Value::Object(map))
            if map.len() <= METADATA
                && map.keys().all(|key| key.chars().count() <= KEY_CHARS)
                && map.values().all(|value| value.as_str().is_some_and(|text| text.chars().count() <= VALUE_CHARS)) =>
        {
            Ok(())
        }
        Some(_) => Err(fields.wrong("metadata", what)),
    }
}

#[cfg(test)]
mod tests;
