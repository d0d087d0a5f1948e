//! The texts that end an answer, whatever a family calls the field.

use serde_json::Value;

use crate::api::ceilings::{STOP_BYTES, STOPS};
use crate::error::ApiError;
use crate::fields::Fields;

/// Reads a text or a list of texts.
///
/// # Errors
/// 400 if they are none.
pub(crate) fn read(fields: &mut Fields, field: &'static str) -> Result<Vec<String>, ApiError> {
    let text = |value: Value| if let Value::String(text) = value { Some(text) } else { None };
    let texts = match fields.take(field) {
        None => Some(Vec::new()),
        Some(Value::Array(values)) => values.into_iter().map(text).collect(),
        Some(value) => text(value).map(|text| vec![text]),
    };
    let fits = |text: &String| (1..=STOP_BYTES).contains(&text.len());
    texts.filter(|texts: &Vec<String>| texts.len() <= STOPS && texts.iter().all(fits)).ok_or_else(|| {
        let what = format!("has to be a text or up to {STOPS} texts, each of 1 to {STOP_BYTES} bytes");
        fields.wrong(field, &what)
    })
}
