//! Calendar months in UTC: how long one key seals for.

use std::fmt;

const MS_PER_DAY: i64 = 86_400_000;

/// The last millisecond of the year 9999: four digits hold every month up to here.
const LAST_MS: i64 = 253_402_300_799_999;

/// One month, counted from January of the year 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Month(i64);

impl Month {
    /// December 9999.
    pub(crate) const LAST: Self = Self(9999 * 12 + 11);

    /// The month of a moment, milliseconds since 1970.
    pub(crate) fn of(wall_ms: i64) -> Self {
        let days = wall_ms.clamp(0, LAST_MS).div_euclid(MS_PER_DAY);
        // Days are counted from 0000-03-01, so that the leap day is the last day of a year; 146,097 days are 400 years.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        // March is the third month, so index 2 from January.
        Self((era * 400 + year_of_era) * 12 + month_from_march + 2)
    }

    /// The first moment after it, milliseconds since 1970.
    pub(crate) fn end_ms(self) -> i64 {
        let from_march = self.0 + 1 - 2;
        let (year, month_from_march) = (from_march.div_euclid(12), from_march.rem_euclid(12));
        let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + (153 * month_from_march + 2) / 5;
        (era * 146_097 + day_of_era - 719_468) * MS_PER_DAY
    }

    /// Reads `2026-11`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (year, month) = text.split_once('-')?;
        let digits = |text: &str, count: usize| {
            (text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse::<i64>().ok())?
        };
        let (year, month) = (digits(year, 4)?, digits(month, 2)?);
        (1..=12).contains(&month).then_some(Self(year * 12 + month - 1))
    }
}

impl fmt::Display for Month {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:04}-{:02}", self.0.div_euclid(12), self.0.rem_euclid(12) + 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn moments_fall_into_their_months() {
        for (wall_ms, month) in [
            (0, "1970-01"),
            (951_782_400_000, "2000-02"),
            (951_868_800_000, "2000-03"),
            (1_795_380_305_123, "2026-11"),
            (1_798_761_599_999, "2026-12"),
            (1_798_761_600_000, "2027-01"),
            (i64::MIN, "1970-01"),
            (i64::MAX, "9999-12"),
        ] {
            assert_eq!(Month::of(wall_ms).to_string(), month, "{wall_ms}");
        }
    }

    #[test]
    fn what_is_no_month_is_refused() {
        for text in ["", "2026", "2026-0", "2026-00", "2026-13", "26-11", "2026-11-1", "+026-11", "2026-1x"] {
            assert_eq!(Month::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_month_ends_where_the_next_begins(wall_ms in 0..LAST_MS) {
            let month = Month::of(wall_ms);
            prop_assert!(wall_ms < month.end_ms());
            prop_assert_eq!(Month::of(month.end_ms() - 1), month);
            if month.end_ms() <= LAST_MS {
                prop_assert_eq!(Month::of(month.end_ms()), Month(month.0 + 1));
            }
            prop_assert_eq!(Month::parse(&month.to_string()), Some(month));
        }

        #[test]
        fn no_text_panics(text in ".{0,12}") {
            let _ = Month::parse(&text);
        }
    }
}
