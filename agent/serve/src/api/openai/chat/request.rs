//! What a chat request may say: read field by field, each error naming its field.
//!
//! A field is read, harmless and let pass, or refused: an answer that silently ignores what was asked for is a wrong
//! answer. An unknown field is refused too; it is most often a misspelt one.

use outpost_audit::Record;
use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::{Message, Role, Sampling};

/// Ceilings on parts of a request; the body's size bounds the rest.
const MESSAGES: usize = 4096;
const STOPS: usize = 16;
const STOP_BYTES: usize = 256;
const MODEL_BYTES: usize = 256;

/// Fields that are read.
const READ: [&str; 17] = [
    "model",
    "messages",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "repeat_penalty",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "seed",
    "stream",
    "stream_options",
    "n",
    "frequency_penalty",
    "presence_penalty",
];

/// Fields that do not change the answer.
const HARMLESS: [&str; 7] =
    ["user", "metadata", "service_tier", "safety_identifier", "prompt_cache_key", "parallel_tool_calls", "store"];

/// Fields that would change the answer, with the one value (besides null) that asks for nothing.
const REFUSED: [(&str, Neutral); 18] = [
    ("tools", Neutral::Empty),
    ("tool_choice", Neutral::Text("none")),
    ("functions", Neutral::Empty),
    ("function_call", Neutral::Text("none")),
    ("response_format", Neutral::Type("text")),
    ("logprobs", Neutral::False),
    ("top_logprobs", Neutral::Zero),
    ("logit_bias", Neutral::Empty),
    ("modalities", Neutral::TextOnly),
    ("audio", Neutral::Nothing),
    ("prediction", Neutral::Nothing),
    ("reasoning_effort", Neutral::Nothing),
    ("verbosity", Neutral::Nothing),
    ("web_search_options", Neutral::Nothing),
    ("grammar", Neutral::Nothing),
    ("guided_json", Neutral::Nothing),
    ("chat_template_kwargs", Neutral::Empty),
    ("typical_p", Neutral::Nothing),
];

#[derive(Clone, Copy)]
enum Neutral {
    Nothing,
    Empty,
    False,
    Zero,
    Text(&'static str),
    Type(&'static str),
    TextOnly,
}

/// A chat request, understood.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ChatCall {
    pub(super) model: String,
    pub(super) messages: Vec<Message>,
    pub(super) sampling: Sampling,
    pub(super) stop: Vec<String>,
    pub(super) max_tokens: Option<u32>,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
}

impl ChatCall {
    /// Adds to a record what was asked for, apart from the content.
    pub(super) fn describe(&self, record: Record, max_tokens: u32) -> Record {
        let milli = |value: f32| i64::from((value * 1000.0).round() as i32);
        let mut record = record
            .detail("max_tokens", max_tokens)
            .detail("messages", self.messages.len() as u64)
            .detail("stream", i64::from(self.stream));
        if let Some(temperature) = self.sampling.temperature {
            record = record.detail("temperature_milli", milli(temperature));
        }
        if let Some(seed) = self.sampling.seed {
            record = record.detail("seed", seed.to_string());
        }
        record
    }
}

/// Understands a request.
///
/// # Errors
/// 400, naming the field.
pub(super) fn parse(object: Map<String, Value>) -> Result<ChatCall, ApiError> {
    let mut fields = Fields(object);
    fields.refuse_what_is_not_served()?;
    let model = fields
        .text("model")?
        .ok_or_else(|| ApiError::invalid("model", "name a `model`; `GET /v1/models` lists them"))?;
    if model.is_empty() || model.len() > MODEL_BYTES || model.chars().any(char::is_control) {
        return Err(ApiError::invalid("model", "`model` has to be the name of a model"));
    }
    let messages = messages(fields.take("messages"))?;
    if !matches!(fields.whole("n", 0, u64::MAX)?, None | Some(1)) {
        return Err(ApiError::unsupported("n", "`n` has to be 1: one answer per request is given here"));
    }
    for field in ["frequency_penalty", "presence_penalty"] {
        if fields.number(field, -2.0, 2.0)?.is_some_and(|penalty| penalty != 0.0) {
            let message = format!("`{field}` is not implemented here: leave it out, or use `repetition_penalty`");
            return Err(ApiError::unsupported(field, message));
        }
    }
    let sampling = sampling(&mut fields)?;
    let stop = stop(fields.take("stop"))?;
    let max_tokens = max_tokens(&mut fields)?;
    let stream = fields.flag("stream")?.unwrap_or(false);
    let include_usage = stream_options(fields.take("stream_options"), stream)?;
    Ok(ChatCall { model, messages, sampling, stop, max_tokens, stream, include_usage })
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
        top_k: fields.whole("top_k", 0, u64::from(u32::MAX))?.and_then(|top_k| u32::try_from(top_k).ok()),
        min_p: fields.number("min_p", 0.0, 1.0)?,
        repetition_penalty,
        seed: fields.seed()?,
    })
}

