//! A token bucket: so many bytes per second, and a chunk or a second's worth at once.

use std::time::Duration;

use outpost_contract::limits::CHUNK_BYTES;

/// Bytes that may leave. Time is handed in, and never goes back.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    per_second: u64,
    level: f64,
    filled_at: Duration,
}

impl Bucket {
    /// A full one; a rate of 0 is no limit.
    pub(super) fn new(per_second: u64, now: Duration) -> Self {
        let mut bucket = Self { per_second, level: 0.0, filled_at: now };
        bucket.level = bucket.capacity();
        bucket
    }

    /// A chunk must fit, or it would never leave.
    fn capacity(&self) -> f64 {
        self.per_second.max(CHUNK_BYTES as u64) as f64
    }

    /// How long until this many bytes may leave.
    pub(super) fn wait(&mut self, bytes: u64, now: Duration) -> Duration {
        if self.per_second == 0 {
            return Duration::ZERO;
        }
        let since_s = now.saturating_sub(self.filled_at).as_secs_f64();
        self.filled_at = self.filled_at.max(now);
        self.level = (self.level + since_s * self.per_second as f64).min(self.capacity());
        let missing = bytes as f64 - self.level;
        // Below a thousandth of a byte it is rounding, not a wait.
        if missing < 0.001 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(missing / self.per_second as f64)
            .unwrap_or(Duration::MAX)
            .max(Duration::from_millis(1))
    }

    /// They left.
    pub(super) fn spend(&mut self, bytes: u64) {
        self.level -= bytes as f64;
    }

    /// They did not leave after all.
    pub(super) fn give_back(&mut self, bytes: u64) {
        self.level = (self.level + bytes as f64).min(self.capacity());
    }
}
