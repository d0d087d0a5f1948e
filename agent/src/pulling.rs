//! How far the model that is fetched is, how fast, and whether that is of use: for reports and the status.

use std::sync::{Mutex, MutexGuard, PoisonError};

use outpost_contract::{Reason, ReasonCode, TargetName, TransferProgress};
use outpost_disk::Clock;

/// For how long it must be slow before somebody is told.
const SLOW_US: i64 = 10 * 60 * 1_000_000;

/// The shortest time over which a speed is measured.
const MEASURED_US: i64 = 5 * 1_000_000;

/// What is fetched; shared by who fetches and who tells.
#[derive(Debug)]
pub(crate) struct Pulling {
    clock: Clock,
    /// Slower than this is of no use.
    slow_bytes_per_s: u64,
    now: Mutex<Option<Pull>>,
}

#[derive(Debug)]
struct Pull {
    told: TransferProgress,
    /// When the speed was measured last, and what was here then.
    measured: (i64, u64),
    slow_since_us: Option<i64>,
}

impl Pulling {
    pub(crate) fn new(clock: Clock, slow_kib_per_s: u64) -> Self {
        Self { clock, slow_bytes_per_s: slow_kib_per_s.saturating_mul(1024), now: Mutex::default() }
    }

    /// Bytes arrived, or are here already.
    pub(crate) fn progress(&self, target: &TargetName, source: &str, done_bytes: u64, total_bytes: u64) {
        let now_us = self.clock.boot_us();
        let mut now = self.now();
        if let Some(pull) = now.as_mut().filter(|pull| pull.told.target == *target) {
            pull.told.done_bytes = done_bytes;
            pull.told.total_bytes = total_bytes;
            if pull.told.source != source {
                source.clone_into(&mut pull.told.source);
            }
            if pull.told.waiting_for.take().is_some() {
                pull.measured = (now_us, done_bytes);
                pull.slow_since_us = None;
            }
            return;
        }
        let told = TransferProgress {
            target: target.clone(),
            done_bytes,
            total_bytes,
            bytes_per_second: 0,
            source: source.to_owned(),
            waiting_for: None,
        };
        *now = Some(Pull { told, measured: (now_us, done_bytes), slow_since_us: None });
    }

    /// It stands still, and why.
    pub(crate) fn waits(&self, why: &str) {
        if let Some(pull) = self.now().as_mut() {
            pull.told.bytes_per_second = 0;
            pull.told.waiting_for = Some(why.to_owned());
            pull.slow_since_us = None;
        }
    }

    /// Nothing is fetched any more.
    pub(crate) fn ended(&self) {
        *self.now() = None;
    }

    /// Whether bytes are expected.
    pub(crate) fn is_moving(&self) -> bool {
        self.now().as_ref().is_some_and(|pull| pull.told.waiting_for.is_none())
    }

    /// How far it is, and a reason to tell if it is too slow.
    pub(crate) fn look(&self) -> Option<(TransferProgress, Option<Reason>)> {
        let now_us = self.clock.boot_us();
        let mut now = self.now();
        let pull = now.as_mut()?;
        let (since_us, before) = pull.measured;
        let elapsed_us = now_us.saturating_sub(since_us);
        if elapsed_us >= MEASURED_US && pull.told.waiting_for.is_none() {
            let bytes = u128::from(pull.told.done_bytes.saturating_sub(before));
            let speed = bytes * 1_000_000 / u128::from(elapsed_us.unsigned_abs());
            pull.told.bytes_per_second = u64::try_from(speed).unwrap_or(u64::MAX);
            pull.measured = (now_us, pull.told.done_bytes);
            let is_slow = pull.told.bytes_per_second < self.slow_bytes_per_s;
            // What was slow now has been so since the measurement began.
            pull.slow_since_us = is_slow.then(|| pull.slow_since_us.unwrap_or(since_us));
        }
        let slow = pull.slow_since_us.filter(|since_us| now_us.saturating_sub(*since_us) >= SLOW_US);
        let reason = slow.map(|_| Reason {
            code: ReasonCode::SlowLink,
            subject: pull.told.target.to_string(),
            detail: format!(
                "{} KiB per second for ten minutes or more, less than {}: it goes on; look at the link, at the rates of the \
                 control plane and at who else uses them",
                pull.told.bytes_per_second / 1024,
                self.slow_bytes_per_s / 1024
            ),
        });
        Some((pull.told.clone(), reason))
    }

    fn now(&self) -> MutexGuard<'_, Option<Pull>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn target() -> TargetName {
        "demo.Q4_0.gguf".parse().unwrap()
    }

    #[test]
    fn a_speed_is_what_came_since_the_last_look() {
        let clock = Clock::fixed(1_796_126_400);
        let pulling = Pulling::new(clock.clone(), 16);
        assert!(pulling.look().is_none() && !pulling.is_moving());
        pulling.progress(&target(), "mqtt", 0, 1000 * 1024);
        clock.advance(Duration::from_secs(10));
        pulling.progress(&target(), "mqtt", 500 * 1024, 1000 * 1024);
        let (told, reason) = pulling.look().unwrap();
        assert_eq!((told.bytes_per_second, told.seconds_left(), reason), (50 * 1024, Some(10), None));
        pulling.waits("the policy says later");
        assert!(!pulling.is_moving());
        assert_eq!(pulling.look().unwrap().0.waiting_for.as_deref(), Some("the policy says later"));
        pulling.ended();
        assert!(pulling.look().is_none());
    }

    #[test]
    fn ten_slow_minutes_are_told_and_a_faster_one_ends_them() {
        let clock = Clock::fixed(1_796_126_400);
        let pulling = Pulling::new(clock.clone(), 16);
        pulling.progress(&target(), "mqtt", 0, u64::MAX);
        let mut done = 0;
        for minute in 1..=12 {
            clock.advance(Duration::from_secs(60));
            done += 60 * 1024;
            pulling.progress(&target(), "mqtt", done, u64::MAX);
            let (_, reason) = pulling.look().unwrap();
            assert_eq!(reason.map(|reason| reason.code), (minute >= 10).then_some(ReasonCode::SlowLink), "{minute}");
        }
        clock.advance(Duration::from_secs(60));
        pulling.progress(&target(), "mqtt", done + 60 * 1024 * 1024, u64::MAX);
        assert_eq!(pulling.look().unwrap().1, None);
    }

    #[test]
    fn what_is_slow_is_for_the_configuration_to_say() {
        let clock = Clock::fixed(1_796_126_400);
        for (floor, told) in [(0, false), (1, false), (2, true)] {
            let pulling = Pulling::new(clock.clone(), floor);
            pulling.progress(&target(), "mqtt", 0, u64::MAX);
            clock.advance(Duration::from_secs(600));
            pulling.progress(&target(), "mqtt", 600 * 1024, u64::MAX);
            assert_eq!(pulling.look().unwrap().1.is_some(), told, "{floor}");
        }
    }
}
