//! Payment card numbers: a known beginning, a length that goes with it, and the Luhn check digit.

use super::digits::Digits;
use super::view::{Before, View};

const SHORTEST: usize = 13;
const LONGEST: usize = 19;

pub(super) fn length(view: &View<'_>, before: Before) -> Option<usize> {
    view.digit(0)?;
    let decimals = before.last == Some('.') && before.second.is_some_and(|character| character.is_ascii_digit());
    if !before.is_word_start() || decimals {
        return None;
    }
    let digits = Digits::read(view, 0, LONGEST);
    let fits = |count: &usize| {
        let number = digits.first(*count);
        is_issued(number) && luhn(number) && view.word_ends(digits.end_of(*count))
    };
    (SHORTEST..=digits.len()).rev().find(fits).map(|count| digits.end_of(count))
}

/// Whether a scheme gives out numbers that begin so and are so long.
fn is_issued(number: &[u8]) -> bool {
    let begin = |count: usize| number.iter().take(count).fold(0_u32, |value, digit| value * 10 + u32::from(*digit));
    let length = number.len();
    match (begin(1), begin(2), begin(3), begin(4)) {
        (4, ..) => matches!(length, 13 | 16 | 19),
        (_, 34 | 37, ..) => length == 15,
        (_, 51..=55, ..) | (_, _, _, 2221..=2720) => length == 16,
        (_, 36 | 38 | 39, ..) | (_, _, 300..=305, _) => (14..=19).contains(&length),
        (_, 65 | 62, ..) | (_, _, 644..=649, _) | (_, _, _, 6011 | 3528..=3589) => (16..=19).contains(&length),
        (_, 50 | 56..=58 | 60..=69, ..) => (13..=19).contains(&length),
        _ => false,
    }
}

fn luhn(number: &[u8]) -> bool {
    let doubled = |digit: u8| if digit < 5 { digit * 2 } else { digit * 2 - 9 };
    let digits = number.iter().rev().enumerate();
    let sum: u32 = digits.map(|(place, &digit)| u32::from(if place % 2 == 1 { doubled(digit) } else { digit })).sum();
    sum.is_multiple_of(10)
}
