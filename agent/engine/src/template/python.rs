//! Values written as Python writes them: `str()`, `repr()` and `json.dumps()`.

use std::fmt::Write;
use std::sync::Arc;

use minijinja::value::{Enumerator, Object, ObjectRepr, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use super::mark::is_stand_in;

/// Deepest nesting that is written; Python gives up a little below a thousand, and a value of the caller's has at most 128.
const DEPTH: usize = 256;
/// As minijinja counts what a template makes.
const BYTES_PER_FUEL: u64 = 64;

/// A tuple: a list that is written with round brackets.
#[derive(Debug)]
pub(super) struct Tuple(pub(super) Vec<Value>);

impl Object for Tuple {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.get(key.as_usize()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.0.len())
    }
}

/// A key and its value, as `dict.items()` gives them.
pub(super) fn pair(key: Value, value: Value) -> Value {
    Value::from_object(Tuple(vec![key, value]))
}

pub(super) fn wrong(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, what.into())
}

/// Pays for writing a value: one that a template nested in itself is small in memory and endless on paper.
fn pay(state: &State<'_, '_>, value: &Value, depth: usize) -> Result<(), Error> {
    if depth > DEPTH {
        return Err(wrong("a value is nested too deeply to be written"));
    }
    state.consume_fuel(1 + value.as_str().map_or(0, |text| text.len() as u64 / BYTES_PER_FUEL))
}

/// As `str(value)`.
pub(super) fn text(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    let mut text = String::new();
    match value.as_str() {
        Some(own) => text.push_str(own),
        None => repr(&mut text, state, value, 0)?,
    }
    Ok(text)
}

fn repr(out: &mut String, state: &State<'_, '_>, value: &Value, depth: usize) -> Result<(), Error> {
    pay(state, value, depth)?;
    match value.kind() {
        ValueKind::String => repr_text(out, value.as_str().unwrap_or_default()),
        ValueKind::Number if !value.is_integer() => out.push_str(&float(f64::try_from(value.clone())?, "nan", "inf")),
        ValueKind::Map => {
            out.push('{');
            for (index, key) in value.try_iter()?.enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                repr(out, state, &key, depth + 1)?;
                out.push_str(": ");
                repr(out, state, &value.get_item(&key)?, depth + 1)?;
            }
            out.push('}');
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let is_tuple = value.downcast_object_ref::<Tuple>().is_some();
            out.push(if is_tuple { '(' } else { '[' });
            let mut items = 0;
            for item in value.try_iter()? {
                out.push_str(if items > 0 { ", " } else { "" });
                repr(out, state, &item, depth + 1)?;
                items += 1;
            }
            out.push_str(match (is_tuple, items) {
                (true, 1) => ",)",
                (true, _) => ")",
                (false, _) => "]",
            });
        }
        ValueKind::Undefined if depth > 0 => out.push_str("Undefined"),
        _ => write!(out, "{value}").map_err(|_| wrong("a value cannot be written"))?,
    }
    Ok(())
}

fn repr_text(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for character in text.chars() {
        match character {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            _ if character == quote => out.extend(['\\', quote]),
            ' '..='~' => out.push(character),
            _ if is_printable(character) || is_stand_in(character) => out.push(character),
            _ => escape(out, character),
        }
    }
    out.push(quote);
}

/// Rust's own table of what can be shown is made from the same categories of Unicode as Python's.
fn is_printable(character: char) -> bool {
    let mut buffer = [b'x'; 5];
    let length = character.encode_utf8(&mut buffer[1..]).len();
    // Behind another letter, so that a combining mark is not escaped for standing alone.
    std::str::from_utf8(&buffer[..=length]).is_ok_and(|text| !text.escape_debug().any(|shown| shown == '\\'))
}

fn escape(out: &mut String, character: char) {
    let code = u32::from(character);
    // Writing to a string does not fail.
    let _ = match code {
        0..=0xFF => write!(out, "\\x{code:02x}"),
        0x100..=0xFFFF => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    };
}

