//! The keywords that concern a single value: constants, texts and numbers.

use serde_json::{Map, Number, Value, json};

use super::keywords::{self, Support};
use super::{DEPTH, Place, add, formats, pattern};
use crate::grammar::GrammarError;

const CONSTANTS: usize = 2_000;
const CHARACTERS: u64 = 100_000;
/// From here on neighbouring whole numbers are the same to many readers.
const WHOLE: f64 = 9_007_199_254_740_992.0;
/// Numbers are written up to this size: no exponent, and no endless row of digits.
const SIZE: f64 = 1e18;
/// Most digits behind the point of a bound or a step.
const FRACTION_DIGITS: usize = 15;
const STEP_DIGITS: usize = 6;

pub(super) fn constants(
    written: &Map<String, Value>,
    out: &mut Map<String, Value>,
    place: Place<'_>,
) -> Result<(), GrammarError> {
    if let Some(value) = written.get("const") {
        constant(value, place.at("const"))?;
        out.insert("const".to_owned(), value.clone());
    }
    if let Some(value) = written.get("enum") {
        let here = place.at("enum");
        let Some(values) = value.as_array().filter(|values| !values.is_empty()) else {
            return here.wrong("it has to be a list of at least one value");
        };
        here.limit("the number of values", values.len(), CONSTANTS)?;
        values.iter().enumerate().try_for_each(|(index, value)| constant(value, here.at(&index.to_string())))?;
        out.insert("enum".to_owned(), value.clone());
    }
    Ok(())
}

/// Control characters that have an escape of their own.
fn plain(character: char) -> bool {
    matches!(character, '\n' | '\r' | '\t' | '\x08' | '\x0c')
}

/// Checks that a value can be written so that every reader reads the same.
fn constant(value: &Value, place: Place<'_>) -> Result<(), GrammarError> {
    if place.depth > DEPTH {
        return place.wrong(format!("it is more than {DEPTH} levels deep"));
    }
    match value {
        Value::Number(number) => {
            let size = number.as_f64().unwrap_or(f64::INFINITY).abs();
            match size < WHOLE && (number.is_i64() || digits(number) <= FRACTION_DIGITS) {
                true => Ok(()),
                false => place.wrong(format!(
                    "{number} cannot be written so that every reader reads the same number; use a text"
                )),
            }
        }
        Value::Array(values) => {
            values.iter().enumerate().try_for_each(|(index, value)| constant(value, place.at(&index.to_string())))
        }
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| constant(value, place.at(name))),
        Value::String(text) if text.chars().any(|character| character.is_ascii_control() && !plain(character)) => {
            place.wrong("control characters other than line ends and tabs cannot be written; leave them out")
        }
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
    }
}

pub(super) fn strings(
    written: &Map<String, Value>,
    out: &mut Map<String, Value>,
    place: Place<'_>,
) -> Result<(), GrammarError> {
    counts(written, out, place, ["minLength", "maxLength"], CHARACTERS)?;
    if let Some(value) = written.get("pattern") {
        let here = place.at("pattern");
        let Some(pattern) = value.as_str() else { return here.wrong("it has to be a text") };
        out.insert("pattern".to_owned(), Value::String(regex(pattern, here)?));
    }
    if let Some(value) = written.get("format") {
        let pattern = value.as_str().and_then(formats::pattern);
        let Some(pattern) = pattern else {
            let names: Vec<&str> = formats::FORMATS.iter().map(|(name, _)| *name).collect();
            return place.at("format").wrong(format!("{value} is not supported; these are: {}", names.join(", ")));
        };
        match out.contains_key("pattern") {
            true => add(out, "allOf", json!([{ "pattern": pattern }])),
            false => drop(out.insert("pattern".to_owned(), Value::String(pattern))),
        }
    }
    Ok(())
}

pub(super) fn regex(pattern: &str, place: Place<'_>) -> Result<String, GrammarError> {
    place.limit("the pattern's length in bytes", pattern.len(), pattern::BYTES)?;
    pattern::translate(pattern).or_else(|why| place.wrong(why))
}

