//! Numbers and times as people read them.

use jiff::Timestamp;

/// `1.4 GiB`.
pub(super) fn bytes(bytes: u64) -> String {
    let mut unit = 0;
    let mut scaled = u128::from(bytes) * 10;
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    while scaled >= 10_240 && unit + 1 < UNITS.len() {
        scaled /= 1024;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{}.{} {}", scaled / 10, scaled % 10, UNITS[unit]) }
}

/// `1.5 B` weights, `494 M`.
pub(super) fn weights(count: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", count / unit, count % unit * 10 / unit);
    match count {
        0..1_000_000 => count.to_string(),
        1_000_000..1_000_000_000 => format!("{} M", count / 1_000_000),
        _ => format!("{} B", tenths(1_000_000_000)),
    }
}

/// Thousandths with one digit behind the point: `12.4`.
pub(super) fn milli(milli: u64) -> String {
    format!("{}.{}", milli / 1000, milli % 1000 / 100)
}

/// `2026-11-27 06:20 UTC`.
pub(super) fn time(at_s: i64) -> String {
    match Timestamp::from_second(at_s) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M UTC").to_string(),
        Err(_) => format!("{at_s} s since 1970"),
    }
}

/// `2026-11-27`, in UTC; empty for a time that has no date.
pub(super) fn day(at_s: i64) -> String {
    Timestamp::from_second(at_s).map_or_else(|_| String::new(), |time| time.strftime("%Y-%m-%d").to_string())
}

/// `3 min ago`, `in 12 days`, `now`.
pub(super) fn from_now(at_s: i64, now_s: i64) -> String {
    let seconds = at_s.saturating_sub(now_s);
    let length = match seconds.unsigned_abs() {
        0..5 => return "now".to_owned(),
        s @ 5..120 => format!("{s} s"),
        s @ 120..7200 => format!("{} min", s / 60),
        s @ 7200..172_800 => format!("{} h", s / 3600),
        s => format!("{} days", s / 86_400),
    };
    if seconds < 0 { format!("{length} ago") } else { format!("in {length}") }
}

/// At most `most` characters of a text that comes from outside, without what steers the direction of writing.
pub(super) fn shown(text: &str, most: usize) -> String {
    let steers =
        |c: char| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut kept = text.chars().filter(|c| !steers(*c) && (!c.is_control() || *c == '\n'));
    let mut short: String = kept.by_ref().take(most).collect();
    if kept.next().is_some() {
        short.push('…');
    }
    short
}

/// A name as one part of a path.
pub(super) fn segment(name: &str) -> String {
    url::form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>().replace('+', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_right() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1024), "1.0 KiB");
        assert_eq!(bytes(2_791_728_742), "2.5 GiB");
        assert_eq!(bytes(u64::MAX), "16383.9 PiB");
        assert_eq!(weights(494_000_000), "494 M");
        assert_eq!(weights(1_540_000_000), "1.5 B");
        assert_eq!(milli(12_480), "12.4");
    }

    #[test]
    fn times_are_told_from_now_whatever_a_clock_claims() {
        assert_eq!(time(1_800_000_000), "2027-01-15 08:00 UTC");
        assert_eq!((day(1_800_000_000).as_str(), day(i64::MAX).as_str()), ("2027-01-15", ""));
        assert_eq!(time(i64::MAX), "9223372036854775807 s since 1970");
        assert_eq!(from_now(100, 100), "now");
        assert_eq!(from_now(0, 600), "10 min ago");
        assert_eq!(from_now(864_000, 0), "in 10 days");
        assert_eq!(from_now(i64::MIN, i64::MAX), "106751991167300 days ago");
    }

    #[test]
    fn a_text_from_outside_is_cut_and_does_not_turn_the_line_around() {
        assert_eq!(shown("a\u{202e}b\u{7}c", 10), "abc");
        assert_eq!(shown("abcdef", 3), "abc…");
    }
}
