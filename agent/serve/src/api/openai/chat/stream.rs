//! The answer as server-sent events, the OpenAI way: a chunk per piece, then the reason, then `[DONE]`.

use axum::response::Response;
use serde_json::{Value, json};

use super::answer::{Head, usage};
use crate::api::Family;
use crate::converse::Answer;
use crate::error::ApiError;
use crate::stream::{self, Carrier, event};
use crate::{Ending, Said};

const CHUNK: &str = "chat.completion.chunk";

/// Answers with a stream.
pub(super) fn respond(answer: Answer, include_usage: bool) -> Response {
    let head = Head { id: answer.id, model: answer.model, created_s: answer.created_s };
    stream::respond(Writer { head, include_usage }, answer.pieces, Carrier::Events)
}

struct Writer {
    head: Head,
    include_usage: bool,
}

impl stream::Writer for Writer {
    fn opening(&mut self) -> String {
        event(&self.chunk(json!({ "role": "assistant", "content": "", "refusal": null }), Value::Null))
    }

    fn said(&mut self, said: Said) -> String {
        match said {
            Said::Text { text, .. } => event(&self.chunk(json!({ "content": text }), Value::Null)),
            Said::Prompt(_) | Said::Reasoning(_) | Said::Call { .. } | Said::Arguments { .. } => String::new(),
        }
    }

    fn ending(&mut self, ending: &Ending) -> String {
        let mut text = event(&self.chunk(json!({}), json!(ending.reason.word())));
        if self.include_usage {
            let mut last = self.head.object(CHUNK, json!([]));
            last["usage"] = usage(ending.usage);
            text.push_str(&event(&last));
        }
        text.push_str("data: [DONE]\n\n");
        text
    }

    /// An event of its own, and no `[DONE]`.
    fn failure(&mut self, error: &ApiError) -> String {
        event(&error.to_json(Family::OpenAi))
    }

    fn idle(&mut self) -> String {
        ": working\n\n".to_owned()
    }
}

impl Writer {
    fn chunk(&self, delta: Value, finish_reason: Value) -> Value {
        let choice = json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason });
        let mut chunk = self.head.object(CHUNK, json!([choice]));
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }
}
