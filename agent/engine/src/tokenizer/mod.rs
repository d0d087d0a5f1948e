//! Text to tokens and back, built from the keys of a GGUF file.

mod build;
mod bytes;
mod error;
pub(crate) mod special;
mod stream;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use error::TokenizerError;
pub use stream::StreamDecoder;
use tokenizers::tokenizer::{OffsetType, PreTokenizedString};
use tokenizers::{Model as _, PreTokenizer as _};

use crate::gguf::Gguf;
use crate::template::Piece;

/// A model's tokenizer. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tokenizer(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    model: tokenizers::models::bpe::BPE,
    pre_tokenizer: tokenizers::pre_tokenizers::sequence::Sequence,
    specials: special::Specials,
    /// What each token writes; nothing for control tokens.
    pieces: Vec<Box<[u8]>>,
    /// Each token as the file spells it.
    texts: Vec<String>,
    bos: Option<u32>,
    eos: Option<u32>,
    add_bos: bool,
    end_of_generation: BTreeSet<u32>,
}

impl Tokenizer {
    /// Builds the tokenizer from `tokenizer.ggml.*`.
    ///
    /// # Errors
    /// Says which key is missing, contradicts another or asks for a kind of tokenizer that is not supported.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, TokenizerError> {
        build::from_gguf(gguf).map(|parts| Self(Arc::new(parts)))
    }

    /// Tokens of a text. `special`: whether special tokens written in the text count as such, which is right for
    /// templates and wrong for anything a person typed. `bos`: whether to begin with the token that begins sequences,
    /// if the model has one.
    #[must_use]
    pub fn encode(&self, text: &str, special: bool, bos: bool) -> Vec<u32> {
        let mut tokens = Vec::new();
        if bos {
            tokens.extend(self.0.bos);
        }
        if !special {
            self.encode_plain(text, &mut tokens);
            return tokens;
        }
        for part in self.0.specials.split(text) {
            match part {
                special::Part::Special(id) => tokens.push(id),
                special::Part::Text(text) => self.encode_plain(text, &mut tokens),
            }
        }
        tokens
    }

    /// Tokens of what a template wrote. `bos`: whether the model's `add_bos_token` is to be honoured; the token is never
    /// doubled when the template has written it already.
    #[must_use]
    pub fn encode_pieces(&self, pieces: &[Piece], bos: bool) -> Vec<u32> {
        let mut tokens = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Special(id) => tokens.push(*id),
                Piece::Text(text) => self.encode_plain(text, &mut tokens),
            }
        }
        match self.0.bos {
            Some(id) if bos && self.0.add_bos && tokens.first() != Some(&id) => tokens.insert(0, id),
            _ => {}
        }
        tokens
    }

    /// The text that tokens write. Control tokens write nothing; bytes that are not UTF-8 become U+FFFD.
    #[must_use]
    pub fn decode(&self, tokens: &[u32]) -> String {
        let bytes: Vec<u8> = tokens.iter().flat_map(|id| self.piece(*id)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// A decoder for one answer as it comes, token by token.
    #[must_use]
    pub fn decode_stream(&self) -> StreamDecoder {
        StreamDecoder::new(self.clone())
    }

    /// Number of tokens.
    #[must_use]
    pub fn vocabulary(&self) -> usize {
        self.0.texts.len()
    }

    /// A token as the file spells it.
    #[must_use]
    pub fn text(&self, id: u32) -> Option<&str> {
        self.0.texts.get(id as usize).map(String::as_str)
    }

    /// The special token that is spelled so.
    #[must_use]
    pub fn special(&self, text: &str) -> Option<u32> {
        self.0.specials.id(text)
    }

    /// The token that begins sequences.
    #[must_use]
    pub fn bos(&self) -> Option<u32> {
        self.0.bos
    }

    /// The token that ends sequences.
    #[must_use]
    pub fn eos(&self) -> Option<u32> {
        self.0.eos
    }

    /// Whether the file asks for every sequence to begin with [`Tokenizer::bos`].
    #[must_use]
    pub fn add_bos(&self) -> bool {
        self.0.add_bos
    }

    /// The tokens that end an answer.
    #[must_use]
    pub fn end_of_generation(&self) -> &BTreeSet<u32> {
        &self.0.end_of_generation
    }

    pub(crate) fn specials(&self) -> &special::Specials {
        &self.0.specials
    }

    pub(crate) fn piece(&self, id: u32) -> &[u8] {
        self.0.pieces.get(id as usize).map(AsRef::as_ref).unwrap_or_default()
    }

    fn encode_plain(&self, text: &str, tokens: &mut Vec<u32>) {
        if text.is_empty() {
            return;
        }
        let mut words = PreTokenizedString::from(text);
        // Neither step fails on any text: the expressions were compiled at load, and byte-level words hold only
        // characters of the byte alphabet. Were it to happen, the text would be dropped rather than the process.
        let encoded = self
            .0
            .pre_tokenizer
            .pre_tokenize(&mut words)
            .and_then(|()| words.tokenize(|word| self.0.model.tokenize(word.get())))
            .and_then(|()| words.into_encoding(None, 0, OffsetType::None));
        if let Ok(encoding) = encoded {
            tokens.extend_from_slice(encoding.get_ids());
        }
    }
}
