//! An override that somebody opened: asked only where the caller's own roles do not reach, and over by itself.

use std::sync::{Arc, PoisonError, RwLock};

use outpost_policies::{Ask, BreakGlass, BreakGlassError, Denial, Permit, Policies};

use super::Identities;

/// The override that is open, if one is.
#[derive(Debug, Default)]
pub(super) struct OpenGlass(RwLock<Option<Arc<BreakGlass>>>);

impl Identities {
    /// Opens an override whose seal has been checked and whose opening is on record; or closes it, with `None`.
    ///
    /// # Errors
    /// If it says too little or too much.
    pub fn set_break_glass(&self, glass: Option<BreakGlass>) -> Result<(), BreakGlassError> {
        if let Some(glass) = &glass {
            glass.check()?;
        }
        *self.glass.0.write().unwrap_or_else(PoisonError::into_inner) = glass.map(Arc::new);
        Ok(())
    }

    /// The override that is open at this moment.
    #[must_use]
    pub fn break_glass(&self, now_s: i64) -> Option<Arc<BreakGlass>> {
        let held = self.glass.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        held.filter(|glass| (glass.from_s..glass.until_s).contains(&now_s))
    }

    /// Decides by the caller's own roles, and if that denies, with those of the override that is open.
    pub(crate) fn authorize(&self, policies: &Policies, ask: &Ask, device: &str) -> Result<Permit, Denial> {
        match self.break_glass(ask.context.now_s) {
            None => policies.authorize(ask),
            Some(glass) => policies.authorize_in_emergency(ask, device, &glass),
        }
    }
}
