//! `outpost plan`: which variant this machine should run, and why not the others; for files, or for well-known models.

mod catalogue;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use outpost_contract::{Correction, Measurements, TargetName};
use outpost_disk::{Clock, Ledger};
use outpost_engine::gguf::Gguf;
use outpost_planner::{Candidate, Choice, Constraints, Objective, picture, plan};
use outpost_probe::{ProbeOptions, measure};
use serde_json::{Value, json};

use super::{Here, Outcome, say, say_json};
use crate::args::{self, Plan};
use crate::tune::used::{self, Tuned};
use crate::tune::variants;
use crate::{curated, facts, learning};

/// Fastest decoding that can be asked for, tokens per second.
const MOST_TOKENS_PER_SECOND: f64 = 1_000_000.0;

/// Runs the command.
pub(super) async fn run(here: &Here, arguments: &Plan) -> Result<Outcome> {
    here.state.prepare()?;
    let models = curated::models()?;
    if arguments.files.is_empty() {
        let measurements = measured(here, false).await?;
        return catalogue::run(here, &models, &measurements, &constraints(arguments, catalogue::TOKENS_PER_SECOND)?);
    }
    let mut candidates = Vec::new();
    for file in &arguments.files {
        match models.iter().find(|model| file.as_os_str() == model.id.as_str()) {
            Some(model) if !file.exists() => candidates.extend(model.candidates()?),
            _ => candidates.push(candidate(file)?),
        }
    }
    // As the list of them has it: the same box is not told two things.
    let is_well_known =
        |file: &PathBuf| !file.exists() && models.iter().any(|model| file.as_os_str() == model.id.as_str());
    let usual = if arguments.files.iter().all(is_well_known) { catalogue::TOKENS_PER_SECOND } else { 0.0 };
    let constraints = constraints(arguments, usual)?;
    let measurements = measured(here, true).await?;
    let plan = plan(&candidates, &measurements, &constraints);
    let tuned = plan.choice.as_ref().map(|choice| tuned(here, choice, &arguments.files, &measurements));
    let tuned = tuned.transpose()?.flatten();
    if let Some(file) = &arguments.picture {
        let page = picture::page(&plan, &candidates, &constraints, "What this box would run");
        outpost_disk::atomic::write(file, page)
            .with_context(|| format!("the picture cannot be written to `{}`", file.display()))?;
    }
    if here.json {
        let verdicts: Vec<_> = plan.verdicts.iter().map(verdict_json).collect();
        let because = tuned.as_ref().map(|tuned| &tuned.because);
        let choice = plan.choice.as_ref().map(|choice| &choice.target);
        say_json(&json!({"choice": choice, "tuned": because, "verdicts": verdicts}))?;
    } else {
        say(plan.table())?;
        if let Some(tuned) = tuned {
            say(format!("  {}", tuned.because))?;
        }
    }
    Ok(Outcome::Done)
}

/// What `outpost tune` found out about the chosen file, if it did and it holds here.
fn tuned(here: &Here, choice: &Choice, files: &[PathBuf], measurements: &Measurements) -> Result<Option<Tuned>> {
    // A large file is read for its hash only where there may be something about it.
    if !used::is_there_any(&here.state) {
        return Ok(None);
    }
    let is_chosen = |file: &&PathBuf| file.exists() && target(file).is_ok_and(|target| target == choice.target);
    let Some(file) = files.iter().find(is_chosen) else { return Ok(None) };
    let sha256 = variants::row("", file)?.sha256;
    Ok(used::of_file(&here.state, sha256, choice.slots, measurements))
}

fn candidate(file: &Path) -> Result<Candidate> {
    let info = Gguf::open(file).with_context(|| format!("`{}` cannot be planned", file.display()))?.info();
    let target = target(file)?;
    Ok(Candidate { target, facts: facts::variant(facts::model_id(file, &info)?, 1, &info) })
}

/// A file's name as a catalogue would have it.
fn target(file: &Path) -> Result<TargetName> {
    let name = file
        .file_name()
        .map(|name| name.to_string_lossy().replace(|c: char| !c.is_ascii_alphanumeric() && !"._-".contains(c), "-"));
    name.unwrap_or_default().parse().with_context(|| format!("the name of `{}`", file.display()))
}

/// What the machine can give; `quick` measures one kernel, and others are estimated. What answers taught an agent here is
/// part of it.
async fn measured(here: &Here, quick: bool) -> Result<Measurements> {
    let options =
        ProbeOptions { models_dir: here.state.store(), quick, now_s: Clock::open(here.state.ledgers())?.now_s() };
    let (_, corrections) = Ledger::<Vec<Correction>>::open(here.state.ledgers(), learning::LEDGER)?;
    let measured = tokio::task::spawn_blocking(move || measure(&options)).await.context("measuring was interrupted")?;
    Ok(Measurements { corrections: corrections.unwrap_or_default(), ..measured })
}

fn constraints(arguments: &Plan, tokens_per_second: f64) -> Result<Constraints> {
    let milli = |name: &str, number: f64| {
        if !(0.0..=MOST_TOKENS_PER_SECOND).contains(&number) {
            bail!("`{name}` is {number}; it must be from 0 to {MOST_TOKENS_PER_SECOND}");
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "its range was just checked")]
        Ok((number * 1_000.0).round() as u32)
    };
    let speed = arguments.minimum_speed.unwrap_or(tokens_per_second);
    Ok(Constraints {
        minimum_context_tokens: arguments.minimum_context,
        minimum_tokens_per_second_milli: milli("--minimum-speed", speed)?.into(),
        minimum_quality_milli: milli("--minimum-quality", arguments.minimum_quality)?,
        slots: arguments.slots.max(1),
        allowed_licences: (!arguments.licence.is_empty()).then(|| arguments.licence.clone()),
        objective: match arguments.objective {
            args::Objective::Quality => Objective::Quality,
            args::Objective::Speed => Objective::Speed,
            args::Objective::Memory => Objective::Memory,
        },
        ..Constraints::default()
    })
}

fn verdict_json(verdict: &outpost_planner::Verdict) -> Value {
    json!({"target": verdict.target, "because": verdict.because, "missing_bytes": verdict.missing_bytes})
}
