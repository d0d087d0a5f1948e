//! A commit beside the writing: a disk that takes its time must not hold up the network.

use std::thread::JoinHandle;

use crate::StoreError;

/// The commit that is under way, if one is.
#[derive(Debug, Default)]
pub(super) struct Commit(Option<JoinHandle<Result<(), StoreError>>>);

impl Commit {
    /// True while one is under way.
    pub(super) fn is_running(&self) -> bool {
        self.0.as_ref().is_some_and(|running| !running.is_finished())
    }

    /// Begins one; the one before must have been waited for.
    pub(super) fn start(&mut self, work: impl FnOnce() -> Result<(), StoreError> + Send + 'static) {
        debug_assert!(self.0.is_none(), "one at a time: an older bitmap must not replace a newer one");
        self.0 = Some(std::thread::spawn(work));
    }

    /// Waits for the one under way and gives its outcome.
    pub(super) fn wait(&mut self) -> Result<(), StoreError> {
        match self.0.take() {
            Some(running) => running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            None => Ok(()),
        }
    }
}
