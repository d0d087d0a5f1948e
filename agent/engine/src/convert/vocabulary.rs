//! The tokenizer's keys of the file: `tokenizer.json` carried over, and a token for every row of the table.

use serde_json::Value as Json;

use super::ConvertError;
use super::config::Config;
use super::directory::Directory;
use crate::gguf::{Array, Value};
use crate::tokenizer::huggingface;

const TOKENS: &str = "tokenizer.ggml.tokens";
const SCORES: &str = "tokenizer.ggml.scores";
const TYPES: &str = "tokenizer.ggml.token_type";
const TEMPLATE: &str = "tokenizer.chat_template";
const END: &str = "tokenizer.ggml.eos_token_id";

const NORMAL: i32 = 1;
const UNUSED: i32 = 5;
/// Scores of tokens that nothing is ever cut into.
const WORST: f32 = -1_000.0;

/// Keys for a table of so many rows.
pub(super) fn keys(directory: &Directory, config: &Config, rows: usize) -> Result<Vec<(String, Value)>, ConvertError> {
    let tokenizer = directory.bytes("tokenizer.json")?;
    let settings = directory.optional_bytes("tokenizer_config.json")?;
    let mut keys = huggingface::metadata(&tokenizer, settings.as_deref())?;
    fit(&mut keys, rows)?;
    if let Some(template) = directory.optional_text("chat_template.jinja")? {
        keys.retain(|(key, _)| key != TEMPLATE);
        keys.push((TEMPLATE.to_owned(), Value::Text(template)));
    }
    let generation = match directory.has("generation_config.json") {
        true => Config::from(directory.json_object("generation_config.json")?),
        false => config.clone(),
    };
    special(&mut keys, config, &generation, rows);
    Ok(keys)
}

/// Makes the lists of tokens as long as the table. Rows without a token get one that no text contains; special tokens
/// without a row, which no model can read, are dropped.
fn fit(keys: &mut [(String, Value)], rows: usize) -> Result<(), ConvertError> {
    let types = keys.iter().find_map(|(key, value)| match value {
        Value::Array(Array::I32(types)) if key == TYPES => Some(types.clone()),
        _ => None,
    });
    for (key, value) in keys {
        match (key.as_str(), value) {
            (TOKENS, Value::Array(Array::Text(tokens))) => {
                let has_row = |at: usize| types.as_ref().is_none_or(|types| types.get(at) == Some(&NORMAL));
                if (rows..tokens.len()).any(has_row) {
                    return Err(ConvertError::Vocabulary { tokens: tokens.len(), rows });
                }
                tokens.truncate(rows);
                tokens.extend((tokens.len()..rows).map(|row| format!("[PAD{row}]")));
            }
            (SCORES, Value::Array(Array::F32(scores))) => scores.resize(rows, WORST),
            (TYPES, Value::Array(Array::I32(types))) => types.resize(rows, UNUSED),
            _ => {}
        }
    }
    Ok(())
}

/// Tokens with a meaning that the tokenizer's own settings do not name: what `config.json` says, and everything that ends an
/// answer as `generation_config.json` lists it.
fn special(keys: &mut Vec<(String, Value)>, config: &Config, generation: &Config, rows: usize) {
    let ids = |config: &Config, key: &str| -> Vec<u32> {
        let one =
            |value: &Json| value.as_u64().and_then(|id| u32::try_from(id).ok()).filter(|id| (*id as usize) < rows);
        match config.get(key) {
            Some(Json::Array(list)) => list.iter().filter_map(one).collect(),
            Some(value) => one(value).into_iter().collect(),
            None => Vec::new(),
        }
    };
    let mut add = |key: &str, id: Option<u32>| {
        let is_new = !keys.iter().any(|(known, _)| known == key);
        keys.extend(id.filter(|_| is_new).map(|id| (key.to_owned(), Value::U32(id))));
    };
    for (key, name) in
        [("bos_token_id", "tokenizer.ggml.bos_token_id"), ("pad_token_id", "tokenizer.ggml.padding_token_id")]
    {
        add(name, ids(config, key).first().copied());
    }
    let endings = [ids(generation, "eos_token_id"), ids(config, "eos_token_id")].concat();
    add(END, endings.first().copied());
    let end = keys.iter().find(|(key, _)| key == END).and_then(|(_, value)| value.as_count());
    let mut others = endings.into_iter().filter(|id| Some(u64::from(*id)) != end).collect::<Vec<_>>();
    others.dedup();
    let is_new = |keys: &[(String, Value)], id: u32| {
        let known = |key: &str| key == "tokenizer.ggml.eot_token_id" || key == "tokenizer.ggml.eom_token_id";
        !keys.iter().any(|(key, value)| known(key) && value.as_count() == Some(u64::from(id)))
    };
    for id in others {
        for key in ["tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"] {
            if is_new(keys, id) && !keys.iter().any(|(known, _)| known == key) {
                keys.push((key.to_owned(), Value::U32(id)));
            }
        }
    }
}
