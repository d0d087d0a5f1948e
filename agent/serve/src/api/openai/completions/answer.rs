//! The answers as one JSON object, and the parts that it shares with the stream.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::logprobs::{self, Lists};
use super::request::Completion;
use crate::api::openai::choices::{Common, total};
use crate::api::openai::usage::usage;
use crate::converse::Collected;

/// An object of these answers.
pub(super) fn object(common: &Common, choices: Value) -> Value {
    json!({
        "id": format!("cmpl-{}", common.id),
        "object": "text_completion",
        "created": common.created_s,
        "model": common.model,
        "system_fingerprint": common.fingerprint(),
        "choices": choices,
    })
}

/// The whole answers.
pub(super) fn respond(common: &Common, asked: &Completion, answers: &[Collected]) -> Response {
    let choices = answers.iter().enumerate().map(|(index, answer)| choice(index, asked, answer)).collect();
    let usages: Vec<_> = answers.iter().map(|answer| answer.ending.usage).collect();
    let mut object = object(common, choices);
    object["usage"] = usage(total(&usages, asked.n));
    Json(object).into_response()
}

fn choice(index: usize, asked: &Completion, answer: &Collected) -> Value {
    let mut text = String::new();
    if asked.echo {
        text = asked.echoed(index).map_or_else(|| logprobs::text(&answer.prompt_scores), str::to_owned);
    }
    text.push_str(&answer.content);
    let scores = asked.top.map(|top| {
        let told: Vec<_> = answer.prompt_scores.iter().chain(&answer.scores).cloned().collect();
        Lists::default().of(&told, top)
    });
    json!({ "index": index, "text": text, "logprobs": scores, "finish_reason": answer.ending.reason.word() })
}
