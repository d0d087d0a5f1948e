//! Credentials, by how they begin. What is found here is the beginning; a scanner that removes it goes on removing to the
//! credential's end, however long it is.

use super::view::{Before, View};

/// Beginnings of keys that name their maker, and how many characters must follow at least.
const KEYS: [(&str, usize); 22] = [
    ("AKIA", 16),
    ("ASIA", 16),
    ("AGPA", 16),
    ("AIDA", 16),
    ("AROA", 16),
    ("AIza", 35),
    ("ghp_", 20),
    ("gho_", 20),
    ("ghu_", 20),
    ("ghs_", 20),
    ("ghr_", 20),
    ("github_pat_", 20),
    ("glpat-", 16),
    ("hf_", 20),
    ("opk_", 20),
    ("sk-", 20),
    ("sk_live_", 16),
    ("rk_live_", 16),
    ("npm_", 20),
    ("pypi-", 20),
    ("xoxb-", 10),
    ("xoxp-", 10),
];

/// Characters that must follow `Bearer ` for it to be a token and not a word.
const BEARER: usize = 20;

/// What every armoured private key begins with.
const ARMOUR: &str = "-----BEGIN ";

/// How a credential goes on behind what was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// With characters of a token.
    Token,
    /// With lines up to `-----END …`.
    Armour,
}

pub(super) fn length(view: &View<'_>, before: Before) -> Option<usize> {
    let starts_here = before.last.is_none_or(|character| !u8::try_from(character).is_ok_and(is_token));
    match view.byte(0)? {
        b'-' => armour(view),
        b'B' | b'b' if before.is_word_start() => bearer(view),
        b'e' if starts_here => web_token(view),
        first if starts_here => {
            let candidates = KEYS.iter().filter(|(begin, _)| begin.as_bytes()[0] == first);
            candidates.filter_map(|(begin, least)| key(view, begin, *least)).max()
        }
        _ => None,
    }
}

/// How what was found goes on.
pub(super) fn tail(view: &View<'_>) -> Tail {
    if view.byte(0) == Some(b'-') { Tail::Armour } else { Tail::Token }
}

/// Whether a token can hold this.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'+' | b'/' | b'=')
}

fn key(view: &View<'_>, begin: &str, least: usize) -> Option<usize> {
    let follows = |at| view.run(at, least, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    (view.begins(0, begin) && follows(begin.len()) == least).then_some(begin.len() + least)
}

fn bearer(view: &View<'_>) -> Option<usize> {
    let word = "bearer";
    let is_word = word
        .bytes()
        .enumerate()
        .all(|(at, byte)| view.byte(at).is_some_and(|found| found.to_ascii_lowercase() == byte));
    if !is_word || !matches!(view.byte(word.len()), Some(b' ' | b':')) {
        return None;
    }
    let at = word.len() + 1 + usize::from(view.byte(word.len() + 1) == Some(b' '));
    (view.run(at, BEARER, is_token) == BEARER).then_some(at + BEARER)
}

/// A signed web token: two parts that each begin as JSON in base64 does.
fn web_token(view: &View<'_>) -> Option<usize> {
    const HEADER: usize = 240;
    if !view.begins(0, "eyJ") {
        return None;
    }
    let header = view.run(0, HEADER, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    view.begins(header, ".eyJ").then_some(header + 4)
}

fn armour(view: &View<'_>) -> Option<usize> {
    if !view.begins(0, ARMOUR) {
        return None;
    }
    let name = view.run(ARMOUR.len(), 48, |byte| byte.is_ascii_uppercase() || byte == b' ');
    let named = view.slice(ARMOUR.len(), ARMOUR.len() + name)?;
    let end = ARMOUR.len() + name;
    let fits = named.contains("PRIVATE KEY") && view.begins(end, "-----");
    fits.then_some(end + 5)
}
