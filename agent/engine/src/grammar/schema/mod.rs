//! From a JSON Schema that somebody wrote to one that is enforced in full: every keyword is looked at, in every place.
//!
//! ```text
//! schema ──► Translator ──► { …, "$defs": { "d0": …, "d1": … } }      what `$ref` points to is moved to a place of its own
//! ```
//! What is left has only keywords that the grammar engine enforces, formats have become patterns and early drafts' forms the
//! present one's.

mod formats;
pub(super) mod keywords;
mod pattern;

use std::collections::HashMap;

use keywords::{KEYWORDS, Support};
use serde_json::{Map, Number, Value, json};

use super::GrammarError;

/// Most bytes of a schema, written as JSON.
const SCHEMA_BYTES: usize = 256 << 10;
/// Most schemas within one.
const PLACES: usize = 10_000;
/// Deepest nesting within one place that a `$ref` points to.
const DEPTH: usize = 48;
const PROPERTIES: usize = 500;
const ALTERNATIVES: usize = 200;
const CONSTANTS: usize = 2_000;
const PREFIX_ITEMS: usize = 200;
const ITEMS: u64 = 10_000;
const CHARACTERS: u64 = 100_000;
/// Above it neighbouring whole numbers are the same to many readers.
const WHOLE: f64 = 9_007_199_254_740_992.0;
/// Numbers are written up to this size: no exponent, and no endless row of digits.
const SIZE: f64 = 1e18;
/// Most digits behind the point of a bound or a step.
const FRACTION_DIGITS: usize = 15;
const STEP_DIGITS: usize = 6;

const TYPES: [&str; 7] = ["null", "boolean", "number", "integer", "string", "array", "object"];

/// A schema as somebody wrote it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Document<'a> {
    root: &'a Value,
    /// How messages name its root.
    name: &'a str,
}

impl<'a> Document<'a> {
    pub(crate) fn new(root: &'a Value, name: &'a str) -> Self {
        Self { root, name }
    }
}

/// Translates schemas that become parts of one.
#[derive(Debug, Default)]
pub(crate) struct Translator {
    /// What `$ref` points to, by its name.
    definitions: Map<String, Value>,
    places: usize,
    bytes: usize,
}

/// One schema at work.
struct Work<'a> {
    document: Document<'a>,
    /// The new names of the places that `$ref` pointed to, and those not translated yet.
    names: HashMap<String, String>,
    waiting: Vec<(String, String)>,
}

/// A place of a schema, for messages.
#[derive(Clone, Copy)]
struct Place<'a> {
    before: Option<&'a Place<'a>>,
    segment: &'a str,
    depth: usize,
}

impl<'a> Place<'a> {
    fn at(&'a self, segment: &'a str) -> Self {
        Place { before: Some(self), segment, depth: self.depth + 1 }
    }

    fn path(&self) -> String {
        match self.before {
            None => self.segment.to_owned(),
            Some(before) => format!("{}/{}", before.path(), self.segment.replace('~', "~0").replace('/', "~1")),
        }
    }

    fn wrong<T>(&self, why: impl Into<String>) -> Result<T, GrammarError> {
        let mut path = self.path();
        if path.len() > 300 {
            path = path.chars().take(300).chain("…".chars()).collect();
        }
        Err(GrammarError::Schema { path, why: why.into() })
    }

    fn limit(&self, what: &str, value: usize, limit: usize) -> Result<(), GrammarError> {
        match value <= limit {
            true => Ok(()),
            false => Err(GrammarError::TooLarge { what: format!("{what} at `{}`", self.path()), value, limit }),
        }
    }
}

impl Translator {
    /// Translates a schema. What it refers to is kept until [`Translator::finish`].
    ///
    /// # Errors
    /// Says which place asks for what cannot be enforced.
    pub(crate) fn translate(&mut self, document: &Document<'_>) -> Result<Value, GrammarError> {
        let root = Place { before: None, segment: document.name, depth: 0 };
        // Depth first: what nests too deeply is not written out, which would take as many steps down.
        if depth(document.root, 4 * DEPTH) {
            return root.wrong(format!("it nests more than {} levels deep; move parts to `$defs`", 4 * DEPTH));
        }
        self.bytes += document.root.to_string().len();
        root.limit("the schema's length in bytes", self.bytes, SCHEMA_BYTES)?;
        let mut work = Work { document: *document, names: HashMap::new(), waiting: Vec::new() };
        let translated = self.schema(&mut work, document.root, root)?;
        while let Some((pointer, name)) = work.waiting.pop() {
            let Some(found) = find(document.root, &pointer) else { continue };
            let path = format!("{}{pointer}", document.name);
            let place = Place { before: None, segment: &path, depth: 1 };
            let found = self.schema(&mut work, found, place)?;
            self.definitions.insert(name, found);
        }
        Ok(translated)
    }

