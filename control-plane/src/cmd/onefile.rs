//! `outpost-control apply`, `diff` and `export`: the fleet as one file.

use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use outpost_control::{
    Config, FLEET_FILE_BYTES, FleetError, FleetFile, FleetFileError, FleetPlan, Reality, write_fleet_file,
};
use serde_json::json;

use super::{on_record, open, say, say_json};
use crate::args::{Apply, Diff, Export};

/// `diff` found something: exit code 3.
#[derive(Debug, thiserror::Error)]
#[error("the fleet is not as the file says: {0}")]
pub(super) struct Differs(String);

/// True if the file itself is what is wrong.
pub(super) fn is_wrong_file(error: &anyhow::Error) -> bool {
    let wrong = |error: &FleetFileError| !matches!(error, FleetFileError::Moved);
    let of_fleet = match error.downcast_ref::<FleetError>() {
        Some(FleetError::FleetFile(error)) => wrong(error),
        _ => false,
    };
    of_fleet || error.downcast_ref::<FleetFileError>().is_some_and(wrong)
}

/// `outpost-control apply`
pub(super) fn apply(config: Config, asked: Apply, as_json: bool) -> Result<()> {
    let file = read(&asked.file)?;
    let fleet = open(config.clone())?;
    let plan = fleet.plan_file(&file, asked.prune)?;
    if !asked.dry_run {
        for (act, subjects) in plan.acts() {
            on_record::record(config.clone(), act, &subjects)?;
        }
        fleet.apply_plan(&file, &plan, asked.prune)?;
    }
    if as_json {
        let mut told = serde_json::to_value(&plan).context("cannot write JSON")?;
        told["applied"] = json!(!asked.dry_run);
        return say_json(&told);
    }
    show(&plan)?;
    match (plan.changes.len(), asked.dry_run) {
        (0, _) => talk("nothing to do: the fleet is as the file says"),
        (changes, true) => talk(&format!("{changes} changes would be made; nothing was done")),
        (changes, false) => talk(&format!("{changes} changes were made")),
    }
    Ok(())
}

/// `outpost-control diff`
pub(super) fn diff(config: Config, asked: Diff, as_json: bool) -> Result<()> {
    let file = read(&asked.file)?;
    let fleet = open(config)?;
    if asked.reported {
        let drifting = fleet.file_drift(&file)?;
        if as_json {
            say_json(&drifting)?;
        } else {
            drifting.iter().try_for_each(|one| {
                let Reality { device, wants, runs, state, words } = one;
                let runs = runs.as_deref().unwrap_or("nothing that it told");
                say(format!("{device}: wants {wants}, runs {runs} ({state}: {words})"))
            })?;
        }
        ensure!(drifting.is_empty(), Differs(format!("{} devices report something else", drifting.len())));
        return Ok(());
    }
    let plan = fleet.plan_file(&file, asked.prune)?;
    if as_json {
        say_json(&plan)?;
    } else {
        show(&plan)?;
    }
    ensure!(plan.changes.is_empty(), Differs(format!("{} changes", plan.changes.len())));
    Ok(())
}

/// `outpost-control export`
pub(super) fn export(config: Config, asked: Export, as_json: bool) -> Result<()> {
    let text = open(config)?.export_file(true)?;
    let Some(out) = asked.out else {
        return if as_json { say_json(&json!({"file": text})) } else { say(text.trim_end_matches('\n')) };
    };
    write_fleet_file(&out, &text)?;
    if as_json { say_json(&json!({"out": out})) } else { say(format!("the fleet is in `{}`", out.display())) }
}

/// Changes to standard output; what is left, and what a file cannot do, as talk.
fn show(plan: &FleetPlan) -> Result<()> {
    for change in &plan.changes {
        say(format!("{} {}", if change.removes { '-' } else { '+' }, change.words))?;
    }
    for left in &plan.left {
        talk(&format!("not in the file, and left as it is (`--prune` takes it away): {}", left.words));
    }
    plan.notes.iter().for_each(|note| talk(&format!("note: {note}")));
    Ok(())
}

fn talk(line: &str) {
    // Nothing is left to do if standard error itself is gone.
    writeln!(std::io::stderr().lock(), "{line}").ok();
}

fn read(path: &Path) -> Result<FleetFile> {
    let mut text = String::new();
    let input: Box<dyn Read> = match path.to_str() {
        Some("-") => Box::new(std::io::stdin()),
        _ => Box::new(std::fs::File::open(path).with_context(|| format!("cannot open `{}`", path.display()))?),
    };
    let read = input.take(FLEET_FILE_BYTES as u64 + 1).read_to_string(&mut text);
    read.with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(FleetFile::read(&text)?)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Cli;

    async fn enter(state: &Path, words: &str) -> Result<()> {
        let state = state.display().to_string();
        let words = ["outpost-control", "--state", &state].into_iter().chain(words.split(' '));
        super::super::dispatch(Cli::try_parse_from(words).unwrap()).await
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "a test's file needs to survive no power cut")]
    async fn a_fleet_is_compared_applied_and_exported_by_file() {
        let dir = tempfile::tempdir().unwrap();
        let (state, file, copy) =
            (dir.path().join("state"), dir.path().join("fleet.toml"), dir.path().join("copy.toml"));
        let (shown, copied) = (file.display(), copy.display());
        std::fs::write(&file, include_str!("../../examples/fleet.toml")).unwrap();
        enter(&state, "init").await.unwrap();
        enter(&state, &format!("apply -f {shown} --dry-run")).await.unwrap();
        for as_json in ["", " --json"] {
            let differs = enter(&state, &format!("diff -f {shown}{as_json}")).await.unwrap_err();
            assert!(differs.is::<Differs>(), "{differs:?}");
        }
        enter(&state, &format!("apply -f {shown}")).await.unwrap();
        enter(&state, &format!("diff -f {shown} --prune")).await.unwrap();
        enter(&state, &format!("export --out {copied}")).await.unwrap();
        enter(&state, &format!("diff -f {copied} --prune --json")).await.unwrap();
        let drifts = enter(&state, &format!("diff -f {copied} --reported")).await.unwrap_err();
        assert!(drifts.is::<Differs>(), "nobody has enrolled: {drifts:?}");
        let fleet = open(Config::load(&state).unwrap()).unwrap();
        let acts: Vec<_> = fleet.own_records(50).unwrap().iter().map(|record| record.leaf.to_string()).collect();
        for subject in ["kiosk-1 till-7 till-8", "canary kiosk-1 till-7 till-8", "ada ci"] {
            assert!(acts.iter().any(|act| act.contains(subject)), "{subject}: {acts:?}");
        }

        std::fs::write(&file, "[[device]]\nnmae = \"till-7\"\n").unwrap();
        for command in ["apply", "diff"] {
            let wrong = enter(&state, &format!("{command} -f {shown}")).await.unwrap_err();
            assert!(is_wrong_file(&wrong) && wrong.to_string().contains("line 2: unknown key `nmae`"), "{wrong:?}");
        }
        std::fs::write(&file, "[fleet]\ntenant = \"acme\"\n").unwrap();
        assert!(is_wrong_file(&enter(&state, &format!("apply -f {shown}")).await.unwrap_err()));
        assert!(!is_wrong_file(&enter(&state, "apply -f nowhere.toml").await.unwrap_err()));
    }
}
