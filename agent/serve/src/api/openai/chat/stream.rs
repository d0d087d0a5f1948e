//! The answer as server-sent events, the OpenAI way: a chunk per piece, then the reason, then `[DONE]`.

use serde_json::{Value, json};

use super::answer::object;
use crate::api::openai::choices::{self, Common, total};
use crate::api::openai::{logprobs, usage::usage};
use crate::converse::call_id;
use crate::stream::event;
use crate::{Ending, Said, Usage};

const CHUNK: &str = "chat.completion.chunk";

/// Writes chunks.
pub(super) struct Writer {
    pub(super) common: Common,
    pub(super) n: usize,
    pub(super) include_usage: bool,
    /// Alternatives beside each token, where scores were asked for.
    pub(super) top: Option<u8>,
}

impl choices::Writer for Writer {
    fn opening(&mut self) -> String {
        let delta = || json!({ "role": "assistant", "content": "", "refusal": null });
        (0..self.n).map(|choice| self.chunk(choice, delta(), Value::Null, Value::Null)).collect()
    }

    fn said(&mut self, choice: usize, said: Said) -> String {
        let mut scores = Value::Null;
        let delta = match said {
            Said::Text { text, tokens } => {
                if let Some(top) = self.top {
                    scores = json!({ "content": logprobs::tokens(&tokens, top), "refusal": null });
                }
                json!({ "content": text })
            }
            Said::Reasoning(text) => json!({ "reasoning_content": text }),
            Said::Call { index, name } => {
                let id = call_id(&self.common.id.of_choice(choice), index);
                let function = json!({ "name": name, "arguments": "" });
                json!({ "tool_calls": [{ "index": index, "id": id, "type": "function", "function": function }] })
            }
            Said::Arguments { index, text } => {
                json!({ "tool_calls": [{ "index": index, "function": { "arguments": text } }] })
            }
            Said::Prompt(_) => return String::new(),
        };
        self.chunk(choice, delta, scores, Value::Null)
    }

    fn ended(&mut self, choice: usize, ending: &Ending) -> String {
        self.chunk(choice, json!({}), Value::Null, json!(ending.reason.word()))
    }

    fn closing(&mut self, usages: &[Usage]) -> String {
        let mut text = String::new();
        if self.include_usage {
            let mut last = object(&self.common, CHUNK, json!([]));
            last["usage"] = usage(total(usages, self.n));
            text.push_str(&event(&last));
        }
        text.push_str("data: [DONE]\n\n");
        text
    }
}

impl Writer {
    fn chunk(&self, choice: usize, delta: Value, scores: Value, finish_reason: Value) -> String {
        let choice = json!({ "index": choice, "delta": delta, "logprobs": scores, "finish_reason": finish_reason });
        let mut chunk = object(&self.common, CHUNK, json!([choice]));
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        event(&chunk)
    }
}
