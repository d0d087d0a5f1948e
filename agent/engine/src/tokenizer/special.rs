//! Special tokens: where they stand in a text that is allowed to hold them, and how to spell them out where it is not.

/// The special tokens of a vocabulary.
#[derive(Debug, Default)]
pub(crate) struct Specials {
    exact: Spellings,
    /// The same in lower case (ASCII), for texts whose case may change.
    lower: Spellings,
}

/// A stretch of a text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'text> {
    Text(&'text str),
    Special(u32),
}

impl Specials {
    pub(crate) fn new(tokens: impl Iterator<Item = (String, u32)>) -> Self {
        let tokens: Vec<_> = tokens.filter(|token| !token.0.is_empty()).collect();
        let lower = tokens.iter().map(|(text, id)| (text.to_ascii_lowercase(), *id)).collect();
        Self { exact: Spellings::new(tokens), lower: Spellings::new(lower) }
    }

    pub(crate) fn id(&self, text: &str) -> Option<u32> {
        self.exact.longest(text.bytes()).filter(|found| found.0 == text.len()).map(|found| found.1)
    }

    /// Cuts a text at its special tokens; of those that begin at the same place the longest counts.
    pub(crate) fn split<'text>(&self, text: &'text str) -> Vec<Part<'text>> {
        let mut parts = Vec::new();
        let (mut from, mut at) = (0, 0);
        while at < text.len() {
            match self.exact.longest(text.as_bytes()[at..].iter().copied()) {
                None => at += 1,
                Some((length, id)) => {
                    if from < at {
                        parts.push(Part::Text(&text[from..at]));
                    }
                    parts.push(Part::Special(id));
                    at += length;
                    from = at;
                }
            }
        }
        if from < text.len() {
            parts.push(Part::Text(&text[from..]));
        }
        parts
    }

    /// How they are spelled.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.exact.0.iter().map(|(text, _)| text.as_str())
    }

    /// Whether a special token begins these bytes, in whatever case its ASCII letters are written: a template may
    /// change the case of what a person typed.
    pub(crate) fn begins(&self, bytes: &[u8]) -> bool {
        self.lower.longest(bytes.iter().map(u8::to_ascii_lowercase)).is_some()
    }
}

/// Spellings in byte order: those that begin alike lie together, so a search narrows a range byte by byte instead of
/// comparing with each of the thousands that some vocabularies have.
#[derive(Debug, Default)]
struct Spellings(Vec<(String, u32)>);

impl Spellings {
    fn new(mut tokens: Vec<(String, u32)>) -> Self {
        tokens.sort();
        // The lowest id of equal spellings stays.
        tokens.dedup_by(|later, earlier| later.0 == earlier.0);
        Self(tokens)
    }

    /// Length and id of the longest spelling that these bytes begin with.
    fn longest(&self, bytes: impl Iterator<Item = u8>) -> Option<(usize, u32)> {
        let mut range = self.0.as_slice();
        let mut best = None;
        for (depth, byte) in bytes.enumerate() {
            // Within the range all share the first `depth` bytes; one that ends there sorts first.
            let at = |token: &(String, u32)| token.0.as_bytes().get(depth).copied();
            range = &range[range.partition_point(|token| at(token) < Some(byte))..];
            range = &range[..range.partition_point(|token| at(token) == Some(byte))];
            let Some((text, id)) = range.first() else { break };
            if text.len() == depth + 1 {
                best = Some((text.len(), *id));
            }
        }
        best
    }
}
