//! National numbers, each with what it has of a check: US social security, UK national insurance, German tax, French
//! insurance, Spanish identity, Italian tax.

use super::digits::Digits;
use super::view::{Before, View};

pub(super) fn length(view: &View<'_>, before: Before) -> Option<usize> {
    if !before.is_word_start() {
        return None;
    }
    let first = view.byte(0)?;
    if first.is_ascii_digit() {
        return united_states(view).or_else(|| germany(view)).or_else(|| france(view)).or_else(|| spain(view));
    }
    if first.is_ascii_alphabetic() {
        return united_kingdom(view).or_else(|| spain(view)).or_else(|| italy(view));
    }
    None
}

/// `AAA-GG-SSSS`; without separators it could be any number of nine digits.
fn united_states(view: &View<'_>) -> Option<usize> {
    let separator = view.byte(3).filter(|byte| matches!(byte, b'-' | b' '))?;
    let digit_places = [0, 1, 2, 4, 5, 7, 8, 9, 10];
    if view.byte(6) != Some(separator) || digit_places.iter().any(|&at| view.digit(at).is_none()) {
        return None;
    }
    let area = view.slice(0, 3)?;
    let never = area == "000" || area == "666" || area.starts_with('9');
    let zero = view.slice(4, 6)? == "00" || view.slice(7, 11)? == "0000";
    (!never && !zero && view.word_ends(11)).then_some(11)
}

/// `AB 12 34 56 C`, with or without spaces.
fn united_kingdom(view: &View<'_>) -> Option<usize> {
    let letter = |at: usize| view.byte(at).filter(u8::is_ascii_alphabetic).map(|byte| byte.to_ascii_uppercase());
    let prefix = [letter(0)?, letter(1)?];
    let never_first = b"DFIQUV";
    let never_second = b"DFIOQUV";
    let never = [*b"BG", *b"GB", *b"KN", *b"NK", *b"NT", *b"TN", *b"ZZ"];
    if never_first.contains(&prefix[0]) || never_second.contains(&prefix[1]) || never.contains(&prefix) {
        return None;
    }
    let mut at = 2;
    for _ in 0..3 {
        at += usize::from(view.byte(at) == Some(b' '));
        view.digit(at)?;
        view.digit(at + 1)?;
        at += 2;
    }
    at += usize::from(view.byte(at) == Some(b' '));
    let suffix = letter(at)?;
    ((b'A'..=b'D').contains(&suffix) && view.word_ends(at + 1)).then_some(at + 1)
}

/// Eleven digits: one of the first ten comes twice or thrice, and the last checks the others (ISO 7064, MOD 11,10).
fn germany(view: &View<'_>) -> Option<usize> {
    let digits = Digits::read(view, 0, 11);
    if digits.len() != 11 {
        return None;
    }
    let number = digits.first(11);
    let mut counts = [0_u8; 10];
    for digit in &number[..10] {
        counts[usize::from(*digit)] += 1;
    }
    let repeated = counts.iter().filter(|count| **count > 1).count();
    let most = counts.iter().max().copied().unwrap_or(0);
    let product = number[..10].iter().fold(10_u32, |product, digit| {
        let sum = match (u32::from(*digit) + product) % 10 {
            0 => 10,
            sum => sum,
        };
        sum * 2 % 11
    });
    let check = (11 - product) % 10;
    let fits = number[0] != 0 && repeated == 1 && most <= 3 && check == u32::from(number[10]);
    (fits && view.word_ends(digits.end_of(11))).then(|| digits.end_of(11))
}

/// Thirteen digits and a key: 97 less the number modulo 97.
fn france(view: &View<'_>) -> Option<usize> {
    let digits = Digits::read(view, 0, 15);
    if digits.len() != 15 || !matches!(digits.first(1)[0], 1 | 2) {
        return None;
    }
    let value = |digits: &[u8]| digits.iter().fold(0_u64, |value, digit| value * 10 + u64::from(*digit));
    let number = digits.first(15);
    let month = value(&number[3..5]);
    let fits = (1..=12).contains(&month) && 97 - value(&number[..13]) % 97 == value(&number[13..]);
    (fits && view.word_ends(digits.end_of(15))).then(|| digits.end_of(15))
}

/// Eight digits, or X, Y or Z and seven, and the letter that the number modulo 23 gives.
fn spain(view: &View<'_>) -> Option<usize> {
    const LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    let first = match view.byte(0)?.to_ascii_uppercase() {
        b'X' => 0,
        b'Y' => 1,
        b'Z' => 2,
        _ => usize::from(view.digit(0)?),
    };
    let mut number = first;
    for at in 1..8 {
        number = number * 10 + usize::from(view.digit(at)?);
    }
    let at = 8 + usize::from(view.byte(8) == Some(b'-'));
    let letter = view.byte(at)?.to_ascii_uppercase();
    (LETTERS[number % 23] == letter && view.word_ends(at + 1)).then_some(at + 1)
}

/// Sixteen characters, the last of which checks the others.
fn italy(view: &View<'_>) -> Option<usize> {
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let mut sum = 0;
    for at in 0..15 {
        let byte = view.byte(at)?.to_ascii_uppercase();
        let is_letter_place = matches!(at, 0..=5 | 8 | 11);
        // Where two people would have the same code, letters take the place of digits.
        let fits = if is_letter_place { byte.is_ascii_uppercase() } else { byte.is_ascii_alphanumeric() };
        if !fits {
            return None;
        }
        let value = if byte.is_ascii_digit() { byte - b'0' } else { byte - b'A' };
        sum += if at % 2 == 0 { ODD[usize::from(value)] } else { u32::from(value) };
    }
    let check = u32::from(view.byte(15)?.to_ascii_uppercase().checked_sub(b'A')?);
    (sum % 26 == check && view.word_ends(16)).then_some(16)
}