    /// The schema with all that it refers to.
    pub(crate) fn finish(self, root: Value) -> Value {
        if self.definitions.is_empty() {
            return root;
        }
        json!({ "allOf": [root], "$defs": self.definitions })
    }

    fn schema(&mut self, work: &mut Work<'_>, schema: &Value, place: Place<'_>) -> Result<Value, GrammarError> {
        self.places += 1;
        place.limit("the number of schemas", self.places, PLACES)?;
        if place.depth > DEPTH {
            return place.wrong(format!("it is more than {DEPTH} levels deep; move parts to `$defs`"));
        }
        let written = match schema {
            Value::Bool(_) => return Ok(schema.clone()),
            Value::Object(written) => written,
            _ => return place.wrong("a schema has to be an object, `true` or `false`"),
        };
        for (keyword, value) in written {
            known(keyword, value, written, place)?;
        }
        let mut out = Map::new();
        types(written, &mut out, place)?;
        constants(written, &mut out, place)?;
        strings(written, &mut out, place)?;
        numbers(written, &mut out, place)?;
        self.arrays(work, written, &mut out, place)?;
        self.objects(work, written, &mut out, place)?;
        self.applicators(work, written, &mut out, place)?;
        Ok(Value::Object(out))
    }

    fn arrays(
        &mut self,
        work: &mut Work<'_>,
        written: &Map<String, Value>,
        out: &mut Map<String, Value>,
        place: Place<'_>,
    ) -> Result<(), GrammarError> {
        let bounds = counts(written, out, place, ["minItems", "maxItems"], ITEMS)?;
        if written.get("uniqueItems") == Some(&Value::Bool(true)) && bounds[1].is_none_or(|most| most > 1) {
            return place
                .at("uniqueItems")
                .wrong("that items differ cannot be enforced; leave it out, or list them in `prefixItems`");
        }
        let (prefix, items, names) = match (written.get("items"), written.get("prefixItems")) {
            (Some(Value::Array(list)), None) => {
                (Some(list), written.get("additionalItems"), ["items", "additionalItems"])
            }
            (Some(Value::Array(_)), Some(_)) => {
                return place.at("items").wrong("beside `prefixItems` it has to be one schema");
            }
            (items, None) => (None, items, ["prefixItems", "items"]),
            (items, Some(Value::Array(list))) => (Some(list), items, ["prefixItems", "items"]),
            (_, Some(_)) => return place.at("prefixItems").wrong("it has to be a list of schemas"),
        };
        if let Some(list) = prefix {
            let here = place.at(names[0]);
            here.limit("the number of items", list.len(), PREFIX_ITEMS)?;
            out.insert("prefixItems".to_owned(), self.list(work, list, here)?);
        }
        if let Some(items) = items {
            let items = self.schema(work, items, place.at(names[1]))?;
            out.insert("items".to_owned(), items);
        }
        Ok(())
    }

