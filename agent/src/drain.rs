//! Draining: for a while no new question is taken, answers in progress go on.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Whether questions are taken; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drain(Arc<Mutex<Option<Instant>>>);

impl Drain {
    /// Takes no questions for so long from now.
    pub(crate) fn begin(&self, seconds: u32) {
        self.set(Instant::now().checked_add(Duration::from_secs(seconds.into())));
    }

    /// Takes questions again.
    pub(crate) fn end(&self) {
        self.set(None);
    }

    /// For how many more seconds no questions are taken; none if they are.
    pub(crate) fn left_s(&self) -> Option<u64> {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = until?.checked_duration_since(Instant::now())?;
        Some(left.as_secs() + 1)
    }

    fn set(&self, until: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_ends_by_itself_or_on_request() {
        let drain = Drain::default();
        assert_eq!(drain.left_s(), None);
        drain.begin(3600);
        assert!(drain.clone().left_s().is_some_and(|left| (3590..=3600).contains(&left)));
        drain.end();
        assert_eq!(drain.left_s(), None);
        drain.begin(0);
        assert_eq!(drain.left_s(), None);
    }
}
