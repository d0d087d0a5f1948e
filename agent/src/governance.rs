//! Signed documents that count on this device: whose signatures, what is in force by them, and what of it survives a
//! restart.

mod emergency;
mod locks;
mod policy;
mod signers;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use async_trait::async_trait;
use bytes::Bytes;
use outpost_audit::{AuditLog, Pseudonyms};
use outpost_disk::Clock;
use outpost_policies::{InForce, Permit};
use outpost_serve::{Governance, GovernanceError, Identities};
use serde_json::{Map, Value};

use emergency::Emergency;
use locks::LockKeeper;
use policy::PolicyKeeper;
pub(crate) use policy::kept_policies;
pub(crate) use signers::SignersInForce;

use crate::progress::Announcer;

/// What documents are checked against, and what they change.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    pub(crate) device: String,
    pub(crate) enrolled: bool,
    pub(crate) policies: InForce,
    pub(crate) identities: Arc<Identities>,
    pub(crate) audit: AuditLog,
    pub(crate) pseudonyms: Pseudonyms,
    pub(crate) clock: Clock,
    pub(crate) announcer: Announcer,
}

/// The keepers of a device's signed documents; cloning gives another hand on the same ones.
#[derive(Debug, Clone)]
pub(crate) struct Keepers {
    pub(crate) signers: SignersInForce,
    pub(crate) policy: Arc<PolicyKeeper>,
    locks: Arc<LockKeeper>,
    emergency: Arc<Emergency>,
}

impl Keepers {
    /// Puts in force again what was in force before this start; an override that was open is over.
    ///
    /// # Errors
    /// If what was kept cannot be read, or no longer holds: nobody is served by other rules without being told.
    pub(crate) fn open(ledgers: &Path, signers: SignersInForce, around: Surroundings) -> Result<Self> {
        Ok(Self {
            policy: Arc::new(PolicyKeeper::open(ledgers, around.clone()).context("the policy in force")?),
            locks: Arc::new(LockKeeper::open(ledgers, around.clone()).context("the list of locks in force")?),
            emergency: Arc::new(Emergency::open(ledgers, around).context("the last override")?),
            signers,
        })
    }
}

/// Does something with the disk off the threads that serve.
async fn aside<T: Send + 'static>(
    doing: impl FnOnce() -> Result<T, GovernanceError> + Send + 'static,
) -> Result<T, GovernanceError> {
    let done = tokio::task::spawn_blocking(doing).await;
    done.unwrap_or_else(|error| Err(GovernanceError::Failed(format!("the act was broken off: {error}"))))
}

#[async_trait]
impl Governance for Keepers {
    async fn apply_locks(&self, _permit: Permit, document: Bytes) -> Result<Map<String, Value>, GovernanceError> {
        let (locks, signers) = (Arc::clone(&self.locks), self.signers.now());
        aside(move || locks.take(&document, &signers)).await
    }

    async fn open_override(&self, permit: Permit, document: Bytes) -> Result<Map<String, Value>, GovernanceError> {
        let (emergency, signers) = (Arc::clone(&self.emergency), self.signers.now());
        let opener = permit.principal().id.clone();
        let opened = aside(move || emergency.begin(&document, &signers, &opener)).await?;
        Arc::clone(&self.emergency).watch(&opened);
        Ok(opened.facts())
    }

    async fn close_override(&self, _permit: Permit) -> Result<Map<String, Value>, GovernanceError> {
        let emergency = Arc::clone(&self.emergency);
        aside(move || emergency.close()).await
    }

    async fn activate_policy(&self, _permit: Permit, document: Bytes) -> Result<Map<String, Value>, GovernanceError> {
        let (policy, signers) = (Arc::clone(&self.policy), self.signers.now());
        aside(move || policy.take_local(&document, &signers)).await
    }

    async fn roll_back_policy(&self, _permit: Permit) -> Result<Map<String, Value>, GovernanceError> {
        let policy = Arc::clone(&self.policy);
        aside(move || policy.roll_back()).await
    }
}

/// Somebody's facts as a JSON object.
fn facts<const N: usize>(facts: [(&str, Value); N]) -> Map<String, Value> {
    facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What a keeper could not do, in words for the log.
fn failed(error: impl std::fmt::Display) -> GovernanceError {
    GovernanceError::Failed(error.to_string())
}
