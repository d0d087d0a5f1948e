//! An answer as one object or as lines: `generate` and `chat` differ only in where the text stands.

use std::time::{Duration, Instant};

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{models, tools};
use crate::api::Family;
use crate::api::openai::logprobs::finite;
use crate::converse::{self, Answer};
use crate::error::ApiError;
use crate::handle::Call;
use crate::request_id::RequestId;
use crate::stream::{self, Carrier};
use crate::{Ending, Said, TokenScore, ToolCall};

/// Where the text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `response`, as `generate` has it.
    Response,
    /// `message`, as `chat` has it.
    Message,
}

/// A part of an answer, or a whole one.
#[derive(Default)]
struct Part {
    text: String,
    thinking: String,
    calls: Vec<Value>,
    scores: Vec<TokenScore>,
}

/// Writes the objects of one answer.
pub(super) struct Lines {
    id: RequestId,
    model: String,
    created_s: i64,
    form: Form,
    started: Instant,
    /// A call whose arguments still come; clients read a call as one.
    open: Option<(u32, ToolCall)>,
}

/// Answers, at once or line by line.
///
/// # Errors
/// If a whole answer does not come to its end.
pub(super) async fn respond(answer: Answer, call: &Call, form: Form, stream: bool) -> Result<Response, ApiError> {
    let Answer { id, model, created_s, pieces, .. } = answer;
    let lines = Lines { id, model, created_s, form, started: call.started, open: None };
    if stream {
        return Ok(stream::respond(lines, pieces, Carrier::Lines));
    }
    let whole = converse::collect(&lines.id, pieces).await?;
    let calls = whole.calls.iter().enumerate().filter_map(|(index, call)| tools::written(index, call)).collect();
    let part = Part { text: whole.content, thinking: whole.reasoning, calls, scores: whole.scores };
    let mut object = lines.object(part);
    lines.conclude(&mut object, &whole.ending);
    Ok(Json(object).into_response())
}

/// The answer to a question without a question.
pub(super) fn loaded(model: &str, now_s: i64, form: Form, because: &str) -> Response {
    let mut object = json!({ "model": model, "created_at": models::time(now_s), "done": true, "done_reason": because });
    form.put(&mut object, Part::default());
    Json(object).into_response()
}

impl Form {
    fn put(self, object: &mut Value, part: Part) {
        let (inner, name) = match self {
            Self::Response => (&mut *object, "response"),
            Self::Message => {
                object["message"] = json!({ "role": "assistant" });
                (&mut object["message"], "content")
            }
        };
        inner[name] = json!(part.text);
        if !part.thinking.is_empty() {
            inner["thinking"] = json!(part.thinking);
        }
        if !part.calls.is_empty() {
            inner["tool_calls"] = json!(part.calls);
        }
        if !part.scores.is_empty() {
            object["logprobs"] = part.scores.iter().map(score).collect();
        }
    }
}

impl Lines {
    fn object(&self, part: Part) -> Value {
        let mut object = json!({ "model": self.model, "created_at": models::time(self.created_s), "done": false });
        self.form.put(&mut object, part);
        object
    }

    fn line(&self, part: Part) -> String {
        format!("{}\n", self.object(part))
    }

    /// The end and its statistics, in nanoseconds.
    fn conclude(&self, object: &mut Value, ending: &Ending) {
        let (usage, timings) = (ending.usage, ending.timings);
        object["done"] = json!(true);
        // Clients know no word for calls; the message has them.
        object["done_reason"] = json!(if ending.reason.word() == "length" { "length" } else { "stop" });
        object["total_duration"] = json!(nanoseconds(self.started.elapsed()));
        object["load_duration"] = json!(nanoseconds(timings.load));
        object["prompt_eval_count"] = json!(usage.prompt_tokens);
        object["prompt_eval_duration"] = json!(nanoseconds(timings.prompt));
        object["eval_count"] = json!(usage.generated_tokens);
        object["eval_duration"] = json!(nanoseconds(timings.generation));
    }

    /// The call that is complete now.
    fn close(&mut self) -> String {
        let Some((index, call)) = self.open.take() else { return String::new() };
        match tools::written(index as usize, &call) {
            Some(call) => self.line(Part { calls: vec![call], ..Part::default() }),
            None => String::new(),
        }
    }
}

impl stream::Writer for Lines {
    fn opening(&mut self) -> String {
        String::new()
    }

    fn said(&mut self, said: Said) -> String {
        match said {
            Said::Prompt(_) => String::new(),
            Said::Text { text, tokens } => {
                let before = self.close();
                before + &self.line(Part { text, scores: tokens, ..Part::default() })
            }
            Said::Reasoning(thinking) => {
                let before = self.close();
                before + &self.line(Part { thinking, ..Part::default() })
            }
            Said::Call { index, name } => {
                let before = self.close();
                let id = converse::call_id(&self.id, index);
                self.open = Some((index, ToolCall { id, name, arguments: String::new() }));
                before
            }
            Said::Arguments { text, .. } => {
                if let Some((_, call)) = &mut self.open {
                    call.arguments.push_str(&text);
                }
                String::new()
            }
        }
    }

    fn ending(&mut self, ending: &Ending) -> String {
        let before = self.close();
        let mut last = self.object(Part::default());
        self.conclude(&mut last, ending);
        format!("{before}{last}\n")
    }

    fn failure(&mut self, error: &ApiError) -> String {
        format!("{}\n", error.to_json(Family::Ollama))
    }

    /// An object that says nothing: clients parse every line, an empty one too.
    fn idle(&mut self) -> String {
        self.line(Part::default())
    }
}

/// A duration as clients count it.
pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn score(score: &TokenScore) -> Value {
    let one = |bytes: &[u8], logprob: Option<f32>| json!({ "token": String::from_utf8_lossy(bytes), "bytes": bytes, "logprob": finite(logprob) });
    let mut written = one(&score.bytes, score.logprob);
    if !score.top.is_empty() {
        written["top_logprobs"] = score.top.iter().map(|other| one(&other.bytes, Some(other.logprob))).collect();
    }
    written
}
