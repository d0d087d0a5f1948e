//! The locks in force: whoever is on the list is refused, whatever the credential says, with or without a network.

use std::sync::{Arc, PoisonError, RwLock};

use outpost_policies::{AuthMethod, Credential, LockError, Locked, Locks};

use super::{Caller, Identities, Unidentified};

/// A list, and when it was last known to be the newest.
#[derive(Debug, Default)]
pub(super) struct LocksInForce(RwLock<Option<Arc<(Locks, i64)>>>);

impl LocksInForce {
    pub(super) fn check(&self, caller: &Caller, now_s: i64) -> Result<(), Unidentified> {
        let held = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(held) = held else { return Ok(()) };
        let (locks, confirmed_s) = &*held;
        let credential = Credential {
            key: (caller.method == AuthMethod::ApiKey).then_some(caller.credential.as_str()),
            token: caller.token_id.as_deref(),
            device: caller.device.as_deref(),
        };
        let age_s = u64::try_from(now_s.saturating_sub(*confirmed_s)).unwrap_or(0);
        locks.check(&caller.principal, credential, now_s, age_s).map_err(|locked| {
            let code = match locked {
                Locked::By { .. } => "locked",
                Locked::Stale { .. } => "locks_too_old",
            };
            Unidentified::new(code, locked.to_string())
        })
    }
}

impl Identities {
    /// Puts a list of locks in force whose signature has been checked, known to be the newest at `confirmed_s`.
    ///
    /// # Errors
    /// If its number is not above that of the list in force.
    pub fn set_locks(&self, locks: Locks, confirmed_s: i64) -> Result<(), LockError> {
        let mut held = self.locks.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = held.as_ref().map_or_else(Locks::default, |held| held.0.clone());
        next.replace(locks)?;
        *held = Some(Arc::new((next, confirmed_s)));
        Ok(())
    }

    /// The number of the list of locks in force, and when it was last known to be the newest.
    #[must_use]
    pub fn locks(&self) -> Option<(u64, i64)> {
        let held = self.locks.0.read().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().map(|held| (held.0.seq(), held.1))
    }
}
