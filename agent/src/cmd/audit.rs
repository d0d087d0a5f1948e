//! `outpost audit …`: check the log, read it; works while the agent runs, and on a copy.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use outpost_audit::reader::list;
use outpost_audit::verify::verify;
use outpost_audit::{Entry, Filter, Kind};
use serde_json::{Value, json};

use super::{Here, Outcome, say, say_json};
use crate::args::Audit;

/// Runs the command.
pub(super) fn run(here: &Here, command: Audit) -> Result<Outcome> {
    match command {
        Audit::Verify { directory } => check(here, directory),
        Audit::Show { directory, last, kind } => show(here, directory, last, kind.as_deref()),
    }
}

fn check(here: &Here, directory: Option<PathBuf>) -> Result<Outcome> {
    let directory = directory.unwrap_or_else(|| here.state.audit());
    let report = verify(&directory).with_context(|| format!("cannot verify `{}`", directory.display()))?;
    if here.json {
        let problems: Vec<_> =
            report.problems.iter().map(|problem| json!({"index": problem.index, "what": problem.what})).collect();
        say_json(&json!({
            "origin": report.origin,
            "verifier_key": report.verifier_key,
            "records": report.records,
            "root": report.root_hex,
            "signed_size": report.checkpoint_size,
            "checkpoints": report.checkpoints,
            "problems": problems,
            "further_problems": report.further_problems,
        }))?;
    } else {
        for problem in &report.problems {
            say(format!("PROBLEM  {problem}"))?;
        }
        let verdict = if report.is_ok() { "the log verifies" } else { "the log does NOT verify" };
        say(format!("{verdict}: {} records, root {}, log `{}`", report.records, report.root_hex, report.origin))?;
    }
    Ok(if report.is_ok() { Outcome::Done } else { Outcome::ProblemFound })
}

fn show(here: &Here, directory: Option<PathBuf>, last: u64, kind: Option<&str>) -> Result<Outcome> {
    let directory = directory.unwrap_or_else(|| here.state.audit());
    let kinds = match kind {
        None => Vec::new(),
        Some(name) => match Kind::from_name(name) {
            Some(kind) => vec![kind],
            None => bail!("`{name}` is not a record type; known are {}", known_kinds()),
        },
    };
    let limit = Some(usize::try_from(last).unwrap_or(usize::MAX));
    let filter = Filter { kinds, limit, newest_first: true, ..Filter::default() };
    let mut entries = list(&directory, &filter).with_context(|| format!("cannot read `{}`", directory.display()))?;
    entries.reverse();
    if here.json {
        let leaves: Vec<Value> =
            entries.iter().map(|entry| serde_json::from_slice(&entry.bytes).unwrap_or_default()).collect();
        say_json(&leaves)?;
        return Ok(Outcome::Done);
    }
    for entry in &entries {
        say(line(entry))?;
    }
    Ok(Outcome::Done)
}

fn known_kinds() -> String {
    Kind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ")
}

/// One record on one line; the JSON has the rest.
fn line(entry: &Entry) -> String {
    let leaf: Value = match serde_json::from_slice(&entry.bytes) {
        Ok(leaf) => leaf,
        Err(error) => return format!("{:>8}  not readable: {error}", entry.index),
    };
    let text = |pointer: &str| leaf.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let rules = leaf.pointer("/dec/rules").map(ToString::to_string).unwrap_or_default();
    let status = leaf.pointer("/res/status").map(ToString::to_string).unwrap_or_default();
    let mut parts =
        vec![text("/who/pid"), text("/act"), text("/obj/model"), text("/dec/effect"), rules, status, text("/res/err")];
    parts.retain(|part| !part.is_empty());
    format!("{:>8}  {:<16} {}", entry.index, text("/type"), parts.join("  "))
}
