//! The machine's time zone: what local time is ahead of UTC. Hours, days and weekdays in policies are local.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Seconds that local time is ahead of UTC at a moment, summer time and all. A zone that is changed on the machine shows
/// within minutes; a machine that names none when the agent starts has UTC until the next start.
pub(crate) fn utc_offsets() -> impl Fn(i64) -> i32 + Send + Sync {
    let is_known = match TimeZone::try_system() {
        Ok(_) => true,
        Err(error) => {
            tracing::warn!(%error, "the machine names no time zone: hours and days in policies are by UTC");
            false
        }
    };
    move |now_s| if is_known { offset_s(&TimeZone::system(), now_s) } else { 0 }
}

/// A moment that no calendar has is in UTC.
fn offset_s(zone: &TimeZone, now_s: i64) -> i32 {
    Timestamp::from_second(now_s).map_or(0, |moment| zone.to_offset(moment).seconds())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_time_follows_the_zone_through_the_year_and_any_clock_has_one() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        assert_eq!(offset_s(&zone, 1_796_083_200), 3600, "2026-12-01");
        assert_eq!(offset_s(&zone, 1_782_864_000), 7200, "2026-07-01");
        assert_eq!(offset_s(&TimeZone::posix("NST3:30").unwrap(), 0), -12_600);
        for now_s in [i64::MIN, i64::MAX] {
            assert_eq!(offset_s(&zone, now_s), 0);
        }
        utc_offsets()(0);
    }
}
