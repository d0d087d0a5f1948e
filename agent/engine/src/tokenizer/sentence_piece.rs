//! SentencePiece vocabularies (`llama`): neighbouring pieces merge by the score of what comes of it, whole texts at a
//! time, and characters without a token are written as bytes. There is no Unicode normalisation.
//!
//! Vocabularies write U+2581 for a space. Here pieces hold the space itself, and a U+2581 in a text is read as a space,
//! which comes to the same.

use std::borrow::Cow;

use super::TokenizerError;
use super::keys::Keys;
use super::merge::Chain;
use super::vocabulary::{Kind, Vocabulary};
use crate::gguf::{Array, Value};

/// What vocabularies write for a space.
pub(super) const SPACE: char = '\u{2581}';

#[derive(Debug)]
pub(super) struct SentencePiece {
    /// Scores as whole numbers in the same order.
    ranks: Vec<i32>,
    /// The token of each byte.
    bytes: Vec<Option<u32>>,
    unknown: Option<u32>,
}

impl SentencePiece {
    pub(super) fn new(keys: Keys<'_>, vocabulary: &Vocabulary, unknown: Option<u32>) -> Result<Self, TokenizerError> {
        let mut bytes = vec![None; 256];
        for id in (0..vocabulary.len()).filter_map(|id| u32::try_from(id).ok()) {
            if let (Some(Kind::Byte), [byte]) = (vocabulary.kind(id), vocabulary.piece(id)) {
                bytes[usize::from(*byte)].get_or_insert(id);
            }
        }
        // A vocabulary without byte tokens may still have a token for a character of one byte.
        for byte in 0..=0x7F_u8 {
            let slot = &mut bytes[usize::from(byte)];
            *slot = slot.or_else(|| vocabulary.find(&[byte]));
        }
        Ok(Self { ranks: ranks(keys, vocabulary.len())?, bytes, unknown })
    }

    /// Appends the tokens of a text. `prefix`: whether to put a space in front of it.
    pub(super) fn encode(&self, vocabulary: &Vocabulary, text: &str, prefix: bool, tokens: &mut Vec<u32>) {
        let text = match (prefix, text.contains(SPACE)) {
            (false, false) => Cow::Borrowed(text),
            (prefix, _) => Cow::Owned(format!("{}{}", if prefix { " " } else { "" }, text.replace(SPACE, " "))),
        };
        let written = text.as_bytes();
        let mut chain = Chain::default();
        for (at, character) in text.char_indices() {
            let end = at + character.len_utf8();
            chain.push(at, end, vocabulary.find(&written[at..end]));
        }
        let longest = vocabulary.longest();
        chain.merge(|left, right| {
            let piece = &written[left.start..right.end];
            let id = (piece.len() <= longest).then(|| vocabulary.find(piece)).flatten()?;
            Some((self.ranks[id as usize], id))
        });
        for symbol in chain.symbols() {
            match symbol.id {
                Some(id) => tokens.push(id),
                None => self.encode_bytes(&written[symbol.start..symbol.end], tokens),
            }
        }
    }

    fn encode_bytes(&self, bytes: &[u8], tokens: &mut Vec<u32>) {
        let ids: Option<Vec<u32>> = bytes.iter().map(|byte| self.bytes[usize::from(*byte)]).collect();
        match ids {
            Some(ids) => tokens.extend(ids),
            None => tokens.extend(self.unknown),
        }
    }
}

fn ranks(keys: Keys<'_>, tokens: usize) -> Result<Vec<i32>, TokenizerError> {
    let key = "tokenizer.ggml.scores";
    let scores = match keys.get(key) {
        None => return Ok(vec![0; tokens]),
        Some(Value::Array(Array::F32(scores))) => Cow::Borrowed(scores.as_slice()),
        // Some early files have whole numbers.
        Some(Value::Array(Array::I32(scores))) => Cow::Owned(scores.iter().map(|score| *score as f32).collect()),
        Some(_) => return Err(TokenizerError::Key { key }),
    };
    if scores.len() != tokens {
        return Err(TokenizerError::Inconsistent { key, why: format!("{} scores for {tokens} tokens", scores.len()) });
    }
    if let Some(id) = scores.iter().position(|score| score.is_nan()) {
        return Err(TokenizerError::Inconsistent { key, why: format!("the score of token {id} is no number") });
    }
    Ok(scores.iter().map(|score| rank(*score)).collect())
}

/// A whole number that orders as the score does: the bits of a float of IEEE 754 order as its sign and magnitude.
fn rank(score: f32) -> i32 {
    // Adding zero makes the two zeros equal.
    let bits = (score + 0.0).to_bits().cast_signed();
    if bits < 0 { !(bits & i32::MAX) } else { bits }
}

/// The byte that a token such as `<0x0A>` stands for.
pub(super) fn byte_of(spelling: &str) -> Option<u8> {
    let digits = spelling.strip_prefix("<0x")?.strip_suffix('>')?;
    let plain = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    plain.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}
