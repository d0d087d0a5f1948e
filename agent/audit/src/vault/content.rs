//! Content on its way into a record, and how much of it a rule asks to keep.

use std::fmt;

use super::VaultError;
use crate::Record;

/// The most content of one side of a record, in bytes.
pub const MAX_CONTENT_BYTES: usize = 4 * 1024 * 1024;

/// How much of a call is kept. What is not asked for is dropped, not sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub enum Level {
    /// Who, what, when, how much; no content.
    #[default]
    Metadata,
    /// The prompt too.
    Request,
    /// The prompt and the answer too.
    RequestAndResponse,
}

impl Level {
    /// Every level, from least to most.
    pub const ALL: [Self; 3] = [Self::Metadata, Self::Request, Self::RequestAndResponse];

    /// As rules write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Request => "request",
            Self::RequestAndResponse => "request_and_response",
        }
    }

    /// The level with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }
}

/// What went in and what came out, in clear. Never printed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Content {
    /// The prompt.
    pub input: Option<Vec<u8>>,
    /// The answer.
    pub output: Option<Vec<u8>>,
}

impl Content {
    /// A prompt.
    #[must_use]
    pub fn of_input(input: impl Into<Vec<u8>>) -> Self {
        Self { input: Some(input.into()), output: None }
    }

    /// An answer.
    #[must_use]
    pub fn of_output(output: impl Into<Vec<u8>>) -> Self {
        Self { input: None, output: Some(output.into()) }
    }

    fn at(mut self, level: Level) -> Self {
        if level < Level::RequestAndResponse {
            self.output = None;
        }
        if level < Level::Request {
            self.input = None;
        }
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.input.is_none() && self.output.is_none()
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = |side: &Option<Vec<u8>>| side.as_ref().map(Vec::len);
        write!(formatter, "Content(bytes in {:?}, out {:?})", bytes(&self.input), bytes(&self.output))
    }
}

/// Which part of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Input,
    Output,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::Input, Self::Output];

    /// As the leaf's `io` calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Input => "in",
            Self::Output => "out",
        }
    }
}

/// Content that waits in a record to be sealed.
#[derive(Debug, Clone)]
pub(crate) struct Unsealed {
    pub(crate) subject: String,
    pub(crate) content: Content,
}

impl Record {
    /// Keeps content with this record, as far as `level` asks for it: sealed under a key of its subject (a
    /// [pseudonym](crate::Pseudonyms)) and the month, beside the log. The leaf carries the digest of the ciphertext, its
    /// length and the key's id (`io.in.ct`, `io.in.len`, `io.in.key`). When the record is durable, so is the content.
    ///
    /// A log without a vault refuses a record with content: what was asked for is kept, or the caller knows.
    #[must_use]
    pub fn seal(mut self, level: Level, subject: impl Into<String>, content: Content) -> Self {
        let content = content.at(level);
        self.unsealed = (!content.is_empty()).then(|| Unsealed { subject: subject.into(), content });
        self
    }
}

impl Unsealed {
    pub(crate) fn check(&self) -> Result<(), VaultError> {
        let digits = self.subject.strip_prefix("p:").unwrap_or_default();
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(VaultError::NotAPseudonym);
        }
        let sides = [&self.content.input, &self.content.output];
        let bytes = sides.into_iter().flatten().map(Vec::len).max().unwrap_or(0);
        if bytes > MAX_CONTENT_BYTES {
            return Err(VaultError::TooLarge { bytes, limit: MAX_CONTENT_BYTES });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_keeps_what_it_asks_for_and_no_more() {
        let both = Content { input: Some(b"prompt".to_vec()), output: Some(b"answer".to_vec()) };
        assert_eq!(Level::default(), Level::Metadata);
        assert!(both.clone().at(Level::Metadata).is_empty());
        assert_eq!(both.clone().at(Level::Request), Content::of_input("prompt"));
        assert_eq!(both.clone().at(Level::RequestAndResponse), both);
        for level in Level::ALL {
            assert_eq!(Level::from_name(level.name()), Some(level));
        }
        assert_eq!(Level::from_name("everything"), None);
    }

    #[test]
    fn content_is_never_printed() {
        let text = format!("{:?}", Content::of_input("my secret"));
        assert_eq!(text, "Content(bytes in Some(9), out None)");
    }

    #[test]
    fn names_and_oversize_are_refused() {
        let unsealed =
            |subject: &str, bytes| Unsealed { subject: subject.to_owned(), content: Content::of_input(vec![0; bytes]) };
        assert_eq!(unsealed("p:9c", MAX_CONTENT_BYTES).check(), Ok(()));
        let too_large = VaultError::TooLarge { bytes: MAX_CONTENT_BYTES + 1, limit: MAX_CONTENT_BYTES };
        assert_eq!(unsealed("p:9c", MAX_CONTENT_BYTES + 1).check(), Err(too_large));
        for name in ["ada@example.com", "p:", "p:zoe", "", "p:9c\n"] {
            assert_eq!(unsealed(name, 1).check(), Err(VaultError::NotAPseudonym), "{name}");
        }
    }
}
