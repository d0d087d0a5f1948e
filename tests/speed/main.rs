//! The speed that the planner predicts against what a fresh process measures, before and after one answer taught it.
//!
//! ```text
//! cargo test -p outpost-tests --test speed             small files, seconds; times are printed and not judged
//! cargo test -p outpost-tests --test speed -- --all    6 shapes × 3 formats × 3 contexts, some ten minutes on a quiet machine
//! cargo test -p outpost-tests --test speed -- --all --record FILE, then --all --replay FILE          other predictions of the same measurements
//! ```
//! For each shape and format the machine is probed, and three processes give answers one after the other: the first and the last
//! in every context, the one between them in the middle context only. Predictions are held against the fastest answer of the
//! first and the last: as the planner makes them of the file and the probe's figures, and again as the fastest answer of the one
//! between corrects them. Then the machine is probed again, and of both runs of the probe the faster figures count: what else a
//! host does slows it by a third now and then, for longer than an answer takes, and no model of times can know when.

#![expect(clippy::print_stdout, reason = "its table is for people")]

mod calm;
mod measured;
#[path = "../memory/shapes.rs"]
mod shapes;
mod tally;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use measured::{ANSWERED, Took};
use outpost_agent::facts;
use outpost_contract::{Learned, Measurements, VariantFacts};
use outpost_engine::gguf::Gguf;
use outpost_engine::shape::Shape;
use outpost_planner::{Run, corrected, first_token_ns, learn, next_token_ns};
use outpost_tests::single::{Asked, of_itself};
use serde::{Deserialize, Serialize};
use tally::{Cell, Tally};

/// Answers of a context in a process, at least.
const REPEATS: u32 = 2;

const NAME: &str = "every_answer_is_measured_beside_what_was_predicted";

/// What this test program may be asked for.
#[derive(Parser)]
struct Arguments {
    /// Every shape, format and context.
    #[arg(long)]
    all: bool,
    /// Of those, only the shapes and formats whose names hold this, as in `tied Q8_0`.
    #[arg(long, default_value = "")]
    only: String,
    /// Write what was measured into this file.
    #[arg(long)]
    record: Option<PathBuf>,
    /// Measure nothing: predict again what such a file has.
    #[arg(long, conflicts_with = "record")]
    replay: Option<PathBuf>,
    /// Fail where errors are larger than was promised: for a machine that does nothing else.
    #[arg(long, requires = "all")]
    strict: bool,
    /// Say what the probe measured, too.
    #[arg(long)]
    figures: bool,
    /// Be the measured process of this file.
    #[arg(long, requires_all = ["contexts", "threads", "repeats"])]
    measure: Option<PathBuf>,
    #[arg(long, value_delimiter = ',')]
    contexts: Vec<u32>,
    #[arg(long)]
    threads: Option<u32>,
    #[arg(long)]
    repeats: Option<u32>,
    #[command(flatten)]
    asked: Asked,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    arguments.asked.run(NAME, || match (&arguments.measure, arguments.threads, arguments.repeats) {
        (Some(file), Some(threads), Some(repeats)) => measured::run(file, threads, &arguments.contexts, repeats),
        _ => compare(&arguments),
    })
}

/// What was measured of one shape in one format.
#[derive(Debug, Serialize, Deserialize)]
struct Sample {
    name: String,
    facts: VariantFacts,
    machine: Measurements,
    /// Answers of the process that is learned from: context and what it took.
    one_run: Vec<(u32, Took)>,
    /// Of the others.
    all: Vec<(u32, Took)>,
}

fn compare(arguments: &Arguments) -> Result<()> {
    let (shapes, formats, contexts) = if arguments.all {
        (shapes::all(), ["F16", "Q8_0", "Q4_K_M"].as_slice(), [512, 1_024, 4_096])
    } else {
        let shapes = vec![("small", shapes::small()), ("small, windowed", shapes::small_windowed())];
        (shapes, ["Q8_0", "Q4_K_M"].as_slice(), [128, 256, 512])
    };
    let (folder, began) = (tempfile::tempdir().context("no temporary folder")?, Instant::now());
    let mut tally = Tally::default();
    println!(
        "{:<24} {:>5}  {:>9} {:>9} {:>7} {:>7}  {:>9} {:>9} {:>7} {:>7}",
        "", "", "tokens/s", "", "error", "learned", "first ms", "", "error", "learned"
    );
    let mut judge = |sample: &Sample| {
        if arguments.figures {
            say(&sample.machine);
        }
        tally.add_all(&judged(sample, contexts)?);
        anyhow::Ok(())
    };
    if let Some(file) = &arguments.replay {
        let samples = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        for line in samples.lines() {
            let sample: Sample = serde_json::from_str(line).context("it is no record of a measured grid")?;
            if sample.name.contains(&arguments.only) {
                judge(&sample)?;
            }
        }
    } else {
        let mut record = arguments.record.as_ref().map(File::create).transpose().context("no record can be made")?;
        for (name, shape) in &shapes {
            for format in formats.iter().filter(|format| format!("{name} {format}").contains(&arguments.only)) {
                let sample = sampled(folder.path(), (name, shape), format, contexts)?;
                if let Some(record) = &mut record {
                    writeln!(record, "{}", serde_json::to_string(&sample)?)?;
                }
                judge(&sample)?;
            }
        }
    }
    ensure!(tally.cells() > 0, "nothing is called `{}`", arguments.only);
    ensure!(tally.is_finite(), "an error is not a number");
    println!("{tally}\nin {:.0} s", began.elapsed().as_secs_f64());
    ensure!(!arguments.strict || tally.is_kept(), "more than was promised");
    Ok(())
}

