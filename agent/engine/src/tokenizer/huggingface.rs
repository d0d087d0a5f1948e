//! Reads a `tokenizer.json` of Hugging Face as the `tokenizer.ggml.*` keys it amounts to, so that there is one loader.
//!
//! What keys cannot say is either refused by name or has no part in them: truncation and padding are the caller's, and
//! the NFC normalisation that Qwen's files ask for is left out, as it is for every GGUF file of that family.

mod file;
mod roles;
mod steps;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use file::{Config, File, Model};
use steps::Plan;

use super::TokenizerError;
use super::keys::{SPELLING_BYTES, TOKENS};
use super::sentence_piece::{SPACE, byte_of};
use crate::gguf::{Array, Value};

const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// The keys that a `tokenizer.json` and its `tokenizer_config.json` amount to: `tokenizer.ggml.*` and, if the
/// configuration has one, `tokenizer.chat_template`.
///
/// # Errors
/// Fails when a file is no JSON of this shape, is larger than any real one, contradicts itself, or asks for something
/// that the keys cannot say; the error names the part and shows it.
pub fn metadata(
    tokenizer_json: &[u8],
    tokenizer_config: Option<&[u8]>,
) -> Result<Vec<(String, Value)>, TokenizerError> {
    let file = File::parse(tokenizer_json)?;
    let config = tokenizer_config.map(Config::parse).transpose()?.unwrap_or_default();
    let plan = Plan::of(&file)?;
    let table = Table::new(&file)?;
    let mut types = table.types.clone();
    if let Some(id) = file.model.unk_token.as_deref().and_then(|text| table.ids.get(text)) {
        // The other families' unknown token is one that text never becomes: a control token like any other.
        types[*id as usize] = if matches!(plan, Plan::SentencePiece { .. }) { UNKNOWN } else { CONTROL };
    }
    let mut keys = Keys(Vec::new());
    match &plan {
        Plan::BytePair { pre } => {
            keys.text("model", "gpt2");
            keys.text("pre", pre);
            keys.texts("tokens", table.texts.clone());
            keys.put("token_type", Value::Array(Array::I32(types)));
            keys.texts("merges", file.model.merges.iter().map(file::Merge::joined).collect::<Result<_, _>>()?);
        }
        Plan::SentencePiece { space_prefix } => {
            for (text, kind) in table.texts.iter().zip(&mut types) {
                if *kind == NORMAL && byte_of(text).is_some() {
                    *kind = BYTE;
                }
            }
            keys.text("model", "llama");
            keys.text("pre", "default");
            keys.put("scores", Value::Array(Array::F32(scores(&file.model, &table)?)));
            keys.texts("tokens", spaced(&table.texts, &types));
            keys.put("token_type", Value::Array(Array::I32(types)));
            keys.flag("add_space_prefix", *space_prefix);
        }
        Plan::WordPiece { lowercase, strip_accents } => {
            keys.text("model", "bert");
            keys.text("pre", "default");
            keys.texts("tokens", pieces(&table.texts, &types));
            keys.put("token_type", Value::Array(Array::I32(types)));
            keys.flag("normalizer.lowercase", *lowercase);
            keys.flag("normalizer.strip_accents", *strip_accents);
        }
    }
    roles::put(&mut keys, &file, &config, &table.ids);
    Ok(keys.0)
}

/// The spelling of an id between others that no token has.
fn placeholder(id: usize) -> String {
    format!("[PAD{id}]")
}

/// Keys in the order to write.
struct Keys(Vec<(String, Value)>);

impl Keys {
    fn put(&mut self, name: &str, value: Value) {
        self.0.push((format!("tokenizer.ggml.{name}"), value));
    }

    fn text(&mut self, name: &str, text: &str) {
        self.put(name, Value::Text(text.to_owned()));
    }

    fn texts(&mut self, name: &str, texts: Vec<String>) {
        self.put(name, Value::Array(Array::Text(texts)));
    }

    fn flag(&mut self, name: &str, flag: bool) {
        self.put(name, Value::Bool(flag));
    }
}

/// All tokens by id.
struct Table {
    texts: Vec<String>,
    types: Vec<i32>,
    ids: HashMap<String, u32>,
}

