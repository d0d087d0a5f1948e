//! Digits as people write them: in groups, with something between.

use super::view::View;

/// Most digits that are read.
const MOST: usize = 24;

/// Digits with single separators between them.
pub(super) struct Digits {
    value: [u8; MOST],
    end: [usize; MOST],
    len: usize,
}

impl Digits {
    /// Reads digits from there on, `most` of them at most, each with no more than one separator before the next.
    pub(super) fn read(view: &View<'_>, from: usize, most: usize) -> Self {
        let mut digits = Self { value: [0; MOST], end: [0; MOST], len: 0 };
        let mut at = from;
        while digits.len < most.min(MOST) {
            let gap = if digits.len == 0 { 0 } else { separator(view, at) };
            let Some(value) = view.digit(at + gap) else { break };
            at += gap + 1;
            digits.value[digits.len] = value;
            digits.end[digits.len] = at;
            digits.len += 1;
        }
        digits
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The first so many.
    pub(super) fn first(&self, count: usize) -> &[u8] {
        &self.value[..count.min(self.len)]
    }

    /// Where the so manieth ends.
    pub(super) fn end_of(&self, count: usize) -> usize {
        self.end[count - 1]
    }
}

/// Bytes of the separator there; 0 if there is none.
pub(super) fn separator(view: &View<'_>, at: usize) -> usize {
    match view.character(at) {
        Some(' ' | '-' | '.') => 1,
        // No-break spaces, which word processors put between groups.
        Some(character @ ('\u{a0}' | '\u{202f}' | '\u{2011}')) => character.len_utf8(),
        _ => 0,
    }
}

/// A group of digits.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Group {
    pub(super) from: usize,
    pub(super) digits: usize,
}

impl Group {
    pub(super) fn end(self) -> usize {
        self.from + self.digits
    }
}

/// Most groups, and most digits in one.
const GROUPS: usize = 8;
const GROUP_DIGITS: usize = 20;

/// Groups of digits from there on, with one or two separators, slashes or brackets between.
pub(super) fn groups(view: &View<'_>, from: usize) -> ([Group; GROUPS], usize) {
    let mut groups = [Group::default(); GROUPS];
    let mut count = 0;
    let mut at = from;
    while count < GROUPS {
        let digits = view.run(at, GROUP_DIGITS, |byte| byte.is_ascii_digit());
        if digits == 0 {
            break;
        }
        groups[count] = Group { from: at, digits };
        count += 1;
        at += digits;
        let first = wide_separator(view, at);
        if first == 0 {
            break;
        }
        at += first;
        at += wide_separator(view, at);
    }
    (groups, count)
}

fn wide_separator(view: &View<'_>, at: usize) -> usize {
    match view.byte(at) {
        Some(b'(' | b')' | b'/') => 1,
        _ => separator(view, at),
    }
}
