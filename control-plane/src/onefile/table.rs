//! A file as its lines and tables: every value with the line that it stands in, every mistake told in one go.

use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::FleetFileError;
use crate::inventory::words::clean;

/// Mistakes that are told at once.
const MOST_MISTAKES: usize = 20;

/// Longest word of a file that a message repeats, characters.
const SHOWN: usize = 60;

/// Where lines begin, and what is wrong so far.
#[derive(Debug)]
pub(super) struct Lines {
    ends: Vec<usize>,
    mistakes: Vec<String>,
    untold: usize,
}

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
        Self { ends, mistakes: Vec::new(), untold: 0 }
    }

    /// The line, from 1, that a byte stands in.
    pub(super) fn line(&self, at: usize) -> usize {
        self.ends.partition_point(|end| *end < at) + 1
    }

    /// Notes a mistake at a byte of the text.
    pub(super) fn wrong(&mut self, at: usize, what: impl AsRef<str>) {
        let line = self.line(at);
        self.wrong_in(line, what);
    }

    /// Notes a mistake in a line.
    pub(super) fn wrong_in(&mut self, line: usize, what: impl AsRef<str>) {
        let mistake = format!("  line {line}: {}", what.as_ref());
        if self.mistakes.contains(&mistake) {
            return;
        }
        if self.mistakes.len() < MOST_MISTAKES {
            self.mistakes.push(mistake);
        } else {
            self.untold += 1;
        }
    }

    /// Nothing, if nothing is wrong.
    pub(super) fn judge(mut self) -> Result<(), FleetFileError> {
        if self.mistakes.is_empty() {
            return Ok(());
        }
        if self.untold > 0 {
            self.mistakes.push(format!("  and {} more", self.untold));
        }
        Err(FleetFileError::Mistakes(self.mistakes))
    }
}

/// A table, and how messages call it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<'t> {
    pub(super) name: &'static str,
    pub(super) at: usize,
    pub(super) entries: &'t DeTable<'t>,
}

impl<'t> Table<'t> {
    /// Reads a value as a table of its own.
    pub(super) fn of(name: &'static str, value: &'t Spanned<DeValue<'t>>, lines: &mut Lines) -> Option<Self> {
        let at = value.span().start;
        match value.get_ref() {
            DeValue::Table(entries) => Some(Self { name, at, entries }),
            other => {
                lines.wrong(at, format!("`{name}` is a table, not {}", kind(other)));
                None
            }
        }
    }

    /// Refuses keys that are not known, with the nearest that is.
    pub(super) fn check(&self, known: &[&str], lines: &mut Lines) {
        for key in self.entries.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let (word, name) = (shown(key.get_ref()), self.name);
            let meant = nearest(key.get_ref(), known);
            lines.wrong(key.span().start, format!("unknown key `{word}` in `{name}`{meant}"));
        }
    }

    /// A text, and where it stands.
    pub(super) fn text(&self, key: &str, lines: &mut Lines) -> Option<(usize, &'t str)> {
        self.value(key, "a text", lines, DeValue::as_str)
    }

    /// A text that must be there.
    pub(super) fn needed(&self, key: &str, lines: &mut Lines) -> Option<(usize, &'t str)> {
        if !self.entries.contains_key(key) {
            lines.wrong(self.at, format!("`{}` needs `{key}`", self.name));
        }
        self.text(key, lines)
    }

    /// A text that means something.
    pub(super) fn read<T: FromStr<Err: ToString>>(&self, key: &str, lines: &mut Lines) -> Option<T> {
        let (at, text) = self.text(key, lines)?;
        understood(at, text, lines)
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, key: &str, lines: &mut Lines) -> bool {
        self.value(key, "`true` or `false`", lines, DeValue::as_bool).is_some_and(|(_, flag)| flag)
    }

    /// A whole number.
    pub(super) fn number(&self, key: &str, lines: &mut Lines) -> Option<u32> {
        let number = |value: &DeValue<'_>| {
            let written = value.as_integer()?;
            u32::from_str_radix(written.as_str(), written.radix()).ok()
        };
        self.value(key, "a whole number from 0 to 4294967295", lines, number).map(|(_, number)| number)
    }

    /// A list of texts, each with where it stands.
    pub(super) fn texts(&self, key: &str, lines: &mut Lines) -> Option<Vec<(usize, &'t str)>> {
        let value = self.entries.get(key)?;
        let DeValue::Array(array) = value.get_ref() else {
            lines.wrong(value.span().start, format!("`{key}` is a list of texts, not {}", kind(value.get_ref())));
            return None;
        };
        let mut texts = Vec::with_capacity(array.len());
        for entry in array.iter() {
            match entry.get_ref().as_str() {
                Some(text) => texts.push((entry.span().start, text)),
                None => {
                    let what = format!("`{key}` is a list of texts, not of {}", kind(entry.get_ref()));
                    lines.wrong(entry.span().start, what);
                }
            }
        }
        Some(texts)
    }

    fn value<T>(
        &self,
        key: &str,
        wanted: &str,
        lines: &mut Lines,
        read: impl Fn(&'t DeValue<'t>) -> Option<T>,
    ) -> Option<(usize, T)> {
        let value = self.entries.get(key)?;
        let at = value.span().start;
        let read = read(value.get_ref());
        if read.is_none() {
            lines.wrong(at, format!("`{key}` is {wanted}, not {}", kind(value.get_ref())));
        }
        read.map(|read| (at, read))
    }
}

/// Reads a text, or notes why it cannot be.
pub(super) fn understood<T: FromStr<Err: ToString>>(at: usize, text: &str, lines: &mut Lines) -> Option<T> {
    match text.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            lines.wrong(at, error.to_string());
            None
        }
    }
}

/// A word of the file, fit for a message.
pub(super) fn shown(word: &str) -> String {
    clean(word, SHOWN)
}

/// `; did you mean …?` if a known word is near.
pub(super) fn nearest(word: &str, known: &[&str]) -> String {
    // A long stranger is near to nothing, and costs more to compare the longer it is.
    if word.len() > SHOWN {
        return String::new();
    }
    let near = known.iter().map(|known| (strsim::damerau_levenshtein(word, known), *known)).min();
    match near.filter(|(distance, known)| *distance <= known.len() / 2) {
        Some((_, known)) => format!("; did you mean `{known}`?"),
        None => String::new(),
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "this text",
        DeValue::Integer(_) | DeValue::Float(_) => "this number",
        DeValue::Boolean(_) => "`true` or `false`",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
