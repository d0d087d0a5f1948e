//! The methods of Python's texts and mappings that templates call.

use minijinja::value::{Kwargs, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

use super::filters;
use super::python::{Tuple, wrong};

/// Widest field that a template gets, characters: the width is the template's.
const WIDTH: usize = 4096;
/// Longest text that one method makes, bytes.
const LONGEST: usize = 16 << 20;

/// Answers a method that minijinja does not know.
pub(super) fn unknown_method(
    state: &mut State<'_, '_>,
    value: &Value,
    name: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let answer = match (value.kind(), name) {
        (ValueKind::String, _) => method(value.as_str().unwrap_or_default(), name, args),
        (ValueKind::Map, "items") if args.is_empty() => filters::items(value),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    };
    match answer {
        Err(error) if error.kind() == ErrorKind::UnknownMethod => {
            pycompat::unknown_method_callback(state, value, name, args)
        }
        answer => answer,
    }
}

/// A method of a text; an unknown one is an error of its own kind.
pub(super) fn method(own: &str, name: &str, args: &[Value]) -> Result<Value, Error> {
    Ok(match name {
        "upper" => none(args, own.to_uppercase())?,
        "lower" => none(args, own.to_lowercase())?,
        "capitalize" => none(args, capitalize(own))?,
        "title" => none(args, title(own))?,
        "swapcase" => none(args, swapcase(own))?,
        "strip" | "lstrip" | "rstrip" => {
            let (characters,): (Option<&Value>,) = from_args(args)?;
            let characters = characters.filter(|value| !value.is_none()).map(as_text).transpose()?;
            let strips = |character| characters.map_or_else(|| is_space(character), |set| set.contains(character));
            let own = if name == "rstrip" { own } else { own.trim_start_matches(strips) };
            Value::from(if name == "lstrip" { own } else { own.trim_end_matches(strips) })
        }
        "split" | "rsplit" => {
            let (separator, limit, options): (Option<&Value>, Option<i64>, Kwargs) = from_args(args)?;
            let named: Option<&Value> = options.get("sep")?;
            let separator = separator.or(named).filter(|value| !value.is_none()).map(as_text).transpose()?;
            let limit = limit.or(options.get("maxsplit")?).and_then(|limit| usize::try_from(limit).ok());
            options.assert_all_used()?;
            split(own, separator, limit.unwrap_or(usize::MAX), name == "rsplit")?
        }
        "splitlines" => {
            let (keep, options): (Option<bool>, Kwargs) = from_args(args)?;
            let keep = keep.or(options.get("keepends")?).unwrap_or(false);
            options.assert_all_used()?;
            lines(own, keep).map(Value::from).collect()
        }
        "replace" => {
            let (old, new, limit, options): (&str, &str, Option<i64>, Kwargs) = from_args(args)?;
            let limit = limit.or(options.get("count")?).and_then(|limit| usize::try_from(limit).ok());
            options.assert_all_used()?;
            let limit = limit.unwrap_or(usize::MAX);
            longest(own.matches(old).take(limit).count().saturating_mul(new.len()))?;
            Value::from(own.replacen(old, new, limit))
        }
        "count" => {
            let (what,): (&str,) = from_args(args)?;
            Value::from(own.matches(what).count())
        }
        "find" | "rfind" | "index" | "rindex" => {
            let (what,): (&str,) = from_args(args)?;
            let place = if name.starts_with('r') { own.rfind(what) } else { own.find(what) };
            match place {
                Some(place) => Value::from(own[..place].chars().count()),
                None if name.ends_with("index") => return Err(wrong("the text does not hold what is looked for")),
                None => Value::from(-1),
            }
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Value::from(own.strip_prefix(prefix).unwrap_or(own))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Value::from(own.strip_suffix(suffix).unwrap_or(own))
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            if separator.is_empty() {
                return Err(wrong("a separator cannot be empty"));
            }
            let is_right = name == "rpartition";
            let found = if is_right { own.rsplit_once(separator) } else { own.split_once(separator) };
            let parts = match found {
                Some((before, after)) => [before, separator, after],
                None if is_right => ["", "", own],
                None => [own, "", ""],
            };
            Value::from_object(Tuple(parts.into_iter().map(Value::from).collect()))
        }
        "join" => {
            let (values,): (&Value,) = from_args(args)?;
            let mut joined = String::new();
            for (index, value) in values.try_iter()?.enumerate() {
                joined.push_str(if index > 0 { own } else { "" });
                longest(joined.len())?;
                joined.push_str(as_text(&value)?);
            }
            Value::from(joined)
        }
        "ljust" | "rjust" | "center" | "zfill" => pad(own, name, args)?,
        "isspace" => none(args, !own.is_empty() && own.chars().all(is_space))?,
        "isdigit" | "isnumeric" | "isdecimal" | "isalpha" | "isalnum" if own.is_empty() => none(args, false)?,
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}

/// Refuses to make a text that no prompt can hold: what a method makes is paid for only when it is there.
pub(super) fn longest(bytes: usize) -> Result<(), Error> {
    if bytes > LONGEST { Err(Error::from(ErrorKind::OutOfFuel)) } else { Ok(()) }
}

/// What Python takes for white space: Unicode's, and four separators of ASCII.
fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

fn none(args: &[Value], answer: impl Into<Value>) -> Result<Value, Error> {
    let () = from_args(args)?;
    Ok(answer.into())
}

fn as_text(value: &Value) -> Result<&str, Error> {
    value.as_str().ok_or_else(|| wrong(format!("a text is needed here, not a value of type {}", value.kind())))
}

fn capitalize(own: &str) -> String {
    let mut characters = own.chars();
    let first: String = characters.next().into_iter().flat_map(char::to_uppercase).collect();
    // Lower case looks at neighbours, as with the final sigma.
    first + &characters.as_str().to_lowercase()
}

fn title(own: &str) -> String {
    let mut titled = String::with_capacity(own.len());
    let mut inside = false;
    for character in own.chars() {
        if inside {
            titled.extend(character.to_lowercase());
        } else {
            titled.extend(character.to_uppercase());
        }
        inside = character.is_alphabetic();
    }
    titled
}

fn swapcase(own: &str) -> String {
    let mut swapped = String::with_capacity(own.len());
    for character in own.chars() {
        if character.is_uppercase() {
            swapped.extend(character.to_lowercase());
        } else {
            swapped.extend(character.to_uppercase());
        }
    }
    swapped
}

fn split(own: &str, separator: Option<&str>, limit: usize, from_right: bool) -> Result<Value, Error> {
    let pieces = limit.saturating_add(1);
    let mut parts: Vec<&str> = match separator {
        Some("") => return Err(wrong("a separator cannot be empty")),
        Some(separator) if from_right => own.rsplitn(pieces, separator).collect(),
        Some(separator) => own.splitn(pieces, separator).collect(),
        None => words(own, limit, from_right),
    };
    if from_right {
        parts.reverse();
    }
    Ok(parts.into_iter().map(Value::from).collect::<Vec<_>>().into())
}

/// Words between runs of white space; the rest after `limit` cuts stays whole.
fn words(own: &str, limit: usize, from_right: bool) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = own;
    loop {
        rest = if from_right { rest.trim_end_matches(is_space) } else { rest.trim_start_matches(is_space) };
        if rest.is_empty() {
            return words;
        }
        let cut = if from_right { rest.rfind(is_space) } else { rest.find(is_space) };
        let Some(cut) = cut.filter(|_| words.len() < limit) else {
            words.push(rest);
            return words;
        };
        let width = rest[cut..].chars().next().map_or(1, char::len_utf8);
        let (word, left) = if from_right { (&rest[cut + width..], &rest[..cut]) } else { rest.split_at(cut) };
        words.push(word);
        rest = left;
    }
}

/// The lines of a text, cut wherever Python cuts.
pub(super) fn lines(own: &str, keep: bool) -> impl Iterator<Item = &str> {
    let mut rest = own;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let ends = |character| {
            matches!(
                character,
                '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
            )
        };
        let end = rest.find(ends).unwrap_or(rest.len());
        let width = match &rest[end..] {
            tail if tail.starts_with("\r\n") => 2,
            tail => tail.chars().next().map_or(0, char::len_utf8),
        };
        let line = &rest[..if keep { end + width } else { end }];
        rest = &rest[end + width..];
        Some(line)
    })
}

fn pad(own: &str, name: &str, args: &[Value]) -> Result<Value, Error> {
    let (width, fill): (i64, Option<&str>) = from_args(args)?;
    let width = usize::try_from(width).unwrap_or(0);
    if width > WIDTH {
        return Err(wrong(format!("a field has at most {WIDTH} characters")));
    }
    let missing = width.saturating_sub(own.chars().count());
    let fill = if name == "zfill" { "0" } else { fill.unwrap_or(" ") };
    if fill.chars().count() != 1 {
        return Err(wrong("a field is filled with one character"));
    }
    Ok(Value::from(match name {
        "ljust" => own.to_owned() + &fill.repeat(missing),
        "rjust" => fill.repeat(missing) + own,
        "center" => {
            let left = missing / 2 + (missing & width & 1);
            fill.repeat(left) + own + &fill.repeat(missing - left)
        }
        _ => match own.strip_prefix(['+', '-']) {
            Some(digits) => own[..1].to_owned() + &fill.repeat(missing) + digits,
            None => fill.repeat(missing) + own,
        },
    }))
}