fn max_tokens(fields: &mut Fields) -> Result<Option<u32>, ApiError> {
    let mut limit = None;
    // The newer name wins where both are there; both are checked.
    for field in ["max_tokens", "max_completion_tokens"] {
        if let Some(tokens) = fields.whole(field, 1, u64::from(u32::MAX))? {
            limit = u32::try_from(tokens).ok();
        }
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
    match message.into_iter().find(|(_, value)| !is_empty(value)) {
        Some((field, _)) => {
            let place = at(&format!(".{}", field.chars().take(64).collect::<String>()));
            let message = format!("`{place}` is not implemented here: leave it out");
            Err(ApiError::unsupported(place, message))
        }
        None => Ok(Message { role, content }),
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

/// The fields of a request; null counts as absent, as official clients send it.
struct Fields(Map<String, Value>);

impl Fields {
    fn take(&mut self, field: &str) -> Option<Value> {
        self.0.remove(field).filter(|value| !value.is_null())
    }

    fn refuse_what_is_not_served(&self) -> Result<(), ApiError> {
        for (field, value) in self.0.iter().filter(|(_, value)| !value.is_null()) {
            let field = field.as_str();
            if READ.contains(&field) || HARMLESS.contains(&field) {
                continue;
            }
            let Some((_, neutral)) = REFUSED.iter().find(|(refused, _)| *refused == field) else {
                return Err(unknown(field));
            };
            if !neutral.is(value) {
                let message =
                    format!("`{field}` is not implemented here, and leaving it out of account would change the answer");
                return Err(ApiError::unsupported(field, message));
            }
        }
        Ok(())
    }

    fn text(&mut self, field: &str) -> Result<Option<String>, ApiError> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(ApiError::invalid(field, format!("`{field}` has to be a text"))),
        }
    }

    fn flag(&mut self, field: &str) -> Result<Option<bool>, ApiError> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(ApiError::invalid(field, format!("`{field}` has to be true or false"))),
        }
    }

    /// A number between two, both included.
    fn number(&mut self, field: &str, least: f64, most: f64) -> Result<Option<f32>, ApiError> {
        let Some(value) = self.take(field) else { return Ok(None) };
        match value.as_f64().filter(|number| (least..=most).contains(number)) {
            Some(number) => Ok(Some(number as f32)),
            None => Err(ApiError::invalid(field, format!("`{field}` has to be a number from {least} to {most}"))),
        }
    }

    /// A whole number between two, both included.
    fn whole(&mut self, field: &str, least: u64, most: u64) -> Result<Option<u64>, ApiError> {
        let Some(value) = self.take(field) else { return Ok(None) };
        match value.as_u64().filter(|number| (least..=most).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(ApiError::invalid(field, format!("`{field}` has to be a whole number of at least {least}"))),
        }
    }

    /// Any whole number: clients draw seeds below zero too.
    fn seed(&mut self) -> Result<Option<u64>, ApiError> {
        let Some(value) = self.take("seed") else { return Ok(None) };
        match value.as_u64().or_else(|| value.as_i64().map(i64::cast_unsigned)) {
            Some(seed) => Ok(Some(seed)),
            None => Err(ApiError::invalid("seed", "`seed` has to be a whole number")),
        }
    }
}

impl Neutral {
    fn is(self, value: &Value) -> bool {
        match self {
            Self::Nothing => false,
            Self::Empty => is_empty(value),
            Self::False => *value == Value::Bool(false),
            Self::Zero => value.as_u64() == Some(0),
            Self::Text(text) => value.as_str() == Some(text),
            Self::Type(text) => value.get("type").and_then(Value::as_str) == Some(text),
            Self::TextOnly => *value == serde_json::json!(["text"]),
        }
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty)
}

/// An unknown field, with the nearest one that is known.
fn unknown(field: &str) -> ApiError {
    let nearest = READ
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(&field.chars().take(64).collect::<String>(), known), known))
        .min()
        .filter(|(distance, _)| *distance <= 3);
    let field: String = field.chars().take(64).collect();
    let message = match nearest {
        Some((_, known)) => format!("`{field}` is not a field of this request; did you mean `{known}`?"),
        None => format!("`{field}` is not a field of this request: leave it out"),
    };
    ApiError::unsupported(field, message)
}

#[cfg(test)]
mod tests;
