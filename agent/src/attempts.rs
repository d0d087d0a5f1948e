//! What was tried here and failed: a bad file is tried once for a desired state, not at every start and every message.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use outpost_contract::{Blake3, Reason, ReasonCode};
use outpost_disk::{DiskError, Ledger};
use serde::{Deserialize, Serialize};

/// The ledger of attempts.
const NAME: &str = "model-attempts";

/// So often in a row the agent may die while it tries a file before the file is held to be why: power cuts do happen.
const DEATHS: u32 = 3;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// The agent that tried: another one may read the file.
    agent: String,
    /// The desired state that it was tried for.
    desired_version: u64,
    failed: Vec<Failed>,
    /// What is being tried, and how often the agent died over it.
    trying: Option<(Blake3, u32)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Failed {
    file: Blake3,
    reason: Reason,
}

/// The attempts of one device, kept over a restart.
#[derive(Debug)]
pub(crate) struct Attempts(Mutex<State>);

#[derive(Debug)]
struct State {
    ledger: Ledger<Kept>,
    kept: Kept,
}

impl Attempts {
    /// As an earlier run left them; empty if another version of the agent did. An attempt that never ended counts as a death.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(crate) fn open(ledgers: &Path, agent: &str) -> Result<Self, DiskError> {
        let (ledger, earlier) = Ledger::open(ledgers, NAME)?;
        let earlier = earlier.filter(|kept: &Kept| kept.agent == agent);
        let mut kept = earlier.unwrap_or_else(|| Kept { agent: agent.to_owned(), ..Kept::default() });
        if let Some((file, deaths)) = &mut kept.trying {
            *deaths += 1;
            if *deaths >= DEATHS {
                let detail = format!("the agent ended {deaths} times in a row while it tried this file");
                let reason = Reason { code: ReasonCode::Unloadable, subject: file.to_string(), detail };
                let file = *file;
                kept.trying = None;
                kept.remember(file, reason);
            }
        }
        Ok(Self(Mutex::new(State { ledger, kept })))
    }

    /// A desired state is about to be put in force: a new one gives every file another chance.
    ///
    /// # Errors
    /// If that cannot be kept.
    pub(crate) fn for_version(&self, version: u64) -> Result<(), DiskError> {
        let mut state = self.state();
        if state.kept.desired_version == version {
            return Ok(());
        }
        let had = !state.kept.failed.is_empty() || state.kept.trying.is_some();
        let next = Kept { desired_version: version, failed: Vec::new(), trying: None, ..state.kept.clone() };
        // With nothing to forget, the next attempt writes the number.
        if had {
            state.change(next)
        } else {
            state.kept = next;
            Ok(())
        }
    }

    /// Why a file is not tried again.
    pub(crate) fn failure(&self, file: Blake3) -> Option<Reason> {
        self.state().kept.failed.iter().find(|failed| failed.file == file).map(|failed| failed.reason.clone())
    }

    /// A file is about to be tried; durable when this returns, so that dying over it is noticed.
    ///
    /// # Errors
    /// If it cannot be kept: then the file must not be tried.
    pub(crate) fn begin(&self, file: Blake3) -> Result<(), DiskError> {
        let mut state = self.state();
        let deaths = state.kept.trying.filter(|(tried, _)| *tried == file).map_or(0, |(_, deaths)| deaths);
        let next = Kept { trying: Some((file, deaths)), ..state.kept.clone() };
        state.change(next)
    }

    /// The attempt ended, well or not.
    ///
    /// # Errors
    /// If that cannot be kept; it is known in memory even then.
    pub(crate) fn end(&self, file: Blake3, failure: Option<&Reason>) -> Result<(), DiskError> {
        let mut state = self.state();
        let mut next = Kept { trying: None, ..state.kept.clone() };
        next.failed.retain(|failed| failed.file != file);
        if let Some(reason) = failure {
            next.remember(file, reason.clone());
        }
        state.change(next)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn remember(&mut self, file: Blake3, reason: Reason) {
        self.failed.retain(|failed| failed.file != file);
        self.failed.push(Failed { file, reason });
    }
}

impl State {
    fn change(&mut self, next: Kept) -> Result<(), DiskError> {
        self.kept = next;
        self.ledger.commit(&self.kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: Blake3 = Blake3([1; 32]);

    fn reason() -> Reason {
        Reason { code: ReasonCode::SelfTestFailed, subject: "m".into(), detail: "it said nothing".into() }
    }

    #[test]
    fn a_failure_is_remembered_over_a_restart_until_a_new_version_or_another_agent() {
        let folder = tempfile::tempdir().unwrap();
        let open = |agent| Attempts::open(folder.path(), agent).unwrap();
        let attempts = open("1");
        attempts.for_version(7).unwrap();
        attempts.begin(FILE).unwrap();
        attempts.end(FILE, Some(&reason())).unwrap();
        let again = open("1");
        again.for_version(7).unwrap();
        assert_eq!(again.failure(FILE), Some(reason()));
        assert_eq!(open("2").failure(FILE), None);
        again.for_version(8).unwrap();
        assert_eq!(again.failure(FILE), None);
        assert_eq!(open("1").failure(FILE), None);
    }

    #[test]
    fn a_file_that_the_agent_dies_over_is_left_alone_after_the_third_time() {
        let folder = tempfile::tempdir().unwrap();
        for death in 0..DEATHS {
            let attempts = Attempts::open(folder.path(), "1").unwrap();
            assert_eq!(attempts.failure(FILE), None, "after {death} deaths");
            attempts.begin(FILE).unwrap();
        }
        let attempts = Attempts::open(folder.path(), "1").unwrap();
        assert_eq!(attempts.failure(FILE).unwrap().code, ReasonCode::Unloadable);
    }

    #[test]
    fn an_attempt_that_ends_well_forgets_the_deaths_before_it() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 * DEATHS {
            let attempts = Attempts::open(folder.path(), "1").unwrap();
            attempts.begin(FILE).unwrap();
            let attempts = Attempts::open(folder.path(), "1").unwrap();
            attempts.begin(FILE).unwrap();
            attempts.end(FILE, None).unwrap();
        }
        assert_eq!(Attempts::open(folder.path(), "1").unwrap().failure(FILE), None);
    }
}
