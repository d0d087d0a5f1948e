//! What stands between an assignment and its signature: licences, approvals, withdrawals.
//!
//! ```text
//! variant ── denied licence ─► refused      ── withdrawn ─► refused      ── needs approval, none counts ─► refused
//! the same, of a model that the device was told to run before:
//!            goes on              until the deadline, and then not          goes on, if it was told or ever approved
//! ```
//!
//! So expiry and new rules narrow what is newly assigned and stop nothing; only a withdrawal does.

use std::collections::{BTreeMap, BTreeSet};

use outpost_contract::{Desired, DeviceId, ModelId, Sha256, TargetKind, Withdrawal};
use outpost_selector::Selector;

use super::ModelError;
use crate::config::LicenceStanding;
use crate::db::{ModelApproval, StoredTarget, StoredWithdrawal};
use crate::fleet::{Fleet, FleetError};

/// Withdrawals that a desired state carries, the newest: it must stay a small document.
pub(super) const MOST_STATED: usize = 32;

/// What holds for one batch of signatures.
pub(crate) struct Gate {
    withdrawals: Vec<StoredWithdrawal>,
    /// Approvals that nobody revoked, with whom they mean; none for a selector that cannot be read any more.
    approvals: Vec<(ModelApproval, Option<Selector>)>,
    now_s: i64,
    /// Whether somebody asks for it now, or what was asked for before is signed again.
    is_new: bool,
}

impl Gate {
    /// What holds now.
    pub(crate) fn new(fleet: &Fleet) -> Result<Self, FleetError> {
        let database = &fleet.inner.database;
        let counts = database.model_approvals(None)?.into_iter().filter(|approval| approval.revoked_s.is_none());
        let approvals = counts.map(|approval| {
            let selector = fleet.selector(&approval.selector).ok();
            (approval, selector)
        });
        Ok(Self {
            withdrawals: database.withdrawals()?,
            approvals: approvals.collect(),
            now_s: fleet.now_s(),
            is_new: false,
        })
    }

    /// The same for what somebody asks for now: where nothing may be assigned, that is an error.
    pub(crate) fn for_new_assignments(self) -> Self {
        Self { is_new: true, ..self }
    }

    /// Whether what is signed next is asked for now.
    pub(crate) fn set_new(&mut self, is_new: bool) {
        self.is_new = is_new;
    }

    /// What devices are told of withdrawals.
    pub(crate) fn stated(&self) -> Vec<Withdrawal> {
        let mut newest: Vec<&StoredWithdrawal> = self.withdrawals.iter().collect();
        newest.sort_by_key(|one| std::cmp::Reverse(one.at_s));
        let stated = newest.into_iter().take(MOST_STATED).filter_map(|one| {
            Some(Withdrawal {
                model: one.model.parse().ok()?,
                whole: one.target.is_empty(),
                files: one.files.iter().filter_map(|file| file.parse().ok()).collect(),
                after_s: one.after_s,
                reason: one.reason.clone(),
            })
        });
        stated.collect()
    }

    /// What is to be known of devices before this gate is asked about them, with the model that each is to run.
    pub(crate) fn subjects(
        &self,
        fleet: &Fleet,
        wanted: &[(&DeviceId, &ModelId)],
    ) -> Result<BTreeMap<DeviceId, Subject>, FleetError> {
        if self.is_plain(fleet) {
            return Ok(BTreeMap::new());
        }
        let devices: Vec<DeviceId> = wanted.iter().map(|(device, _)| (*device).clone()).collect();
        let mut told = fleet.told(wanted)?;
        let mut facts = if self.approvals.is_empty() { BTreeMap::new() } else { fleet.facts_of(&devices)? };
        let subject = |device: DeviceId| {
            let subject = Subject { told: told.remove(&device), facts: facts.remove(&device) };
            (device, subject)
        };
        Ok(devices.into_iter().map(subject).collect())
    }

    fn is_plain(&self, fleet: &Fleet) -> bool {
        self.withdrawals.is_empty() && fleet.inner.config.models == crate::config::ModelRules::default()
    }

    /// Those of a model's variants that a device may be told to run; none if the model was withdrawn from it and its deadline
    /// is over. `subject` is what [`subjects`](Self::subjects) gave for the device, if it gave something.
    ///
    /// # Errors
    /// [`ModelError`], if it is asked for now and no variant may be assigned.
    pub(crate) fn allowed<'a>(
        &self,
        fleet: &Fleet,
        (device, subject): (&DeviceId, Option<&Subject>),
        model: &ModelId,
        variants: Vec<&'a StoredTarget>,
    ) -> Result<Vec<&'a StoredTarget>, FleetError> {
        if self.is_plain(fleet) {
            return Ok(variants);
        }
        let (facts, told) = subject.map_or((None, None), |subject| (subject.facts.as_ref(), subject.told.as_ref()));
        let judge = Judge { gate: self, fleet, device, model, facts, told };
        let (mut kept, mut refused, mut last_resort) = (Vec::new(), None, Vec::new());
        for variant in variants {
            match judge.judge(variant) {
                Verdict::Allowed => kept.push(variant),
                Verdict::UntilTheDeadline => last_resort.push(variant),
                Verdict::Refused(error) => refused = refused.or(Some(error)),
            }
        }
        // Whatever is left of the model takes the place of what was withdrawn; without anything, there is the time to choose.
        if kept.is_empty() {
            kept = last_resort;
        }
        match refused.filter(|_| kept.is_empty() && self.is_new) {
            Some(error) => Err(error.into()),
            None => Ok(kept),
        }
    }

    fn withdrawal(&self, model: &ModelId, variant: &StoredTarget) -> Option<&StoredWithdrawal> {
        let file = variant.model_file().map(|file| file.to_hex());
        let means = |one: &&StoredWithdrawal| {
            (one.target.is_empty() && one.model == model.as_str())
                || file.as_ref().is_some_and(|file| one.files.contains(file))
        };
        self.withdrawals.iter().filter(means).min_by_key(|one| one.after_s)
    }
}

