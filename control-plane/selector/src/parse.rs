//! Reads a selector: bounded in length, depth and number of tests, and never more than once over a character.

use std::str::FromStr;

use crate::error::{SelectorError, meant, quoted};
use crate::value::{Value, WORDS, is_bare, is_label_key};
use crate::{Expression, Field, Kind, MOST_BYTES, MOST_DEPTH, MOST_TESTS, Operator, Selector, Subject, Test};

/// Values of the field `state`.
pub const STATES: &[&str] = &[
    "in-step",
    "pending",
    "waiting",
    "refused",
    "differs",
    "ahead",
    "behind",
    "never-seen",
    "not-assigned",
    "revoked",
];

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        if text.len() > MOST_BYTES {
            let short: String = text.chars().take(80).collect();
            let message = format!("a selector has {MOST_BYTES} bytes at most, this one has {}", text.len());
            return Err(SelectorError::new(&short, 0, message));
        }
        let mut reader = Reader { text, at: 0, tests: 0 };
        let expression = reader.either(0)?;
        reader.skip_space();
        match reader.rest() {
            "" => Ok(Self(expression)),
            rest if rest.starts_with(')') => Err(reader.error("nothing is open that `)` could close")),
            _ => Err(reader.error(format!("expected `and`, `or` or the end, not {}", quoted(reader.next_piece())))),
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    tests: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn error(&self, message: impl Into<String>) -> SelectorError {
        self.error_at(self.at, message)
    }

    fn error_at(&self, at: usize, message: impl Into<String>) -> SelectorError {
        SelectorError::new(self.text, at, message)
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    /// A word, or one character, for messages.
    fn next_piece(&self) -> &'a str {
        let rest = self.rest();
        match self.word() {
            "" => &rest[..rest.chars().next().map_or(0, char::len_utf8)],
            word => word,
        }
    }

    fn word(&self) -> &'a str {
        let rest = self.rest();
        &rest[..rest.find(|c: char| !is_bare(c)).unwrap_or(rest.len())]
    }

    /// Takes a word of the language if it comes next.
    fn takes(&mut self, word: &str) -> bool {
        self.skip_space();
        let is = self.word() == word;
        self.at += if is { word.len() } else { 0 };
        is
    }

    /// Takes a sign if it comes next.
    fn takes_sign(&mut self, sign: &str) -> bool {
        self.skip_space();
        let is = self.rest().starts_with(sign);
        self.at += if is { sign.len() } else { 0 };
        is
    }

    fn either(&mut self, depth: usize) -> Result<Expression, SelectorError> {
        let mut parts = vec![self.both(depth)?];
        while self.takes("or") {
            parts.push(self.both(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::Or(parts) })
    }

    fn both(&mut self, depth: usize) -> Result<Expression, SelectorError> {
        let mut parts = vec![self.one(depth)?];
        while self.takes("and") {
            parts.push(self.one(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::And(parts) })
    }

    fn one(&mut self, depth: usize) -> Result<Expression, SelectorError> {
        self.skip_space();
        if depth > MOST_DEPTH {
            return Err(self.error(format!("parentheses and `not` nest {MOST_DEPTH} deep at most")));
        }
        if self.takes("not") {
            return Ok(Expression::Not(Box::new(self.one(depth + 1)?)));
        }
        let opened_at = self.at;
        if self.takes_sign("(") {
            let inner = self.either(depth + 1)?;
            if !self.takes_sign(")") {
                let message =
                    if self.rest().is_empty() { "this `(` is never closed" } else { "expected `)`, `and` or `or`" };
                return Err(self.error_at(if self.rest().is_empty() { opened_at } else { self.at }, message));
            }
            return Ok(inner);
        }
        self.tests += 1;
        if self.tests > MOST_TESTS {
            return Err(self.error(format!("a selector has {MOST_TESTS} tests at most")));
        }
        if self.takes("all") {
            return Ok(Expression::All);
        }
        Ok(Expression::Test(self.test()?))
    }

    fn test(&mut self) -> Result<Test, SelectorError> {
        let word = self.word();
        let subject = self.subject(word)?;
        self.at += word.len();
        if self.takes("in") {
            let values = self.list(&subject)?;
            return Ok(Test { subject, operator: Operator::Equal, values });
        }
        self.skip_space();
        let operator_at = self.at;
        let operator = Operator::EVERY.into_iter().find(|(sign, _)| self.takes_sign(sign));
        let kind = subject.kind();
        match operator {
            None if kind == Kind::Flag => {
                Ok(Test { subject, operator: Operator::Equal, values: vec![Value::Flag(true)] })
            }
            None => {
                let example = if is_ordered(kind) { "`>=`" } else { "`=`" };
                Err(self
                    .error_at(operator_at, format!("expected an operator such as {example} after {}", quoted(word))))
            }
            Some((sign, operator)) if operator.is_order() && !is_ordered(kind) => Err(self.error_at(
                operator_at,
                format!("{} has no order: `{sign}` means nothing, use `=` or `!=`", quoted(word)),
            )),
            Some((_, operator)) => {
                let value = self.value(&subject)?;
                Ok(Test { subject, operator, values: vec![value] })
            }
        }
    }

    fn subject(&self, word: &str) -> Result<Subject, SelectorError> {
        if word.is_empty() {
            let found = self.next_piece();
            let found = if found.is_empty() { "the end".to_owned() } else { quoted(found) };
            return Err(self.error(format!("expected something to ask for, such as `site` or `online`, not {found}")));
        }
        if let Some(key) = word.strip_prefix("label.") {
            if is_label_key(key) {
                return Ok(Subject::Label(key.to_owned()));
            }
            let rule = "write 1 to 63 of a-z, 0-9, `.`, `_` and `-`, beginning with a letter";
            return Err(self.error(format!("{} is no key of a label: {rule}", quoted(key))));
        }
        if let Some(field) = Field::named(word) {
            return Ok(Subject::Field(field));
        }
        let known = Field::EVERY.iter().map(|field| field.name()).chain(["not", "all", "label."]);
        Err(self.error(format!("nothing is called {}{}", quoted(word), meant(word, known))))
    }

    fn list(&mut self, subject: &Subject) -> Result<Vec<Value>, SelectorError> {
        if !self.takes_sign("(") {
            return Err(self.error("expected `(` and values after `in`"));
        }
        let mut values = vec![self.value(subject)?];
        while self.takes_sign(",") {
            self.tests += 1;
            if self.tests > MOST_TESTS {
                return Err(self.error(format!("a selector has {MOST_TESTS} tests at most")));
            }
            values.push(self.value(subject)?);
        }
        if self.takes_sign(")") { Ok(values) } else { Err(self.error("expected `,` or `)`")) }
    }

    fn value(&mut self, subject: &Subject) -> Result<Value, SelectorError> {
        self.skip_space();
        let value_at = self.at;
        let (text, is_bare_word) = match self.quoted_text()? {
            Some(text) => (text, false),
            None => {
                let word = self.word();
                self.at += word.len();
                (word.to_owned(), true)
            }
        };
        if is_bare_word && (text.is_empty() || WORDS.contains(&text.as_str())) {
            let found = if text.is_empty() { self.next_piece() } else { &text };
            let found = if found.is_empty() { "the end".to_owned() } else { quoted(found) };
            return Err(self.error_at(value_at, format!("expected a value, not {found}")));
        }
        if subject.is(Field::State) && !text.contains('*') && !STATES.contains(&text.as_str()) {
            let meant = meant(&text, STATES.iter().copied());
            return Err(self.error_at(value_at, format!("no device is ever in the state {}{meant}", quoted(&text))));
        }
        Value::read(subject.kind(), &text)
            .map_err(|wanted| self.error_at(value_at, format!("expected {wanted}, not {}", quoted(&text))))
    }

    /// Text in quotes, if it comes next: `\"` is a quote and `\\` a backslash.
    fn quoted_text(&mut self) -> Result<Option<String>, SelectorError> {
        let opened_at = self.at;
        if !self.takes_sign("\"") {
            return Ok(None);
        }
        let mut text = String::new();
        let mut characters = self.rest().char_indices();
        while let Some((offset, character)) = characters.next() {
            match character {
                '"' => {
                    self.at += offset + 1;
                    return Ok(Some(text));
                }
                '\\' => match characters.next() {
                    Some((_, escaped @ ('"' | '\\'))) => text.push(escaped),
                    _ => return Err(self.error_at(self.at + offset, "after `\\` comes `\"` or another `\\`")),
                },
                character if character.is_control() => {
                    return Err(self.error_at(self.at + offset, "a value holds no control character"));
                }
                character => text.push(character),
            }
        }
        Err(self.error_at(opened_at, "this quote is never closed"))
    }
}

fn is_ordered(kind: Kind) -> bool {
    matches!(kind, Kind::Bytes | Kind::Count | Kind::Decimal | Kind::Duration | Kind::Version)
}
