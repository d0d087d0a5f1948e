//! `outpost model bench`: how fast a model file is on this machine, reading and generating apart.

mod answer;

use std::time::Instant;

use anyhow::{Context, Result, bail};
use outpost_engine::bench::{self, ModelRun};
use outpost_engine::{LoadOptions, Model};
use serde::Serialize;

use super::super::bar::Bar;
use super::measure::named;
use super::{Here, say, say_json};
use crate::args::Bench;

/// Medians of all repetitions, with the extremes beside them.
#[derive(Debug, Serialize)]
struct Report {
    prompt_tokens_per_second: f64,
    generate_tokens_per_second: f64,
    prompt_tokens_per_second_range: [f64; 2],
    generate_tokens_per_second_range: [f64; 2],
    /// From the begin of loading to the first logits of a prompt of one token.
    load_seconds: f64,
    backend: &'static str,
    instructions: &'static str,
    threads: usize,
}

pub(super) fn run(here: &Here, arguments: &Bench) -> Result<()> {
    if arguments.repeat == 0 {
        bail!("`--repeat 0` measures nothing: give 1 or more");
    }
    let backend = named(arguments.backend.as_deref())?;
    let options = LoadOptions { threads: arguments.threads.unwrap_or(0), backend, ..LoadOptions::default() };
    let began = Instant::now();
    let loading = || format!("cannot load `{}`", arguments.file.display());
    let model = Model::load(&arguments.file, &options).with_context(loading)?;
    outpost_engine::logits(&model, &[0], &[0]).context("cannot compute with this model")?;
    let load_seconds = began.elapsed().as_secs_f64();
    if let Some(file) = &arguments.answer {
        return answer::run(here, &model, &options, arguments, file);
    }
    let run = ModelRun {
        prompt: arguments.prompt,
        generate: arguments.generate,
        depth: arguments.depth,
        chunk: arguments.prompt.max(arguments.depth),
    };
    let mut bar = Bar::new("runs");
    let mut figures = Vec::new();
    for done in 0..arguments.repeat {
        bar.at(done.into(), arguments.repeat.into());
        figures.push(bench::model(&model, &run).context("cannot measure this model")?);
    }
    drop(bar);
    let (prompt, prompt_range) = middle(&figures, |figures| figures.prompt_tokens_per_second);
    let (generate, generate_range) = middle(&figures, |figures| figures.generate_tokens_per_second);
    let report = Report {
        prompt_tokens_per_second: prompt,
        generate_tokens_per_second: generate,
        prompt_tokens_per_second_range: prompt_range,
        generate_tokens_per_second_range: generate_range,
        load_seconds,
        backend: model.backend().name(),
        instructions: model.instructions().name(),
        threads: model.threads(),
    };
    if here.json {
        return say_json(&report);
    }
    show(&report, &run)
}

/// Median, least and most.
fn middle<F>(figures: &[F], of: impl Fn(&F) -> f64) -> (f64, [f64; 2]) {
    let mut all: Vec<f64> = figures.iter().map(of).collect();
    all.sort_by(f64::total_cmp);
    let (low, high) = (all[(all.len() - 1) / 2], all[all.len() / 2]);
    (low.midpoint(high), [all[0], all[all.len() - 1]])
}

fn show(report: &Report, run: &ModelRun) -> Result<()> {
    let at = if run.depth == 0 { String::new() } else { format!(" behind {} others", run.depth) };
    let line = |tokens: usize, median: f64, [least, most]: [f64; 2]| {
        format!("{median:.1} tokens/s  ({least:.1} to {most:.1}; {tokens} tokens{at})")
    };
    let (prompt, generate) = (report.prompt_tokens_per_second, report.generate_tokens_per_second);
    say(format!("reading      {}", line(run.prompt, prompt, report.prompt_tokens_per_second_range)))?;
    say(format!("generating   {}", line(run.generate, generate, report.generate_tokens_per_second_range)))?;
    say(format!("first token  {:.2} s after the begin of loading", report.load_seconds))?;
    say(format!("computed on  {}, {}, {} threads", report.backend, report.instructions, report.threads))
}

#[cfg(test)]
mod tests {
    use outpost_engine::bench::ModelFigures;

    use super::*;

    #[test]
    fn the_median_of_an_even_count_lies_between_its_two_middles() {
        let figures = [4.0, 1.0, 3.0, 9.0]
            .map(|speed| ModelFigures { prompt_tokens_per_second: speed, generate_tokens_per_second: 0.0 });
        assert_eq!(middle(&figures, |figures| figures.prompt_tokens_per_second), (3.5, [1.0, 9.0]));
        assert_eq!(middle(&figures[..1], |figures| figures.prompt_tokens_per_second), (4.0, [4.0, 4.0]));
    }
}
