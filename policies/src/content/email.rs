//! E-mail addresses, found in a text.

use super::view::{Before, View};

/// Longest local part and domain, bytes (RFC 5321 allows a domain of 255; none in use is near it).
const LOCAL_BYTES: usize = 64;
const DOMAIN_BYTES: usize = 190;

pub(super) fn length(view: &View<'_>, before: Before) -> Option<usize> {
    if before.last.is_some_and(is_local) {
        return None;
    }
    let mut at = 0;
    while let Some(character) = view.character(at).filter(|character| is_local(*character)) {
        at += character.len_utf8();
        if at > LOCAL_BYTES {
            return None;
        }
    }
    if at == 0 || view.byte(at) != Some(b'@') {
        return None;
    }
    domain(view, at + 1)
}

/// Where the longest domain ends that begins there.
fn domain(view: &View<'_>, from: usize) -> Option<usize> {
    let (mut at, mut label, mut dots, mut letters_only) = (from, 0_usize, 0_usize, true);
    let mut hyphen = false;
    let mut end = None;
    while at < from + DOMAIN_BYTES {
        let Some(character) = view.character(at) else { break };
        match character {
            '.' if label > 0 && !hyphen => {
                dots += 1;
                (label, letters_only) = (0, true);
            }
            '-' if label > 0 => (label, hyphen, letters_only) = (label + 1, true, false),
            _ if character.is_alphanumeric() => {
                label += 1;
                hyphen = false;
                letters_only &= character.is_alphabetic();
            }
            _ => break,
        }
        at += character.len_utf8();
        if dots > 0 && label >= 2 && letters_only {
            end = Some(at);
        }
    }
    end
}

fn is_local(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '.' | '_' | '%' | '+' | '-' | '\'' | '&' | '=')
}