    fn objects(
        &mut self,
        work: &mut Work<'_>,
        written: &Map<String, Value>,
        out: &mut Map<String, Value>,
        place: Place<'_>,
    ) -> Result<(), GrammarError> {
        for keyword in ["properties", "patternProperties"] {
            let Some(value) = written.get(keyword) else { continue };
            let here = place.at(keyword);
            let Value::Object(properties) = value else { return here.wrong("it has to be an object of schemas") };
            here.limit("the number of properties", properties.len(), PROPERTIES)?;
            let mut translated = Map::new();
            for (name, schema) in properties {
                let there = here.at(name);
                let key = if keyword == "properties" { name.clone() } else { regex(name, there)? };
                let schema = self.schema(work, schema, there)?;
                if translated.insert(key, schema).is_some() {
                    return there.wrong("another pattern means the same");
                }
            }
            out.insert(keyword.to_owned(), Value::Object(translated));
        }
        let required = required(written, place)?;
        if !required.is_empty() {
            out.insert("required".to_owned(), json!(required));
        }
        if let Some(value) = written.get("additionalProperties") {
            let schema = self.schema(work, value, place.at("additionalProperties"))?;
            out.insert("additionalProperties".to_owned(), schema);
        }
        let [least, _] = counts(written, out, place, ["minProperties", "maxProperties"], PROPERTIES as u64)?;
        // An object may be given one name twice, which readers count once.
        if least.is_some_and(|least| least > 1 && least > required.len() as u64) {
            return place
                .at("minProperties")
                .wrong("more than one property beyond those `required` cannot be enforced; require them by name");
        }
        Ok(())
    }

    fn applicators(
        &mut self,
        work: &mut Work<'_>,
        written: &Map<String, Value>,
        out: &mut Map<String, Value>,
        place: Place<'_>,
    ) -> Result<(), GrammarError> {
        for keyword in ["anyOf", "oneOf", "allOf"] {
            let Some(value) = written.get(keyword) else { continue };
            let here = place.at(keyword);
            let Some(list) = value.as_array().filter(|list| !list.is_empty()) else {
                return here.wrong("it has to be a list of at least one schema");
            };
            here.limit("the number of alternatives", list.len(), ALTERNATIVES)?;
            let list = self.list(work, list, here)?;
            add(out, keyword, list);
        }
        if let Some(value) = written.get("$ref") {
            let reference = self.reference(work, value, place.at("$ref"))?;
            match out.is_empty() {
                true => drop(out.insert("$ref".to_owned(), reference)),
                false => add(out, "allOf", json!([{ "$ref": reference }])),
            }
        }
        Ok(())
    }

    fn list(&mut self, work: &mut Work<'_>, list: &[Value], place: Place<'_>) -> Result<Value, GrammarError> {
        let schemas =
            list.iter().enumerate().map(|(index, schema)| self.schema(work, schema, place.at(&index.to_string())));
        schemas.collect::<Result<Vec<_>, _>>().map(Value::Array)
    }

    /// Where a reference points to in what is made.
    fn reference(&mut self, work: &mut Work<'_>, value: &Value, place: Place<'_>) -> Result<Value, GrammarError> {
        let Some(reference) = value.as_str() else { return place.wrong("it has to be a text") };
        let Some(pointer) = reference.strip_prefix('#') else {
            return place.wrong(format!("`{reference}` is outside of this schema; move what it names to `$defs`"));
        };
        let pointer = percent_decoded(pointer);
        if !(pointer.is_empty() || pointer.starts_with('/')) {
            return place.wrong(format!("`{reference}` is no path; use one, as in `#/$defs/name`"));
        }
        if find(work.document.root, &pointer).is_none() {
            return place.wrong(format!("there is nothing at `{reference}`"));
        }
        let fresh = format!("d{}", self.definitions.len());
        let name = match work.names.get(&pointer) {
            Some(name) => name.clone(),
            None => {
                self.definitions.insert(fresh.clone(), Value::Bool(true));
                work.names.insert(pointer.clone(), fresh.clone());
                work.waiting.push((pointer, fresh.clone()));
                fresh
            }
        };
        Ok(Value::String(format!("#/$defs/{name}")))
    }
}

/// Whether a keyword is one that may stand here.
fn known(keyword: &str, value: &Value, written: &Map<String, Value>, place: Place<'_>) -> Result<(), GrammarError> {
    let here = place.at(keyword);
    match keywords::support(keyword) {
        Some(Support::Enforced) => Ok(()),
        Some(Support::Annotation) if keyword == "$id" && place.depth > 0 => {
            here.wrong("it may stand at the root only; leave it out")
        }
        Some(Support::Annotation) => Ok(()),
        // Without what they belong to, or with what they cannot fail, they say nothing.
        Some(Support::Refused(_)) if matches!(keyword, "then" | "else") && !written.contains_key("if") => Ok(()),
        Some(Support::Refused(_)) if keyword.starts_with("unevaluated") && *value == Value::Bool(true) => Ok(()),
        Some(Support::Refused(instead)) => here.wrong(format!("`{keyword}` is not supported; {instead}")),
        None => {
            let near = KEYWORDS.iter().map(|(name, ..)| *name).find(|name| name.eq_ignore_ascii_case(keyword));
            let meant = near.map(|near| format!("; `{near}` may be meant")).unwrap_or_default();
            here.wrong(format!("`{keyword}` is no keyword of JSON Schema{meant}"))
        }
    }
}

