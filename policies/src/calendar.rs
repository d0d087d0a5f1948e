//! Seconds and dates: the proleptic Gregorian calendar, by UTC.

/// The last second that Cedar's `datetime` text form can say: 9999-12-31T23:59:59Z.
pub(crate) const LAST_SECOND: i64 = 253_402_300_799;

/// Seconds since 1970 as `YYYY-MM-DDTHH:MM:SSZ`, within what that form can say.
pub(crate) fn datetime(now_s: i64) -> String {
    let now_s = now_s.clamp(0, LAST_SECOND);
    let (days, second) = (now_s / 86_400, now_s % 86_400);
    // Howard Hinnant's `civil_from_days`: years that begin in March, so that the leap day comes last.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The last second of a day that is written as `YYYY-MM-DD`, since 1970.
pub(crate) fn end_of_day(text: &str) -> Option<i64> {
    let mut parts = text.split('-');
    let mut part = |width: usize| {
        let part = parts.next()?;
        let digits = part.len() == width && part.bytes().all(|byte| byte.is_ascii_digit());
        if digits { part.parse::<i64>().ok() } else { None }
    };
    let (year, month, day) = (part(4)?, part(2)?, part(2)?);
    if parts.next().is_some() || year < 1970 {
        return None;
    }
    // Its inverse, `days_from_civil`.
    let shifted_year = year - i64::from(month <= 2);
    let era = shifted_year / 400;
    let year_of_era = shifted_year % 400;
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let end_s = (era * 146_097 + day_of_era - 719_468 + 1) * 86_400 - 1;
    // A day that the calendar does not have comes out as another one.
    datetime(end_s).starts_with(text).then_some(end_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_said_as_the_calendar_says_them() {
        assert_eq!(datetime(0), "1970-01-01T00:00:00Z");
        assert_eq!(datetime(951_868_799), "2000-02-29T23:59:59Z");
        assert_eq!(datetime(1_796_083_200), "2026-12-01T00:00:00Z");
        assert_eq!(datetime(4_107_542_400), "2100-03-01T00:00:00Z");
        assert_eq!(datetime(i64::MAX), "9999-12-31T23:59:59Z");
        assert_eq!(datetime(i64::MIN), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn a_day_ends_with_its_last_second() {
        for day in ["1970-01-01", "2000-02-29", "2026-11-30", "2100-12-31", "9999-12-31"] {
            let end_s = end_of_day(day).unwrap();
            assert_eq!(datetime(end_s), format!("{day}T23:59:59Z"));
        }
        for none in
            ["", "2026-02-29", "2026-13-01", "2026-00-10", "2026-1-1", "1969-12-31", "2026-11-30-1", "+026-11-30"]
        {
            assert_eq!(end_of_day(none), None, "{none}");
        }
    }
}
