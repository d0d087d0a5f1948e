//! How much of a call a rule asks to keep: `@audit("request")` on a permit.

use std::fmt;

use cedar_policy::{Effect, Policy};

use crate::judge::concerns;
use crate::words::Words;
use crate::{Action, Finding};

/// How much of a call is kept, from least to most. What a rule does not say is metadata only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub enum AuditLevel {
    /// Who, what, when, how much; no content.
    #[default]
    Metadata,
    /// What was asked too, sealed.
    Request,
    /// What was asked and what was answered, sealed.
    RequestAndResponse,
}

impl AuditLevel {
    /// Every level, from least to most.
    pub const ALL: [Self; 3] = [Self::Metadata, Self::Request, Self::RequestAndResponse];

    /// As rules write it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Request => "request",
            Self::RequestAndResponse => "request_and_response",
        }
    }

    /// What a rule's `@audit` says; findings if it cannot be meant.
    pub(crate) fn of(place: &str, policy: &Policy, words: &Words, findings: &mut Vec<Finding>) -> Self {
        let Some(written) = policy.annotation("audit") else { return Self::default() };
        let mut refuse = |what: String| findings.push(Finding::of_rule(place, policy.id().to_string(), what));
        let Some(level) = Self::ALL.into_iter().find(|level| level.word() == written) else {
            let known = Self::ALL.map(Self::word).join(", ");
            let shown: String = written.chars().take(64).collect();
            refuse(format!("@audit is `{}`: write one of {known}", shown.escape_debug()));
            return Self::default();
        };
        if policy.effect() == Effect::Forbid {
            refuse("has @audit, but forbids: nothing is kept of what is refused, so take it out".to_owned());
        } else if ![Action::Infer, Action::Embed].into_iter().any(|action| concerns(policy, words.action(action))) {
            refuse("has @audit, but lets nobody ask a model: only there is content, so take it out".to_owned());
        }
        level
    }
}

impl fmt::Display for AuditLevel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}
