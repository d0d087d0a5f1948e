//! When a key set is read next: when it is due, after a failure with a wait that grows, and soon when somebody shows a key
//! that is not in it; but not often, because everybody can do that.

use std::time::Duration;

use outpost_sync::{BackOff, Waits};
use tokio::time::Instant;

/// The bounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// A set that was read is due again after this, or up to a tenth sooner: devices that started together drift apart.
    pub(super) refresh: Duration,
    /// Waits after failures.
    pub(super) back_off: BackOff,
    /// However often unknown keys are shown, they bring no reading sooner than this after the last one.
    pub(super) at_most_every: Duration,
}

/// When one set is read.
#[derive(Debug)]
pub(super) struct Schedule {
    pace: Pace,
    sooner: Waits,
    after_failure: Waits,
    last: Option<Instant>,
    due: Instant,
}

impl Schedule {
    /// Due at once.
    pub(super) fn new(pace: Pace, now: Instant) -> Self {
        let tenth = pace.refresh / 10;
        let sooner = Waits::new(BackOff { base: tenth, cap: tenth });
        Self { pace, sooner, after_failure: Waits::new(pace.back_off), last: None, due: now }
    }

    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Somebody shows a key that is not in the set.
    pub(super) fn want(&mut self) {
        if let Some(last) = self.last {
            self.due = self.due.min(last + self.pace.at_most_every);
        }
    }

    /// The set was read.
    pub(super) fn read(&mut self, now: Instant) {
        self.after_failure.reset();
        self.last = Some(now);
        self.due = now + (self.pace.refresh - self.sooner.next());
    }

    /// The set could not be read.
    pub(super) fn failed(&mut self, now: Instant) {
        self.last = Some(now);
        self.due = now + self.after_failure.next();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PACE: Pace = Pace {
        refresh: Duration::from_secs(3_600),
        back_off: BackOff { base: Duration::from_secs(5), cap: Duration::from_secs(900) },
        at_most_every: Duration::from_secs(60),
    };

    #[test]
    fn a_set_is_due_at_once_and_then_at_its_refresh_or_a_little_sooner() {
        let start = Instant::now();
        let mut schedule = Schedule::new(PACE, start);
        schedule.want();
        assert_eq!(schedule.due(), start);
        schedule.read(start);
        let wait = schedule.due() - start;
        assert!((PACE.refresh * 9 / 10..=PACE.refresh).contains(&wait), "{wait:?}");
    }

    #[test]
    fn failures_bring_waits_up_to_a_bound_and_a_success_ends_them() {
        let start = Instant::now();
        let mut schedule = Schedule::new(PACE, start);
        for bound in [5, 10, 20, 40, 80, 160, 320, 640, 900, 900] {
            schedule.failed(start);
            assert!(schedule.due() - start <= Duration::from_secs(bound));
        }
        schedule.read(start);
        schedule.failed(start);
        assert!(schedule.due() - start <= Duration::from_secs(5));
    }

    proptest! {
        #[test]
        fn strangers_never_bring_a_reading_sooner_than_once_a_minute(
            waits_s in proptest::collection::vec(0_u64..200, 1..60),
        ) {
            let mut now = Instant::now();
            let mut schedule = Schedule::new(PACE, now);
            let mut last = None;
            for wait_s in waits_s {
                now += Duration::from_secs(wait_s);
                schedule.want();
                if schedule.due() <= now {
                    if let Some(last) = last {
                        prop_assert!(now - last >= PACE.at_most_every);
                    }
                    schedule.read(now);
                    last = Some(now);
                }
                // And what they want comes within it.
                schedule.want();
                prop_assert!(schedule.due() <= last.unwrap_or(now).max(now) + PACE.at_most_every);
            }
        }
    }
}
