//! `outpost model bench --answer`: how fast one text is said, with and without guessing ahead.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use outpost_engine::bench::{self, AnswerFigures};
use outpost_engine::{LoadOptions, Model};
use serde::Serialize;

use super::super::super::bar::Bar;
use super::super::{Here, read_text, say, say_json};
use super::middle;
use crate::args::Bench;

/// Medians of all repetitions, with the extremes beside them.
#[derive(Debug, Serialize)]
struct Report {
    prompt_tokens: usize,
    answer_tokens: usize,
    plain_tokens_per_second: f64,
    guessing_tokens_per_second: f64,
    /// Guessing divided by plain, pair by pair.
    speed_up: f64,
    speed_up_range: [f64; 2],
    guessed_tokens: u32,
    right_tokens: u32,
}

/// Measures pairs, one after the other, so that a slow minute of the machine slows both of a pair.
pub(super) fn run(
    here: &Here,
    model: &Arc<Model>,
    options: &LoadOptions,
    arguments: &Bench,
    answer: &Path,
) -> Result<()> {
    let load = |file: &PathBuf| Model::load(file, options).with_context(|| format!("cannot load `{}`", file.display()));
    let draft = arguments.draft.as_ref().map(load).transpose()?;
    let tokens = |file: &Path| -> Result<Vec<u32>> { Ok(model.tokenizer().encode(&read_text(file)?, false, false)) };
    let prompt = match &arguments.after {
        Some(file) => tokens(file)?,
        None => vec![0],
    };
    let text = tokens(answer)?;
    if text.len() < 2 {
        bail!("`{}` has fewer than two tokens: there is nothing to measure", answer.display());
    }
    let mut bar = Bar::new("runs");
    let mut figures = Vec::new();
    for done in 0..arguments.repeat {
        bar.at(done.into(), arguments.repeat.into());
        figures.push(bench::answer(model, draft.as_ref(), &prompt, &text).context("cannot measure with this model")?);
    }
    drop(bar);
    let (speed_up, speed_up_range) =
        middle(&figures, |figures| figures.guessing_tokens_per_second / figures.plain_tokens_per_second);
    let [guessed_tokens, right_tokens] = figures.last().map_or([0; 2], |figures| figures.guessed_tokens);
    let report = Report {
        prompt_tokens: prompt.len(),
        answer_tokens: text.len(),
        plain_tokens_per_second: middle(&figures, |figures: &AnswerFigures| figures.plain_tokens_per_second).0,
        guessing_tokens_per_second: middle(&figures, |figures: &AnswerFigures| figures.guessing_tokens_per_second).0,
        speed_up,
        speed_up_range,
        guessed_tokens,
        right_tokens,
    };
    if here.json {
        return say_json(&report);
    }
    let Report { plain_tokens_per_second: plain, guessing_tokens_per_second: guessing, .. } = report;
    let [least, most] = speed_up_range;
    say(format!("answer    {} tokens behind {}", report.answer_tokens, report.prompt_tokens))?;
    say(format!("plain     {plain:.1} tokens/s"))?;
    say(format!("guessing  {guessing:.1} tokens/s, {speed_up:.2} times as fast ({least:.2} to {most:.2})"))?;
    say(format!("guessed   {guessed_tokens} tokens, {right_tokens} of them right"))
}