impl Table {
    fn new(file: &File) -> Result<Self, TokenizerError> {
        let added = file.added_tokens.iter().map(|token| (token.id, &token.content));
        let all = file.model.vocab.iter().map(|(text, id)| (*id, text)).chain(added);
        let mut ids = HashMap::new();
        for (id, text) in all {
            let known = u32::try_from(id).ok().filter(|id| (*id as usize) < TOKENS);
            let Some(id) = known else {
                let value = usize::try_from(id).unwrap_or(usize::MAX);
                return Err(TokenizerError::TooLarge { what: "a token's id", value, limit: TOKENS });
            };
            if ids.insert(text.clone(), id).is_some_and(|before| before != id) {
                return Err(contradiction("vocab", format!("`{}` has two ids", shown(text))));
            }
        }
        let tokens = ids.values().max().map_or(0, |id| *id as usize + 1);
        if tokens == 0 {
            return Err(contradiction("vocab", "there are no tokens".to_owned()));
        }
        let mut texts = vec![None; tokens];
        for (text, id) in &ids {
            if let Some(other) = texts[*id as usize].replace(text.clone()) {
                let why = format!("token {id} is both `{}` and `{}`", shown(text), shown(&other));
                return Err(contradiction("vocab", why));
            }
        }
        let mut types: Vec<i32> = texts.iter().map(|text| if text.is_some() { NORMAL } else { UNUSED }).collect();
        for token in &file.added_tokens {
            if let Some(id) = ids.get(&token.content) {
                types[*id as usize] = if token.special { CONTROL } else { USER_DEFINED };
            }
        }
        let named = |(id, text): (usize, Option<String>)| text.unwrap_or_else(|| placeholder(id));
        let texts: Vec<String> = texts.into_iter().enumerate().map(named).collect();
        Ok(Self { texts, types, ids })
    }
}

/// What a SentencePiece vocabulary scores its tokens: the earlier a merge was learnt, the higher what comes of it.
fn scores(model: &Model, table: &Table) -> Result<Vec<f32>, TokenizerError> {
    let never = -(model.merges.len() as f32) - 1.0;
    let mut scores: Vec<f32> = table
        .texts
        .iter()
        .zip(&table.types)
        // Single characters and what is matched whole come of no merge; whatever else comes of none merges last.
        .map(|(text, kind)| if *kind == NORMAL && text.chars().nth(1).is_some() { never } else { 0.0 })
        .collect();
    for (rank, merge) in model.merges.iter().enumerate().rev() {
        let (left, right) = merge.halves()?;
        if let Some(id) = table.ids.get(&format!("{left}{right}")) {
            scores[*id as usize] = -(rank as f32);
        }
    }
    Ok(scores)
}

/// Spellings in which the tokens that are matched whole hold spaces as text does.
fn spaced(texts: &[String], types: &[i32]) -> Vec<String> {
    let spell = |(text, kind): (&String, &i32)| match *kind {
        USER_DEFINED => text.replace(SPACE, " "),
        _ => text.clone(),
    };
    texts.iter().zip(types).map(spell).collect()
}

/// Spellings as GGUF has them: a mark before what begins a word, none before what goes on with one.
fn pieces(texts: &[String], types: &[i32]) -> Vec<String> {
    let spell = |(text, kind): (&String, &i32)| match (*kind, text.strip_prefix("##")) {
        (NORMAL, Some(rest)) if !rest.is_empty() => rest.to_owned(),
        (NORMAL, _) => format!("{SPACE}{text}"),
        _ => text.clone(),
    };
    texts.iter().zip(types).map(spell).collect()
}

fn contradiction(key: &'static str, why: String) -> TokenizerError {
    TokenizerError::Inconsistent { key, why }
}

/// The beginning of a text for a message.
fn shown(text: &str) -> String {
    text.chars().take(200).collect()
}

/// Bytes of a file are bounded before it is parsed: what is parsed from it takes a small multiple of them.
fn bounded<'bytes>(what: &'static str, bytes: &'bytes [u8]) -> Result<&'bytes [u8], TokenizerError> {
    if bytes.len() > SPELLING_BYTES {
        return Err(TokenizerError::TooLarge { what, value: bytes.len(), limit: SPELLING_BYTES });
    }
    Ok(bytes)
}
