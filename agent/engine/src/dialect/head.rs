//! The beginning of a call, up to its arguments: `{"name": "…", "arguments": {`.

/// What the beginning of a text is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Head {
    /// It may still become the beginning of a call.
    More,
    /// It is none, whatever follows.
    None,
    /// It is one of this tool; so many bytes of it come before the arguments' bracket.
    Call { name: String, length: usize },
}

/// What the arguments may be called: models use either.
const ARGUMENTS: [&str; 2] = ["\"arguments\"", "\"parameters\""];

/// Longest beginning of a call, bytes: longer than any name with its blanks.
const LONGEST: usize = 1_024;

/// Looks at the beginning of a text.
pub(super) fn head(text: &str) -> Head {
    match parse(text) {
        Ok(head) => head,
        Err(Stop::End) if text.len() <= LONGEST => Head::More,
        Err(_) => Head::None,
    }
}

/// Why a text is no whole head.
enum Stop {
    /// It ends before.
    End,
    Wrong,
}

fn parse(text: &str) -> Result<Head, Stop> {
    let rest = literal(blanks(text), "{")?;
    let rest = match either(blanks(rest), &["\"name\"", "\"type\""])? {
        rest if text[..text.len() - rest.len()].ends_with("name\"") => rest,
        // Llama says what every tool is.
        rest => {
            let rest = literal(blanks(rest), ":")?;
            let rest = literal(blanks(rest), "\"function\"")?;
            let rest = literal(blanks(rest), ",")?;
            literal(blanks(rest), "\"name\"")?
        }
    };
    let rest = literal(blanks(rest), ":")?;
    let (name, rest) = string(blanks(rest))?;
    let rest = literal(blanks(rest), ",")?;
    let rest = either(blanks(rest), &ARGUMENTS)?;
    let rest = blanks(literal(blanks(rest), ":")?);
    literal(rest, "{")?;
    Ok(Head::Call { name, length: text.len() - rest.len() })
}

pub(super) fn blanks(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', '\n', '\r'])
}

fn literal<'a>(text: &'a str, expected: &str) -> Result<&'a str, Stop> {
    either(text, &[expected])
}

fn either<'a>(text: &'a str, expected: &[&str]) -> Result<&'a str, Stop> {
    if let Some(rest) = expected.iter().find_map(|expected| text.strip_prefix(expected)) {
        return Ok(rest);
    }
    let may = expected.iter().any(|expected| expected.starts_with(text));
    Err(if may { Stop::End } else { Stop::Wrong })
}

/// A JSON string and what follows it.
fn string(text: &str) -> Result<(String, &str), Stop> {
    if text.is_empty() {
        return Err(Stop::End);
    }
    if !text.starts_with('"') {
        return Err(Stop::Wrong);
    }
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => {
                let (written, rest) = text.split_at(at + 1);
                return serde_json::from_str(written).map(|name| (name, rest)).map_err(|_| Stop::Wrong);
            }
            _ => {}
        }
    }
    Err(Stop::End)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_beginning_of_a_head_may_become_one_and_nothing_else_may() {
        let text = "\n{ \"name\" : \"a\\\"b\", \"arguments\": {\"x\": 1}}";
        let length = text.find("{\"x").expect("it is there");
        for end in 0..=length {
            assert_eq!(head(&text[..end]), Head::More, "{end}");
        }
        assert_eq!(head(text), Head::Call { name: "a\"b".to_owned(), length });
        for wrong in [
            "x",
            "{}",
            "{\"nam3",
            "{\"name\": 1",
            "{\"name\": \"a\"}",
            "{\"name\": \"a\", \"b",
            "{\"name\":\"a\",\"arguments\":[",
        ] {
            assert_eq!(head(wrong), Head::None, "{wrong}");
        }
        let typed = "{\"type\": \"function\", \"name\": \"a\", \"parameters\": {";
        assert_eq!(head(typed), Head::Call { name: "a".to_owned(), length: typed.len() - 1 });
        assert_eq!(head(&" ".repeat(2_000)), Head::None);
    }
}
