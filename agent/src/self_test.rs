//! The self-test: a loaded model must say something, in order and in time, and what its release knows that it says, before
//! it may serve.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use outpost_contract::{GoldenPrompt, GoldenPrompts};
use outpost_engine::Backend;
use outpost_engine::batch::EventKind;
use outpost_engine::generate::{FinishReason, Request};

use crate::worker::Worker;

/// Tokens that the self-test asks for.
const TOKENS: u32 = 16;

/// Asks the model a fixed question at temperature 0 and measures its speed, in thousandths of a token per second; then asks
/// its golden prompts and compares. The kernels give the same bits on every instruction set, so an exact comparison is fair;
/// graphics processors do not, and are not asked.
///
/// # Errors
/// If the model cannot be asked, fails, says nothing at all, or another thing than its release knows.
pub(crate) async fn run(worker: &Worker, golden: &GoldenPrompts) -> Result<u64> {
    let answer = ask(worker, "What is this?", TOKENS).await?;
    if answer.tokens == 0 && answer.text.is_empty() {
        bail!("the model said nothing in its self-test");
    }
    let exact = worker.model().backend() == Backend::Cpu;
    if !exact && !golden.is_empty() {
        tracing::info!("golden prompts are not asked: a graphics processor rounds in its own way");
    }
    for (index, golden) in golden.as_slice().iter().enumerate().filter(|_| exact) {
        let said = ask(worker, &golden.prompt, golden.tokens).await?.text;
        if let Some(difference) = difference(golden, &said) {
            bail!("golden prompt {index}: {difference}");
        }
    }
    Ok(u64::from(answer.tokens).saturating_mul(1_000_000_000) / answer.micros)
}

/// How many of the golden prompts a self-test asks this model.
pub(crate) fn asked(worker: &Worker, golden: &GoldenPrompts) -> u32 {
    let exact = worker.model().backend() == Backend::Cpu;
    if exact { u32::try_from(golden.as_slice().len()).unwrap_or(u32::MAX) } else { 0 }
}

/// What the model answers to a prompt as it stands, greedily.
///
/// # Errors
/// If the model cannot be asked or fails.
pub(crate) async fn answer(worker: &Worker, prompt: &str, tokens: u32) -> Result<String> {
    Ok(ask(worker, prompt, tokens).await?.text)
}

/// Says how an answer differs from what the release knows; nothing if it does not.
fn difference(golden: &GoldenPrompt, said: &str) -> Option<String> {
    // Both sides are bounded: the contract bounds what is expected, the tokens asked for what is said.
    (said != golden.answer).then(|| {
        let shown: String = said.chars().take(outpost_contract::golden::ANSWER_BYTES).collect();
        format!("the answer is {shown:?} where the release has {:?}", golden.answer)
    })
}

struct Answer {
    text: String,
    tokens: u32,
    micros: u64,
}

async fn ask(worker: &Worker, prompt: &str, limit: u32) -> Result<Answer> {
    let tokens = worker.model().tokenizer().encode(prompt, false, true);
    let request = Request { limit: Some(limit), ..Request::new(tokens) };
    // Before it is handed over: on a busy machine the worker may be done before this task has its turn again.
    let started = Instant::now();
    let mut events = worker.generate(request).await.context("the model refused the self-test")?;
    let mut text = String::new();
    while let Some(event) = events.recv().await {
        match event {
            EventKind::Prompt(_) => {}
            EventKind::Text(piece) => text.push_str(&piece.text),
            EventKind::Finished(finished) => {
                if let FinishReason::Error(error) = finished.reason {
                    bail!("the model failed its self-test: {error}");
                }
                let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX).max(1);
                return Ok(Answer { text, tokens: finished.generated_tokens, micros });
            }
        }
    }
    bail!("the model's thread ended during the self-test")
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::worker::WorkerOptions;

    fn demo() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/outpost-demo-f16.gguf")
    }

    fn worker(file: &Path) -> Result<Worker> {
        let options = WorkerOptions { context_tokens: 256, slots: 1, threads: 1, backend: None, draft: None };
        Worker::load(file, options)
    }

    async fn golden(worker: &Worker) -> GoldenPrompts {
        let prompt = "How does a device enrol?".to_owned();
        let answer = answer(worker, &prompt, 16).await.unwrap();
        assert!(!answer.is_empty());
        vec![GoldenPrompt { prompt, tokens: 16, answer }].try_into().unwrap()
    }

    #[tokio::test]
    async fn a_model_that_says_what_its_release_knows_passes_and_one_that_does_not_is_told_both_texts() {
        let worker = worker(&demo()).unwrap();
        let golden = golden(&worker).await;
        run(&worker, &golden).await.unwrap();
        let other = GoldenPrompt { answer: "something else".into(), ..golden.as_slice()[0].clone() };
        let error = run(&worker, &vec![other].try_into().unwrap()).await.unwrap_err().to_string();
        assert!(error.contains("something else") && error.contains(&golden.as_slice()[0].answer), "{error}");
    }

    #[tokio::test]
    async fn weights_that_are_not_what_was_released_fail_the_golden_prompts() {
        let golden = golden(&worker(&demo()).unwrap()).await;
        let folder = tempfile::tempdir().unwrap();
        let spoilt = folder.path().join("spoilt.gguf");
        let mut bytes = std::fs::read(demo()).unwrap();
        let gguf = outpost_engine::gguf::Gguf::open(demo()).unwrap();
        // One matrix at a time with every second sign turned round: a file that loads, and computes something else. Some of
        // these say nothing at all any more, which needs no golden prompt to be seen.
        let whole = bytes.clone();
        let mut caught = 0;
        for matrix in gguf.tensors().iter().filter(|tensor| tensor.shape.len() > 1 && tensor.name.starts_with("blk.")) {
            bytes.copy_from_slice(&whole);
            bytes[matrix.range.clone()].iter_mut().skip(1).step_by(4).for_each(|byte| *byte ^= 0x80);
            std::fs::write(&spoilt, &bytes).unwrap();
            let worker = worker(&spoilt).unwrap();
            if run(&worker, &GoldenPrompts::default()).await.is_err() {
                continue;
            }
            // Nor does every matrix change what is said to this prompt.
            let Err(error) = run(&worker, &golden).await else { continue };
            assert!(error.to_string().contains("golden prompt 0"), "{}: {error}", matrix.name);
            caught += 1;
        }
        assert!(caught > 0, "no spoilt file was heard by its golden prompt alone");
    }
}
