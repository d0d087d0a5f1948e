//! Telephone numbers: international ones, North American ones, and national ones with a leading zero.

use super::digits::{Group, groups};
use super::view::{Before, View};

/// Digits of an international number, country code included (ITU-T E.164).
const INTERNATIONAL: std::ops::RangeInclusive<usize> = 8..=15;

/// Digits of a national number with its zero.
const NATIONAL: std::ops::RangeInclusive<usize> = 9..=12;

pub(super) fn length(view: &View<'_>, before: Before) -> Option<usize> {
    if !before.is_word_start() || matches!(before.last, Some('+')) {
        return None;
    }
    match view.byte(0)? {
        b'+' => international(view, 1),
        b'0' => international_by_zeros(view).or_else(|| national(view, 0)),
        b'(' => north_american(view, 1).or_else(|| national(view, 1)),
        b'1'..=b'9' => north_american(view, 0),
        _ => None,
    }
}

fn international_by_zeros(view: &View<'_>) -> Option<usize> {
    (view.byte(1) == Some(b'0')).then(|| international(view, 2)).flatten()
}

/// A country code and a number, from there on.
fn international(view: &View<'_>, from: usize) -> Option<usize> {
    if !matches!(view.byte(from), Some(b'1'..=b'9')) {
        return None;
    }
    let (groups, count) = groups(view, from);
    longest(view, &groups[..count], |digits, _| INTERNATIONAL.contains(&digits))
}

/// Where the most groups end that are a number together.
fn longest(view: &View<'_>, groups: &[Group], fits: impl Fn(usize, usize) -> bool) -> Option<usize> {
    (1..=groups.len()).rev().find_map(|count| {
        let digits = groups[..count].iter().map(|group| group.digits).sum();
        let end = groups[count - 1].end();
        (fits(digits, count) && view.word_ends(end)).then_some(end)
    })
}

/// `202-555-0143`, `(202) 555-0143`, `1 202 555 0143`: areas and exchanges begin with 2 to 9.
fn north_american(view: &View<'_>, from: usize) -> Option<usize> {
    let (groups, count) = groups(view, from);
    let mut groups = &groups[..count];
    if groups.first().is_some_and(|first| first.digits == 1 && view.byte(first.from) == Some(b'1')) {
        groups = &groups[1..];
    }
    let [area, exchange, line, ..] = groups else { return None };
    let is_open = |group: &Group| matches!(view.byte(group.from), Some(b'2'..=b'9'));
    let fits = (area.digits, exchange.digits, line.digits) == (3, 3, 4) && is_open(area) && is_open(exchange);
    (fits && view.word_ends(line.end())).then(|| line.end())
}

/// `030 1234567`, `0171/1234567`, `020 7946 0958`, `(030) 123456`: with something between, or any row of digits would do.
fn national(view: &View<'_>, from: usize) -> Option<usize> {
    if view.byte(from) != Some(b'0') || !matches!(view.byte(from + 1), Some(b'1'..=b'9')) {
        return None;
    }
    let (groups, count) = groups(view, from);
    if !(2..=6).contains(&groups[0].digits) {
        return None;
    }
    longest(view, &groups[..count], |digits, count| count >= 2 && NATIONAL.contains(&digits))
}
