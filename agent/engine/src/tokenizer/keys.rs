//! Looks up the tokenizer's keys in a file's metadata, whatever it was read from.

use super::TokenizerError;
use crate::gguf::Value;

/// Most tokens of a vocabulary; the largest have 262,208.
pub(super) const TOKENS: usize = 1 << 20;
/// Most bytes of all spellings together; the largest vocabularies have 3 MiB of them.
pub(super) const SPELLING_BYTES: usize = 64 << 20;

/// Metadata in file order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keys<'file>(pub(super) &'file [(String, Value)]);

impl<'file> Keys<'file> {
    pub(super) fn get(self, key: &str) -> Option<&'file Value> {
        self.0.iter().find(|entry| entry.0 == key).map(|entry| &entry.1)
    }

    pub(super) fn text(self, key: &str) -> Option<&'file str> {
        self.get(key).and_then(Value::as_text)
    }

    pub(super) fn flag(self, key: &str) -> Option<bool> {
        self.get(key).and_then(Value::as_flag)
    }

    pub(super) fn texts(self, key: &'static str) -> Result<&'file [String], TokenizerError> {
        self.get(key).and_then(Value::as_texts).ok_or(TokenizerError::Key { key })
    }

    /// The spellings of all tokens, bounded.
    pub(super) fn tokens(self) -> Result<&'file [String], TokenizerError> {
        let key = "tokenizer.ggml.tokens";
        let texts = self.texts(key)?;
        if texts.is_empty() {
            return Err(TokenizerError::Key { key });
        }
        if texts.len() > TOKENS {
            return Err(TokenizerError::TooLarge { what: "the vocabulary", value: texts.len(), limit: TOKENS });
        }
        let bytes = texts.iter().map(String::len).sum();
        if bytes > SPELLING_BYTES {
            return Err(TokenizerError::TooLarge { what: "all spellings", value: bytes, limit: SPELLING_BYTES });
        }
        Ok(texts)
    }

    /// Each token's type; empty when the file has none.
    pub(super) fn types(self, tokens: usize) -> Result<Vec<u64>, TokenizerError> {
        let key = "tokenizer.ggml.token_type";
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let types = value.as_counts().ok_or(TokenizerError::Key { key })?;
        if types.len() == tokens {
            return Ok(types);
        }
        Err(TokenizerError::Inconsistent { key, why: format!("{} types for {tokens} tokens", types.len()) })
    }

    /// A token id that lies inside the vocabulary.
    pub(super) fn token(self, key: &'static str, tokens: usize) -> Result<Option<u32>, TokenizerError> {
        match self.get(key).and_then(Value::as_count) {
            None => Ok(None),
            Some(id) if id < tokens as u64 => Ok(u32::try_from(id).ok()),
            Some(id) => Err(TokenizerError::Inconsistent { key, why: format!("token {id} of {tokens}") }),
        }
    }
}
