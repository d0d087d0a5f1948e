//! The policies in force: read by every request, replaced as a whole.

use std::sync::{Arc, PoisonError, RwLock};

use crate::Policies;

/// A shared handle on the policies in force; clones see the same. A request that has read them keeps what it read, so
/// one request is never decided by two versions.
#[derive(Debug, Clone)]
pub struct InForce(Arc<RwLock<Arc<Policies>>>);

impl InForce {
    /// Starts with these policies.
    #[must_use]
    pub fn new(policies: Policies) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(policies))))
    }

    /// The policies in force now.
    #[must_use]
    pub fn now(&self) -> Arc<Policies> {
        // The lock only guards the exchange of one pointer, so a panic elsewhere cannot have left it half done.
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts others in force; returns those that were.
    pub fn replace(&self, policies: Policies) -> Arc<Policies> {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *held, Arc::new(policies))
    }
}
