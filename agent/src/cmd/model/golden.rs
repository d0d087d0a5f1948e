//! Golden answers, made where a model is released: what each prompt is continued with, greedily.

use std::path::Path;

use anyhow::{Context, Result};
use outpost_contract::{GoldenPrompt, GoldenPrompts};

use crate::self_test;
use crate::worker::{Worker, WorkerOptions};

/// Room for a prompt and its answer: both are bounded.
const CONTEXT_TOKENS: u32 = 1024;

/// Loads the file and asks it each prompt; loads nothing if there is none.
pub(super) async fn answers(file: &Path, prompts: Vec<String>, tokens: u32) -> Result<GoldenPrompts> {
    if prompts.is_empty() {
        return Ok(GoldenPrompts::default());
    }
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let options = WorkerOptions {
        context_tokens: CONTEXT_TOKENS,
        slots: 1,
        threads: u32::try_from(threads).unwrap_or(u32::MAX),
        backend: Some(outpost_engine::Backend::Cpu),
        draft: None,
    };
    let path = file.to_owned();
    let loading = tokio::task::spawn_blocking(move || Worker::load(&path, options));
    let worker = loading.await.context("loading the model was interrupted")??;
    let mut golden = Vec::with_capacity(prompts.len());
    for prompt in prompts {
        let asked = || format!("golden prompt {prompt:?}");
        let answer = self_test::answer(&worker, &prompt, tokens).await.with_context(asked)?;
        golden.push(GoldenPrompt { prompt, tokens, answer });
    }
    golden.try_into().context("these golden prompts cannot be released")
}
