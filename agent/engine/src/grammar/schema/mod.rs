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
mod values;

use std::collections::HashMap;

use keywords::{KEYWORDS, Support};
use serde_json::{Map, Value, json};
use values::{constants, counts, numbers, regex, strings};

use super::GrammarError;

/// Most bytes of a schema, written as JSON.
const SCHEMA_BYTES: usize = 256 << 10;
/// Most schemas within one.
const PLACES: usize = 10_000;
/// Deepest nesting within one place that a `$ref` points to.
const DEPTH: usize = 48;
const PROPERTIES: usize = 500;
const ALTERNATIVES: usize = 200;
const PREFIX_ITEMS: usize = 200;
const ITEMS: u64 = 10_000;

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
    /// Whether objects with named properties have no others where the schema leaves that open: not where parts of an object
    /// are told in several places.
    closes: bool,
    document: Document<'a>,
    /// The new names of the places that `$ref` pointed to, and those not translated yet.
    names: HashMap<String, String>,
    waiting: Vec<(String, String)>,
}

/// Whether an object whose schema leaves open what else it has can do with what is named.
fn closes(written: &Map<String, Value>, required: &[&str]) -> bool {
    let Some(properties) = written.get("properties").and_then(Value::as_object) else { return false };
    !written.contains_key("patternProperties") && required.iter().all(|name| properties.contains_key(*name))
}

/// Whether a schema says in several places what one object has: closing one of them would shut the others out.
fn is_told_in_parts(schema: &Value) -> bool {
    match schema {
        Value::Object(map) => {
            let several = map.contains_key("properties")
                && ["anyOf", "oneOf", "$ref"].iter().any(|keyword| map.contains_key(*keyword));
            several || map.contains_key("allOf") || map.values().any(is_told_in_parts)
        }
        Value::Array(list) => list.iter().any(is_told_in_parts),
        _ => false,
    }
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
        let mut work = Work {
            closes: !is_told_in_parts(document.root),
            document: *document,
            names: HashMap::new(),
            waiting: Vec::new(),
        };
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
        } else if work.closes && closes(written, &required) {
            // What nobody named is not made up: a weak model would go on naming without end.
            out.insert("additionalProperties".to_owned(), Value::Bool(false));
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
