//! `outpost probe`: what this machine can give, measured.

mod words;

use anyhow::{Context, Result};
use outpost_disk::Clock;
use outpost_probe::{ProbeOptions, measure};

use super::{Here, Outcome, say, say_json};
use crate::args::Probe;

/// Runs the command.
pub(super) fn run(here: &Here, arguments: &Probe) -> Result<Outcome> {
    here.state.prepare()?;
    let now_s = Clock::open(here.state.ledgers())?.now_s();
    let found = measure(&ProbeOptions { models_dir: here.state.store(), quick: arguments.quick, now_s });
    if here.json {
        let mut found = serde_json::to_value(&found).context("cannot write JSON")?;
        found["backends"] = outpost_engine::backends().into();
        say_json(&found)?;
        return Ok(Outcome::Done);
    }
    for (name, value) in words::rows(&found, &outpost_engine::backends()) {
        say(format!("{name:<15} {value}"))?;
    }
    Ok(Outcome::Done)
}
