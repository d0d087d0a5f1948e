//! The answer as one JSON object, and the parts that it shares with the stream.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::Usage;
use crate::drive::{Ending, Piece};
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
pub(super) fn usage(ending: &Ending) -> Value {
    let Usage { prompt_tokens, cached_tokens, generated_tokens } = ending.usage;
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
pub(super) async fn respond(head: &Head, mut pieces: mpsc::Receiver<Piece>) -> Result<Response, ApiError> {
    let mut content = String::new();
    while let Some(piece) = pieces.recv().await {
        match piece {
            Piece::Started => {}
            Piece::Text(text) => content.push_str(&text),
            Piece::Failed(error) => return Err(error),
            Piece::End(ending) => {
                let choices = json!([{
                    "index": 0,
                    "message": { "role": "assistant", "content": content, "refusal": null },
                    "logprobs": null,
                    "finish_reason": ending.reason.word(),
                }]);
                let mut answer = head.object("chat.completion", choices);
                answer["usage"] = usage(&ending);
                return Ok(Json(answer).into_response());
            }
        }
    }
    Err(ApiError::internal())
}
