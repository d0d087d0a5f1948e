//! What is wrong with a bundle, said so that its author can mend it.

use std::fmt;

/// One thing that keeps a bundle from being activated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file of the bundle, or `limits`, or `case N`.
    pub place: String,
    /// The `@id` of the rule, where it is known.
    pub rule: Option<String>,
    /// What is wrong and what would be right.
    pub what: String,
}

impl Finding {
    pub(crate) fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), rule: None, what: what.into() }
    }

    pub(crate) fn of_rule(place: impl Into<String>, rule: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), rule: Some(rule.into()), what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rule {
            Some(rule) => write!(formatter, "{}: rule `{rule}`: {}", self.place, self.what),
            None => write!(formatter, "{}: {}", self.place, self.what),
        }
    }
}
