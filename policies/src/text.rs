//! Bounds on a Cedar text before the parser sees it: size, nesting, and characters that a reader cannot see.
//!
//! Cedar itself sets no limits, and it looks for confusable characters in names and strings only; an invisible
//! character in a comment can make a rule look as if it said something else.

use crate::Finding;

/// Bytes in one file of rules.
const FILE_BYTES: usize = 64 * 1024;

/// Bytes in one rule, comments before it included.
const RULE_BYTES: usize = 8 * 1024;

/// Operators and brackets in one rule, and brackets within brackets, and `if`s: what bounds the depth of its syntax
/// tree. Cedar's parser and validator recurse, and a thread that serves requests has a stack of 2 MiB.
const RULE_OPERATORS: usize = 200;
const RULE_NESTING: usize = 16;
const RULE_CONDITIONALS: usize = 16;

/// What is wrong with the text itself.
pub(crate) fn check(place: &str, text: &str) -> Vec<Finding> {
    if text.len() > FILE_BYTES {
        let what = format!("has {} bytes, more than {FILE_BYTES}: split the file", text.len());
        return vec![Finding::new(place, what)];
    }
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(text.split('\n')) {
        if let Some(hidden) = line.chars().find(|&character| is_hidden(character)) {
            let code = u32::from(hidden);
            let what = format!("line {number} holds the invisible character U+{code:04X}: remove it");
            findings.push(Finding::new(place, what));
        }
    }
    findings.extend(check_rules(place, text));
    findings
}

/// Walks the text as Cedar's lexer would, as far as strings, comments and the end of a rule are concerned.
fn check_rules(place: &str, text: &str) -> Option<Finding> {
    let mut line = 1;
    let mut rule = RuleSize { line, ..RuleSize::default() };
    let mut within = Within::Code;
    let mut word = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        rule.bytes += character.len_utf8();
        if character == '\n' {
            line += 1;
        }
        match within {
            Within::Comment if character == '\n' => within = Within::Code,
            Within::String if character == '\\' => rule.bytes += characters.next().map_or(0, char::len_utf8),
            Within::String if character == '"' => within = Within::Code,
            Within::Comment | Within::String => {}
            Within::Code => {
                if character.is_alphanumeric() || character == '_' {
                    word.push(character);
                } else {
                    rule.conditionals += usize::from(word == "if");
                    word.clear();
                }
                match character {
                    '"' => within = Within::String,
                    '/' if characters.peek() == Some(&'/') => within = Within::Comment,
                    ';' => rule = RuleSize { line, ..RuleSize::default() },
                    _ => rule.count(character),
                }
            }
        }
        if rule.is_too_large() {
            let what = format!(
                "the rule near line {} is too long or too nested to be understood (at most {RULE_BYTES} bytes, \
                 {RULE_OPERATORS} operators, {RULE_NESTING} brackets within brackets, {RULE_CONDITIONALS} ifs): split it",
                rule.line
            );
            return Some(Finding::new(place, what));
        }
    }
    None
}

/// How large the rule is that is being read.
#[derive(Default)]
struct RuleSize {
    line: usize,
    bytes: usize,
    operators: usize,
    nesting: usize,
    conditionals: usize,
}

impl RuleSize {
    fn count(&mut self, character: char) {
        match character {
            '(' | '[' | '{' => self.nesting += 1,
            ')' | ']' | '}' => self.nesting = self.nesting.saturating_sub(1),
            _ => {}
        }
        self.operators += usize::from(is_operator(character));
    }

    fn is_too_large(&self) -> bool {
        self.bytes > RULE_BYTES
            || self.operators > RULE_OPERATORS
            || self.nesting > RULE_NESTING
            || self.conditionals > RULE_CONDITIONALS
    }
}

#[derive(Clone, Copy)]
enum Within {
    Code,
    String,
    Comment,
}

fn is_operator(character: char) -> bool {
    matches!(character, '(' | '[' | '{' | '!' | '-' | '+' | '*' | '&' | '|' | '<' | '>' | '=' | '.' | ',')
}

/// Control characters other than the usual white space, and those that Unicode lets change the look of a line:
/// direction marks and overrides (the "Trojan Source" set), zero-width characters, the byte order mark, tags.
fn is_hidden(character: char) -> bool {
    match character {
        '\t' | '\r' => false,
        _ if character.is_control() => true,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' => true,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => true,
        '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_default_rules_pass() {
        for (place, text) in &crate::Bundle::default_bundle().policies {
            assert_eq!(check(place, text), []);
        }
    }

    #[test]
    fn a_direction_override_in_a_comment_is_named_with_its_line() {
        let findings = check("a.cedar", "// fine\n// allows \u{202e} nothing\n");
        assert_eq!(findings[0].to_string(), "a.cedar: line 2 holds the invisible character U+202E: remove it");
    }

    #[test]
    fn brackets_in_strings_and_comments_are_not_nesting() {
        let text = format!("@id(\"{0}\")\n// {0}\npermit (principal, action, resource);", "(".repeat(150));
        assert_eq!(check("a.cedar", &text), []);
        let nested =
            format!("permit (principal, action, resource) when {{ {}true{} }};", "(".repeat(300), ")".repeat(300));
        assert_eq!(check("a.cedar", &nested).len(), 1);
    }

    #[test]
    fn many_short_rules_are_fine() {
        assert_eq!(check("a.cedar", &"permit (principal, action, resource);\n".repeat(1000)), []);
    }

    proptest! {
        #[test]
        fn any_text_is_checked_without_panic(text in "\\PC{0,400}") {
            check("a.cedar", &text);
        }
    }
}
