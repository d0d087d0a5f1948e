//! The fields of a request, taken out one by one, each error naming its field.
//!
//! A field is read, harmless and let pass, or refused: an answer that silently ignores what was asked for is a wrong
//! answer. An unknown field is refused too; it is most often a misspelt one.

use serde_json::{Map, Value};

use crate::error::ApiError;

/// Characters of an unknown field's name that an error repeats.
const NAME: usize = 64;

/// Fields not yet taken; null counts as absent, as official clients send it.
#[derive(Debug)]
pub(crate) struct Fields {
    place: String,
    map: Map<String, Value>,
    taken: Vec<&'static str>,
}

impl Fields {
    /// The fields of a whole request.
    pub(crate) fn new(map: Map<String, Value>) -> Self {
        Self { place: String::new(), map, taken: Vec::new() }
    }

    /// The fields of an object within a request, `place` being its path, as in `messages[3]`.
    ///
    /// # Errors
    /// If it is no object.
    pub(crate) fn within(place: impl Into<String>, value: Value) -> Result<Self, ApiError> {
        let place = place.into();
        match value {
            Value::Object(map) => Ok(Self { place, map, taken: Vec::new() }),
            _ => Err(ApiError::invalid(place.as_str(), format!("`{place}` has to be an object"))),
        }
    }

    /// The path of a field, for errors.
    pub(crate) fn path(&self, field: &str) -> String {
        if self.place.is_empty() { field.to_owned() } else { format!("{}.{field}", self.place) }
    }

    /// An error about a field: `what` goes on after its name.
    pub(crate) fn wrong(&self, field: &str, what: &str) -> ApiError {
        let path = self.path(field);
        ApiError::invalid(path.as_str(), format!("`{path}` {what}"))
    }

    /// An error about something that is not done here: `what` goes on after the field's name.
    pub(crate) fn not_served(&self, field: &str, what: &str) -> ApiError {
        let path = self.path(field);
        ApiError::unsupported(path.as_str(), format!("`{path}` {what}"))
    }

    /// Any value.
    pub(crate) fn take(&mut self, field: &'static str) -> Option<Value> {
        self.taken.push(field);
        self.map.remove(field).filter(|value| !value.is_null())
    }

    /// A text.
    pub(crate) fn text(&mut self, field: &'static str) -> Result<Option<String>, ApiError> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(field, "has to be a text")),
        }
    }

    /// True or false.
    pub(crate) fn flag(&mut self, field: &'static str) -> Result<Option<bool>, ApiError> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(self.wrong(field, "has to be true or false")),
        }
    }

    /// A number between two, both included.
    pub(crate) fn number(&mut self, field: &'static str, least: f64, most: f64) -> Result<Option<f32>, ApiError> {
        let Some(value) = self.take(field) else { return Ok(None) };
        match value.as_f64().filter(|number| (least..=most).contains(number)) {
            Some(number) => Ok(Some(number as f32)),
            None => Err(self.wrong(field, &format!("has to be a number from {least} to {most}"))),
        }
    }

    /// A whole number between two, both included.
    pub(crate) fn whole(&mut self, field: &'static str, least: u64, most: u64) -> Result<Option<u64>, ApiError> {
        let Some(value) = self.take(field) else { return Ok(None) };
        match value.as_u64().filter(|number| (least..=most).contains(number)) {
            Some(number) => Ok(Some(number)),
            None if most == u64::MAX || most == u64::from(u32::MAX) => {
                Err(self.wrong(field, &format!("has to be a whole number of at least {least}")))
            }
            None => Err(self.wrong(field, &format!("has to be a whole number from {least} to {most}"))),
        }
    }

    /// A count that fits 32 bits.
    pub(crate) fn count(&mut self, field: &'static str, least: u32) -> Result<Option<u32>, ApiError> {
        let number = self.whole(field, least.into(), u32::MAX.into())?;
        Ok(number.and_then(|number| u32::try_from(number).ok()))
    }

    /// Any whole number as a seed: clients draw seeds below zero too.
    pub(crate) fn seed(&mut self, field: &'static str) -> Result<Option<u64>, ApiError> {
        let Some(value) = self.take(field) else { return Ok(None) };
        match value.as_u64().or_else(|| value.as_i64().map(i64::cast_unsigned)) {
            Some(seed) => Ok(Some(seed)),
            None => Err(self.wrong(field, "has to be a whole number")),
        }
    }

    /// Lets fields pass that change nothing.
    pub(crate) fn ignore(&mut self, fields: &[&'static str]) {
        for field in fields {
            self.take(field);
        }
    }

    /// Refuses a field that would change the answer, unless its value asks for nothing.
    ///
    /// # Errors
    /// 400, naming it.
    pub(crate) fn refuse(&mut self, field: &'static str, neutral: Neutral) -> Result<(), ApiError> {
        match self.take(field) {
            Some(value) if !neutral.is(&value) => Err(self
                .not_served(field, "is not implemented here, and leaving it out of account would change the answer")),
            _ => Ok(()),
        }
    }

    /// Refuses what nobody took.
    ///
    /// # Errors
    /// 400, naming the field and the one that was most likely meant.
    pub(crate) fn finish(self) -> Result<(), ApiError> {
        let Some((field, _)) = self.map.iter().find(|(_, value)| !value.is_null()) else { return Ok(()) };
        let field: String = field.chars().take(NAME).collect();
        let nearest = self
            .taken
            .iter()
            .map(|known| (strsim::damerau_levenshtein(&field, known), known))
            .min()
            .filter(|(distance, _)| *distance <= 3);
        Err(match nearest {
            Some((_, known)) => {
                self.not_served(&field, &format!("is not a field of this request; did you mean `{known}`?"))
            }
            None => self.not_served(&field, "is not a field of this request: leave it out"),
        })
    }
}

/// The value, besides null, with which a field asks for nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Neutral {
    Nothing,
    Empty,
    False,
    Zero,
    Text(&'static str),
    TextOnly,
}

impl Neutral {
    fn is(self, value: &Value) -> bool {
        match self {
            Self::Nothing => false,
            Self::Empty => value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty),
            Self::False => *value == Value::Bool(false),
            Self::Zero => value.as_f64() == Some(0.0),
            Self::Text(text) => value.as_str() == Some(text),
            Self::TextOnly => *value == serde_json::json!(["text"]),
        }
    }
}
