//! What a detector sees: the text from one place on, and whether it asked for text that has not come yet.
//!
//! A detector decides only from what it reads through here. One that never reached for missing text would decide the
//! same whatever follows, so a scanner that waits whenever one did gives the same result however the text is cut.

use std::cell::Cell;

/// How far a detector can see, bytes: what a scanner holds back at most, but for one character.
pub(super) const SIGHT_BYTES: usize = 320;

/// The text from one place on.
pub(super) struct View<'a> {
    text: &'a str,
    finished: bool,
    wants_more: Cell<bool>,
}

impl<'a> View<'a> {
    /// `finished`: nothing follows the text.
    pub(super) fn new(text: &'a str, finished: bool) -> Self {
        Self { text, finished, wants_more: Cell::new(false) }
    }

    /// Whether something was asked for that is still to come.
    pub(super) fn wants_more(&self) -> bool {
        self.wants_more.get()
    }

    /// The byte there; none after the end, and none out of sight.
    pub(super) fn byte(&self, at: usize) -> Option<u8> {
        if at >= SIGHT_BYTES {
            return None;
        }
        let found = self.text.as_bytes().get(at).copied();
        if found.is_none() && !self.finished {
            self.wants_more.set(true);
        }
        found
    }

    /// The character that begins there.
    pub(super) fn character(&self, at: usize) -> Option<char> {
        let first = self.byte(at)?;
        if first.is_ascii() { Some(char::from(first)) } else { self.text.get(at..)?.chars().next() }
    }

    /// The digit there, as a number.
    pub(super) fn digit(&self, at: usize) -> Option<u8> {
        self.byte(at).filter(u8::is_ascii_digit).map(|byte| byte - b'0')
    }

    /// Whether a word ends there: nothing follows, or no letter and no digit.
    pub(super) fn word_ends(&self, at: usize) -> bool {
        self.character(at).is_none_or(|next| !next.is_alphanumeric())
    }

    /// Whether the text there begins with this.
    pub(super) fn begins(&self, at: usize, with: &str) -> bool {
        with.bytes().enumerate().all(|(offset, byte)| self.byte(at + offset) == Some(byte))
    }

    /// Bytes that fit, from there on, `most` at most.
    pub(super) fn run(&self, at: usize, most: usize, fits: impl Fn(u8) -> bool) -> usize {
        (0..most).take_while(|offset| self.byte(at + offset).is_some_and(&fits)).count()
    }

    /// The text of a stretch that was read.
    pub(super) fn slice(&self, from: usize, to: usize) -> Option<&'a str> {
        self.text.get(from..to)
    }
}

/// The two characters before the place.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Before {
    pub(super) last: Option<char>,
    pub(super) second: Option<char>,
}

impl Before {
    /// Whether a word can begin here.
    pub(super) fn is_word_start(self) -> bool {
        self.last.is_none_or(|character| !character.is_alphanumeric())
    }

    pub(super) fn then(self, character: char) -> Self {
        Self { last: Some(character), second: self.last }
    }
}
