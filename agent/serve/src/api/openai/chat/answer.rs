//! The answer as one JSON object, and the parts that it shares with the stream.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::api::openai::choices::{Common, total};
use crate::api::openai::{logprobs, usage::usage};
use crate::converse::Collected;

/// An object of this answer.
pub(super) fn object(common: &Common, kind: &str, choices: Value) -> Value {
    json!({
        "id": format!("chatcmpl-{}", common.id),
        "object": kind,
        "created": common.created_s,
        "model": common.model,
        "system_fingerprint": common.fingerprint(),
        "choices": choices,
    })
}

/// The whole answer; `top` alternatives were asked for beside each token, if scores were.
pub(super) fn respond(common: &Common, answers: &[Collected], top: Option<u8>) -> Response {
    let choices = answers.iter().enumerate().map(|(index, answer)| choice(index, answer, top)).collect();
    let usages: Vec<_> = answers.iter().map(|answer| answer.ending.usage).collect();
    let mut object = object(common, "chat.completion", choices);
    object["usage"] = usage(total(&usages, answers.len()));
    Json(object).into_response()
}

fn choice(index: usize, answer: &Collected, top: Option<u8>) -> Value {
    json!({
        "index": index,
        "message": message(answer),
        "logprobs": top.map(|top| json!({ "content": logprobs::tokens(&answer.scores, top), "refusal": null })),
        "finish_reason": answer.ending.reason.word(),
    })
}

fn message(answer: &Collected) -> Value {
    let content = (!answer.content.is_empty() || answer.calls.is_empty()).then_some(&answer.content);
    let mut message = json!({ "role": "assistant", "content": content, "refusal": null });
    if !answer.reasoning.is_empty() {
        message["reasoning_content"] = json!(answer.reasoning);
    }
    if !answer.calls.is_empty() {
        let call = |call: &crate::ToolCall| {
            let function = json!({ "name": call.name, "arguments": call.arguments });
            json!({ "id": call.id, "type": "function", "function": function })
        };
        message["tool_calls"] = answer.calls.iter().map(call).collect();
    }
    message
}