/// The shortest digits that mean this float, in powers of ten where Python uses them.
fn float(value: f64, nan: &str, infinity: &str) -> String {
    if value.is_nan() {
        return nan.to_owned();
    }
    if value.is_infinite() {
        return format!("{}{infinity}", if value < 0.0 { "-" } else { "" });
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) || value == 0.0 {
        let plain = value.to_string();
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// How JSON is laid out.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) indent: Option<String>,
    pub(super) between_items: String,
    pub(super) after_key: String,
    pub(super) ensure_ascii: bool,
    pub(super) sort_keys: bool,
}

/// As `json.dumps(value)`.
pub(super) fn json(state: &State<'_, '_>, value: &Value, layout: &Layout) -> Result<String, Error> {
    let mut out = String::new();
    write_json(&mut out, state, value, layout, 0)?;
    Ok(out)
}

fn write_json(
    out: &mut String,
    state: &State<'_, '_>,
    value: &Value,
    layout: &Layout,
    depth: usize,
) -> Result<(), Error> {
    pay(state, value, depth)?;
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push_str(&number(value)?),
        ValueKind::String => json_text(out, value.as_str().unwrap_or_default(), layout.ensure_ascii),
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            let mut items = 0;
            for item in value.try_iter()? {
                begin_item(out, layout, depth, items);
                write_json(out, state, &item, layout, depth + 1)?;
                items += 1;
            }
            end_items(out, layout, depth, items);
            out.push(']');
        }
        ValueKind::Map => {
            let mut fields = Vec::new();
            for key in value.try_iter()? {
                let name = match key.kind() {
                    ValueKind::String => key.as_str().unwrap_or_default().to_owned(),
                    ValueKind::None => "null".to_owned(),
                    ValueKind::Bool => if key.is_true() { "true" } else { "false" }.to_owned(),
                    ValueKind::Number => number(&key)?,
                    other => return Err(wrong(format!("a key of type {other} cannot be written as JSON"))),
                };
                fields.push((name, value.get_item(&key)?));
            }
            if layout.sort_keys {
                fields.sort_by(|one, other| one.0.cmp(&other.0));
            }
            out.push('{');
            for (index, (name, value)) in fields.iter().enumerate() {
                begin_item(out, layout, depth, index);
                json_text(out, name, layout.ensure_ascii);
                out.push_str(&layout.after_key);
                write_json(out, state, value, layout, depth + 1)?;
            }
            end_items(out, layout, depth, fields.len());
            out.push('}');
        }
        other => return Err(wrong(format!("a value of type {other} cannot be written as JSON"))),
    }
    Ok(())
}

fn number(value: &Value) -> Result<String, Error> {
    if value.is_integer() { Ok(value.to_string()) } else { Ok(float(f64::try_from(value.clone())?, "NaN", "Infinity")) }
}

fn begin_item(out: &mut String, layout: &Layout, depth: usize, index: usize) {
    if index > 0 {
        out.push_str(&layout.between_items);
    }
    if layout.indent.is_some() {
        new_line(out, layout, depth + 1);
    }
}

fn end_items(out: &mut String, layout: &Layout, depth: usize, items: usize) {
    if items > 0 && layout.indent.is_some() {
        new_line(out, layout, depth);
    }
}

fn new_line(out: &mut String, layout: &Layout, depth: usize) {
    out.push('\n');
    for _ in 0..depth {
        out.push_str(layout.indent.as_deref().unwrap_or_default());
    }
}

fn json_text(out: &mut String, text: &str, ensure_ascii: bool) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\0'..='\u{1f}' => escape_units(out, character),
            _ if ensure_ascii && !character.is_ascii() && !is_stand_in(character) => escape_units(out, character),
            _ => out.push(character),
        }
    }
    out.push('"');
}

fn escape_units(out: &mut String, character: char) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        // Writing to a string does not fail.
        let _ = write!(out, "\\u{unit:04x}");
    }
}
