//! The measured process: answers behind prompts that fill a context, and says what it took.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use outpost_engine::batch::{Engine, EngineOptions, EventKind};
use outpost_engine::generate::{FinishReason, Finished, Request};
use outpost_engine::{LoadOptions, Model};
use outpost_planner::READ_TOGETHER;
use serde::{Deserialize, Serialize};

/// Tokens that are answered at the end of a context.
pub(crate) const ANSWERED: u32 = 16;

/// Tokens of the prompt that is answered before anything is measured.
const WARM_UP: u32 = 80;

/// A context is answered in for so long, unless that takes more answers than are of use.
const LONG: Duration = Duration::from_secs(3);
const MOST: u32 = 40;

/// What one answer took.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Took {
    pub(crate) first_token: Duration,
    pub(crate) next_token: Duration,
}

/// Prints a line for each answer: its context, nanoseconds to the first token, nanoseconds to each of the next.
pub(crate) fn run(file: &Path, threads: u32, contexts: &[u32], repeats: u32) -> Result<()> {
    let model = Model::load(file, &LoadOptions::threads(threads as usize))?;
    let mut seed = 0;
    answer(&model, WARM_UP + ANSWERED, &mut seed)?;
    for context in contexts {
        let began = Instant::now();
        for number in 0..MOST {
            if number >= repeats && began.elapsed() >= LONG {
                break;
            }
            let Took { first_token, next_token } = answer(&model, *context, &mut seed)?;
            println!("{context} {} {}", first_token.as_nanos(), next_token.as_nanos());
        }
    }
    Ok(())
}

/// What the measured process has said.
pub(crate) fn read(line: &str) -> Result<(u32, Took)> {
    let numbers: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>().context("no numbers")?;
    let [context, first, next] = numbers[..] else { anyhow::bail!("three numbers are expected, not `{line}`") };
    let took = Took { first_token: Duration::from_nanos(first), next_token: Duration::from_nanos(next) };
    Ok((u32::try_from(context)?, took))
}

/// One answer alone, as the agent's worker gives it; nothing is guessed ahead, since random weights repeat themselves.
fn answer(model: &Arc<Model>, context: u32, seed: &mut usize) -> Result<Took> {
    let options = EngineOptions { context_tokens: context, slots: 1, prefill_chunk: READ_TOGETHER, speculate: false };
    let mut engine = Engine::new(Arc::clone(model), options);
    *seed += 1;
    let vocabulary = model.tokenizer().vocabulary();
    let prompt = (context - ANSWERED) as usize;
    let tokens = (0..prompt).map(|at| ((at * 7_919 + *seed * 104_729 + 300) % vocabulary) as u32).collect();
    engine.submit(Request { limit: Some(ANSWERED), ..Request::new(tokens) })?;
    let finished = finish(&mut engine)?;
    let first_token = finished.time_to_first_token.context("no token came")?;
    ensure!(finished.generated_tokens == ANSWERED, "only {} tokens came", finished.generated_tokens);
    Ok(Took { first_token, next_token: (finished.total_time - first_token) / (ANSWERED - 1) })
}

fn finish(engine: &mut Engine) -> Result<Finished> {
    loop {
        for event in engine.step() {
            if let EventKind::Finished(finished) = event.kind {
                ensure!(!matches!(finished.reason, FinishReason::Error(_)), "an answer failed: {:?}", finished.reason);
                return Ok(finished);
            }
        }
    }
}
