//! What a chat request may say.

use serde_json::{Map, Value};

use super::messages;
use crate::api::openai::{format, logprobs, sampling, tools};
use crate::api::stop;
use crate::converse::{Asked, model_name};
use crate::error::ApiError;
use crate::fields::{Fields, Neutral};
use crate::{Chat, Prompt};

/// Fields that do not change the answer.
const HARMLESS: [&str; 8] = [
    "user",
    "metadata",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "store",
    "request_id",
];

/// Fields that would change the answer, with the one value (besides null) that asks for nothing.
const REFUSED: [(&str, Neutral); 7] = [
    ("modalities", Neutral::TextOnly),
    ("audio", Neutral::Nothing),
    ("prediction", Neutral::Nothing),
    ("verbosity", Neutral::Text("medium")),
    ("web_search_options", Neutral::Nothing),
    ("typical_p", Neutral::Nothing),
    ("min_tokens", Neutral::Zero),
];

/// Efforts of reasoning; a model here thinks or does not.
pub(in crate::api::openai) const EFFORTS: [&str; 6] = ["none", "minimal", "low", "medium", "high", "xhigh"];

/// A chat request, understood.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ChatCall {
    pub(super) asked: Asked,
    /// How many answers.
    pub(super) n: usize,
    pub(super) include_usage: bool,
}

/// Understands a request.
///
/// # Errors
/// 400, naming the field.
pub(super) fn parse(object: Map<String, Value>) -> Result<ChatCall, ApiError> {
    let mut fields = Fields::new(object);
    fields.ignore(&HARMLESS);
    for (field, neutral) in REFUSED {
        fields.refuse(field, neutral)?;
    }
    fields.refuse_saying(
        "functions",
        Neutral::Empty,
        "is the old way and not served: send the functions as `tools`",
    )?;
    fields.refuse_saying(
        "function_call",
        Neutral::Text("none"),
        "is the old way and not served: send `tool_choice`",
    )?;
    let model = model_name(fields.text("model")?)?;
    let messages = messages::read(&mut fields)?;
    let tools = tools::read(&mut fields, tools::Form::Nested)?;
    let shape = format::read(&mut fields)?;
    let thinking = thinking(&mut fields)?;
    let scores = logprobs::read(&mut fields)?;
    let n = sampling::n(&mut fields)?;
    let sampling = sampling::sampling(&mut fields)?;
    let stop = stop::read(&mut fields, "stop")?;
    let max_tokens = max_tokens(&mut fields)?;
    let stream = fields.flag("stream")?.unwrap_or(false);
    let include_usage = sampling::include_usage(&mut fields, stream)?;
    fields.finish()?;
    let prompt = Prompt::Chat(Chat {
        messages,
        tools: tools.list,
        tool_choice: tools.choice,
        parallel_calls: tools.parallel,
        thinking,
    });
    let asked = Asked { sampling, shape, stop, max_tokens, scores, stream, ..Asked::new(model, prompt) };
    Ok(ChatCall { asked, n, include_usage })
}

/// Whether the model is to think first; the template's own switch wins over the effort.
fn thinking(fields: &mut Fields) -> Result<Option<bool>, ApiError> {
    let effort = fields.word("reasoning_effort", &EFFORTS)?.map(|effort| effort != "none");
    let Some(arguments) = fields.take("chat_template_kwargs") else { return Ok(effort) };
    let mut arguments = Fields::within(fields.path("chat_template_kwargs"), arguments)?;
    let switch = arguments.flag("enable_thinking")?;
    arguments.finish()?;
    Ok(switch.or(effort))
}

fn max_tokens(fields: &mut Fields) -> Result<Option<u32>, ApiError> {
    let mut limit = None;
    // The newer name wins where both are there; both are checked.
    for field in ["max_tokens", "max_completion_tokens"] {
        limit = fields.count(field, 1)?.or(limit);
    }
    Ok(limit)
}

#[cfg(test)]
mod tests;
