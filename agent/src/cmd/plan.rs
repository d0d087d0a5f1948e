//! `outpost plan`: which variant this machine should run, and why not the others.

use anyhow::{Context, Result, bail};
use outpost_contract::TargetName;
use outpost_disk::Clock;
use outpost_engine::gguf::Gguf;
use outpost_planner::{Candidate, Constraints, plan};
use outpost_probe::{ProbeOptions, measure};
use serde_json::json;

use super::{Here, Outcome, say, say_json};
use crate::args::Plan;
use crate::facts;

/// Runs the command.
pub(super) async fn run(here: &Here, arguments: &Plan) -> Result<Outcome> {
    if arguments.files.is_empty() {
        bail!("give the GGUF files to choose among, as in `outpost plan model-Q8_0.gguf model-Q4_0.gguf`");
    }
    here.state.prepare()?;
    let candidates = arguments.files.iter().map(|file| {
        let info = Gguf::open(file).with_context(|| format!("`{}` cannot be planned", file.display()))?.info();
        let name = file.file_name().map(|name| {
            name.to_string_lossy().replace(|c: char| !c.is_ascii_alphanumeric() && !"._-".contains(c), "-")
        });
        let target: TargetName =
            name.unwrap_or_default().parse().with_context(|| format!("the name of `{}`", file.display()))?;
        Ok(Candidate { target, facts: facts::variant(facts::model_id(file, &info)?, 1, &info) })
    });
    let candidates = candidates.collect::<Result<Vec<_>>>()?;
    let options =
        ProbeOptions { models_dir: here.state.store(), quick: true, now_s: Clock::open(here.state.ledgers())?.now_s() };
    let measurements =
        tokio::task::spawn_blocking(move || measure(&options)).await.context("measuring was interrupted")?;
    let constraints = Constraints { minimum_context_tokens: arguments.minimum_context, ..Constraints::default() };
    let plan = plan(&candidates, &measurements, &constraints);
    if here.json {
        let verdicts: Vec<_> = plan
            .verdicts
            .iter()
            .map(|verdict| json!({"target": verdict.target, "because": verdict.because, "missing_bytes": verdict.missing_bytes}))
            .collect();
        say_json(&json!({"choice": plan.choice.as_ref().map(|choice| &choice.target), "verdicts": verdicts}))?;
    } else {
        say(plan.table())?;
    }
    Ok(Outcome::Done)
}
