//! Tokens per day: what was spent, by the hour, so that a day can be the device's or the last 24 hours.
//!
//! A clock that is believed has days: what was spent in this day's hours counts. One that is not believed counts on from
//! its floor, at the right pace but from nowhere, so its midnights mean nothing: then everything counts that is not
//! certainly older than 24 hours. Hours that lie ahead, from before the clock was set back, count too.

use std::collections::BTreeMap;

use outpost_audit::Moment;

const HOUR_MS: i64 = 3_600_000;
const DAY_HOURS: i64 = 24;

/// Hours that are kept of one tenant: more than can count at a time, so that a clock that jumps there and back loses none.
const KEPT_HOURS: usize = 49;

/// What one tenant spent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Spent(BTreeMap<i64, u64>);

/// The hour of a moment, counted from 1970.
pub(crate) fn hour(now: Moment) -> i64 {
    now.wall_ms.div_euclid(HOUR_MS)
}

impl Spent {
    pub(crate) fn add(&mut self, hour: i64, tokens: u64) {
        let spent = self.0.entry(hour).or_default();
        *spent = spent.saturating_add(tokens);
    }

    /// Forgets the hour that is furthest from this one, if there are too many; which.
    pub(crate) fn forget(&mut self, hour: i64) -> Option<i64> {
        if self.0.len() <= KEPT_HOURS {
            return None;
        }
        let furthest = self.0.keys().copied().max_by_key(|kept| kept.abs_diff(hour))?;
        self.0.remove(&furthest);
        Some(furthest)
    }

    pub(crate) fn take_back(&mut self, hour: i64, tokens: u64) {
        if let Some(spent) = self.0.get_mut(&hour) {
            *spent = spent.saturating_sub(tokens);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.values().all(|spent| *spent == 0)
    }

    /// What counts now.
    pub(crate) fn today(&self, now: Moment) -> u64 {
        self.counting(now).map(|(_, spent)| spent).fold(0, u64::saturating_add)
    }

    /// Seconds until `tokens` more are allowed.
    pub(crate) fn allowed_in_s(&self, now: Moment, limit: u64, tokens: u64) -> u64 {
        let until = |hour: i64| u64::try_from((hour * HOUR_MS - now.wall_ms).div_euclid(1000) + 1).unwrap_or(1).max(1);
        let tomorrow = hour(now).div_euclid(DAY_HOURS) * DAY_HOURS + DAY_HOURS;
        if now.clock_is_trusted {
            return until(tomorrow);
        }
        let mut left = self.today(now);
        for (hour, spent) in self.counting(now) {
            left = left.saturating_sub(spent);
            if left.saturating_add(tokens) <= limit {
                return until(hour + DAY_HOURS);
            }
        }
        until(hour(now) + DAY_HOURS)
    }

    fn counting(&self, now: Moment) -> impl Iterator<Item = (i64, u64)> {
        let hour = hour(now);
        let today = hour.div_euclid(DAY_HOURS) * DAY_HOURS;
        let (from, until) =
            if now.clock_is_trusted { (today, today + DAY_HOURS) } else { (hour - DAY_HOURS + 1, i64::MAX) };
        self.0.range(from..until).map(|(hour, spent)| (*hour, *spent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noon of a day.
    const NOON: i64 = 20_000 * 24 + 12;

    fn at(hour: i64, clock_is_trusted: bool) -> Moment {
        Moment { wall_ms: hour * HOUR_MS, clock_is_trusted, boot_us: 0 }
    }

    #[test]
    fn a_trusted_clock_has_days() {
        let mut spent = Spent::default();
        spent.add(NOON - 13, 5);
        spent.add(NOON, 7);
        assert_eq!(spent.today(at(NOON, true)), 7, "yesterday evening is over");
        assert_eq!(spent.today(at(NOON + 11, true)), 7);
        assert_eq!(spent.today(at(NOON + 12, true)), 0);
        assert_eq!(spent.allowed_in_s(at(NOON, true), 10, 5), 12 * 3600 + 1);
    }

    #[test]
    fn a_clock_that_is_not_believed_has_the_last_24_hours() {
        let mut spent = Spent::default();
        spent.add(NOON - 13, 5);
        spent.add(NOON, 7);
        assert_eq!(spent.today(at(NOON, false)), 12);
        assert_eq!(spent.today(at(NOON + 23, false)), 7);
        assert_eq!(spent.today(at(NOON + 24, false)), 0);
        // Five go when the hour from yesterday is a day old; that makes room for three, not for six.
        assert_eq!(spent.allowed_in_s(at(NOON, false), 10, 3), 11 * 3600 + 1);
        assert_eq!(spent.allowed_in_s(at(NOON, false), 10, 6), 24 * 3600 + 1);
    }

    #[test]
    fn a_clock_that_was_set_back_gives_nothing_back() {
        let mut spent = Spent::default();
        spent.add(NOON, 7);
        assert_eq!(spent.today(at(NOON - 5, true)), 7, "the same day");
        assert_eq!(spent.today(at(NOON - 100, false)), 7, "from wherever the floor lies");
    }

    #[test]
    fn old_hours_are_forgotten() {
        let mut spent = Spent::default();
        for hour in 0..1000 {
            spent.add(hour, 1);
            assert_eq!(spent.forget(hour), (hour >= 49).then(|| hour - 49));
        }
        spent.add(100_000, 1);
        assert_eq!(spent.forget(100_000), Some(951), "what a jump ahead pushes out is two days old");
        spent.take_back(999, 5);
        assert_eq!(spent.0[&999], 0);
    }
}
