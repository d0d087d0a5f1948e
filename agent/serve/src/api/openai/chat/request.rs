//! What a chat request may say.

use serde_json::Value;

use crate::converse::{Asked, model_name};
use crate::error::ApiError;
use crate::fields::{Fields, Neutral};
use crate::{Chat, Message, Prompt, Role, Sampling};

/// Ceilings on parts of a request; the body's size bounds the rest.
const MESSAGES: usize = 4096;
const STOPS: usize = 16;
const STOP_BYTES: usize = 256;

/// Fields that do not change the answer.
const HARMLESS: [&str; 7] =
    ["user", "metadata", "service_tier", "safety_identifier", "prompt_cache_key", "parallel_tool_calls", "store"];

/// Fields that would change the answer, with the one value (besides null) that asks for nothing.
const REFUSED: [(&str, Neutral); 18] = [
    ("tools", Neutral::Empty),
    ("tool_choice", Neutral::Text("none")),
    ("functions", Neutral::Empty),
    ("function_call", Neutral::Text("none")),
    ("logprobs", Neutral::False),
    ("top_logprobs", Neutral::Zero),
    ("logit_bias", Neutral::Empty),
    ("frequency_penalty", Neutral::Zero),
    ("presence_penalty", Neutral::Zero),
    ("modalities", Neutral::TextOnly),
    ("audio", Neutral::Nothing),
    ("prediction", Neutral::Nothing),
    ("reasoning_effort", Neutral::Nothing),
    ("verbosity", Neutral::Nothing),
    ("web_search_options", Neutral::Nothing),
    ("grammar", Neutral::Nothing),
    ("chat_template_kwargs", Neutral::Empty),
    ("typical_p", Neutral::Nothing),
];

/// A chat request, understood.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ChatCall {
    pub(super) asked: Asked,
    pub(super) include_usage: bool,
}

/// Understands a request.
///
/// # Errors
/// 400, naming the field.
pub(super) fn parse(object: serde_json::Map<String, Value>) -> Result<ChatCall, ApiError> {
    let mut fields = Fields::new(object);
    fields.ignore(&HARMLESS);
    for (field, neutral) in REFUSED {
        fields.refuse(field, neutral)?;
    }
    match fields.take("response_format") {
        None => {}
        Some(format) if format.get("type").and_then(Value::as_str) == Some("text") => {}
        Some(_) => return Err(fields.not_served("response_format", "is not implemented here")),
    }
    let model = model_name(fields.text("model")?)?;
    let messages = messages(fields.take("messages"))?;
    if !matches!(fields.whole("n", 0, u64::MAX)?, None | Some(1)) {
        return Err(ApiError::unsupported("n", "`n` has to be 1: one answer per request is given here"));
    }
    let sampling = sampling(&mut fields)?;
    let stop = stop(fields.take("stop"))?;
    let max_tokens = max_tokens(&mut fields)?;
    let stream = fields.flag("stream")?.unwrap_or(false);
    let include_usage = stream_options(fields.take("stream_options"), stream)?;
    fields.finish()?;
    let prompt = Prompt::Chat(Chat { messages, ..Chat::default() });
    let asked = Asked { sampling, stop, max_tokens, stream, ..Asked::new(model, prompt) };
    Ok(ChatCall { asked, include_usage })
}

fn sampling(fields: &mut Fields) -> Result<Sampling, ApiError> {
    let repetition_penalty = match fields.number("repetition_penalty", 0.0, 2.0)? {
        None => fields.number("repeat_penalty", 0.0, 2.0)?,
        some => some,
    };
    let top_p = fields.number("top_p", 0.0, 1.0)?;
    for (field, value) in [("top_p", top_p), ("repetition_penalty", repetition_penalty)] {
        if value == Some(0.0) {
            return Err(ApiError::invalid(field, format!("`{field}` has to be above 0")));
        }
    }
    Ok(Sampling {
        temperature: fields.number("temperature", 0.0, 2.0)?,
        top_p,
        top_k: fields.count("top_k", 0)?,
        min_p: fields.number("min_p", 0.0, 1.0)?,
        repetition_penalty,
        seed: fields.seed("seed")?,
        ..Sampling::default()
    })
}

fn max_tokens(fields: &mut Fields) -> Result<Option<u32>, ApiError> {
    let mut limit = None;
    // The newer name wins where both are there; both are checked.
    for field in ["max_tokens", "max_completion_tokens"] {
        limit = fields.count(field, 1)?.or(limit);
    }
    Ok(limit)
}

