//! A family's figures by key: bounded, since a damaged figure must become neither a giant allocation nor an overflow.

use crate::gguf::{Array, Gguf, Value};
use crate::model::LoadError;

/// The metadata under one architecture's prefix, spelled as the file spells it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys<'file> {
    gguf: &'file Gguf,
    architecture: &'file str,
}

impl<'file> Keys<'file> {
    pub(crate) fn of(gguf: &'file Gguf) -> Self {
        Self { gguf, architecture: gguf.text("general.architecture").unwrap_or_default() }
    }

    pub(crate) fn architecture(&self) -> &'file str {
        self.architecture
    }

    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'file Value> {
        self.gguf.get(&self.name(name))
    }

    /// A count from 1 to `most`, or the fallback where the file does not say.
    pub(crate) fn count(&self, name: &str, fallback: Option<usize>, most: usize) -> Result<usize, LoadError> {
        match self.get(name) {
            None => match fallback {
                Some(fallback) if (1..=most).contains(&fallback) => Ok(fallback),
                Some(fallback) => Err(self.bad(name, fallback)),
                None => Err(LoadError::MissingKey { key: self.name(name) }),
            },
            Some(value) => one_count(value)
                .and_then(|count| usize::try_from(count).ok())
                .filter(|count| (1..=most).contains(count))
                .ok_or_else(|| self.bad(name, show(value))),
        }
    }

    /// A number from `least` to `most`, or nothing where the file does not say.
    pub(crate) fn number(&self, name: &str, least: f64, most: f64) -> Result<Option<f64>, LoadError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.as_number() {
            Some(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => Err(self.bad(name, show(value))),
        }
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<&'file str>, LoadError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_text().map(Some).ok_or_else(|| self.bad(name, show(value)))
    }

    pub(crate) fn bad(&self, name: &str, value: impl ToString) -> LoadError {
        LoadError::BadFigure { key: self.name(name), value: value.to_string() }
    }
}

/// A count, or a list that gives the same one for every layer.
fn one_count(value: &Value) -> Option<u64> {
    let same = |counts: Vec<u64>| counts.first().copied().filter(|first| counts.iter().all(|count| count == first));
    value.as_count().or_else(|| value.as_counts().and_then(same))
}

/// A value for an error: lists and long texts by their kind.
fn show(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("the text `{}`", shown(text)),
        Value::Array(Array::Text(_)) => "a list of texts".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        other => other.as_number().map_or_else(String::new, |number| number.to_string()),
    }
}

/// A text of the file for an error: its first characters.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 40;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
