//! How long to wait before the next attempt: full jitter, so that a fleet does not return all at once.

use std::time::Duration;

/// Bounds of the wait: attempt n waits between 0 and `min(cap, base × 2ⁿ)`, uniformly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackOff {
    /// Upper bound of the first wait.
    pub base: Duration,
    /// Upper bound of any wait.
    pub cap: Duration,
}

impl Default for BackOff {
    fn default() -> Self {
        Self { base: Duration::from_secs(1), cap: Duration::from_secs(300) }
    }
}

/// The waits of one run of failures.
#[derive(Debug)]
pub struct Waits {
    bounds: BackOff,
    failures: u32,
    random: fn() -> u64,
}

impl Waits {
    /// None yet.
    #[must_use]
    pub fn new(bounds: BackOff) -> Self {
        Self::with_random(bounds, random)
    }

    pub(crate) fn with_random(bounds: BackOff, random: fn() -> u64) -> Self {
        Self { bounds, failures: 0, random }
    }

    /// The next wait; its bound doubles with each call.
    #[allow(clippy::should_implement_trait, reason = "waits never end; nobody iterates over them")]
    pub fn next(&mut self) -> Duration {
        let factor = 1u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1).min(32);
        let bound = self.bounds.base.saturating_mul(factor).min(self.bounds.cap);
        let bound_us = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros((self.random)() % bound_us.saturating_add(1).max(1))
    }

    /// Things went well: start from the base again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness the wait is the longest one: slow, and correct.
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes),
        Err(_) => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: BackOff = BackOff { base: Duration::from_secs(1), cap: Duration::from_secs(60) };

    #[test]
    fn waits_are_spread_below_a_bound_that_doubles_up_to_the_cap() {
        let mut waits = Waits::new(BOUNDS);
        for bound in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            assert!(waits.next() <= Duration::from_secs(bound));
        }
        for _ in 0..100 {
            assert!(waits.next() <= Duration::from_secs(60));
        }
        waits.reset();
        assert!(waits.next() <= Duration::from_secs(1));
    }

    #[test]
    fn a_fleet_does_not_return_at_the_same_moment() {
        let first: std::collections::BTreeSet<_> = (0..50).map(|_| Waits::new(BOUNDS).next()).collect();
        assert!(first.len() > 40, "{} distinct waits of 50", first.len());
    }

    #[test]
    fn the_longest_wait_is_reached_and_never_passed() {
        let mut waits = Waits::with_random(BOUNDS, || 1_000_000);
        assert_eq!(waits.next(), Duration::from_secs(1));
        let mut zero = Waits::with_random(BackOff { base: Duration::ZERO, cap: Duration::ZERO }, || u64::MAX);
        assert_eq!(zero.next(), Duration::ZERO);
    }
}
