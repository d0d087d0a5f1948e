//! The tokens of a vocabulary: how each is spelled, what each writes, and which one writes given bytes.
//!
//! All spellings lie in one block of memory and the index holds nothing but ids: a vocabulary of 150,000 tokens takes a
//! few megabytes, where a map of owned texts takes tens.

use std::hash::{BuildHasher as _, RandomState};

/// A slot of the index that holds no token.
const EMPTY: u32 = u32::MAX;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text takes it by the rules of the tokenizer.
    Ordinary,
    /// One byte of a character that has no token.
    Byte,
    /// Structure: written by templates, never taken from a text that a person wrote.
    Special,
    /// Text that is taken whole before the rules see it.
    Added,
    /// A placeholder that nothing writes.
    Unused,
}

/// Stretches of bytes, one after the other.
#[derive(Debug, Default)]
struct Packed {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Packed {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        // All spellings together are bounded far below 4 GiB when the file is read.
        self.ends.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
    }

    fn get(&self, id: u32) -> Option<&[u8]> {
        let index = id as usize;
        let end = *self.ends.get(index)? as usize;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        self.bytes.get(start..end)
    }
}

/// The tokens of a vocabulary.
#[derive(Debug, Default)]
pub(super) struct Vocabulary {
    spellings: Packed,
    pieces: Packed,
    kinds: Vec<Kind>,
    /// Ids of the tokens that text can take, found by the hash of what they write. Its length is a power of two.
    slots: Vec<u32>,
    hasher: RandomState,
    longest: usize,
}

impl Vocabulary {
    pub(super) fn with_capacity(tokens: usize) -> Self {
        let mut vocabulary = Self { slots: vec![EMPTY; (tokens * 2).next_power_of_two().max(2)], ..Self::default() };
        vocabulary.spellings.ends.reserve_exact(tokens);
        vocabulary.pieces.ends.reserve_exact(tokens);
        vocabulary.kinds.reserve_exact(tokens);
        vocabulary
    }

    /// Adds the next token. `found`: whether text can take it; the first of equal pieces wins.
    pub(super) fn push(&mut self, spelling: &str, piece: &[u8], kind: Kind, found: bool) {
        let Ok(id) = u32::try_from(self.kinds.len()) else { return };
        if found && !piece.is_empty() && self.find(piece).is_none() {
            let mask = self.slots.len() - 1;
            let mut slot = self.start(piece);
            while self.slots[slot] != EMPTY {
                slot = (slot + 1) & mask;
            }
            self.slots[slot] = id;
            self.longest = self.longest.max(piece.len());
        }
        self.spellings.push(spelling.as_bytes());
        self.pieces.push(piece);
        self.kinds.push(kind);
    }

    /// The token that writes these bytes, among those that text can take.
    pub(super) fn find(&self, piece: &[u8]) -> Option<u32> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut slot = self.start(piece);
        // The index is at most half full, so an empty slot ends every search.
        loop {
            match self.slots[slot] {
                EMPTY => return None,
                id if self.pieces.get(id) == Some(piece) => return Some(id),
                _ => slot = (slot + 1) & mask,
            }
        }
    }

    /// Length of the longest piece that text can take, bytes.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    pub(super) fn len(&self) -> usize {
        self.kinds.len()
    }

    /// What a token writes; nothing for one that is not there.
    pub(super) fn piece(&self, id: u32) -> &[u8] {
        self.pieces.get(id).unwrap_or_default()
    }

    /// A token as the file spells it.
    pub(super) fn spelling(&self, id: u32) -> Option<&str> {
        std::str::from_utf8(self.spellings.get(id)?).ok()
    }

    pub(super) fn kind(&self, id: u32) -> Option<Kind> {
        self.kinds.get(id as usize).copied()
    }

    fn start(&self, piece: &[u8]) -> usize {
        // The mask keeps the low bits, whatever the width of `usize`.
        self.hasher.hash_one(piece) as usize & (self.slots.len() - 1)
    }
}
