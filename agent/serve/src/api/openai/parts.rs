//! Content as a text or as a list of parts; only parts of text can be read here.

use serde_json::Value;

use crate::error::ApiError;
use crate::fields::Fields;

const PARTS: usize = 1024;

/// Reads content, `kinds` being the types of its text parts.
///
/// # Errors
/// 400, naming the part.
pub(super) fn text(place: &str, value: Option<Value>, kinds: &[&str]) -> Result<String, ApiError> {
    match value {
        Some(Value::String(text)) => Ok(text),
        Some(Value::Array(parts)) if parts.len() <= PARTS => {
            let texts =
                parts.into_iter().enumerate().map(|(index, value)| part(&format!("{place}[{index}]"), value, kinds));
            texts.collect()
        }
        Some(Value::Array(_)) => Err(ApiError::invalid(place, format!("`{place}` has more than {PARTS} parts"))),
        _ => Err(ApiError::invalid(place, format!("`{place}` has to be a text or a list of text parts"))),
    }
}

fn part(place: &str, value: Value, kinds: &[&str]) -> Result<String, ApiError> {
    let kind = value.get("type").and_then(Value::as_str).map(|kind| kind.chars().take(32).collect::<String>());
    match kind {
        Some(kind) if kinds.contains(&kind.as_str()) => {
            let mut fields = Fields::within(place, value)?;
            // What an answer carried is echoed by clients; `cache_control` and the like only matter elsewhere.
            fields.ignore(&["type", "annotations", "logprobs", "cache_control", "prompt_cache_breakpoint"]);
            let text = fields.text("text")?.ok_or_else(|| fields.wrong("text", "has to be a text"))?;
            fields.finish().map(|()| text)
        }
        Some(kind) => {
            let message =
                format!("`{place}` is of type `{kind}`: the models here read `{}` parts only", kinds.join("`, `"));
            Err(ApiError::unsupported(place, message))
        }
        None => Err(ApiError::invalid(place, format!("`{place}` has to be a part with a `type`"))),
    }
}
