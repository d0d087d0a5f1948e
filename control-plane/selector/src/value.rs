//! Values: text, names, numbers with units, versions; how each is read and printed.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::Kind;

/// What a field is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Bytes(u64),
    Count(u64),
    Thousandths(u64),
    Seconds(u64),
    Version(Version),
    Flag(bool),
}

/// A version: numbers, and what comes before a release (`-rc1`), which makes it smaller.
///
/// ```
/// # use outpost_selector::Version;
/// let version = |text: &str| text.parse::<Version>().unwrap();
/// assert!(version("0.3.0-rc1") < version("0.3") && version("0.3") == version("0.3.0") && version("0.10") > version("0.9"));
/// ```
#[derive(Debug, Clone)]
pub struct Version {
    numbers: [u64; 4],
    before: Option<String>,
    written: String,
}

/// Longest version, bytes.
const VERSION_BYTES: usize = 64;

impl FromStr for Version {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let is_plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
        // What comes after a `+` says nothing about the order.
        let text = text.split('+').next().unwrap_or(text);
        let (release, before) = text.split_once('-').map_or((text, None), |(release, before)| (release, Some(before)));
        if text.len() > VERSION_BYTES || before.is_some_and(|before| before.is_empty() || !is_plain(before)) {
            return Err(());
        }
        let mut numbers = [0; 4];
        for (place, number) in release.split('.').enumerate() {
            let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            *numbers.get_mut(place).filter(|_| is_number).ok_or(())? = number.parse().map_err(|_| ())?;
        }
        Ok(Self { numbers, before: before.map(str::to_owned), written: text.to_owned() })
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let before = || match (&self.before, &other.before) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(one), Some(two)) => one.cmp(two),
        };
        self.numbers.cmp(&other.numbers).then_with(before)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

/// Units of a kind, largest first; the last is what a value without a unit has.
const BYTES: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];
const TIMES: &[(&str, u64)] = &[("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
const THOUSANDTHS: &[(&str, u64)] = &[("", 1_000)];
const COUNT: &[(&str, u64)] = &[("", 1)];

impl Value {
    /// Reads a value of that kind, or says what would be one.
    pub(crate) fn read(kind: Kind, text: &str) -> Result<Self, &'static str> {
        let number = |units, sentence| quantity(text, units).ok_or(sentence);
        match kind {
            Kind::Text | Kind::Name | Kind::Set => Ok(Self::Text(text.to_owned())),
            Kind::Bytes => number(BYTES, "a size such as `8GiB` or `500MB`").map(Self::Bytes),
            Kind::Count => number(COUNT, "a whole number").map(Self::Count),
            Kind::Decimal => number(THOUSANDTHS, "a number such as `8` or `12.5`").map(Self::Thousandths),
            Kind::Duration => number(TIMES, "a time such as `30d`, `12h` or `5m`").map(Self::Seconds),
            Kind::Version => text.parse().map(Self::Version).map_err(|()| "a version such as `0.3` or `1.2.0-rc1`"),
            Kind::Flag => match text {
                "true" => Ok(Self::Flag(true)),
                "false" => Ok(Self::Flag(false)),
                _ => Err("`true` or `false`"),
            },
        }
    }

    /// The text, or how the value is written.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            other => other.to_string(),
        }
    }

    pub(crate) fn number(&self) -> Option<u64> {
        match self {
            Self::Bytes(number) | Self::Count(number) | Self::Thousandths(number) | Self::Seconds(number) => {
                Some(*number)
            }
            _ => None,
        }
    }
}

/// A decimal number and a unit; `None` if it is none, too large, or finer than the smallest unit.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = match unit {
        "" => units.last()?.1,
        unit => units.iter().find(|(name, _)| !name.is_empty() && name.eq_ignore_ascii_case(unit))?.1,
    };
    let (whole, part) = number.split_once('.').map_or((number, None), |(whole, part)| (whole, Some(part)));
    let part = part.unwrap_or("0");
    if whole.is_empty() || part.is_empty() || part.len() > 9 {
        return None;
    }
    let whole = u128::from(whole.parse::<u64>().ok()?) * u128::from(unit);
    let scale = 10_u128.pow(u32::try_from(part.len()).ok()?);
    let part = u128::from(part.parse::<u64>().ok()?) * u128::from(unit);
    // Sizes may be a part of a byte; what is compared is whole.
    if part % scale != 0 && unit <= 1_000 {
        return None;
    }
    u64::try_from(whole + part / scale).ok()
}

/// Characters that need no quotes.
pub(crate) fn is_bare(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '-' | '_' | '.' | ':' | '/' | '*' | '+' | '@')
}

/// Words of the language, which as values need quotes.
pub(crate) const WORDS: &[&str] = &["and", "or", "not", "in", "all"];

impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let in_units = |number: &u64, units: &[(&'static str, u64)]| {
            let fits = units.iter().find(|(_, unit)| *number > 0 && number.is_multiple_of(*unit));
            let (name, unit) = fits.or_else(|| units.last()).copied().unwrap_or(("", 1));
            format!("{}{name}", number / unit)
        };
        match self {
            Self::Text(text) if !text.is_empty() && text.chars().all(is_bare) && !WORDS.contains(&text.as_str()) => {
                formatter.write_str(text)
            }
            Self::Text(text) => write!(formatter, "\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
            Self::Bytes(number) => formatter.write_str(&in_units(number, BYTES)),
            Self::Seconds(number) => formatter.write_str(&in_units(number, TIMES)),
            Self::Count(number) => write!(formatter, "{number}"),
            Self::Thousandths(number) if number % 1000 == 0 => write!(formatter, "{}", number / 1000),
            Self::Thousandths(number) => {
                let decimals = format!("{:03}", number % 1000);
                write!(formatter, "{}.{}", number / 1000, decimals.trim_end_matches('0'))
            }
            Self::Version(version) => formatter.write_str(&version.written),
            Self::Flag(flag) => write!(formatter, "{flag}"),
        }
    }
}

/// Whether the whole text is as the pattern says, `*` being any text. Linear but for one factor: no pattern is a trap.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

/// Whether a label may have this key: 1 to 63 of a-z, 0-9, `.`, `_`, `-`, beginning with a letter.
#[must_use]
pub fn is_label_key(key: &str) -> bool {
    key.len() <= 63
        && key.starts_with(|c: char| c.is_ascii_lowercase())
        && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-'))
}

/// Whether a label may have this value: 1 to 63 of A-Z, a-z, 0-9, `.`, `_`, `-`, beginning with a letter or digit.
#[must_use]
pub fn is_label_value(value: &str) -> bool {
    value.len() <= 63
        && value.starts_with(|c: char| c.is_ascii_alphanumeric())
        && value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}
