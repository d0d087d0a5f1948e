//! Filters and tests that answer as Python's Jinja does where minijinja's own differ.

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, State, Value};

use super::python::{Layout, json, pair, text, wrong};
use super::strings;

/// Widest indentation that a template gets: the width is the template's.
const INDENT: usize = 64;

pub(super) fn register(environment: &mut Environment<'static>) {
    environment.set_formatter(|out, state, value| {
        if value.is_undefined() {
            return Ok(());
        }
        out.write_str(&text(state, value)?).map_err(Error::from)
    });
    environment.add_filter("tojson", to_json);
    environment.add_filter("string", |state: &State<'_, '_>, value: &Value| text(state, value));
    for name in ["upper", "lower", "capitalize"] {
        environment.add_filter(name, move |state: &State<'_, '_>, value: &Value| {
            strings::method(&text(state, value)?, name, &[])
        });
    }
    environment.add_filter("trim", |state: &State<'_, '_>, value: &Value, characters: Rest<Value>| {
        strings::method(&text(state, value)?, "strip", &characters)
    });
    environment.add_filter("replace", |state: &State<'_, '_>, value: &Value, arguments: Rest<Value>| {
        strings::method(&text(state, value)?, "replace", &arguments)
    });
    environment.add_filter("length", length);
    environment.add_filter("count", length);
    environment.add_filter("list", list);
    environment.add_filter("join", join);
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_filter("round", round);
    environment.add_filter("indent", indent);
    environment.add_filter("items", items);
    environment.add_filter("dictsort", dictsort);
    let iterates = |value: &Value| {
        use ValueKind::{Iterable, Map, Seq, String, Undefined};
        matches!(value.kind(), String | Seq | Map | Iterable | Undefined)
    };
    environment.add_test("iterable", iterates);
    environment.add_test("sequence", iterates);
    environment.add_test("number", |value: &Value| matches!(value.kind(), ValueKind::Number | ValueKind::Bool));
}

/// JSON as Python's `json.dumps(value, ensure_ascii=False)` writes it: nothing escaped for HTML.
fn to_json(state: &State<'_, '_>, value: &Value, indent: Option<Value>, options: Kwargs) -> Result<Value, Error> {
    let indent = indent.or(options.get("indent")?).filter(|indent| !indent.is_none() && !indent.is_undefined());
    let indent = match indent {
        None => None,
        Some(indent) => Some(indentation(&indent)?),
    };
    let (between_items, after_key) = match options.get::<Option<Value>>("separators")?.filter(|value| !value.is_none())
    {
        None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        None => (", ".to_owned(), ": ".to_owned()),
        Some(pair) => {
            let parts: Vec<_> = pair.try_iter()?.collect();
            match parts.as_slice() {
                [item, key] => (text(state, item)?, text(state, key)?),
                _ => return Err(wrong("`separators` has to be a pair of texts")),
            }
        }
    };
    let flag = |name: &str| options.get::<Option<bool>>(name).map(|value| value.unwrap_or(false));
    let layout =
        Layout { indent, between_items, after_key, ensure_ascii: flag("ensure_ascii")?, sort_keys: flag("sort_keys")? };
    options.assert_all_used()?;
    json(state, value, &layout).map(Value::from)
}

/// A number of spaces, or the text itself.
fn indentation(value: &Value) -> Result<String, Error> {
    let indentation = match value.as_str() {
        Some(text) => text.to_owned(),
        None => {
            let spaces = value.as_i64().ok_or_else(|| wrong("an indentation is a number or a text"))?;
            " ".repeat(usize::try_from(spaces).unwrap_or(0).min(INDENT + 1))
        }
    };
    if indentation.len() > INDENT {
        return Err(wrong(format!("an indentation has at most {INDENT} characters")));
    }
    Ok(indentation)
}

fn length(value: &Value) -> Result<usize, Error> {
    if value.is_undefined() {
        return Ok(0);
    }
    value.len().ok_or_else(|| wrong(format!("a value of type {} has no length", value.kind())))
}

fn list(value: &Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::Undefined => Ok(Value::from(Vec::<Value>::new())),
        ValueKind::String => Ok(value.as_str().unwrap_or_default().chars().map(Value::from).collect()),
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => Ok(value.try_iter()?.collect::<Vec<_>>().into()),
        other => Err(wrong(format!("a value of type {other} is no list of things"))),
    }
}

fn join(state: &State<'_, '_>, value: &Value, between: Option<Value>, options: Kwargs) -> Result<String, Error> {
    let between = match between.or(options.get("d")?) {
        Some(between) => text(state, &between)?,
        None => String::new(),
    };
    let attribute: Option<String> = options.get("attribute")?;
    options.assert_all_used()?;
    let mut joined = String::new();
    for (index, item) in list(value)?.try_iter()?.enumerate() {
        if index > 0 {
            joined.push_str(&between);
        }
        strings::longest(joined.len())?;
        let item = match &attribute {
            Some(name) => item.get_attr(name)?,
            None => item,
        };
        joined.push_str(&text(state, &item)?);
    }
    Ok(joined)
}

