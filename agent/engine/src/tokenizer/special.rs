//! Special tokens: where they stand in a text that is allowed to hold them, and how to spell them out where it is not.

use std::collections::HashMap;

/// The special tokens of a vocabulary.
#[derive(Debug, Default)]
pub(crate) struct Specials {
    /// By first byte, longest first, so that the longest match wins.
    by_first_byte: HashMap<u8, Vec<(String, u32)>>,
}

/// A stretch of a text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'text> {
    Text(&'text str),
    Special(u32),
}

impl Specials {
    pub(crate) fn new(tokens: impl Iterator<Item = (String, u32)>) -> Self {
        let mut by_first_byte: HashMap<u8, Vec<(String, u32)>> = HashMap::new();
        for (text, id) in tokens {
            if let Some(first) = text.bytes().next() {
                by_first_byte.entry(first).or_default().push((text, id));
            }
        }
        for tokens in by_first_byte.values_mut() {
            tokens.sort_by(|left, right| right.0.len().cmp(&left.0.len()).then(left.1.cmp(&right.1)));
        }
        Self { by_first_byte }
    }

    pub(crate) fn id(&self, text: &str) -> Option<u32> {
        let tokens = self.by_first_byte.get(&text.bytes().next()?)?;
        tokens.iter().find(|token| token.0 == text).map(|token| token.1)
    }

    /// Cuts a text at its special tokens.
    pub(crate) fn split<'text>(&self, text: &'text str) -> Vec<Part<'text>> {
        let mut parts = Vec::new();
        let (mut from, mut at) = (0, 0);
        while at < text.len() {
            match self.at(&text.as_bytes()[at..]) {
                None => at += 1,
                Some((length, id)) => {
                    if from < at {
                        parts.push(Part::Text(&text[from..at]));
                    }
                    parts.push(Part::Special(id));
                    at += length;
                    from = at;
                }
            }
        }
        if from < text.len() {
            parts.push(Part::Text(&text[from..]));
        }
        parts
    }

    /// Whether a special token begins these bytes, in whatever case its ASCII letters are written: a template may change
    /// the case of what a person typed.
    pub(crate) fn begins(&self, bytes: &[u8]) -> bool {
        let Some(first) = bytes.first() else { return false };
        [first.to_ascii_lowercase(), first.to_ascii_uppercase()].iter().any(|first| {
            self.by_first_byte.get(first).is_some_and(|tokens| {
                tokens.iter().any(|(text, _)| {
                    bytes.get(..text.len()).is_some_and(|bytes| bytes.eq_ignore_ascii_case(text.as_bytes()))
                })
            })
        })
    }

    fn at(&self, bytes: &[u8]) -> Option<(usize, u32)> {
        let tokens = self.by_first_byte.get(bytes.first()?)?;
        let (text, id) = tokens.iter().find(|(text, _)| bytes.starts_with(text.as_bytes()))?;
        Some((text.len(), *id))
    }
}
