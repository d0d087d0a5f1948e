//! A leaf as it is read back: the parts that filters, people and the verifier ask for.

use std::fmt;

use crate::canonical::Value;

/// One parsed leaf. Parsing is strict: sorted keys, no floats, no nulls, no duplicate keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf(Value);

impl Leaf {
    /// Parses the bytes of a leaf.
    ///
    /// # Errors
    /// What is wrong with them, in words.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        match Value::parse(bytes)? {
            object @ Value::Object(_) => Ok(Self(object)),
            _ => Err("a leaf must be a JSON object".to_owned()),
        }
    }

    /// The index that the leaf claims.
    #[must_use]
    pub fn index(&self) -> Option<u64> {
        self.integer("i").and_then(|index| u64::try_from(index).ok())
    }

    /// The id of the record.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.text("id")
    }

    /// The type, as [`Kind::name`](crate::Kind::name) spells it; later versions may know more types.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        self.text("type")
    }

    /// Wall time, milliseconds since 1970.
    #[must_use]
    pub fn wall_ms(&self) -> Option<i64> {
        self.integer("t.wall_ms")
    }

    /// Pseudonym of who acted.
    #[must_use]
    pub fn who(&self) -> Option<&str> {
        self.text("who.pid")
    }

    /// The request that the record belongs to.
    #[must_use]
    pub fn request(&self) -> Option<&str> {
        self.text("req")
    }

    /// The text at a dotted path, such as `obj.model`.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<&str> {
        self.at(path)?.text()
    }

    /// The whole number at a dotted path, such as `res.status`.
    #[must_use]
    pub fn integer(&self, path: &str) -> Option<i64> {
        self.at(path)?.integer()
    }

    /// The texts in the list at a dotted path, such as `dec.rules`.
    #[must_use]
    pub fn texts(&self, path: &str) -> Vec<&str> {
        match self.at(path) {
            Some(Value::List(items)) => items.iter().filter_map(Value::text).collect(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn at(&self, path: &str) -> Option<&Value> {
        self.0.at(&path.split('.').collect::<Vec<_>>())
    }
}

/// One line for people: index, time, type, who, what, how it ended.
impl fmt::Display for Leaf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:>8}  ", self.index().unwrap_or_default())?;
        write_time(self.wall_ms().unwrap_or_default(), formatter)?;
        write!(formatter, "  {:<15}", printable(self.kind().unwrap_or("?")))?;
        let named = [
            ("", "who.pid"),
            ("as ", "who.auth"),
            ("", "act"),
            ("model ", "obj.model"),
            ("", "obj.variant"),
            ("", "dec.effect"),
            ("request ", "req"),
            ("error: ", "res.err"),
        ];
        for (label, path) in named {
            if let Some(text) = self.text(path) {
                write!(formatter, "  {label}{}", printable(text))?;
            }
        }
        let rules = self.texts("dec.rules");
        if !rules.is_empty() {
            write!(formatter, "  by {}", printable(&rules.join(", ")))?;
        }
        if let Some(status) = self.integer("res.status") {
            write!(formatter, "  status {status}")?;
        }
        if let (Some(input), Some(output)) = (self.integer("io.in.tok"), self.integer("io.out.tok")) {
            write!(formatter, "  tokens {input}+{output}")?;
        }
        if let Some(Value::Object(detail)) = self.at("detail") {
            for (key, value) in detail {
                match value {
                    Value::Text(text) => write!(formatter, "  {}={}", printable(key), printable(text))?,
                    Value::Integer(number) => write!(formatter, "  {}={number}", printable(key))?,
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// Text from a log may have come from anybody: a terminal must not obey it.
fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '·' } else { letter }).collect()
}

/// Milliseconds since 1970 as `2026-11-23T05:40:10.123Z`, by the civil calendar.
fn write_time(wall_ms: i64, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    const MS_PER_DAY: i64 = 86_400_000;
    let (days, ms) = (wall_ms.div_euclid(MS_PER_DAY), wall_ms.rem_euclid(MS_PER_DAY));
    // Days are counted from 0000-03-01, so that the leap day is the last day of a year; 146,097 days are 400 years.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    write!(formatter, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(json: &str) -> String {
        Leaf::parse(json.as_bytes()).unwrap().to_string()
    }

    #[test]
    fn a_leaf_reads_as_one_line() {
        assert_eq!(
            line(
                r#"{"act":"infer","dec":{"effect":"deny","rules":["auditor-reads"]},"detail":{"n":2},"i":7,"res":{"status":403},"t":{"wall_ms":1795412410123},"type":"infer.denied","who":{"auth":"jwt","pid":"p:9c"}}"#
            ),
            "       7  2026-11-23T05:40:10.123Z  infer.denied     p:9c  as jwt  infer  deny  by auditor-reads  status 403  n=2"
        );
    }

    #[test]
    fn dates_follow_the_calendar() {
        for (wall_ms, expected) in [
            (0_i64, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert!(line(&format!(r#"{{"t":{{"wall_ms":{wall_ms}}}}}"#)).contains(expected), "{wall_ms} {expected}");
        }
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert!(!line(r#"{"act":"\u001b[2J"}"#).contains('\u{1b}'));
    }

    #[test]
    fn what_is_not_an_object_is_no_leaf() {
        assert!(Leaf::parse(b"[]").is_err());
        assert!(Leaf::parse(b"").is_err());
    }
}
