//! The parts of `tokenizer.json` and `tokenizer_config.json` that are read.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value as Json;

use super::{bounded, contradiction, shown};
use crate::tokenizer::TokenizerError;

/// `tokenizer.json`.
#[derive(Debug, Deserialize)]
pub(super) struct File {
    #[serde(default)]
    pub(super) added_tokens: Vec<AddedToken>,
    #[serde(default)]
    pub(super) normalizer: Json,
    #[serde(default)]
    pub(super) pre_tokenizer: Json,
    #[serde(default)]
    pub(super) post_processor: Json,
    pub(super) model: Model,
}

#[derive(Debug, Deserialize)]
pub(super) struct AddedToken {
    pub(super) id: u64,
    pub(super) content: String,
    #[serde(default)]
    pub(super) special: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Model {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) vocab: HashMap<String, u64>,
    #[serde(default)]
    pub(super) merges: Vec<Merge>,
    #[serde(default)]
    pub(super) unk_token: Option<String>,
    #[serde(default)]
    pub(super) byte_fallback: bool,
    #[serde(default)]
    pub(super) ignore_merges: bool,
    #[serde(default)]
    pub(super) continuing_subword_prefix: Option<String>,
    #[serde(default)]
    pub(super) end_of_word_suffix: Option<String>,
    #[serde(default)]
    pub(super) max_input_chars_per_word: Option<u64>,
}

/// Two tokens that become one; older files write them as one text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Merge {
    Pair(String, String),
    Text(String),
}

impl Merge {
    pub(super) fn halves(&self) -> Result<(&str, &str), TokenizerError> {
        match self {
            Self::Pair(left, right) => Ok((left, right)),
            Self::Text(text) => text
                .split_once(' ')
                .ok_or_else(|| contradiction("merges", format!("`{}` has no space between two parts", shown(text)))),
        }
    }

    /// As GGUF writes it.
    pub(super) fn joined(&self) -> Result<String, TokenizerError> {
        let (left, right) = self.halves()?;
        if left.is_empty() || left.contains(' ') || right.is_empty() || right.contains(' ') {
            let why = format!("the parts `{}` and `{}` cannot be told apart", shown(left), shown(right));
            return Err(contradiction("merges", why));
        }
        Ok(format!("{left} {right}"))
    }
}

impl File {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, TokenizerError> {
        #[derive(Deserialize)]
        struct Head {
            model: Kind,
        }
        #[derive(Deserialize)]
        struct Kind {
            #[serde(rename = "type")]
            kind: Option<String>,
        }
        let wrong = |source| TokenizerError::Json { file: "tokenizer.json", source };
        let bytes = bounded("`tokenizer.json`", bytes)?;
        // A kind that is not supported has a vocabulary of another shape: say the kind, not the shape.
        let head: Head = serde_json::from_slice(bytes).map_err(wrong)?;
        match head.model.kind.as_deref() {
            None | Some("BPE" | "WordPiece") => serde_json::from_slice(bytes).map_err(wrong),
            Some(other) => {
                Err(TokenizerError::Unsupported { key: "model.type", value: shown(other), known: "BPE, WordPiece" })
            }
        }
    }
}

/// `tokenizer_config.json`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Config {
    pub(super) add_bos_token: Option<bool>,
    pub(super) add_eos_token: Option<bool>,
    pub(super) chat_template: Option<Templates>,
    #[serde(flatten)]
    pub(super) more: HashMap<String, Json>,
}

/// One template, or several by name.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Templates {
    One(String),
    Several(Vec<Template>),
}

#[derive(Debug, Deserialize)]
pub(super) struct Template {
    pub(super) name: String,
    pub(super) template: String,
}

impl Config {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, TokenizerError> {
        let wrong = |source| TokenizerError::Json { file: "tokenizer_config.json", source };
        serde_json::from_slice(bounded("`tokenizer_config.json`", bytes)?).map_err(wrong)
    }

    /// The spelling of a token with a role, as in `bos_token`.
    pub(super) fn role(&self, name: &str) -> Option<&str> {
        match self.more.get(name)? {
            Json::String(text) => Some(text),
            written => written.get("content")?.as_str(),
        }
    }
}