fn types(written: &Map<String, Value>, out: &mut Map<String, Value>, place: Place<'_>) -> Result<(), GrammarError> {
    let Some(value) = written.get("type") else { return Ok(()) };
    let names = value.as_array().map_or_else(|| std::slice::from_ref(value), Vec::as_slice);
    let known = |name: &Value| name.as_str().is_some_and(|name| TYPES.contains(&name));
    if names.is_empty() || !names.iter().all(known) {
        return place.at("type").wrong(format!("it has to be one or some of {}", TYPES.join(", ")));
    }
    out.insert("type".to_owned(), value.clone());
    Ok(())
}

fn constants(written: &Map<String, Value>, out: &mut Map<String, Value>, place: Place<'_>) -> Result<(), GrammarError> {
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

/// Checks that a value can be written so that every reader reads the same.
fn constant(value: &Value, place: Place<'_>) -> Result<(), GrammarError> {
    if place.depth > DEPTH {
        return place.wrong(format!("it is more than {DEPTH} levels deep"));
    }
    match value {
        Value::Number(number) => {
            let size = number.as_f64().unwrap_or(f64::INFINITY).abs();
            match size <= WHOLE && (number.is_i64() || digits(number) <= FRACTION_DIGITS) {
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
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
    }
}

fn strings(written: &Map<String, Value>, out: &mut Map<String, Value>, place: Place<'_>) -> Result<(), GrammarError> {
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

fn regex(pattern: &str, place: Place<'_>) -> Result<String, GrammarError> {
    place.limit("the pattern's length in bytes", pattern.len(), pattern::BYTES)?;
    pattern::translate(pattern).or_else(|why| place.wrong(why))
}

fn numbers(written: &Map<String, Value>, out: &mut Map<String, Value>, place: Place<'_>) -> Result<(), GrammarError> {
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
fn counts(
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
        let Some(count) = value.as_u64().or(whole.map(|count| count as u64)) else {
            return here.wrong("it has to be a whole number, 0 or more");
        };
        here.limit("the bound", usize::try_from(count).unwrap_or(usize::MAX), limit as usize)?;
        out.insert((*keyword).to_owned(), json!(count));
        *found = Some(count);
    }
    Ok(found)
}

fn required<'a>(written: &'a Map<String, Value>, place: Place<'_>) -> Result<Vec<&'a str>, GrammarError> {
    let Some(value) = written.get("required") else { return Ok(Vec::new()) };
    let names: Option<Vec<&str>> = value.as_array().and_then(|names| names.iter().map(Value::as_str).collect());
    let Some(mut names) = names else { return place.at("required").wrong("it has to be a list of names") };
    place.at("required").limit("the number of names", names.len(), PROPERTIES)?;
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Adds schemas to a list of them.
fn add(out: &mut Map<String, Value>, keyword: &str, mut list: Value) {
    match out.get_mut(keyword).and_then(Value::as_array_mut) {
        Some(before) => before.extend(list.as_array_mut().map(std::mem::take).unwrap_or_default()),
        None => drop(out.insert(keyword.to_owned(), list)),
    }
}

/// What a JSON pointer points to.
fn find<'a>(root: &'a Value, pointer: &str) -> Option<&'a Value> {
    root.pointer(pointer)
}

/// A pointer as a fragment of a URI writes it, without `%XX`.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let coded = (*first == b'%').then(|| after.get(..2)).flatten();
        let byte = coded
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether a value nests deeper than so many levels.
fn depth(value: &Value, levels: usize) -> bool {
    if levels == 0 {
        return true;
    }
    match value {
        Value::Array(values) => values.iter().any(|value| depth(value, levels - 1)),
        Value::Object(fields) => fields.values().any(|value| depth(value, levels - 1)),
        _ => false,
    }
}
