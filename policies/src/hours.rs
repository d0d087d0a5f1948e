//! Hours of the week at which a role may work with models, in local time.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Minutes in a day; also `24:00`, the end of one.
const DAY_MINUTES: u16 = 1440;

/// A stretch of some days of the week. One that ends before it begins ends on the next day: `22:00` to `06:00` on `fri`
/// lasts until Saturday morning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hours {
    /// The days on which it begins.
    pub weekdays: Vec<Weekday>,
    /// When it begins.
    pub from: ClockTime,
    /// When it has ended.
    pub to: ClockTime,
}

impl Hours {
    /// Whether a minute of a day (1 is Monday) lies within.
    #[must_use]
    pub fn contain(&self, weekday: u8, minute: u16) -> bool {
        let begins_on = |day: u8| self.weekdays.iter().any(|begin| begin.number() == day);
        let (from, to) = (self.from.0, self.to.0);
        if from < to {
            return begins_on(weekday) && (from..to).contains(&minute);
        }
        let day_before = if weekday == 1 { 7 } else { weekday - 1 };
        (begins_on(weekday) && minute >= from) || (begins_on(day_before) && minute < to)
    }
}

impl std::fmt::Display for Hours {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let days: Vec<&str> = self.weekdays.iter().map(|day| day.word()).collect();
        write!(formatter, "{} {}–{}", days.join(" "), self.from, self.to)
    }
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names of the days say it")]
pub enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Weekday {
    /// Every day.
    pub const ALL: [Self; 7] = [Self::Mon, Self::Tue, Self::Wed, Self::Thu, Self::Fri, Self::Sat, Self::Sun];

    /// 1 is Monday.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Mon => 1,
            Self::Tue => 2,
            Self::Wed => 3,
            Self::Thu => 4,
            Self::Fri => 5,
            Self::Sat => 6,
            Self::Sun => 7,
        }
    }

    /// Its first three letters.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Mon => "mon",
            Self::Tue => "tue",
            Self::Wed => "wed",
            Self::Thu => "thu",
            Self::Fri => "fri",
            Self::Sat => "sat",
            Self::Sun => "sun",
        }
    }
}

/// A time of day, `00:00` to `24:00`, as minutes since midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClockTime(u16);

impl ClockTime {
    /// Minutes since midnight.
    #[must_use]
    pub fn minutes(self) -> u16 {
        self.0
    }

    /// Reads `HH:MM`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (hours, minutes) = text.split_once(':')?;
        let two_digits = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        if !two_digits(hours) || !two_digits(minutes) {
            return None;
        }
        let (hours, minutes) = (hours.parse::<u16>().ok()?, minutes.parse::<u16>().ok()?);
        let all = hours * 60 + minutes;
        (minutes < 60 && all <= DAY_MINUTES).then_some(Self(all))
    }
}

impl std::fmt::Display for ClockTime {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl Serialize for ClockTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ClockTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            let shown: String = text.chars().take(16).collect();
            de::Error::custom(format!("`{}` is no time of day: write `08:00`", shown.escape_debug()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(weekdays: &[Weekday], from: &str, to: &str) -> Hours {
        let time = |text| ClockTime::parse(text).unwrap();
        Hours { weekdays: weekdays.to_vec(), from: time(from), to: time(to) }
    }

    #[test]
    fn a_working_day_has_a_beginning_and_an_end() {
        let office = hours(&[Weekday::Mon, Weekday::Fri], "08:00", "18:00");
        assert!(office.contain(1, 480) && office.contain(5, 1079));
        assert!(!office.contain(1, 479) && !office.contain(1, 1080) && !office.contain(2, 600));
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let night = hours(&[Weekday::Sun], "22:00", "06:00");
        assert!(night.contain(7, 1320) && night.contain(1, 359));
        assert!(!night.contain(7, 100) && !night.contain(1, 360) && !night.contain(1, 1400));
    }

    #[test]
    fn a_whole_day_is_said_with_24_00_or_with_equal_times() {
        let day = hours(&[Weekday::Sat], "00:00", "24:00");
        assert!(day.contain(6, 0) && day.contain(6, 1439) && !day.contain(7, 0));
        let around = hours(&[Weekday::Sat], "12:00", "12:00");
        assert!(around.contain(6, 720) && around.contain(7, 719) && !around.contain(7, 720));
    }

    #[test]
    fn times_that_are_none_are_refused() {
        for text in ["", "8:00", "24:01", "08:60", "-8:00", "08:000", "0800", "8 :00", "+1:00"] {
            assert_eq!(ClockTime::parse(text), None, "{text}");
        }
    }
}
