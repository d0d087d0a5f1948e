//! The time: the system's, or one that a test sets; never before 1970.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A clock in seconds since 1970-01-01 UTC. Clones share a set time.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    fixed_s: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that stands still until [`advance`](Self::advance), for tests.
    #[must_use]
    pub fn fixed(now_s: i64) -> Self {
        Self { fixed_s: Some(Arc::new(AtomicI64::new(now_s))) }
    }

    /// Seconds since 1970-01-01 UTC; 0 if the system's clock is before that.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place of the control plane that asks the system's clock")]
    pub fn now_s(&self) -> i64 {
        match &self.fixed_s {
            Some(fixed) => fixed.load(Ordering::Relaxed),
            None => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX)),
        }
    }

    /// Moves a fixed clock; the system's stays as it is.
    pub fn advance(&self, seconds: i64) {
        if let Some(fixed) = &self.fixed_s {
            fixed.fetch_add(seconds, Ordering::Relaxed);
        }
    }
}
