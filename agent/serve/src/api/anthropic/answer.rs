//! The answer as one message, and the parts that it shares with the stream.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::converse::{self, Answer};
use crate::error::ApiError;
use crate::request_id::RequestId;
use crate::{FinishReason, Usage};

/// Collects the whole answer.
///
/// # Errors
/// If it did not come to its end.
pub(super) async fn respond(answer: Answer) -> Result<Response, ApiError> {
    let Answer { id, model, pieces, .. } = answer;
    let whole = converse::collect(&id, pieces).await?;
    let mut content = Vec::new();
    if !whole.reasoning.is_empty() {
        content.push(json!({ "type": "thinking", "thinking": whole.reasoning, "signature": "" }));
    }
    if !whole.content.is_empty() {
        content.push(json!({ "type": "text", "text": whole.content }));
    }
    for call in whole.calls {
        // Half an argument of an answer that was cut is no object; `max_tokens` says why.
        let input = serde_json::from_str(&call.arguments).ok().filter(Value::is_object).unwrap_or_else(|| json!({}));
        content.push(json!({ "type": "tool_use", "id": call.id, "name": call.name, "input": input }));
    }
    let (reason, sequence) = reason(&whole.ending.reason);
    let mut message = message(&id, &model);
    message["content"] = json!(content);
    message["stop_reason"] = json!(reason);
    message["stop_sequence"] = json!(sequence);
    message["usage"] = usage(whole.ending.usage);
    Ok(Json(message).into_response())
}

/// A message without content.
pub(super) fn message(id: &RequestId, model: &str) -> Value {
    json!({
        "id": format!("msg_{id}"), "type": "message", "role": "assistant", "model": model,
        "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage(Usage::default()),
    })
}

/// Why it ended, and the stop text if it was one.
pub(super) fn reason(reason: &FinishReason) -> (&'static str, Option<&str>) {
    match reason {
        FinishReason::Stop => ("end_turn", None),
        FinishReason::StopText(text) => ("stop_sequence", Some(text)),
        FinishReason::ToolCalls => ("tool_use", None),
        FinishReason::Length => ("max_tokens", None),
    }
}

/// Token counts; what was cached is counted apart, as clients add the two.
pub(super) fn usage(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens.saturating_sub(usage.cached_tokens),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.generated_tokens,
    })
}
