//! Whether ciphertext of destroyed keys is still being removed, and waiting until it is not.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::VaultError;

/// How the writer tells those who wait.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Clone, Default)]
enum State {
    /// There is nothing to remove; whether the write-ahead log was cut after the last removal.
    #[default]
    Idle,
    Done {
        journal_truncated: bool,
    },
    Running,
    Stopped(String),
}

impl Sweep {
    pub(crate) fn begin(&self) {
        *self.lock() = State::Running;
    }

    /// All is removed and the journal cut, or why not.
    pub(crate) fn end(&self, result: Result<bool, String>) {
        *self.lock() = match result {
            Ok(journal_truncated) => State::Done { journal_truncated },
            Err(cause) => State::Stopped(cause),
        };
        self.changed.notify_all();
    }

    /// The writer is gone.
    pub(crate) fn abandon(&self) {
        let mut state = self.lock();
        if matches!(*state, State::Running) {
            *state = State::Stopped("the log is closed".to_owned());
        }
        drop(state);
        self.changed.notify_all();
    }

    pub(crate) fn is_running(&self) -> bool {
        matches!(*self.lock(), State::Running)
    }

    /// Waits until nothing is left to remove; whether the write-ahead log was cut too.
    pub(crate) fn wait(&self) -> Result<bool, VaultError> {
        let mut state = self.lock();
        while matches!(*state, State::Running) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        match &*state {
            State::Done { journal_truncated } => Ok(*journal_truncated),
            State::Stopped(cause) => Err(VaultError::NotSwept { cause: cause.clone() }),
            State::Idle | State::Running => Ok(true),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