fn int(value: &Value, default: Option<Value>, options: Kwargs) -> Result<Value, Error> {
    let default = default.or(options.get("default")?).unwrap_or_else(|| Value::from(0));
    let base: u32 = options.get::<Option<u32>>("base")?.unwrap_or(10);
    options.assert_all_used()?;
    if !(2..=36).contains(&base) {
        return Err(wrong("`base` has to be 2 to 36"));
    }
    // Saturating is right: no sound template converts what does not fit.
    let whole = |float: f64| if float.is_finite() { Value::from(float.trunc() as i64) } else { default.clone() };
    Ok(match value.kind() {
        ValueKind::Bool => Value::from(i64::from(value.is_true())),
        ValueKind::Number if value.is_integer() => value.clone(),
        ValueKind::Number => whole(f64::try_from(value.clone())?),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default().trim();
            match (i64::from_str_radix(text, base), text.parse::<f64>()) {
                (Ok(number), _) => Value::from(number),
                (Err(_), Ok(float)) => whole(float),
                _ => default,
            }
        }
        _ => default,
    })
}

fn float(value: &Value, default: Option<Value>) -> Result<Value, Error> {
    let default = || default.unwrap_or_else(|| Value::from(0.0));
    Ok(match value.kind() {
        ValueKind::Bool => Value::from(f64::from(u8::from(value.is_true()))),
        ValueKind::Number => Value::from(f64::try_from(value.clone())?),
        ValueKind::String => {
            value.as_str().and_then(|text| text.trim().parse::<f64>().ok()).map_or_else(default, Value::from)
        }
        _ => default(),
    })
}

fn round(value: &Value, places: Option<i32>, method: Option<String>, options: Kwargs) -> Result<Value, Error> {
    let places = places.or(options.get("precision")?).unwrap_or(0);
    let method = method.or(options.get("method")?);
    options.assert_all_used()?;
    if !(-300..=300).contains(&places) {
        return Err(wrong("`precision` has to be -300 to 300"));
    }
    let number = f64::try_from(value.clone())?;
    let scale = 10f64.powi(places);
    Ok(match method.as_deref() {
        None | Some("common") if value.is_integer() && places >= 0 => value.clone(),
        None | Some("common") if places >= 0 => {
            // Rust rounds the exact decimal value, half to even, which is what Python's `round` does.
            let places = usize::try_from(places).unwrap_or(0);
            Value::from(format!("{number:.places$}").parse::<f64>().unwrap_or(number))
        }
        None | Some("common") => Value::from((number * scale).round_ties_even() / scale),
        Some("ceil") => Value::from((number * scale).ceil() / scale),
        Some("floor") => Value::from((number * scale).floor() / scale),
        Some(_) => return Err(wrong("`method` has to be \"common\", \"ceil\" or \"floor\"")),
    })
}

fn indent(
    value: &str,
    width: Option<Value>,
    first: Option<bool>,
    blank: Option<bool>,
    options: Kwargs,
) -> Result<String, Error> {
    let indentation = match width.or(options.get("width")?) {
        Some(width) => indentation(&width)?,
        None => " ".repeat(4),
    };
    let first = first.or(options.get("first")?).unwrap_or(false);
    let blank = blank.or(options.get("blank")?).unwrap_or(false);
    options.assert_all_used()?;
    let mut indented = String::new();
    for (index, line) in strings::lines(&format!("{value}\n"), false).enumerate() {
        if index > 0 {
            indented.push('\n');
        }
        if if index == 0 { first } else { blank || !line.is_empty() } {
            indented.push_str(&indentation);
        }
        indented.push_str(line);
    }
    Ok(indented)
}

fn pairs(value: &Value) -> Result<Vec<(Value, Value)>, Error> {
    match value.kind() {
        ValueKind::Undefined => Ok(Vec::new()),
        ValueKind::Map => value.try_iter()?.map(|key| Ok((key.clone(), value.get_item(&key)?))).collect(),
        other => Err(wrong(format!("a value of type {other} has no items"))),
    }
}

pub(super) fn items(value: &Value) -> Result<Value, Error> {
    Ok(pairs(value)?.into_iter().map(|(key, value)| pair(key, value)).collect::<Vec<_>>().into())
}

fn dictsort(
    value: &Value,
    case_sensitive: Option<bool>,
    by: Option<String>,
    reverse: Option<bool>,
    options: Kwargs,
) -> Result<Value, Error> {
    let case_sensitive = case_sensitive.or(options.get("case_sensitive")?).unwrap_or(false);
    let by_value = by.or(options.get("by")?).is_some_and(|by| by == "value");
    let reverse = reverse.or(options.get("reverse")?).unwrap_or(false);
    options.assert_all_used()?;
    let mut keyed: Vec<_> = pairs(value)?
        .into_iter()
        .map(|(key, value)| {
            let by = if by_value { &value } else { &key };
            let folded = by.as_str().filter(|_| !case_sensitive).map(|text| Value::from(text.to_lowercase()));
            (folded.unwrap_or_else(|| by.clone()), key, value)
        })
        .collect();
    keyed.sort_by(|one, other| if reverse { other.0.cmp(&one.0) } else { one.0.cmp(&other.0) });
    Ok(keyed.into_iter().map(|(_, key, value)| pair(key, value)).collect::<Vec<_>>().into())
}
