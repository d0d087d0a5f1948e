//! The self-test: a loaded model must say something, in order and in time, before it may serve.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use outpost_engine::batch::EventKind;
use outpost_engine::generate::{FinishReason, Request};

use crate::worker::Worker;

/// Tokens that the self-test asks for.
const TOKENS: u32 = 16;

/// Asks the model a fixed question at temperature 0 and measures its speed, in thousandths of a token per second.
///
/// # Errors
/// If the model cannot be asked, fails, or says nothing at all.
pub(crate) async fn run(worker: &Worker) -> Result<u64> {
    let tokens = worker.model().tokenizer().encode("What is this?", false, true);
    let request = Request { limit: Some(TOKENS), ..Request::new(tokens) };
    let mut events = worker.generate(request).await.context("the model refused the self-test")?;
    let started = Instant::now();
    let mut said = String::new();
    while let Some(event) = events.recv().await {
        match event {
            EventKind::Prompt(_) => {}
            EventKind::Text(piece) => said.push_str(&piece.text),
            EventKind::Finished(finished) => {
                if let FinishReason::Error(error) = finished.reason {
                    bail!("the model failed its self-test: {error}");
                }
                if finished.generated_tokens == 0 && said.is_empty() {
                    bail!("the model said nothing in its self-test");
                }
                let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX).max(1);
                return Ok(u64::from(finished.generated_tokens).saturating_mul(1_000_000_000) / micros);
            }
        }
    }
    bail!("the model's thread ended during the self-test")
}
