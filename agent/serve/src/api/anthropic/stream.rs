//! The answer as named events: a message begins, its blocks begin, grow and end, the message ends.

use axum::response::Response;
use serde_json::{Value, json};

use super::answer::{message, reason, usage};
use crate::api::Family;
use crate::converse::{self, Answer};
use crate::error::ApiError;
use crate::request_id::RequestId;
use crate::stream::{self, Carrier};
use crate::{Ending, Said};

/// Answers with a stream.
pub(super) fn respond(answer: Answer) -> Response {
    let writer = Writer { id: answer.id, model: answer.model, open: None, blocks: 0 };
    stream::respond(writer, answer.pieces, Carrier::Events)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Text,
    Thinking,
    Call(u32),
}

struct Writer {
    id: RequestId,
    model: String,
    open: Option<Block>,
    /// Blocks that have ended; the open one has this index.
    blocks: u32,
}

impl Writer {
    /// Ends the open block, if it is another, and begins this one.
    fn turn_to(&mut self, block: Block, beginning: Value) -> String {
        if self.open == Some(block) {
            return String::new();
        }
        let mut text = self.close();
        self.open = Some(block);
        let begin = json!({ "type": "content_block_start", "index": self.blocks, "content_block": beginning });
        text.push_str(&event(&begin));
        text
    }

    fn close(&mut self) -> String {
        if self.open.take().is_none() {
            return String::new();
        }
        let index = self.blocks;
        self.blocks += 1;
        event(&json!({ "type": "content_block_stop", "index": index }))
    }

    fn delta(&self, delta: &Value) -> String {
        event(&json!({ "type": "content_block_delta", "index": self.blocks, "delta": delta }))
    }
}

impl stream::Writer for Writer {
    fn opening(&mut self) -> String {
        let begin = json!({ "type": "message_start", "message": message(&self.id, &self.model) });
        event(&begin) + &self.idle()
    }

    fn said(&mut self, said: Said) -> String {
        match said {
            Said::Prompt(_) => String::new(),
            Said::Text { text, .. } if text.is_empty() => String::new(),
            Said::Text { text, .. } => {
                let before = self.turn_to(Block::Text, json!({ "type": "text", "text": "" }));
                before + &self.delta(&json!({ "type": "text_delta", "text": text }))
            }
            Said::Reasoning(thinking) => {
                let beginning = json!({ "type": "thinking", "thinking": "", "signature": "" });
                let before = self.turn_to(Block::Thinking, beginning);
                before + &self.delta(&json!({ "type": "thinking_delta", "thinking": thinking }))
            }
            Said::Call { index, name } => {
                let id = converse::call_id(&self.id, index);
                self.turn_to(Block::Call(index), json!({ "type": "tool_use", "id": id, "name": name, "input": {} }))
            }
            Said::Arguments { text, .. } => self.delta(&json!({ "type": "input_json_delta", "partial_json": text })),
        }
    }

    fn ending(&mut self, ending: &Ending) -> String {
        let (reason, sequence) = reason(&ending.reason);
        let delta = json!({ "stop_reason": reason, "stop_sequence": sequence });
        let last = json!({ "type": "message_delta", "delta": delta, "usage": usage(ending.usage) });
        self.close() + &event(&last) + &event(&json!({ "type": "message_stop" }))
    }

    fn failure(&mut self, error: &ApiError) -> String {
        event(&error.to_json(Family::Anthropic))
    }

    fn idle(&mut self) -> String {
        event(&json!({ "type": "ping" }))
    }
}

/// An event named by its type.
fn event(value: &Value) -> String {
    format!("event: {}\ndata: {value}\n\n", value["type"].as_str().unwrap_or_default())
}
