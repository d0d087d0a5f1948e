//! Regular expressions of JSON Schema, which are JavaScript's, in the syntax of Rust's.
//!
//! ```text
//! .   → anything but JavaScript's four line ends      \d \w  → ASCII      \s → JavaScript's white space
//! (?<name>…) → (?:…)      [ && -- ~~ in a class → themselves      \/ and the like → themselves
//! ```
//! What looks around or back is left as it is and refused later: no automaton can follow it.

/// JavaScript's white space, as the inside of a class.
const SPACE: &str = r"\t\n\x0b\x0c\r \u{a0}\u{1680}\u{2000}-\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}\u{feff}";
const DIGIT: &str = "0-9";
const WORD: &str = "0-9A-Za-z_";

/// Longest pattern, bytes.
pub(super) const BYTES: usize = 2 << 10;

/// Translates a pattern.
///
/// # Errors
/// Says what it cannot be translated for.
pub(super) fn translate(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len() * 2);
    let mut rest = pattern;
    let mut class = false;
    while let Some(character) = rest.chars().next() {
        rest = &rest[character.len_utf8()..];
        match character {
            '\\' => rest = escape(rest, class, &mut out)?,
            '[' if !class => {
                class = true;
                out.push('[');
                if let Some(after) = rest.strip_prefix('^') {
                    out.push('^');
                    rest = after;
                }
                // JavaScript's empty class matches nothing, and Rust's has no such form.
                if rest.starts_with(']') {
                    return Err("`[]` is no class of characters".to_owned());
                }
            }
            ']' if class => {
                class = false;
                out.push(']');
            }
            '[' | '&' | '~' if class => {
                out.push('\\');
                out.push(character);
            }
            '-' if class && rest.starts_with('-') => {
                out.push_str(r"-\-");
                rest = &rest[1..];
            }
            '.' if !class => out.push_str(r"[^\n\r\u{2028}\u{2029}]"),
            '(' if !class => {
                out.push('(');
                rest = group(rest, &mut out);
            }
            other => out.push(other),
        }
    }
    Ok(out)
}

/// What follows a backslash; gives what follows that.
fn escape<'a>(rest: &'a str, class: bool, out: &mut String) -> Result<&'a str, String> {
    let character = rest.chars().next().ok_or("a backslash at the end escapes nothing")?;
    let after = &rest[character.len_utf8()..];
    let mut set = |inside: &str, negated: bool| {
        // Rust's classes nest, so that this is right inside a class too.
        out.push_str(if negated { "[^" } else { "[" });
        out.push_str(inside);
        out.push(']');
    };
    match character {
        'd' => set(DIGIT, false),
        'D' => set(DIGIT, true),
        'w' => set(WORD, false),
        'W' => set(WORD, true),
        's' => set(SPACE, false),
        'S' => set(SPACE, true),
        't' | 'n' | 'r' | 'f' | 'v' | 'x' | 'p' | 'P' => {
            out.push('\\');
            out.push(character);
        }
        // A pair of surrogates stands for one character, which Rust writes as such.
        'u' if after.starts_with(['d', 'D']) => return Err("`\\u` of a surrogate is not supported".to_owned()),
        'u' => out.push_str("\\u"),
        '0' if !after.starts_with(|next: char| next.is_ascii_digit()) => out.push_str("\\x00"),
        'b' | 'B' if !class => return Err("word boundaries (`\\b`) are not supported".to_owned()),
        'b' => out.push_str("\\x08"),
        '1'..='9' => return Err("references back to a group are not supported".to_owned()),
        other if other.is_ascii_alphanumeric() => return Err(format!("`\\{other}` is not supported")),
        other => {
            if other.is_ascii_punctuation() {
                out.push('\\');
            }
            out.push(other);
        }
    }
    Ok(after)
}

/// What follows an opening bracket: names of groups go away, since some mean something to the engine.
fn group<'a>(rest: &'a str, out: &mut String) -> &'a str {
    let named = rest.strip_prefix("?<").or_else(|| rest.strip_prefix("?P<"));
    match named.filter(|name| !name.starts_with(['=', '!'])).and_then(|name| name.split_once('>')) {
        Some((_, after)) => {
            out.push_str("?:");
            after
        }
        None => rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_else_in_rust_is_written_out() {
        let check =
            |pattern: &str, expected: &str| assert_eq!(translate(pattern).as_deref(), Ok(expected), "{pattern}");
        check(r"^\d{3}-\w+$", "^[0-9]{3}-[0-9A-Za-z_]+$");
        check("a.b[.]", r"a[^\n\r\u{2028}\u{2029}]b[.]");
        check(r"[\d-]", "[[0-9]-]");
        check("[a&&b~~[]", r"[a\&\&b\~\~\[]");
        check("[+--]", r"[+-\-]");
        check("[^a]x", "[^a]x");
        check(r"a\/b\<\-\_", r"a\/b\<\-\_");
        check("(?<year>a)(?P<stop>b)(?:c)", "(?:a)(?:b)(?:c)");
        check(r"\u00e9\x41\0", r"\u00e9\x41\x00");
    }

    #[test]
    fn what_no_automaton_can_follow_is_named() {
        for (pattern, why) in
            [(r"\bword", "boundaries"), (r"(a)\1", "references"), ("a\\", "escapes nothing"), ("[]", "class")]
        {
            assert!(translate(pattern).expect_err(pattern).contains(why));
        }
    }
}
