//! Byte-level byte-pair encoding (`gpt2`): words of bytes, merged by the order in which the merges were learnt.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::keys::Keys;
use super::merge::Chain;
use super::vocabulary::Vocabulary;
use super::words::{Cutter, Words};
use super::{TokenizerError, bytes};

#[derive(Debug)]
pub(super) struct BytePair {
    cutter: Cutter,
    ignore_merges: bool,
    /// Two tokens side by side: the rank of their merge, and what comes of it.
    merges: HashMap<(u32, u32), (u32, u32)>,
    /// The token of each byte.
    bytes: Vec<Option<u32>>,
}

impl BytePair {
    pub(super) fn new(keys: Keys<'_>, words: &Words, vocabulary: &Vocabulary) -> Result<Self, TokenizerError> {
        let key = "tokenizer.ggml.merges";
        let written = if keys.get(key).is_some() { keys.texts(key)? } else { &[] };
        let mut merges = HashMap::with_capacity(written.len());
        let (mut left, mut joined) = (Vec::new(), Vec::new());
        for (rank, merge) in written.iter().enumerate() {
            let (first, second) = halves(merge)?;
            left.clear();
            let whole = bytes::write(first, &mut left);
            joined.clone_from(&left);
            if !(bytes::write(second, &mut joined) && whole) {
                continue;
            }
            // A merge that names something that no text can become never applies.
            let ids = (vocabulary.find(&left), vocabulary.find(&joined[left.len()..]), vocabulary.find(&joined));
            if let ((Some(first), Some(second), Some(id)), Ok(rank)) = (ids, u32::try_from(rank)) {
                merges.entry((first, second)).or_insert((rank, id));
            }
        }
        let bytes = (0..=u8::MAX).map(|byte| vocabulary.find(&[byte])).collect();
        Ok(Self { cutter: Cutter::new(words)?, ignore_merges: words.ignore_merges, merges, bytes })
    }

    /// Appends the tokens of a text. Bytes that have no token, which no real vocabulary lacks, are left out.
    pub(super) fn encode(&self, vocabulary: &Vocabulary, text: &str, tokens: &mut Vec<u32>) {
        self.cutter.cut(text, &mut |word| {
            let whole = self.ignore_merges.then(|| vocabulary.find(word.as_bytes())).flatten();
            match whole {
                Some(id) => tokens.push(id),
                None => self.encode_word(word, tokens),
            }
        });
    }

    fn encode_word(&self, word: &str, tokens: &mut Vec<u32>) {
        let mut chain = Chain::default();
        for (at, byte) in word.bytes().enumerate() {
            if let Some(id) = self.bytes[usize::from(byte)] {
                chain.push(at, at + 1, Some(id));
            }
        }
        chain.merge(|left, right| {
            let (rank, id) = self.merges.get(&(left.id?, right.id?))?;
            Some((Reverse(*rank), *id))
        });
        tokens.extend(chain.symbols().filter_map(|symbol| symbol.id));
    }
}

/// `a b`, cut at the first space after the first character.
fn halves(merge: &str) -> Result<(&str, &str), TokenizerError> {
    let first = merge.chars().next().map_or(0, char::len_utf8);
    match merge[first..].find(' ').map(|cut| cut + first) {
        Some(cut) => Ok((&merge[..cut], &merge[cut + 1..])),
        None => {
            let start: String = merge.chars().take(40).collect();
            Err(TokenizerError::Inconsistent {
                key: "tokenizer.ggml.merges",
                why: format!("merge `{start}` has no space between two parts"),
            })
        }
    }
}
