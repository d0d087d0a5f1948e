//! Puts what a model says together to items, and tells each step as the event that it is; a whole answer is the same
//! without the telling.

use std::sync::Arc;

use serde_json::{Value, json};

use super::head::{Head, State};
use super::request::ResponseCall;
use super::store::{Kept, Owner};
use crate::api::Family;
use crate::api::openai::logprobs;
use crate::app::App;
use crate::converse::call_id;
use crate::error::ApiError;
use crate::{Ending, FinishReason, Message, Role, Said, ToolCall};

/// A response that is being put together.
pub(super) struct Assembly {
    app: Arc<App>,
    head: Head,
    asked: ResponseCall,
    owner: Owner,
    items: Vec<Item>,
    /// Whether the last item still grows.
    open: bool,
    sequence: u64,
}

/// One item of the output.
struct Item {
    id: String,
    text: String,
    kind: Kind,
}

enum Kind {
    Message { scores: Vec<Value> },
    Reasoning,
    Call { index: u32, name: String },
}

impl Assembly {
    pub(super) fn new(app: Arc<App>, head: Head, asked: ResponseCall, owner: Owner) -> Self {
        Self { app, head, asked, owner, items: Vec::new(), open: false, sequence: 0 }
    }

    /// The first events of a stream.
    pub(super) fn opening(&mut self) -> Vec<Value> {
        let response = self.head.object(State { status: "in_progress", ..State::default() });
        ["response.created", "response.in_progress"]
            .map(|kind| self.event(kind, json!({ "response": response })))
            .to_vec()
    }

    /// A part of the answer.
    pub(super) fn said(&mut self, said: Said) -> Vec<Value> {
        match said {
            Said::Prompt(_) => Vec::new(),
            Said::Text { text, tokens } => {
                let mut events =
                    self.go_on(|kind| matches!(kind, Kind::Message { .. }), || Kind::Message { scores: vec![] });
                let more = self.asked.top.map_or_else(Vec::new, |top| logprobs::tokens(&tokens, top));
                let Some(Item { kind: Kind::Message { scores }, .. }) = self.items.last_mut() else { return events };
                scores.extend(more.iter().cloned());
                events.push(self.delta("response.output_text.delta", &text, Some(more)));
                events
            }
            Said::Reasoning(text) => {
                let mut events = self.go_on(|kind| matches!(kind, Kind::Reasoning), || Kind::Reasoning);
                events.push(self.delta("response.reasoning_text.delta", &text, None));
                events
            }
            Said::Call { index, name } => {
                let mut events = self.close("completed");
                events.extend(self.begin(Kind::Call { index, name }));
                events
            }
            // Calls come one after the other, each with its arguments.
            Said::Arguments { text, .. } => vec![self.delta("response.function_call_arguments.delta", &text, None)],
        }
    }

    /// The last events, and the response as it is in the end, kept if it may be.
    pub(super) fn ended(&mut self, ending: &Ending) -> (Vec<Value>, Value) {
        let mut events = Vec::new();
        if self.items.is_empty() {
            events.extend(self.begin(Kind::Message { scores: Vec::new() }));
        }
        let cut = ending.reason == FinishReason::Length;
        let status = if cut { "incomplete" } else { "completed" };
        let last = if self.open { status } else { "completed" };
        events.extend(self.close(status));
        let now_s = self.app.circumstances().now_s;
        let count = self.items.len();
        let told =
            |(place, item): (usize, &Item)| item.told(&self.head, if place + 1 == count { last } else { "completed" });
        let output: Vec<Value> = self.items.iter().enumerate().map(told).collect();
        let state = State {
            status,
            output,
            usage: Some(ending.usage),
            completed_s: (!cut).then_some(now_s),
            incomplete: cut.then_some("max_output_tokens"),
            error: Value::Null,
        };
        let mut response = self.head.object(state.clone());
        if self.head.stored && !self.keep(&response, now_s) {
            self.head.stored = false;
            response = self.head.object(state);
        }
        let kind = if cut { "response.incomplete" } else { "response.completed" };
        events.push(self.event(kind, json!({ "response": response })));
        (events, response)
    }

    /// The event that tells that it broke off.
    pub(super) fn failed(&mut self, error: &ApiError) -> Value {
        self.head.stored = false;
        let message = error.to_json(Family::OpenAi)["error"]["message"].clone();
        let error = json!({ "code": "server_error", "message": message });
        let output = self.items.iter().map(|item| item.told(&self.head, "incomplete")).collect();
        let response = self.head.object(State { status: "failed", output, error, ..State::default() });
        self.event("response.failed", json!({ "response": response }))
    }

    fn keep(&self, response: &Value, now_s: i64) -> bool {
        let mut answer = Message::new(Role::Assistant, "");
        let mut reasoning = String::new();
        for item in &self.items {
            match &item.kind {
                Kind::Message { .. } => answer.content.push_str(&item.text),
                Kind::Reasoning => reasoning.push_str(&item.text),
                Kind::Call { index, name } => answer.calls.push(ToolCall {
                    id: call_id(&self.head.request, *index),
                    name: name.clone(),
                    arguments: item.text.clone(),
                }),
            }
        }
        answer.reasoning = Some(reasoning).filter(|text| !text.is_empty());
        let history = self.asked.messages.iter().cloned().chain([answer]).collect();
        let (model, input) = (self.asked.asked.model.clone(), self.asked.input.clone());
        let kept = Kept { response: response.clone(), model, input, history };
        self.app.responses.keep(&self.owner, &self.head.id, kept, now_s)
    }

