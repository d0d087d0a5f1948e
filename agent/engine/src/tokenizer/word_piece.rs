//! WordPiece vocabularies (`bert`): clean text, cut it into words, take the longest beginning of a word again and again.
//!
//! In GGUF files a token that begins a word is spelled with U+2581 in front, and one that goes on with a word without
//! the `##` of the original. Here, as in [`super::sentence_piece`], pieces hold a space for U+2581.

use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::tokenizer::{NormalizedString, OffsetReferential, OffsetType, PreTokenizedString};
use tokenizers::{Normalizer as _, PreTokenizer as _};

use super::keys::Keys;
use super::vocabulary::Vocabulary;

/// Longest word that is looked up, characters; longer ones are unknown, as in the reference.
const WORD_CHARACTERS: usize = 100;

#[derive(Debug)]
pub(super) struct WordPiece {
    normalizer: BertNormalizer,
    unknown: u32,
}

impl WordPiece {
    pub(super) fn new(keys: Keys<'_>, unknown: u32) -> Self {
        let lowercase = keys.flag("tokenizer.ggml.normalizer.lowercase").unwrap_or(true);
        let strip_accents = keys.flag("tokenizer.ggml.normalizer.strip_accents").unwrap_or(lowercase);
        Self { normalizer: BertNormalizer::new(true, true, Some(strip_accents), lowercase), unknown }
    }

    /// Appends the tokens of a text.
    pub(super) fn encode(&self, vocabulary: &Vocabulary, text: &str, tokens: &mut Vec<u32>) {
        let mut clean = NormalizedString::from(text);
        // Neither step can fail: their result types are those of a general interface.
        if self.normalizer.normalize(&mut clean).is_err() {
            return;
        }
        let mut words = PreTokenizedString::from(clean);
        if BertPreTokenizer.pre_tokenize(&mut words).is_err() {
            return;
        }
        for (word, _, _) in words.get_splits(OffsetReferential::Normalized, OffsetType::None) {
            self.encode_word(vocabulary, word, tokens);
        }
    }

    fn encode_word(&self, vocabulary: &Vocabulary, word: &str, tokens: &mut Vec<u32>) {
        let first = tokens.len();
        let spaced = format!(" {word}");
        let mut from = 0;
        while from < spaced.len() {
            let rest = &spaced[from..];
            let known = if word.chars().nth(WORD_CHARACTERS).is_some() { None } else { beginning(vocabulary, rest) };
            let Some((length, id)) = known else {
                tokens.truncate(first);
                tokens.push(self.unknown);
                return;
            };
            tokens.push(id);
            from += length;
        }
    }
}

/// Length and id of the longest token that a text begins with.
fn beginning(vocabulary: &Vocabulary, text: &str) -> Option<(usize, u32)> {
    let ends = text.char_indices().map(|(at, character)| at + character.len_utf8());
    let ends: Vec<usize> = ends.take_while(|end| *end <= vocabulary.longest()).collect();
    ends.iter().rev().find_map(|end| vocabulary.find(&text.as_bytes()[..*end]).map(|id| (*end, id)))
}
