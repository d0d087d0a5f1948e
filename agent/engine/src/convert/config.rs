//! `config.json`: figures by key, each checked for its kind and bounds before anything relies on it.

use serde_json::{Map, Value};

use super::{ConvertError, directory::Directory};

const CONFIG: &str = "config.json";

/// The settings of the text model.
#[derive(Debug, Clone)]
pub(super) struct Config {
    settings: Map<String, Value>,
}

impl Config {
    /// Reads the file; the settings of a text model inside a larger one stand for the whole.
    pub(super) fn read(directory: &Directory) -> Result<Self, ConvertError> {
        let mut settings = directory.json_object(CONFIG)?;
        if let Some(Value::Object(text)) = settings.remove("text_config") {
            settings.extend(text.into_iter().filter(|(key, _)| key != "model_type" && key != "architectures"));
        }
        Ok(Self { settings })
    }

    /// What the key says; nothing where it is absent or null.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.settings.get(key).filter(|value| !value.is_null())
    }

    /// The names that the model goes by: its classes, then its type.
    pub(super) fn names(&self) -> Vec<&str> {
        let classes = self.get("architectures").and_then(Value::as_array).into_iter().flatten();
        classes.chain(self.get("model_type")).filter_map(Value::as_str).collect()
    }

    /// An object inside, read by the same rules.
    pub(super) fn object(&self, key: &str) -> Result<Option<Self>, ConvertError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(settings)) => Ok(Some(Self { settings: settings.clone() })),
            Some(other) => Err(bad(key, other, "an object")),
        }
    }

    pub(super) fn optional_count(&self, key: &str, most: u32) -> Result<Option<u32>, ConvertError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let count = value.as_u64().and_then(|count| u32::try_from(count).ok());
        match count.filter(|count| (1..=most).contains(count)) {
            Some(count) => Ok(Some(count)),
            None => Err(bad(key, value, format!("a whole number from 1 to {most}"))),
        }
    }

    pub(super) fn count(&self, key: &str, most: u32) -> Result<u32, ConvertError> {
        self.optional_count(key, most)?.ok_or_else(|| ConvertError::MissingKey { key: key.to_owned() })
    }

    /// A number above 0.
    pub(super) fn optional_number(&self, key: &str) -> Result<Option<f64>, ConvertError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_f64().filter(|number| *number > 0.0 && *number < 1e15) {
            Some(number) => Ok(Some(number)),
            None => Err(bad(key, value, "a number above 0")),
        }
    }

    pub(super) fn number(&self, key: &str) -> Result<f64, ConvertError> {
        self.optional_number(key)?.ok_or_else(|| ConvertError::MissingKey { key: key.to_owned() })
    }

    pub(super) fn numbers(&self, key: &str, most: usize) -> Result<Vec<f32>, ConvertError> {
        let value = self.get(key).ok_or_else(|| ConvertError::MissingKey { key: key.to_owned() })?;
        let expected = || format!("a list of up to {most} numbers above 0");
        let list = value.as_array().filter(|list| list.len() <= most).ok_or_else(|| bad(key, value, expected()))?;
        let numbers = list.iter().map(|number| number.as_f64().map(|number| number as f32));
        let numbers: Option<Vec<f32>> = numbers.collect();
        numbers
            .filter(|numbers| numbers.iter().all(|number| number.is_finite() && *number > 0.0))
            .ok_or_else(|| bad(key, value, expected()))
    }

    pub(super) fn flag(&self, key: &str, fallback: bool) -> Result<bool, ConvertError> {
        match self.get(key) {
            None => Ok(fallback),
            Some(value) => value.as_bool().ok_or_else(|| bad(key, value, "true or false")),
        }
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&str>, ConvertError> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => value.as_str().map(Some).ok_or_else(|| bad(key, value, "a text")),
        }
    }

    /// Refuses a yes that would change the graph.
    pub(super) fn must_not(&self, key: &str, why: &'static str) -> Result<(), ConvertError> {
        if self.flag(key, false)? { Err(unsupported(key, "true", why)) } else { Ok(()) }
    }

    /// Refuses a text other than these; an absent one is the family's own.
    pub(super) fn must_be(&self, key: &str, allowed: &[&str], why: &'static str) -> Result<(), ConvertError> {
        match self.text(key)? {
            Some(text) if !allowed.contains(&text) => Err(unsupported(key, text, why)),
            _ => Ok(()),
        }
    }

    /// Refuses a setting that is there at all.
    pub(super) fn must_be_absent(&self, key: &str, why: &'static str) -> Result<(), ConvertError> {
        match self.get(key) {
            None => Ok(()),
            Some(value) => Err(unsupported(key, show(value), why)),
        }
    }
}

impl From<Map<String, Value>> for Config {
    fn from(settings: Map<String, Value>) -> Self {
        Self { settings }
    }
}

pub(super) fn bad(key: &str, value: &Value, expected: impl Into<String>) -> ConvertError {
    ConvertError::BadKey { key: key.to_owned(), value: show(value), expected: expected.into() }
}

pub(super) fn unsupported(key: &str, value: impl Into<String>, why: &'static str) -> ConvertError {
    ConvertError::Unsupported { key: key.to_owned(), value: value.into(), why }
}

/// A value for an error, never longer than a line.
fn show(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() > 60 { "a long value".to_owned() } else { format!("`{text}`") }
}