    /// Goes on with the last item if it is of the kind, otherwise begins one.
    fn go_on(&mut self, is: impl Fn(&Kind) -> bool, kind: impl FnOnce() -> Kind) -> Vec<Value> {
        if self.open && self.items.last().is_some_and(|item| is(&item.kind)) {
            return Vec::new();
        }
        let mut events = self.close("completed");
        events.extend(self.begin(kind()));
        events
    }

    fn begin(&mut self, kind: Kind) -> Vec<Value> {
        let place = self.items.len();
        let prefix = match kind {
            Kind::Message { .. } => "msg",
            Kind::Reasoning => "rs",
            Kind::Call { .. } => "fc",
        };
        let item = Item { id: format!("{prefix}_{}_{place}", self.head.request), text: String::new(), kind };
        let (begun, part, id) = (item.begun(&self.head), item.part(), item.id.clone());
        self.items.push(item);
        self.open = true;
        let mut events =
            vec![self.event("response.output_item.added", json!({ "output_index": place, "item": begun }))];
        if let Some(part) = part {
            let fields = json!({ "item_id": id, "output_index": place, "content_index": 0, "part": part });
            events.push(self.event("response.content_part.added", fields));
        }
        events
    }

    /// More of the last item.
    fn delta(&mut self, kind: &str, text: &str, scores: Option<Vec<Value>>) -> Value {
        let place = self.items.len().saturating_sub(1);
        let mut fields = json!({ "output_index": place, "delta": text });
        if let Some(item) = self.items.last_mut() {
            item.text.push_str(text);
            fields["item_id"] = json!(item.id);
            if !matches!(item.kind, Kind::Call { .. }) {
                fields["content_index"] = json!(0);
            }
        }
        if let Some(scores) = scores {
            fields["logprobs"] = json!(scores);
        }
        self.event(kind, fields)
    }

    /// Ends the last item, if it still grows.
    fn close(&mut self, status: &str) -> Vec<Value> {
        let place = self.items.len().saturating_sub(1);
        let Some(item) = self.items.last().filter(|_| self.open) else { return Vec::new() };
        let (told, part) = (item.told(&self.head, status), item.part());
        let base = json!({ "item_id": item.id, "output_index": place });
        let done = match &item.kind {
            Kind::Message { scores } => {
                let more = json!({ "content_index": 0, "text": item.text, "logprobs": scores });
                ("response.output_text.done", with(&base, more))
            }
            Kind::Reasoning => {
                ("response.reasoning_text.done", with(&base, json!({ "content_index": 0, "text": item.text })))
            }
            Kind::Call { name, .. } => {
                let more = json!({ "name": name, "arguments": item.text });
                ("response.function_call_arguments.done", with(&base, more))
            }
        };
        self.open = false;
        let mut events = vec![self.event(done.0, done.1)];
        if let Some(part) = part {
            events.push(
                self.event("response.content_part.done", with(&base, json!({ "content_index": 0, "part": part }))),
            );
        }
        events.push(self.event("response.output_item.done", json!({ "output_index": place, "item": told })));
        events
    }

    fn event(&mut self, kind: &str, fields: Value) -> Value {
        let event = with(&fields, json!({ "type": kind, "sequence_number": self.sequence }));
        self.sequence += 1;
        event
    }
}

impl Item {
    /// As it is told when it begins: without content.
    fn begun(&self, head: &Head) -> Value {
        let mut item = self.told(head, "in_progress");
        if item.get("content").is_some() {
            item["content"] = json!([]);
        }
        item
    }

    fn told(&self, head: &Head, status: &str) -> Value {
        match &self.kind {
            Kind::Message { .. } => json!({
                "type": "message", "id": self.id, "status": status, "role": "assistant", "content": [self.part()],
            }),
            Kind::Reasoning => json!({
                "type": "reasoning", "id": self.id, "status": status, "summary": [], "content": [self.part()],
            }),
            Kind::Call { index, name } => json!({
                "type": "function_call", "id": self.id, "status": status,
                "call_id": call_id(&head.request, *index), "name": name, "arguments": self.text,
            }),
        }
    }

    /// The one part of its content, where it has parts.
    fn part(&self) -> Option<Value> {
        match &self.kind {
            Kind::Message { scores } => {
                Some(json!({ "type": "output_text", "text": self.text, "annotations": [], "logprobs": scores }))
            }
            Kind::Reasoning => Some(json!({ "type": "reasoning_text", "text": self.text })),
            Kind::Call { .. } => None,
        }
    }
}

/// One object with the fields of another.
fn with(base: &Value, more: Value) -> Value {
    let mut base = base.clone();
    if let (Value::Object(base), Value::Object(more)) = (&mut base, more) {
        base.extend(more);
    }
    base
}
