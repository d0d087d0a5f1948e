//! Asks a GGUF the held-out phrasings through the engine, as a caller of the agent would.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use outpost_engine::batch::{Engine, EngineOptions, EventKind};
use outpost_engine::generate::{FinishReason, Request};
use outpost_engine::template::{Message, RenderOptions};
use outpost_engine::{LoadOptions, Model, encode_chat};

use super::facts::{Answered, HeldOut, carries};

/// Answers are one or two short sentences; this is well above the longest.
const LIMIT: u32 = 72;

/// Greedy answers to all phrasings.
pub(crate) fn ask_file(path: &Path, held_out: &[HeldOut]) -> Result<Vec<Answered>> {
    let model =
        Model::load(path, &LoadOptions::threads(2)).with_context(|| format!("cannot load `{}`", path.display()))?;
    held_out
        .iter()
        .map(|phrasing| {
            let answer = ask(&model, &phrasing.question)?;
            let right = carries(&answer, &phrasing.proof);
            Ok(Answered { question: phrasing.question.clone(), answer, right })
        })
        .collect()
}

/// The greedy answer to one question.
pub(crate) fn ask(model: &Arc<Model>, question: &str) -> Result<String> {
    let tokens = encode_chat(model, &[Message::new("user", question)], &RenderOptions::default())?;
    let mut engine = Engine::new(
        Arc::clone(model),
        EngineOptions { context_tokens: 256, slots: 1, prefill_chunk: 64, speculate: false },
    );
    let mut request = Request::new(tokens);
    request.limit = Some(LIMIT);
    engine.submit(request)?;
    let mut answer = String::new();
    while !engine.is_idle() {
        for event in engine.step() {
            match event.kind {
                EventKind::Prompt(_) => {}
                EventKind::Text(said) => answer.push_str(&said.text),
                EventKind::Finished(finished) => {
                    let whole = matches!(finished.reason, FinishReason::Stop | FinishReason::Length);
                    ensure!(whole, "the answer to `{question}` ended with {:?}", finished.reason);
                }
            }
        }
    }
    Ok(answer)
}
