//! A leaf as it is read back: the parts that filters, people and the verifier ask for.

use std::fmt;
use std::str::FromStr;

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
        write!(
            formatter,
            "{}  {:<15}",
            Time(self.wall_ms().unwrap_or_default()),
            printable(self.kind().unwrap_or("?"))
        )?;
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
        for part in ["counts", "unrecorded"] {
            let Some(Value::Object(counts)) = self.at(part) else { continue };
            write!(formatter, "  {part}:")?;
            for (kind, count) in counts {
                write!(formatter, " {} {}", printable(kind), count.integer().unwrap_or_default())?;
            }
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
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '·' } else { letter }).collect()
}

/// Milliseconds since 1970, shown as `2026-11-23T05:40:10.123Z`, by the civil calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(pub i64);

impl fmt::Display for Time {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MS_PER_DAY: i64 = 86_400_000;
        let (days, ms) = (self.0.div_euclid(MS_PER_DAY), self.0.rem_euclid(MS_PER_DAY));
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
}

impl FromStr for Time {
    type Err = &'static str;

    /// Reads a day, or a moment of a day with or without milliseconds; always UTC.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "it must be a day or a moment in UTC, as in 2026-11-23 or 2026-11-23T05:40:10Z";
        let (day, clock) = text.split_once('T').unwrap_or((text, "00:00:00Z"));
        let clock = clock.strip_suffix('Z').ok_or(EXPECTED)?;
        let (clock, ms) = clock.split_once('.').unwrap_or((clock, "000"));
        let (day, clock) = (numbers(day, '-', [4, 2, 2]), numbers(clock, ':', [2, 2, 2]));
        let ([year, month, day], [hour, minute, second]) = day.zip(clock).ok_or(EXPECTED)?;
        let [ms] = numbers(ms, '.', [3]).ok_or(EXPECTED)?;
        // Counted from March, as above.
        let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let days =
            365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (153 * month + 2) / 5 + day
                - 719_469;
        let time = Self(days * 86_400_000 + hour * 3_600_000 + minute * 60_000 + second * 1000 + ms);
        // Whatever is not in the calendar comes out as another day.
        let shown = time.to_string();
        if shown.starts_with(text.trim_end_matches('Z')) { Ok(time) } else { Err(EXPECTED) }
    }
}

/// Numbers of so many digits each.
fn numbers<const COUNT: usize>(text: &str, between: char, digits: [usize; COUNT]) -> Option<[i64; COUNT]> {
    let parts: [&str; COUNT] = text.split(between).collect::<Vec<_>>().try_into().ok()?;
    let fits = parts
        .iter()
        .zip(digits)
        .all(|(part, digits)| part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit()));
    fits.then(|| parts.map(|part| part.parse().unwrap_or_default()))
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
    fn moments_read_back_and_what_is_in_no_calendar_is_refused() {
        for wall_ms in [0, 951_782_400_000, 951_868_799_999, 4_107_542_400_000, 1_795_412_410_123, -1] {
            assert_eq!(Time(wall_ms).to_string().parse(), Ok(Time(wall_ms)));
        }
        assert_eq!("2026-11-23".parse(), Ok(Time(1_795_392_000_000)));
        assert_eq!("2026-11-23T05:40:10Z".parse(), Ok(Time(1_795_412_410_000)));
        for text in [
            "",
            "2026",
            "2026-13-01",
            "2026-02-29",
            "2026-1-1",
            "2026-11-23T24:00:00Z",
            "2026-11-23T05:40:10",
            "-026-11-23",
            "2026-11-23T",
        ] {
            assert!(text.parse::<Time>().is_err(), "{text}");
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
