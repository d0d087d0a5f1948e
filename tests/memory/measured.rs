//! The measured process: does all that can take memory, and says what it held at its highest.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use outpost_engine::batch::{Engine, EngineOptions, EventKind};
use outpost_engine::generate::{FinishReason, Request, Sampling};
use outpost_engine::{LoadOptions, Model};

use super::{SLOTS, THREADS};

/// Tokens that are answered at the end of a full conversation.
const ANSWERED: usize = 12;
/// Tokens of the prompt that is scored: more than one pass scores.
const SCORED: usize = 40;
/// Rows of a table of embeddings that are looked up by one of them.
const ROWS_TOGETHER: usize = 8;

pub(crate) fn run(file: &Path, context: u32, table: bool) -> Result<()> {
    let (slots, threads) = (SLOTS, THREADS);
    let before = status("RssAnon")?;
    let model = Model::load(file, &LoadOptions::threads(threads as usize))?;
    trace("loaded", before)?;
    model.vocabulary().context("no grammar can be made")?;
    trace("tree of tokens", before)?;
    let mut engine =
        Engine::new(Arc::clone(&model), EngineOptions { context_tokens: context, slots, ..EngineOptions::default() });
    let vocabulary = model.tokenizer().vocabulary();
    let full = context as usize - ANSWERED;
    for slot in 0..slots {
        engine.submit(request(vocabulary, slot, full))?;
    }
    finish(&mut engine)?;
    trace("full", before)?;
    // What was kept has to give way; scores take a row of logits for every token of the prompt.
    for slot in slots..2 * slots {
        engine.submit(Request { prompt_logprobs: true, logprobs: Some(3), ..request(vocabulary, slot, SCORED) })?;
    }
    finish(&mut engine)?;
    trace("scored", before)?;
    for slot in 2 * slots..3 * slots {
        engine.submit(request(vocabulary, slot, full.min(256)))?;
    }
    finish(&mut engine)?;
    trace("anew", before)?;
    if table {
        // A look-up has the pages around it mapped too: 64 KiB, which have many rows.
        let tokens: Vec<u32> = (0..vocabulary as u32).step_by(ROWS_TOGETHER).collect();
        for part in tokens.chunks(full) {
            engine.submit(Request { limit: Some(0), ..Request::new(part.to_vec()) })?;
            finish(&mut engine)?;
        }
        trace("table", before)?;
    }
    println!("{}", status("VmHWM")?.saturating_sub(before).saturating_sub(program_bytes(file)?));
    Ok(())
}

/// What is resident of the program itself and its libraries: not the model's.
fn program_bytes(model: &Path) -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/smaps").context("this system does not say what is mapped")?;
    let model = model.to_string_lossy().into_owned();
    let (mut is_program, mut kibibytes) = (false, 0);
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("Rss:"), Some(count)) if is_program => kibibytes += count.parse::<u64>().context("no number")?,
            // The first line of a mapping ends with its file.
            (Some(range), Some(_)) if range.contains('-') => {
                is_program = line.contains('/') && !line.ends_with(&model);
            }
            _ => {}
        }
    }
    Ok(kibibytes << 10)
}

/// A prompt of tokens from all over the vocabulary, none of which begins like another's.
fn request(vocabulary: usize, seed: u32, tokens: usize) -> Request {
    let seed = seed as usize;
    let tokens = (0..tokens).map(|at| ((at * 7_919 + seed * 104_729 + 300) % vocabulary) as u32).collect();
    // Drawn, so that the sampler looks at every candidate.
    let sampling = Sampling { temperature: 1.0, seed: seed as u64, ..Sampling::default() };
    Request { sampling, limit: Some(ANSWERED as u32), ..Request::new(tokens) }
}

fn finish(engine: &mut Engine) -> Result<()> {
    while !engine.is_idle() {
        for event in engine.step() {
            if let EventKind::Finished(finished) = event.kind {
                ensure!(!matches!(finished.reason, FinishReason::Error(_)), "an answer failed: {:?}", finished.reason);
            }
        }
    }
    Ok(())
}

/// A figure of this process, bytes.
fn status(name: &str) -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status").context("this system does not say what a process holds")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).context("no such figure")?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().context("no number")?;
    Ok(kibibytes << 10)
}

/// On standard error, where it went; shown when a process fails.
fn trace(step: &str, before: u64) -> Result<()> {
    let mebibytes = |name| Ok::<_, anyhow::Error>(status(name)?.saturating_sub(before) >> 20);
    let (now, most) = (mebibytes("VmRSS")?, mebibytes("VmHWM")?);
    let (own, file) = (status("RssAnon")? >> 20, status("RssFile")? >> 20);
    eprintln!("{step}: {now} MiB, {most} at its highest ({own} of its own, {file} of files)");
    Ok(())
}