fn messages(value: Option<Value>) -> Result<Vec<Message>, ApiError> {
    let missing = || ApiError::invalid("messages", "`messages` has to be a list of at least one message");
    let Some(Value::Array(list)) = value else { return Err(missing()) };
    if list.is_empty() {
        return Err(missing());
    }
    if list.len() > MESSAGES {
        return Err(ApiError::invalid("messages", format!("`messages` has more than {MESSAGES} entries")));
    }
    list.into_iter().enumerate().map(|(index, value)| message(index, value)).collect()
}

fn message(index: usize, value: Value) -> Result<Message, ApiError> {
    let at = |field: &str| format!("messages[{index}]{field}");
    let Value::Object(mut message) = value else {
        return Err(ApiError::invalid(at(""), format!("`{}` has to be an object", at(""))));
    };
    let role = match message.remove("role").as_ref().and_then(Value::as_str) {
        Some("system" | "developer") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("tool" | "function") => {
            return Err(ApiError::unsupported(at(".role"), "tools are not implemented here: no `tool` messages"));
        }
        _ => {
            let message = format!("`{}` has to be `system`, `developer`, `user` or `assistant`", at(".role"));
            return Err(ApiError::invalid(at(".role"), message));
        }
    };
    let content = content(&at(".content"), message.remove("content"))?;
    // A name changes nothing in the templates that are served; clients echo the rest of what an answer carried.
    message.retain(|field, value| {
        !value.is_null()
            && !matches!(field.as_str(), "name" | "refusal" | "annotations" | "audio" | "reasoning_content")
    });
    match message.into_iter().find(|(_, value)| !matches!(value, Value::Array(list) if list.is_empty())) {
        Some((field, _)) => {
            let place = at(&format!(".{}", field.chars().take(64).collect::<String>()));
            let message = format!("`{place}` is not implemented here: leave it out");
            Err(ApiError::unsupported(place, message))
        }
        None => Ok(Message::new(role, content)),
    }
}

fn content(place: &str, value: Option<Value>) -> Result<String, ApiError> {
    match value {
        Some(Value::String(text)) => Ok(text),
        Some(Value::Array(parts)) => {
            parts.into_iter().enumerate().map(|(index, part)| part_text(&format!("{place}[{index}]"), part)).collect()
        }
        _ => Err(ApiError::invalid(place, format!("`{place}` has to be a text or a list of text parts"))),
    }
}

fn part_text(place: &str, mut part: Value) -> Result<String, ApiError> {
    match part.get("type").and_then(Value::as_str) {
        Some("text") => match part.get_mut("text").map(Value::take) {
            Some(Value::String(text)) => Ok(text),
            _ => Err(ApiError::invalid(place, format!("`{place}` has no `text`"))),
        },
        Some(other) => {
            let other: String = other.chars().take(32).collect();
            let message = format!("`{place}` is of type `{other}`: the models here read `text` parts only");
            Err(ApiError::unsupported(place, message))
        }
        None => Err(ApiError::invalid(place, format!("`{place}` has to be a part with a `type`"))),
    }
}

fn stop(value: Option<Value>) -> Result<Vec<String>, ApiError> {
    let wrong = || {
        let message = format!("`stop` has to be a text or up to {STOPS} texts, each of 1 to {STOP_BYTES} bytes");
        ApiError::invalid("stop", message)
    };
    let texts = match value {
        None => return Ok(Vec::new()),
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(values)) => values
            .into_iter()
            .map(|value| match value {
                Value::String(text) => Ok(text),
                _ => Err(wrong()),
            })
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(wrong()),
    };
    let fits = texts.len() <= STOPS && texts.iter().all(|text| (1..=STOP_BYTES).contains(&text.len()));
    if fits { Ok(texts) } else { Err(wrong()) }
}

fn stream_options(value: Option<Value>, stream: bool) -> Result<bool, ApiError> {
    let Some(value) = value else { return Ok(false) };
    let wrong = |message: &str| ApiError::invalid("stream_options", message);
    let Value::Object(mut options) = value else { return Err(wrong("`stream_options` has to be an object")) };
    if !stream {
        return Err(wrong("`stream_options` needs `stream` to be true"));
    }
    let include_usage = match options.remove("include_usage") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(include)) => include,
        Some(_) => return Err(wrong("`stream_options.include_usage` has to be true or false")),
    };
    // Padding against traffic analysis; nothing is padded here, so only asking for it would be refused.
    match options.remove("include_obfuscation") {
        None | Some(Value::Null | Value::Bool(false)) => {}
        Some(_) => {
            return Err(ApiError::unsupported("stream_options", "`include_obfuscation` is not implemented here"));
        }
    }
    match options.into_iter().find(|(_, value)| !value.is_null()) {
        None => Ok(include_usage),
        Some((field, _)) => {
            let field: String = field.chars().take(64).collect();
            Err(ApiError::unsupported("stream_options", format!("`stream_options.{field}` is not known here")))
        }
    }
}

#[cfg(test)]
mod tests;