/// A device before the gate.
#[derive(Debug, Default)]
pub(crate) struct Subject {
    /// The targets that it was told to choose among, if it was told to run this model.
    told: Option<BTreeSet<Sha256>>,
    /// What approvals may select by; none if nothing is approved, or it is not there.
    facts: Option<outpost_selector::Facts>,
}

enum Verdict {
    Allowed,
    UntilTheDeadline,
    Refused(ModelError),
}

struct Judge<'a> {
    gate: &'a Gate,
    fleet: &'a Fleet,
    device: &'a DeviceId,
    model: &'a ModelId,
    facts: Option<&'a outpost_selector::Facts>,
    /// The targets that the device was told to choose among, if it was told to run this model.
    told: Option<&'a BTreeSet<Sha256>>,
}

impl Judge<'_> {
    fn judge(&self, variant: &StoredTarget) -> Verdict {
        let model = self.model.to_string();
        if let Some(withdrawal) = self.gate.withdrawal(self.model, variant) {
            let was_told = self.told.is_some_and(|told| told.contains(&variant.sha256));
            if was_told && !self.gate.is_new && self.gate.now_s < withdrawal.after_s {
                return Verdict::UntilTheDeadline;
            }
            let (person, reason) = (withdrawal.person.clone(), withdrawal.reason.clone());
            return Verdict::Refused(ModelError::Withdrawn { model, person, reason });
        }
        let TargetKind::Variant(facts) = &variant.kind else {
            return Verdict::Refused(ModelError::Invalid(format!("`{}` is no variant of a model", variant.name)));
        };
        if self.told.is_some_and(|told| told.contains(&variant.sha256)) {
            return Verdict::Allowed;
        }
        let (rules, licence) = (&self.fleet.inner.config.models, &facts.model.licence);
        match rules.licence(licence) {
            LicenceStanding::Denied => Verdict::Refused(ModelError::LicenceDenied { model, licence: licence.clone() }),
            LicenceStanding::Allowed if !rules.approvals => Verdict::Allowed,
            standing => match self.approval(variant) {
                Ok(()) => Verdict::Allowed,
                Err(missing) => {
                    let because = match standing {
                        LicenceStanding::NeedsApproval if licence.is_empty() => {
                            format!("its licence is unknown, and {missing}")
                        }
                        LicenceStanding::NeedsApproval => {
                            format!("its licence `{licence}` is not one that `[licences]` allows, and {missing}")
                        }
                        _ => missing,
                    };
                    Verdict::Refused(ModelError::NotApproved { model, device: self.device.clone(), because })
                }
            },
        }
    }

    /// Whether somebody approved this very variant for this device; in words what is missing. An approval that has ended
    /// counts where the device was told to run the model before.
    fn approval(&self, variant: &StoredTarget) -> Result<(), String> {
        let of_model = self.gate.approvals.iter().filter(|(approval, _)| approval.model == self.model.as_str());
        let mut missing = "nobody approved it".to_owned();
        let digest = variant.sha256.to_hex();
        for (approval, selector) in of_model {
            let is_meant = match (selector, self.facts) {
                (Some(selector), Some(facts)) => selector.matches(facts),
                _ => false,
            };
            if !is_meant {
                missing = format!("what {} approved is for `{}`", approval.person, approval.selector);
            } else if !approval.files.contains(&digest) {
                missing = format!("`{}` is not what {} approved: it was released later", variant.name, approval.person);
            } else if approval.until_s <= self.gate.now_s && self.told.is_none() {
                missing = format!("the approval of {} has ended", approval.person);
            } else {
                return Ok(());
            }
        }
        Err(missing)
    }
}

impl Fleet {
    /// The targets that devices were told to choose among, of those that were told to run just this model.
    fn told(&self, wanted: &[(&DeviceId, &ModelId)]) -> Result<BTreeMap<DeviceId, BTreeSet<Sha256>>, FleetError> {
        let devices: Vec<DeviceId> = wanted.iter().map(|(device, _)| (*device).clone()).collect();
        let models: BTreeMap<&DeviceId, &ModelId> = wanted.iter().copied().collect();
        let keys = self.inner.keys.accepted_directors();
        let read = |envelope: &[u8]| {
            let read = outpost_trust::Envelope::parse(envelope).ok()?;
            let payload = read.verify(outpost_contract::desired::PAYLOAD_TYPE, &keys).ok()?;
            serde_json::from_slice::<Desired>(&payload).ok()?.model
        };
        let signed = self.inner.database.signed_for(&devices)?.into_iter();
        let told = signed.filter_map(|(device, _, envelope)| {
            let told = read(&envelope).filter(|told| models.get(&device) == Some(&&told.model))?;
            Some((device, told.variants.iter().map(|pin| pin.sha256).collect()))
        });
        Ok(told.collect())
    }
}
