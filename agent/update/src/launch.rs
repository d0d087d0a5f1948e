//! The launcher: which program runs from this state directory, decided before anything of it is opened.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use outpost_disk::{DiskError, StateLock};

use crate::build::{Build, OWN_VERSION, Slot, is_newer};
use crate::builds::DIRECTORY;
use crate::mark::{Mark, PLACE};
use crate::record::{ATTEMPTS, Record};
use crate::signals;
use crate::whole::{file, is_own, is_whole};

#[cfg(test)]
mod tests;

/// A build on trial must be healthy within so many times the seconds for which it must stay so.
pub const TIMES: u32 = 5;

/// How long the kernel waits for a build on trial beyond the time that it has, before it ends it: one that can still do so
/// ends itself in good order.
const GRACE_SECONDS: u64 = 15;

/// This process is the agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Launched {
    /// It runs from a slot.
    pub from_slot: bool,
    /// What was passed over, and why, for the operations log: there is none yet.
    pub notes: Vec<String>,
}

/// The launcher cannot decide.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// An agent runs on the state directory.
    #[error(transparent)]
    InUse(DiskError),
}

/// Makes this process what the state directory has chosen. Where that is a slot's program, it takes the place of this one and
/// this does not return; otherwise this one is the agent. To be called before anything is opened and while no other
/// thread is at work.
///
/// # Errors
/// If another agent holds the directory: its trial is none of ours.
pub fn launch(state: &Path) -> Result<Launched, LaunchError> {
    if let Some(mark) = Mark::of_environment() {
        return Ok(Launched { from_slot: true, notes: mark.notes });
    }
    let directory = state.join(DIRECTORY);
    let mut notes = Vec::new();
    if directory.exists() {
        let _lock = StateLock::acquire_soon(state).map_err(LaunchError::InUse)?;
        match is_own(&directory) {
            Ok(()) => enter(&directory, &mut notes),
            Err(because) => notes.push(format!("the packaged program runs: `{}` {because}", directory.display())),
        }
    }
    Ok(Launched { from_slot: false, notes })
}

/// Comes back only if the packaged program is to run.
fn enter(directory: &Path, notes: &mut Vec<String>) {
    let opened = Record::open(directory).or_else(|error| match error {
        DiskError::Unreadable { .. } => {
            notes.push(format!("what was known of builds is given up, and the packaged program runs: {error}"));
            Record::forget(directory)
        }
        error => Err(error),
    });
    let (mut ledger, mut record) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            notes.push(format!("the packaged program runs: {error}"));
            return;
        }
    };
    loop {
        let before = record.clone();
        let chosen = choose(&mut record, OWN_VERSION, notes, |slot, build| is_whole(&file(directory, slot), build));
        if record != before
            && let Err(error) = ledger.commit(&record)
        {
            notes.push(format!("what is chosen cannot be written down: {error}"));
            // A start that is not counted must not be tried.
            record = Record { trial: None, ..before };
            if chosen.is_some_and(|chosen| chosen.on_trial) {
                continue;
            }
        }
        let Some(Chosen { slot, on_trial }) = chosen else { return };
        let Some(build) = record.build(slot) else { return };
        let error = become_slot(directory, slot, build, on_trial.then_some(&record), notes);
        signals::disarm();
        signals::outlive_broken_pipes();
        record.undo(slot, format!("it cannot be started: {error}"), false);
        notes.push(format!("the build in slot {} cannot be started: {error}", slot.name()));
        if let Err(error) = ledger.commit(&record) {
            notes.push(format!("that cannot be written down: {error}"));
        }
    }
}

/// What is to run in the place of the packaged program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Chosen {
    slot: Slot,
    on_trial: bool,
}

/// Decides, and changes what is written down accordingly: a trial that is to start has its start counted, one that is used up
/// or damaged is rolled back.
fn choose(
    record: &mut Record,
    packaged: &str,
    notes: &mut Vec<String>,
    is_whole: impl Fn(Slot, &Build) -> Result<(), String>,
) -> Option<Chosen> {
    if let Some(slot) = try_on(record, packaged, notes, &is_whole) {
        return Some(Chosen { slot, on_trial: true });
    }
    record.trial = None;
    let confirmed = record.confirmed?;
    for slot in [confirmed, confirmed.other()] {
        let Some(build) = record.build(slot).cloned() else { continue };
        let version = &build.version;
        if !is_newer(version, packaged) {
            let which = format!("version {version} in slot {} is passed over", slot.name());
            notes.push(format!("{which}: the packaged program is {packaged}, which is not older"));
            continue;
        }
        match is_whole(slot, &build) {
            Ok(()) => {
                record.confirmed = Some(slot);
                return Some(Chosen { slot, on_trial: false });
            }
            Err(because) => {
                notes.push(format!("version {version} in slot {} is passed over: {because}", slot.name()));
                // The same bytes are welcome: what lies here are others.
                record.undo(slot, because, false);
            }
        }
    }
    None
}

/// The slot on trial, if it is to be started once more.
fn try_on(
    record: &mut Record,
    packaged: &str,
    notes: &mut Vec<String>,
    is_whole: impl Fn(Slot, &Build) -> Result<(), String>,
) -> Option<Slot> {
    let (trial, build) = record.tried()?;
    let (slot, version) = (trial.slot, build.version.clone());
    let words = trial.last_words.as_ref().map(|words| format!("; the last time it said: {words}")).unwrap_or_default();
    let (because, barred) = if !is_newer(&version, packaged) {
        (format!("the packaged program is {packaged} by now, which is not older"), false)
    } else if trial.attempts >= ATTEMPTS {
        (format!("it ended {} times before it was healthy{words}", trial.attempts), true)
    } else if let Err(because) = is_whole(slot, build) {
        (because, false)
    } else {
        if let Some(trial) = &mut record.trial {
            trial.attempts += 1;
            trial.lacked_link = false;
        }
        return Some(slot);
    };
    notes.push(format!("version {version} is rolled back: {because}"));
    record.undo(slot, because, barred);
    None
}

/// Takes the place of this process by the slot's program. Comes back only if that fails.
fn become_slot(
    directory: &Path,
    slot: Slot,
    build: &Build,
    trial: Option<&Record>,
    notes: &[String],
) -> std::io::Error {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return error,
    };
    let mark = Mark {
        process: std::process::id(),
        slot,
        version: build.version.clone(),
        target: build.target.clone(),
        sha256: build.sha256,
        on_trial: trial.is_some(),
        program,
        packaged: OWN_VERSION.to_owned(),
        notes: notes.to_vec(),
    };
    let word = match serde_json::to_string(&mark) {
        Ok(word) => word,
        Err(error) => return error.into(),
    };
    if let Some(trial) = trial.and_then(|record| record.trial.as_ref()) {
        let seconds = trial.seconds.saturating_mul(TIMES.into()).saturating_add(GRACE_SECONDS);
        signals::arm(u32::try_from(seconds).unwrap_or(u32::MAX));
    }
    let mut arguments = std::env::args_os();
    let mut command = Command::new(file(directory, slot));
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command.args(arguments).env(PLACE, word).exec()
}
