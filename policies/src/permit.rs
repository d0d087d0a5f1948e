//! The answer: a permit, which only `authorize` can make, or a denial that says why.

use std::sync::Arc;

use crate::content::ContentRules;
use crate::{Action, AuditLevel, Limits, Principal, Priority, Resource};

/// The proof that a caller was authorised. It cannot be made, copied or changed outside this crate: whoever holds one
/// got it from [`Policies::authorize`](crate::Policies::authorize), once, for one act.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit that nothing is done with was not needed"]
pub struct Permit {
    pub(crate) principal: Principal,
    pub(crate) action: Action,
    pub(crate) resource: Resource,
    pub(crate) rules: Vec<String>,
    pub(crate) policy_version: u64,
    pub(crate) max_tokens: u32,
    pub(crate) limits: Arc<Limits>,
    pub(crate) content: ContentRules,
    pub(crate) audit: AuditLevel,
    pub(crate) broken_glass: Option<String>,
}

impl Permit {
    /// Who may.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// What.
    #[must_use]
    pub fn action(&self) -> Action {
        self.action
    }

    /// To what.
    #[must_use]
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// The `@id`s of the rules that allowed it, sorted.
    #[must_use]
    pub fn rules(&self) -> &[String] {
        &self.rules
    }

    /// Version of the bundle that decided.
    #[must_use]
    pub fn policy_version(&self) -> u64 {
        self.policy_version
    }

    /// The most tokens that this act may generate: what was asked for, or the caller's limit.
    #[must_use]
    pub fn max_tokens(&self) -> u32 {
        self.max_tokens
    }

    /// What the caller may use; its roles' limits put together.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What must not pass in the text that goes in and comes out. A clone is cheap.
    #[must_use]
    pub fn content(&self) -> &ContentRules {
        &self.content
    }

    /// How much of the call is kept with its record: the most that any rule which allowed it asks for.
    #[must_use]
    pub fn audit(&self) -> AuditLevel {
        self.audit
    }

    /// Whether the answer may be kept for later requests.
    #[must_use]
    pub fn may_store(&self) -> bool {
        self.limits.store_responses
    }

    /// The override that made this possible, if one did: the record must name it.
    #[must_use]
    pub fn broken_glass(&self) -> Option<&str> {
        self.broken_glass.as_deref()
    }

    /// Who waits for whom.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.limits.priority
    }
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Denial {
    /// The `@id`s of the rules that forbade it, sorted; empty if it is only that no rule allows it.
    pub rules: Vec<String>,
    /// For the caller: what was refused, and the reason that the rule gives.
    pub message: String,
    /// For the record: rules that could not be evaluated. Any of these denies, whatever the others say.
    pub errors: Vec<String>,
    /// Version of the bundle that decided.
    pub policy_version: u64,
}
