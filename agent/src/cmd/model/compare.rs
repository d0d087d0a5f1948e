//! `outpost model compare`: two files side by side, and what differs between them.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use outpost_engine::gguf::{Gguf, Value};
use serde_json::json;

use super::inspect::rows;
use super::tensors::{Group, groups};
use super::{Here, open, say, say_json};
use crate::facts;

/// Longest part of a metadata value that is shown, characters.
const SHOWN: usize = 48;

pub(super) fn run(here: &Here, left: &Path, right: &Path) -> Result<()> {
    let (files, paths) = ([open(left)?, open(right)?], [left, right]);
    let [left_rows, right_rows] = [described(&files[0], paths[0])?, described(&files[1], paths[1])?];
    let metadata = metadata(&files);
    let tensors = tensors(&files);
    if here.json {
        let rows: Vec<_> = left_rows
            .iter()
            .zip(&right_rows)
            .map(
                |((name, left), (_, right))| json!({"name": name, "left": left, "right": right, "same": left == right}),
            )
            .collect();
        let three = |rows: &[[String; 3]]| -> Vec<_> {
            rows.iter().map(|[name, left, right]| json!({"name": name, "left": left, "right": right})).collect()
        };
        return say_json(&json!({
            "rows": rows, "metadata": three(&metadata), "tensors": three(&tensors), "same_vocabulary": same_words(&files),
        }));
    }
    let line = |mark: &str, name: &str, left: &str, right: &str| say(format!("{mark} {name:<36} {left:<48} {right}"));
    line(" ", "", &left.display().to_string(), &right.display().to_string())?;
    for ((name, left), (_, right)) in left_rows.iter().zip(&right_rows) {
        line(if left == right { " " } else { "≠" }, name, left, right)?;
    }
    let verdict = if same_words(&files) { "the same" } else { "different: their tokens cannot be compared" };
    say(format!("  {:<36} {verdict}", "words of the vocabulary"))?;
    for (title, rows) in [("metadata that differs", &metadata), ("tensors that differ", &tensors)] {
        say(format!("\n{title}: {}", rows.len()))?;
        for [name, left, right] in rows {
            line("≠", name, left, right)?;
        }
    }
    Ok(())
}

fn described(gguf: &Gguf, path: &Path) -> Result<Vec<(&'static str, String)>> {
    let info = gguf.info();
    Ok(rows(gguf, &info, &facts::variant(facts::model_id(path, &info)?, 1, &info)))
}

fn same_words([left, right]: &[Gguf; 2]) -> bool {
    let words = "tokenizer.ggml.tokens";
    left.get(words) == right.get(words)
}

/// Metadata keys whose values differ: key, left, right.
fn metadata([left, right]: &[Gguf; 2]) -> Vec<[String; 3]> {
    let keys: BTreeSet<&String> = left.metadata().iter().chain(right.metadata()).map(|(key, _)| key).collect();
    keys.into_iter()
        .filter(|key| left.get(key) != right.get(key))
        .map(|key| [key.escape_debug().to_string(), value(left.get(key)), value(right.get(key))])
        .collect()
}

fn value(value: Option<&Value>) -> String {
    let Some(value) = value else { return "–".to_owned() };
    if let Some(texts) = value.as_texts() {
        return format!("{} texts", texts.len());
    }
    let shown = match (value.as_text(), value.as_number(), value.as_flag()) {
        (Some(text), ..) => text.escape_debug().to_string(),
        (_, Some(number), _) => number.to_string(),
        (.., Some(flag)) => flag.to_string(),
        _ => format!("{value:?}"),
    };
    match shown.char_indices().nth(SHOWN) {
        None => shown,
        Some((end, _)) => format!("{}…", &shown[..end]),
    }
}

/// Tensor groups that only one of the files has in this shape and format: name, left, right.
fn tensors([left, right]: &[Gguf; 2]) -> Vec<[String; 3]> {
    let (left, right) = (groups(left), groups(right));
    let names: BTreeSet<&String> = left.iter().chain(&right).map(|group| &group.name).collect();
    let of = |groups: &[Group], name: &str| -> Vec<String> {
        let described = |group: &Group| format!("{} × {} {}", group.count, group.shape, group.format);
        groups.iter().filter(|group| group.name == name).map(described).collect()
    };
    names
        .into_iter()
        .map(|name| (name, of(&left, name), of(&right, name)))
        .filter(|(_, left, right)| left != right)
        .map(|(name, left, right)| {
            let shown = |side: &[String]| if side.is_empty() { "–".to_owned() } else { side.join(", ") };
            [name.clone(), shown(&left), shown(&right)]
        })
        .collect()
}
