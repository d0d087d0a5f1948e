//! A staged policy on its way: what a rollout names, and what makes it the fleet's in the end.
//!
//! Between the two the rollout pins devices to it (table `pins`); signing reads the pin, else the fleet's policy.

use outpost_contract::{TargetKind, TargetPin};

use super::{DeskError, POLICY_DEFAULT};
use crate::fleet::{Fleet, FleetError};
use crate::signing::pin;

impl Fleet {
    /// What a rollout's `Change` names as its policy: the newest staged release of a draft, or a target by its own name.
    ///
    /// # Errors
    /// [`DeskError::NoTarget`] if the catalogue has none.
    pub fn staged_policy(&self, name: &str) -> Result<TargetPin, FleetError> {
        let database = &self.inner.database;
        let mut targets = database.targets_beginning(&format!("policy-{name}.v"))?;
        if let Ok(name) = name.parse() {
            targets.extend(database.target(&name)?);
        }
        let version = |kind: &TargetKind| if let TargetKind::Policy(facts) = kind { Some(facts.version) } else { None };
        let mut found: Vec<_> = targets.iter().filter_map(|target| Some((version(&target.kind)?, target))).collect();
        found.sort_by_key(|(version, _)| *version);
        let newest = found.last().map(|(_, target)| pin(target));
        newest.ok_or_else(|| DeskError::NoTarget(name.chars().take(128).collect()).into())
    }

    /// Makes a policy of the catalogue the fleet's: whoever was pinned to it no longer differs, and every device that is not
    /// pinned elsewhere is told of it. What a rollout calls when its last gate passed; it takes no offline key, as those signed
    /// the catalogue that lists it.
    ///
    /// # Errors
    /// [`DeskError::NoTarget`] if the catalogue does not hold exactly that.
    pub fn settle_policy(&self, policy: &TargetPin) -> Result<(), FleetError> {
        self.inner.database.together(|| {
            self.adopt_policy(policy)?;
            self.owe_everybody()
        })?;
        self.sign_all()?;
        self.touch();
        Ok(())
    }

    /// The same without telling anybody, for whom every device that is there is told of it already.
    pub(crate) fn adopt_policy(&self, policy: &TargetPin) -> Result<(), FleetError> {
        let database = &self.inner.database;
        let listed = database.target(&policy.name)?.filter(|target| matches!(target.kind, TargetKind::Policy(_)));
        if !listed.is_some_and(|target| pin(&target) == *policy) {
            return Err(DeskError::NoTarget(policy.name.to_string()).into());
        }
        database.together(|| {
            database.set(POLICY_DEFAULT, policy.name.as_str().as_bytes())?;
            Ok(database.unpin_policies(Some(&policy.name))?)
        })
    }
}