/// Measures a shape in a format: the machine before and after, and two processes between.
fn sampled(folder: &Path, (name, shape): (&str, &Shape), format: &str, contexts: [u32; 3]) -> Result<Sample> {
    let file = folder.join("model.gguf");
    shapes::write(&file, shape, format).with_context(|| format!("no file of {name} in {format}"))?;
    let info = Gguf::open(&file)?.info();
    let facts = facts::variant(facts::model_id(&file, &info)?, 1, &info);
    let before = probed(folder);
    let measure = |contexts: &[u32]| answers(&file, before.cores, contexts, REPEATS);
    let (mut all, one_run) = (measure(&contexts)?, measure(&contexts[1..2])?);
    all.extend(measure(&contexts)?);
    let machine = calm::faster(probed(folder), before);
    Ok(Sample { name: format!("{name} {format}"), facts, machine, one_run, all })
}

/// Holds predictions against a sample, and prints each.
fn judged(sample: &Sample, contexts: [u32; 3]) -> Result<Vec<Cell>> {
    let Sample { name, facts, machine, one_run, all } = sample;
    let [decode, first_token] = taught(facts, machine, one_run, contexts[1])?;
    contexts
        .into_iter()
        .map(|context| {
            let (next, first) = predicted(facts, machine, context).context("nothing is predicted")?;
            let cell = Cell {
                next: [next, corrected(next, &decode)].map(Duration::from_nanos),
                first: [first, corrected(first, &first_token)].map(Duration::from_nanos),
                took: fastest(all, context)?,
            };
            println!("{name:<24} {context:>5}  {cell}");
            Ok(cell)
        })
        .collect()
}

/// What this machine can give, as it is now.
fn probed(folder: &Path) -> Measurements {
    outpost_probe::measure(&outpost_probe::ProbeOptions { models_dir: folder.to_owned(), quick: false, now_s: 0 })
}

fn say(machine: &Measurements) {
    println!("memory {:>6.2} GB/s", giga(machine.memory_read_bytes_per_second));
    for kernel in &machine.kernels {
        println!(
            "{:<6} {:>2} threads: fetches {:>6.2} GB/s, {:>6.2} from the cache, {:>6.1} G multiply-adds/s",
            kernel.format,
            kernel.threads,
            giga(kernel.decode_bytes_per_second),
            giga(kernel.cached_bytes_per_second.unwrap_or(0)),
            giga(kernel.prefill_macs_per_second)
        );
    }
    for pass in &machine.passes {
        println!(
            "passes {:>2} threads: {} ns a layer, {:.2} G elements/s, attention {:.2} G elements/s fetched, {:.2} from the cache, {:.1} \
             G multiply-adds/s, {:.2} G logits/s",
            pass.threads,
            pass.layer_ns,
            giga(pass.elements_per_second),
            giga(pass.fetched_elements_per_second),
            giga(pass.attended_elements_per_second),
            giga(pass.attended_macs_per_second),
            giga(pass.logits_per_second)
        );
    }
}

fn giga(count: u64) -> f64 {
    count as f64 / 1e9
}

/// What a fresh process takes for answers.
fn answers(file: &Path, threads: u32, contexts: &[u32], repeats: u32) -> Result<Vec<(u32, Took)>> {
    let contexts: Vec<String> = contexts.iter().map(u32::to_string).collect();
    let [file, contexts] = [file.to_string_lossy().into_owned(), contexts.join(",")];
    let [threads, repeats] = [threads.to_string(), repeats.to_string()];
    let arguments = ["--measure", &file, "--contexts", &contexts, "--threads", &threads, "--repeats", &repeats];
    let said = of_itself(&arguments)?;
    let took = |line| measured::read(line).with_context(|| format!("the measured process printed `{line}`"));
    said.lines().map(took).collect()
}

/// Nanoseconds to the next token in the middle of the answer, and to the first.
fn predicted(facts: &VariantFacts, machine: &Measurements, context: u32) -> Option<(u64, u64)> {
    let run = Run { threads: machine.cores, depth_tokens: context - ANSWERED / 2 };
    let next = next_token_ns(facts, machine, &run)?;
    Some((next, first_token_ns(facts, machine, machine.cores, context - ANSWERED)?))
}

/// What one run's fastest answer teaches of next and first tokens, as a device learns it.
fn taught(facts: &VariantFacts, machine: &Measurements, run: &[(u32, Took)], context: u32) -> Result<[Learned; 2]> {
    let (took, (next, first)) =
        (fastest(run, context)?, predicted(facts, machine, context).context("nothing is predicted")?);
    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let none = Learned::default();
    Ok([learn(none, next, nanoseconds(took.next_token)), learn(none, first, nanoseconds(took.first_token))])
}

fn fastest(all: &[(u32, Took)], context: u32) -> Result<Took> {
    let here = || all.iter().filter(|(of, _)| *of == context).map(|(_, took)| took);
    let found = here().map(|took| took.first_token).min().zip(here().map(|took| took.next_token).min());
    let (first_token, next_token) = found.with_context(|| format!("no answer in a context of {context}"))?;
    Ok(Took { first_token, next_token })
}
