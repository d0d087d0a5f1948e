//! What the agent does with documents that count by who signed them: locks, overrides, policies.

use async_trait::async_trait;
use bytes::Bytes;
use outpost_policies::Permit;
use serde_json::{Map, Value};

/// Takes documents from whoever may bring them. What they are worth is up to their signatures, which the agent checks;
/// each method puts what it took on record before it counts, and says what is in force now, as plain facts.
#[async_trait]
pub trait Governance: Send + Sync + 'static {
    /// Puts a newer list of locks in force.
    ///
    /// # Errors
    /// If it is no list, not signed by anybody who may, or not newer.
    async fn apply_locks(&self, permit: Permit, document: Bytes) -> Result<Map<String, Value>, GovernanceError>;

    /// Opens a sealed override.
    ///
    /// # Errors
    /// If it is none, not sealed by anybody who may, not for this device or this moment, or was closed before.
    async fn open_override(&self, permit: Permit, document: Bytes) -> Result<Map<String, Value>, GovernanceError>;

    /// Closes the override that is open.
    ///
    /// # Errors
    /// If none is.
    async fn close_override(&self, permit: Permit) -> Result<Map<String, Value>, GovernanceError>;

    /// Puts a policy bundle in force, sealed by as many people as the one in force asks for.
    ///
    /// # Errors
    /// If it is no bundle, does not hold, is not approved, not newer, or a fleet assigns the policy.
    async fn activate_policy(&self, permit: Permit, document: Bytes) -> Result<Map<String, Value>, GovernanceError>;

    /// Goes back to the policy bundle that was in force before.
    ///
    /// # Errors
    /// If there is none, the one in force asks for approvals, or a fleet assigns the policy.
    async fn roll_back_policy(&self, permit: Permit) -> Result<Map<String, Value>, GovernanceError>;
}

/// A document does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GovernanceError {
    /// It is not what it should be; says where, and the way out.
    #[error("{0}")]
    Invalid(String),
    /// Those who must have signed it have not.
    #[error("{0}")]
    NotApproved(String),
    /// It contradicts what is in force, or what the fleet says.
    #[error("{0}")]
    Conflict(String),
    /// Nothing that whoever brought it could change; for the log, not for the caller.
    #[error("{0}")]
    Failed(String),
}
