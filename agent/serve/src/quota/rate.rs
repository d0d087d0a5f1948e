//! Requests per minute: a bucket that fills evenly (GCRA), kept as the one moment at which it will be full again.
//!
//! The moment is told by the clock that counts from the machine's start, which nobody can set. After the machine started
//! anew that clock begins at 0, and a moment from before then lies further ahead than it should: it is taken for at most a
//! minute ahead, so that a restart gives nothing back and holds nobody off for longer.

/// A bucket holds what comes in this time.
pub(crate) const WINDOW_US: i64 = 60_000_000;

/// The bucket of one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Rate {
    /// When the bucket is full again, microseconds since the machine's start.
    pub(crate) full_us: i64,
}

/// How a bucket stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) remaining: u32,
    /// Until one more is allowed; 0 if one is.
    pub(crate) next_us: i64,
    /// Until it is full.
    pub(crate) full_us: i64,
}

impl Rate {
    /// As it was written down before.
    pub(crate) fn remembered(full_us: i64, now_us: i64) -> Self {
        Self { full_us: full_us.min(now_us.saturating_add(WINDOW_US)) }
    }

    pub(crate) fn standing(self, per_minute: u32, now_us: i64) -> Standing {
        let each_us = each(per_minute);
        let full_us = self.full_us.saturating_sub(now_us).clamp(0, WINDOW_US);
        let remaining = (WINDOW_US - full_us) / each_us;
        let next_us = (full_us - (WINDOW_US - each_us)).max(0);
        Standing { remaining: u32::try_from(remaining).unwrap_or(0).min(per_minute), next_us, full_us }
    }

    /// Takes one out. Whether there is one is the caller's question before.
    pub(crate) fn take(&mut self, per_minute: u32, now_us: i64) {
        let full_us = self.standing(per_minute, now_us).full_us;
        self.full_us = now_us.saturating_add(full_us).saturating_add(each(per_minute));
    }

    /// Puts one back that nothing came of.
    pub(crate) fn give_back(&mut self, per_minute: u32) {
        self.full_us = self.full_us.saturating_sub(each(per_minute));
    }
}

fn each(per_minute: u32) -> i64 {
    WINDOW_US / i64::from(per_minute.max(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND_US: i64 = 1_000_000;

    #[test]
    fn a_minutes_worth_may_come_at_once_and_then_one_at_a_time() {
        let mut rate = Rate::default();
        for left in (0..6).rev() {
            assert_eq!(rate.standing(6, 0).next_us, 0);
            rate.take(6, 0);
            assert_eq!(rate.standing(6, 0).remaining, left);
        }
        assert_eq!(rate.standing(6, 0).next_us, 10 * SECOND_US);
        assert_eq!(rate.standing(6, 10 * SECOND_US).next_us, 0);
        rate.give_back(6);
        assert_eq!(rate.standing(6, 0).remaining, 1);
    }

    #[test]
    fn a_machine_that_started_anew_gives_nothing_back_and_holds_nobody_off_for_more_than_a_minute() {
        // Used up after eleven days of running; then the clock begins at 0.
        let rate = Rate::remembered(1_000_000 * SECOND_US, 5 * SECOND_US);
        let standing = rate.standing(6, 5 * SECOND_US);
        assert_eq!((standing.remaining, standing.next_us, standing.full_us), (0, 10 * SECOND_US, 60 * SECOND_US));
        assert_eq!(rate.standing(6, 65 * SECOND_US).remaining, 6);
        // The same machine goes on: what was written down is right.
        assert_eq!(
            Rate::remembered(30 * SECOND_US, 20 * SECOND_US).standing(6, 20 * SECOND_US).full_us,
            10 * SECOND_US
        );
    }

    proptest! {
        /// However requests come, no more than twice a minute's worth pass in any minute, and no more than one minute's
        /// worth beyond the even pace over any time.
        #[test]
        fn the_pace_holds(per_minute in 1_u32..120, gaps in prop::collection::vec(0_i64..20 * SECOND_US, 1..400)) {
            let (mut rate, mut now_us, mut passed) = (Rate::default(), 0, Vec::new());
            for gap in gaps {
                now_us += gap;
                if rate.standing(per_minute, now_us).next_us == 0 {
                    rate.take(per_minute, now_us);
                    passed.push(now_us);
                }
            }
            for (index, from) in passed.iter().enumerate() {
                let in_minute = passed[index..].iter().take_while(|at| **at < from + WINDOW_US).count();
                prop_assert!(in_minute <= 2 * per_minute as usize);
            }
            prop_assert!(passed.len() as i64 <= i64::from(per_minute) + now_us / each(per_minute) + 1);
        }
    }
}