pub(super) fn numbers(
    written: &Map<String, Value>,
    out: &mut Map<String, Value>,
    place: Place<'_>,
) -> Result<(), GrammarError> {
    let (mut low, mut high) = (-SIZE, SIZE);
    for (keyword, plain, sign) in [
        ("minimum", "minimum", -1.0),
        ("maximum", "maximum", 1.0),
        ("exclusiveMinimum", "minimum", -1.0),
        ("exclusiveMaximum", "maximum", 1.0),
    ] {
        let here = place.at(keyword);
        let bound = match (written.get(keyword), written.get(plain)) {
            (None | Some(Value::Bool(false)), _) => continue,
            (Some(Value::Bool(true)), Some(Value::Number(bound))) if keyword != plain => bound,
            (Some(Value::Number(bound)), _) => bound,
            _ => return here.wrong("it has to be a number"),
        };
        let size = bound.as_f64().unwrap_or(f64::NAN);
        // A bound beyond all that is written bounds nothing.
        if size * sign > SIZE {
            continue;
        }
        if !(-SIZE..=SIZE).contains(&size) || digits(bound) > FRACTION_DIGITS {
            return here.wrong(format!("{bound} is not supported: numbers are written between -10^18 and 10^18, with at most {FRACTION_DIGITS} digits behind the point of a bound"));
        }
        match sign < 0.0 {
            true => low = low.max(size),
            false => high = high.min(size),
        }
        out.insert(keyword.to_owned(), Value::Number(bound.clone()));
    }
    if let Some(value) = written.get("multipleOf") {
        let here = place.at("multipleOf");
        let step = value.as_number().filter(|step| step.as_f64().is_some_and(|step| step > 0.0 && step <= WHOLE));
        let Some(step) = step else { return here.wrong("it has to be a number above 0") };
        if digits(step) > STEP_DIGITS {
            return here
                .wrong(format!("{step} is not supported: it may have at most {STEP_DIGITS} digits behind the point"));
        }
        out.insert("multipleOf".to_owned(), value.clone());
    }
    let names = |name: &str| match written.get("type") {
        Some(Value::String(own)) => own == name,
        Some(Value::Array(own)) => own.iter().any(|own| own == name),
        _ => false,
    };
    // Without a type a keyword that concerns one type leaves every other open, numbers too. References and alternatives
    // have bounds of their own, and constants need none.
    let concerns = |keyword: &String| {
        let apart = ["anyOf", "oneOf", "allOf", "$ref", "$defs", "definitions", "enum", "const"];
        keywords::support(keyword) == Some(Support::Enforced) && !apart.contains(&keyword.as_str())
    };
    let concerned = match written.contains_key("type") {
        true => names("number") || names("integer"),
        false => written.keys().any(concerns) && !out.contains_key("enum") && !out.contains_key("const"),
    };
    if concerned {
        let bounds = [("minimum", "exclusiveMinimum", low), ("maximum", "exclusiveMaximum", high)];
        for (bound, exclusive, value) in bounds {
            if !out.contains_key(bound) && !out.contains_key(exclusive) {
                out.insert(bound.to_owned(), json!(value as i64));
            }
        }
    }
    Ok(())
}

/// Digits behind the point of a number as it is written; many for one with an exponent below it.
fn digits(number: &Number) -> usize {
    let text = number.to_string();
    match (text.contains(['e', 'E']), text.split_once('.')) {
        (true, _) if number.as_f64().is_some_and(|value| value.abs() < 1.0) => usize::MAX,
        (_, Some((_, fraction))) => fraction.trim_end_matches('0').len(),
        _ => 0,
    }
}

/// Takes a least and a most count over; gives both.
pub(super) fn counts(
    written: &Map<String, Value>,
    out: &mut Map<String, Value>,
    place: Place<'_>,
    keywords: [&str; 2],
    limit: u64,
) -> Result<[Option<u64>; 2], GrammarError> {
    let mut found = [None, None];
    for (keyword, found) in keywords.iter().zip(&mut found) {
        let Some(value) = written.get(*keyword) else { continue };
        let here = place.at(keyword);
        // `2.0` is a whole number to JSON Schema.
        let whole = value.as_f64().filter(|count| count.fract() == 0.0 && *count >= 0.0);
        let Some(count) = value.as_u64().or_else(|| whole.map(|count| count as u64)) else {
            return here.wrong("it has to be a whole number, 0 or more");
        };
        here.limit("the bound", usize::try_from(count).unwrap_or(usize::MAX), limit as usize)?;
        out.insert((*keyword).to_owned(), json!(count));
        *found = Some(count);
    }
    Ok(found)
}
