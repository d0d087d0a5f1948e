//! One record, as the parts of the report ask about it.

use crate::canonical::Value;
use crate::{Kind, Leaf};

/// A record that is being read.
pub(super) struct Seen<'a> {
    pub(super) index: u64,
    pub(super) leaf: &'a Leaf,
    /// None for a type that this version does not know.
    pub(super) kind: Option<Kind>,
    pub(super) wall_ms: i64,
}

impl<'a> Seen<'a> {
    pub(super) fn new(index: u64, leaf: &'a Leaf) -> Self {
        let kind = leaf.kind().and_then(Kind::from_name);
        Self { index, leaf, kind, wall_ms: leaf.wall_ms().unwrap_or_default() }
    }

    /// The text at a path; empty if there is none.
    pub(super) fn text(&self, path: &str) -> &'a str {
        self.leaf.text(path).unwrap_or_default()
    }

    /// The text at a path, to be kept.
    pub(super) fn owned(&self, path: &str) -> String {
        self.text(path).to_owned()
    }

    /// The number at a path, if there is one and it counts something.
    pub(super) fn count(&self, path: &str) -> Option<u64> {
        self.leaf.integer(path).and_then(|number| u64::try_from(number).ok())
    }

    /// Whether the device believed its clock. A record that does not say so counts as one that did not.
    pub(super) fn clock_is_trusted(&self) -> bool {
        matches!(self.leaf.at("t.ok"), Some(Value::Flag(true)))
    }

    /// Whether policy refused.
    pub(super) fn is_denied(&self) -> bool {
        self.kind == Some(Kind::InferDenied) || self.text("dec.effect") == "deny"
    }

    /// Whether it went wrong without being refused by policy.
    pub(super) fn has_failed(&self) -> bool {
        !self.text("res.err").is_empty() || self.count("res.status").is_some_and(|status| status >= 400)
    }
}

/// First and last time of something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Period {
    pub(super) first_ms: Option<i64>,
    pub(super) last_ms: Option<i64>,
}

impl Period {
    pub(super) fn add(&mut self, wall_ms: i64) {
        self.fold(&Self { first_ms: Some(wall_ms), last_ms: Some(wall_ms) });
    }

    pub(super) fn fold(&mut self, other: &Self) {
        let earlier = [self.first_ms, other.first_ms].into_iter().flatten().min();
        *self = Self { first_ms: earlier, last_ms: self.last_ms.max(other.last_ms) };
    }
}
