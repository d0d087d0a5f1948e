//! `[models]` and `[licences]`: which models need somebody's word before a device is told to run them.

use serde::Deserialize;

/// What is asked of a model before it is assigned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelRules {
    /// Every model needs an approval, whatever its licence.
    pub approvals: bool,
    /// Licences that need none; empty if there are no such rules. Lower case.
    pub allow: Vec<String>,
    /// Licences that no approval helps. Lower case.
    pub deny: Vec<String>,
}

/// How a licence stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LicenceStanding {
    /// Nothing is asked.
    Allowed,
    /// It is unknown, or on no list: somebody has to approve the model.
    NeedsApproval,
    /// It is on the list of those that are refused.
    Denied,
}

impl ModelRules {
    /// How a licence stands with these rules.
    pub(crate) fn licence(&self, licence: &str) -> LicenceStanding {
        let licence = licence.trim().to_lowercase();
        if self.deny.contains(&licence) {
            LicenceStanding::Denied
        } else if (self.allow.is_empty() && self.deny.is_empty()) || self.allow.contains(&licence) {
            LicenceStanding::Allowed
        } else if self.allow.is_empty() && !licence.is_empty() {
            // Only some are refused, and this one is known not to be one of them.
            LicenceStanding::Allowed
        } else {
            LicenceStanding::NeedsApproval
        }
    }

    pub(super) fn new(models: RawModels, licences: RawLicences) -> Self {
        let lower = |list: Vec<String>| list.iter().map(|one| one.trim().to_lowercase()).collect();
        Self { approvals: models.approvals, allow: lower(licences.allow), deny: lower(licences.deny) }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(both) = self.allow.iter().find(|one| self.deny.contains(one)) {
            return Err(format!("`[licences]` allows and denies `{both}`; write it into one of the lists"));
        }
        match self.allow.iter().chain(&self.deny).any(String::is_empty) {
            true => Err("`[licences]` names an empty licence; a model without one needs an approval anyway".to_owned()),
            false => Ok(()),
        }
    }
}

/// `[models]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawModels {
    approvals: bool,
}

/// `[licences]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLicences {
    allow: Vec<String>,
    deny: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_licence_is_allowed_denied_or_for_somebody_to_approve() {
        let rules = |allow: &[&str], deny: &[&str]| {
            let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
            ModelRules::new(RawModels::default(), RawLicences { allow: list(allow), deny: list(deny) })
        };
        let (none, both) = (rules(&[], &[]), rules(&["Apache-2.0", "mit"], &["cc-by-nc-4.0"]));
        assert_eq!(none.licence(""), LicenceStanding::Allowed);
        assert_eq!(both.licence("apache-2.0"), LicenceStanding::Allowed);
        assert_eq!(both.licence("CC-BY-NC-4.0"), LicenceStanding::Denied);
        assert_eq!(both.licence("llama3.2"), LicenceStanding::NeedsApproval);
        assert_eq!(both.licence(" "), LicenceStanding::NeedsApproval);
        let deny = rules(&[], &["cc-by-nc-4.0"]);
        assert_eq!((deny.licence("mit"), deny.licence("")), (LicenceStanding::Allowed, LicenceStanding::NeedsApproval));
        assert!(rules(&["mit"], &["MIT"]).check().unwrap_err().contains("allows and denies"));
        assert!(rules(&[" "], &[]).check().is_err());
        assert!(both.check().is_ok());
    }
}
