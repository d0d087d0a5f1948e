//! What is wrong with a selector, where, and what was probably meant.

use std::fmt;

/// What is wrong with a selector. Prints as one line that says it, and two that point at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectorError {
    /// Where, in characters from 1.
    pub column: usize,
    /// What is wrong, in words, with the nearest known word if there is one.
    pub message: String,
    /// The characters around the place, nothing among them that steers a terminal.
    excerpt: String,
    /// Where in the excerpt, from 0.
    caret: usize,
}

/// Characters that are shown before and after the place.
const AROUND: usize = 36;

impl SelectorError {
    pub(crate) fn new(text: &str, at: usize, message: impl Into<String>) -> Self {
        let before = text.get(..at).unwrap_or(text).chars().count();
        let start = before.saturating_sub(AROUND);
        let shown = text.chars().skip(start).take(2 * AROUND);
        Self {
            column: before + 1,
            message: message.into(),
            excerpt: shown.map(visible).collect(),
            caret: before - start,
        }
    }
}

/// Text of a selector inside a message: short, and nothing that steers a terminal.
pub(crate) fn quoted(text: &str) -> String {
    let short: String = text.chars().take(40).map(visible).collect();
    if text.chars().nth(40).is_some() { format!("`{short}…`") } else { format!("`{short}`") }
}

fn visible(character: char) -> char {
    // Marks that turn the direction of writing are no control characters to the standard library.
    let turns =
        matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    if character.is_control() || turns { '\u{fffd}' } else { character }
}

/// `; did you mean …?` if a known word is near.
pub(crate) fn meant<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    let near = known.map(|known| (strsim::damerau_levenshtein(word, known), known)).min();
    match near {
        // The distance of a long stranger to a short word is no likeness.
        Some((distance, known)) if distance <= 2 && distance < known.len() => format!("; did you mean `{known}`?"),
        _ => String::new(),
    }
}

impl fmt::Display for SelectorError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { column, message, excerpt, caret } = self;
        write!(formatter, "{message} (column {column})\n  {excerpt}\n  {:caret$}^", "")
    }
}

impl std::error::Error for SelectorError {}
