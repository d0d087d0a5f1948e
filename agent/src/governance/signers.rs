//! Whose signatures count here: on a box of its own by its configuration, in a fleet by the signed catalogue alone.

use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context, Result, bail};
use outpost_contract::{SealedKind, Signer};
use outpost_serve::GovernanceError;
use outpost_trust::Signers;
use outpost_trust::dsse::DsseError;
use outpost_trust::sealed::Opened;

/// A shared handle on the list in force; clones see the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct SignersInForce(Arc<RwLock<Arc<Signers>>>);

impl SignersInForce {
    /// Begins with those of the configuration, which only a box of its own may have.
    pub(crate) fn configured(listed: &[Signer], enrolled: bool) -> Result<Self> {
        if enrolled && !listed.is_empty() {
            bail!(
                "`signers`: this device belongs to a fleet, whose catalogue says whose signatures count; take them out of \
                 the configuration"
            );
        }
        let signers = Signers::new(listed).context("`signers`")?;
        Ok(Self(Arc::new(RwLock::new(Arc::new(signers)))))
    }

    /// The list in force.
    pub(crate) fn now(&self) -> Arc<Signers> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another in force.
    pub(crate) fn replace(&self, signers: Signers) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(signers);
    }
}

/// Opens a sealed document, or says why it stays closed.
pub(super) fn open(signers: &Signers, kind: SealedKind, document: &[u8]) -> Result<Opened, GovernanceError> {
    let who_may = || match signers.people(kind) {
        0 => format!("nobody may sign {} for this device: list people under `signers`", kind.in_words()),
        people => format!("it is signed by none of the {people} who may sign {} for this device", kind.in_words()),
    };
    signers.open(kind, document).map_err(|error| match error {
        DsseError::BadSignature(_) => GovernanceError::NotApproved(who_may()),
        other => GovernanceError::Invalid(other.to_string()),
    })
}
