//! What a bundle says of fetching models: at which hours, and how much of the line in a day.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::ClockTime;

/// Minutes in a day.
const DAY_MINUTES: u16 = 1440;

/// `[transfer]` of `bundle.toml`. Catalogues and policies are always fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TransferRules {
    /// The hours of every day, in local time, at which models are fetched; absent is at all hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hours: Option<DailyHours>,
    /// MiB of models that are fetched in a day; 0 is no limit.
    #[serde(skip_serializing_if = "is_zero")]
    pub mib_per_day: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl TransferRules {
    /// Whether they are what holds without a word.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Minutes from a minute of the day until models are fetched: 0 within the hours.
    #[must_use]
    pub fn opens_in_minutes(&self, minute: u16) -> u16 {
        self.hours.map_or(0, |hours| hours.opens_in_minutes(minute))
    }

    /// Bytes that may be fetched in a day; `None` is no limit.
    #[must_use]
    pub fn bytes_per_day(&self) -> Option<u64> {
        (self.mib_per_day > 0).then(|| u64::from(self.mib_per_day) * 1024 * 1024)
    }
}

/// A stretch of every day, `22:00-06:00`; one that ends before it begins lasts until the next morning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DailyHours {
    from: ClockTime,
    to: ClockTime,
}

impl DailyHours {
    /// Reads `HH:MM-HH:MM`. A stretch of no length is none: leave `hours` out for the whole day.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (from, to) = text.split_once('-')?;
        let (from, to) = (ClockTime::parse(from)?, ClockTime::parse(to)?);
        (from != to && from.minutes() < DAY_MINUTES).then_some(Self { from, to })
    }

    /// When it begins.
    #[must_use]
    pub fn from(&self) -> ClockTime {
        self.from
    }

    fn opens_in_minutes(self, minute: u16) -> u16 {
        let (from, to, minute) = (self.from.minutes(), self.to.minutes(), minute % DAY_MINUTES);
        let is_open = if from < to { (from..to).contains(&minute) } else { minute >= from || minute < to };
        if is_open { 0 } else { (from + DAY_MINUTES - minute) % DAY_MINUTES }
    }
}

impl std::fmt::Display for DailyHours {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}-{}", self.from, self.to)
    }
}

impl Serialize for DailyHours {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DailyHours {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            let shown: String = text.chars().take(24).collect();
            de::Error::custom(format!(
                "`{}` are no hours: write `22:00-06:00`, or leave `hours` out for the whole day",
                shown.escape_debug()
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Bundle;

    fn rules(text: &str) -> TransferRules {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_night_opens_in_the_evening_and_closes_in_the_morning() {
        let night = rules("hours = \"22:00-06:00\"");
        for (minute, wait) in [(0, 0), (359, 0), (360, 960), (1319, 1), (1320, 0), (1439, 0)] {
            assert_eq!(night.opens_in_minutes(minute), wait, "{minute}");
        }
        let noon = rules("hours = \"12:00-13:00\"");
        assert_eq!((noon.opens_in_minutes(719), noon.opens_in_minutes(780)), (1, 1380));
        assert_eq!(rules("").opens_in_minutes(600), 0);
    }

    #[test]
    fn what_is_not_said_is_no_limit() {
        assert_eq!(rules("mib_per_day = 0").bytes_per_day(), None);
        assert_eq!(rules("mib_per_day = 2").bytes_per_day(), Some(2_097_152));
        assert!(rules("").is_default());
    }

    #[test]
    fn a_bundle_carries_them_and_refuses_what_is_none() {
        let bundle = Bundle::from_files(1, [("bundle.toml", "[transfer]\nhours = \"22:00-06:00\"\nmib_per_day = 5")]);
        let bundle = bundle.unwrap();
        assert_eq!(bundle.transfer, rules("hours = \"22:00-06:00\"\nmib_per_day = 5"));
        assert_eq!(Bundle::parse(&bundle.to_bytes()).unwrap(), bundle);
        for bad in [
            "hours = \"22-6\"",
            "hours = \"08:00-08:00\"",
            "hours = \"24:00-06:00\"",
            "mib_a_day = 5",
            "mib_per_day = -1",
        ] {
            let refused = Bundle::from_files(1, [("bundle.toml", format!("[transfer]\n{bad}").as_str())]);
            assert!(refused.unwrap_err().to_string().contains("bundle.toml"), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_what_is_read_says_itself(text in "[0-9:\\-]{0,12}") {
            if let Some(hours) = DailyHours::parse(&text) {
                prop_assert_eq!(DailyHours::parse(&hours.to_string()), Some(hours));
            }
        }

        #[test]
        fn the_wait_ends_within_the_hours(from in 0..1440_u16, to in 0..=1440_u16, minute in 0..1440_u16) {
            let time = |minutes: u16| format!("{:02}:{:02}", minutes / 60, minutes % 60);
            prop_assume!(from != to);
            let hours = DailyHours::parse(&format!("{}-{}", time(from), time(to))).unwrap();
            let opens = (minute + hours.opens_in_minutes(minute)) % 1440;
            prop_assert_eq!(hours.opens_in_minutes(opens), 0);
        }
    }
}
