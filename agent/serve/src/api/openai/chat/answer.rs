//! The answer as one JSON object, and the parts that it shares with the stream.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::Usage;
use crate::converse::{self, Answer};
use crate::error::ApiError;
use crate::request_id::RequestId;

/// What every object of one answer carries.
pub(super) struct Head {
    pub(super) id: RequestId,
    pub(super) model: String,
    pub(super) created_s: i64,
}

impl Head {
    /// An object of this answer.
    pub(super) fn object(&self, kind: &str, choices: Value) -> Value {
        json!({
            "id": format!("chatcmpl-{}", self.id),
            "object": kind,
            "created": self.created_s,
            "model": self.model,
            "choices": choices,
        })
    }
}

/// Token counts.
pub(super) fn usage(usage: Usage) -> Value {
    let Usage { prompt_tokens, cached_tokens, generated_tokens, .. } = usage;
    json!({
        "prompt_tokens": prompt_tokens,
        "completion_tokens": generated_tokens,
        "total_tokens": u64::from(prompt_tokens) + u64::from(generated_tokens),
        "prompt_tokens_details": { "cached_tokens": cached_tokens },
    })
}

/// Collects the whole answer.
///
/// # Errors
/// If it did not come to its end.
pub(super) async fn respond(answer: Answer) -> Result<Response, ApiError> {
    let whole = converse::collect(&answer.id, answer.pieces).await?;
    let choices = json!([{
        "index": 0,
        "message": { "role": "assistant", "content": whole.content, "refusal": null },
        "logprobs": null,
        "finish_reason": whole.ending.reason.word(),
    }]);
    let head = Head { id: answer.id, model: answer.model, created_s: answer.created_s };
    let mut object = head.object("chat.completion", choices);
    object["usage"] = usage(whole.ending.usage);
    Ok(Json(object).into_response())
}
