//! Hours in which a device may be changed, in its own local time.

use serde::{Deserialize, Serialize};

const MINUTES_PER_DAY: i64 = 24 * 60;

/// A span that comes again every week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Days on which it opens; 0 is Monday, 6 Sunday.
    pub weekdays: Vec<u8>,
    /// Minute of the day at which it opens.
    pub from_minute: u16,
    /// Minute of the day at which it closes, on the next day if that is not later than `from_minute`.
    pub to_minute: u16,
}

impl Window {
    /// Days and minutes are ones that exist.
    pub(crate) fn is_well_formed(&self) -> bool {
        let minute = |minute: u16| i64::from(minute) < MINUTES_PER_DAY;
        let days = !self.weekdays.is_empty() && self.weekdays.iter().all(|day| *day < 7);
        days && minute(self.from_minute) && minute(self.to_minute)
    }

    /// Whether it is open at this moment, seconds since 1970-01-01 UTC, where clocks are this far from UTC.
    #[must_use]
    pub fn is_open(&self, now_s: i64, utc_offset_minutes: i16) -> bool {
        let local_minute = now_s.div_euclid(60).saturating_add(i64::from(utc_offset_minutes));
        let minute = local_minute.rem_euclid(MINUTES_PER_DAY);
        // 1970-01-01 was a Thursday.
        let weekday = (local_minute.div_euclid(MINUTES_PER_DAY) + 3).rem_euclid(7);
        let opens_on = |day: i64| self.weekdays.iter().any(|named| i64::from(*named) == day.rem_euclid(7));
        let (from, to) = (i64::from(self.from_minute), i64::from(self.to_minute));
        if from < to {
            opens_on(weekday) && (from..to).contains(&minute)
        } else {
            (opens_on(weekday) && minute >= from) || (opens_on(weekday - 1) && minute < to)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_read_on_the_clock_of_the_device() {
        let friday_night = Window { weekdays: vec![4], from_minute: 22 * 60, to_minute: 6 * 60 };
        // 2026-11-27 is a Friday; 1_795_816_800 is its 22:00 UTC.
        let at_22 = 1_795_816_800;
        assert!(friday_night.is_open(at_22, 0));
        assert!(!friday_night.is_open(at_22 - 60, 0));
        assert!(friday_night.is_open(at_22 + 8 * 3600 - 60, 0));
        assert!(!friday_night.is_open(at_22 + 8 * 3600, 0));
        assert!(!friday_night.is_open(at_22, -60), "an hour to the west it is 21:00");
        assert!(friday_night.is_open(at_22 - 3600, 60), "an hour to the east it is 22:00 an hour sooner");
        assert!(!friday_night.is_open(at_22 + 24 * 3600, 0), "Saturday night is another night");
    }

    #[test]
    fn sunday_night_reaches_into_monday_and_equal_ends_are_a_whole_day() {
        let monday_0_30 = 4 * 24 * 3600 + 1800;
        assert!(Window { weekdays: vec![6], from_minute: 1380, to_minute: 60 }.is_open(monday_0_30, 0));
        assert!(Window { weekdays: vec![0], from_minute: 0, to_minute: 0 }.is_open(monday_0_30, 0));
        assert!(!Window { weekdays: vec![1], from_minute: 0, to_minute: 0 }.is_open(monday_0_30, 0));
    }
}
