//! Spans of time as people write them in a bundle: `90m`, `72h`, `14d`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A span of time in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(u64);

/// A century: what is longer is a mistake.
const LONGEST_S: u64 = 3_155_760_000;

const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

impl Span {
    /// So many seconds, a century at most.
    #[must_use]
    pub fn from_seconds(seconds: u64) -> Self {
        Self(seconds.min(LONGEST_S))
    }

    /// In seconds.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0
    }

    /// Reads a number and its unit: `d`, `h`, `m` or `s`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let unit = text.chars().next_back()?;
        let (_, seconds) = UNITS.into_iter().find(|(letter, _)| *letter == unit)?;
        let number = text.strip_suffix(unit)?;
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let whole = number.parse::<u64>().ok()?.checked_mul(seconds)?;
        (whole <= LONGEST_S).then_some(Self(whole))
    }
}

impl std::fmt::Display for Span {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fitting = UNITS.into_iter().find(|(_, seconds)| self.0 >= *seconds && self.0.is_multiple_of(*seconds));
        let (letter, seconds) = fitting.unwrap_or(('s', 1));
        write!(formatter, "{}{letter}", self.0 / seconds)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            let shown: String = text.chars().take(32).collect();
            de::Error::custom(format!("`{}` is no span of time: write `90m`, `72h` or `14d`", shown.escape_debug()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_said_alike() {
        for text in ["0s", "90m", "71h", "3d", "59s"] {
            assert_eq!(Span::parse(text).map(|span| span.to_string()).as_deref(), Some(text));
        }
        for text in ["", "h", "-1h", "1 h", "1w", "99999999999999999999d", "36526d", "1h30m", "+1h"] {
            assert_eq!(Span::parse(text), None, "{text}");
        }
    }
}
