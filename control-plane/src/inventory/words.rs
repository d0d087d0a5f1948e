//! A device's words made fit for terminals and pages: short, and nothing that steers or turns what is around them.

/// At most `longest` characters of a text; controls and marks that turn the direction of writing are replaced.
#[must_use]
pub fn clean(text: &str, longest: usize) -> String {
    let mut short: String = text.chars().take(longest).map(visible).collect();
    if text.chars().nth(longest).is_some() {
        short.push('…');
    }
    short
}

fn visible(character: char) -> char {
    let turns = matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    if character.is_control() || turns { '\u{fffd}' } else { character }
}

/// `3 d`, `5 h`, `12 min`, `40 s`: the largest unit that there is one of.
#[must_use]
pub fn ago(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 172_800.. => format!("{} d", seconds / 86_400),
        seconds @ 7_200.. => format!("{} h", seconds / 3_600),
        seconds @ 120.. => format!("{} min", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}

/// `1.9 GiB`, `640 MiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    let tenths = |unit: u64| u128::from(bytes) * 10 / u128::from(unit);
    if bytes >= 1 << 30 {
        let tenths = tenths(1 << 30);
        format!("{}.{} GiB", tenths / 10, tenths % 10)
    } else {
        format!("{} MiB", bytes.div_ceil(1 << 20))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_device_says_steers_no_terminal_and_has_an_end() {
        assert_eq!(clean("a\u{1b}[2J\u{202e}b\u{9b}c", 20), "a\u{fffd}[2J\u{fffd}b\u{fffd}c");
        assert_eq!(clean("äöü", 2), "äö…");
        assert_eq!(clean("äö", 2), "äö");
    }

    #[test]
    fn lengths_and_sizes_are_said_in_the_unit_that_fits() {
        assert_eq!(
            [ago(-4), ago(119), ago(120), ago(7_199), ago(7_200), ago(172_800)],
            ["0 s", "119 s", "2 min", "119 min", "2 h", "2 d"]
        );
        assert_eq!([size(1), size(640 << 20), size(2_040_109_466)], ["1 MiB", "640 MiB", "1.9 GiB"]);
    }
}
