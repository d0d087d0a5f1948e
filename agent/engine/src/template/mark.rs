//! Breaks special tokens inside messages with a mark and finds the ones that the template wrote.

use super::Piece;
use crate::tokenizer::special::{Part, Specials};

/// Opens a mark. A noncharacter of Unicode: no honest text holds it, and a dishonest one is escaped.
const MARK: char = '\u{FDD0}';
/// After [`MARK`]: a special token was broken here; both go away.
const BREAK: char = '\u{FDD1}';
/// After [`MARK`]: the text itself held a [`MARK`]; only this goes away.
const ESCAPE: char = '\u{FDD2}';

/// The same text, in which no special token can be found.
pub(super) fn protect(text: &str, specials: &Specials) -> String {
    let mut safe = String::with_capacity(text.len());
    for (at, character) in text.char_indices() {
        safe.push(character);
        if character == MARK {
            safe.push(ESCAPE);
        } else if specials.begins(&text.as_bytes()[at..]) {
            safe.push(MARK);
            safe.push(BREAK);
        }
    }
    safe
}

/// Cuts marked text at the special tokens that are whole, and takes the marks out of the rest.
pub(super) fn cut(marked: &str, specials: &Specials) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for part in specials.split(marked) {
        match part {
            Part::Special(id) => pieces.push(Piece::Special(id)),
            Part::Text(text) => pieces.push(Piece::Text(unmark(text))),
        }
    }
    pieces
}

fn unmark(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character != MARK {
            plain.push(character);
        } else if characters.next_if_eq(&BREAK).is_none() {
            characters.next_if_eq(&ESCAPE);
            plain.push(MARK);
        }
    }
    plain
}
