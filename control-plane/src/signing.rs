//! Signing what devices should run: for one or for all of them, in one transaction, with the catalogue read once.

mod envelopes;
mod owed;

use std::collections::BTreeMap;

use outpost_contract::{
    BlobRef, BuildVersion, Desired, DesiredModel, DeviceId, ModelId, ReasonCode, Reported, TargetKind, TargetName,
    TargetPin,
};

use crate::builds::of_version;
use crate::db::{Assigned, Assignment, Basis, Pin, Signed, StoredTarget};
use crate::fleet::{Fleet, FleetError};
use crate::models::{Gate, Subject};
use envelopes::envelopes;

const DAY_S: i64 = 24 * 60 * 60;

/// Versions above this one are not overtaken. A device goes forward by `MOST_STEP` at most, so none gets here but one
/// that lies, or one that met a thief of the director key before it met us; that one is enrolled again.
const MOST_OVERTAKEN: u64 = 1 << 33;

/// Devices that are signed for in one transaction where nothing demands all of them in one.
const BATCH: usize = 500;

/// Who takes a device from its rollout by assigning something to it.
const BY_OPERATOR: &str = "an operator's assignment";

/// Versions by device, or why there is none.
pub(crate) type Told = BTreeMap<DeviceId, Result<u64, FleetError>>;

/// Whether a desired state names the rollout that its device is pinned to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// What was assigned before, or by that rollout, is signed.
    ItsRollout,
    /// Something else is assigned.
    NoRollout,
}

/// What the desired states of a batch have in common.
pub(crate) struct Signer<'a> {
    fleet: &'a Fleet,
    catalogue: BlobRef,
    targets: Vec<StoredTarget>,
    /// The name of the fleet's policy.
    policy: TargetName,
    gate: Gate,
}

impl Signer<'_> {
    /// Signs and keeps the next desired state of a device. Returns its version.
    fn sign(&self, device: &DeviceId, assignment: &Assignment) -> Result<u64, FleetError> {
        let mut told = self.sign_each(&[(device, assignment)], Naming::ItsRollout)?;
        told.remove(device).unwrap_or_else(|| Err(FleetError::UnknownDevice(device.clone())))
    }

    /// Signs and keeps the next desired state of many devices, each of which is named once, as a part of the caller's
    /// transaction. Returns the version of each, or why there is none of it; then nothing is kept for that device.
    fn sign_each(&self, wanted: &[(&DeviceId, &Assignment)], naming: Naming) -> Result<Told, FleetError> {
        let inner = &self.fleet.inner;
        let devices: Vec<DeviceId> = wanted.iter().map(|(device, _)| (*device).clone()).collect();
        let mut bases = inner.database.bases(&devices)?;
        let models: Vec<(&DeviceId, &ModelId)> =
            wanted.iter().filter_map(|(device, assignment)| Some((*device, assignment.model.as_ref()?))).collect();
        let subjects = self.gate.subjects(self.fleet, &models)?;
        let (mut told, mut documents) = (Told::new(), Vec::with_capacity(wanted.len()));
        for (device, assignment) in wanted {
            let basis = bases.remove(*device).ok_or_else(|| FleetError::UnknownDevice((*device).clone()));
            let document =
                basis.and_then(|basis| self.next((*device, subjects.get(*device)), assignment, &basis, naming));
            match document {
                Ok(document) => documents.push(document),
                Err(error) => drop(told.insert((*device).clone(), Err(error))),
            }
        }
        let envelopes = envelopes(&documents, &inner.keys.directors())?;
        let signed: Vec<Signed> = documents
            .into_iter()
            .zip(envelopes)
            .map(|(Desired { device, version, not_after_s, .. }, envelope)| Signed {
                device,
                version,
                not_after_s,
                envelope,
            })
            .collect();
        inner.database.keep_signed(&signed)?;
        told.extend(signed.into_iter().map(|one| (one.device, Ok(one.version))));
        Ok(told)
    }

    /// The next desired state of a device.
    fn next(
        &self,
        (device, subject): (&DeviceId, Option<&Subject>),
        assignment: &Assignment,
        basis: &Basis,
        naming: Naming,
    ) -> Result<Desired, FleetError> {
        let inner = &self.fleet.inner;
        let context_tokens = assignment.minimum_context_tokens;
        let model = assignment.model.as_ref().map(|model| self.model((device, subject), model, context_tokens));
        let issued_at_s = self.fleet.now_s();
        // A thief of the director key, or a database from a backup, may have left the device ahead of us.
        let after = if basis.reported <= MOST_OVERTAKEN { basis.reported } else { 0 };
        Ok(Desired {
            v: 1,
            tenant: inner.config.tenant.clone(),
            device: device.clone(),
            version: basis.signed.max(after) + 1,
            issued_at_s,
            not_after_s: issued_at_s + i64::from(inner.config.desired_days) * DAY_S,
            catalogue: self.catalogue.clone(),
            model: model.transpose()?.flatten(),
            policy: self.policy(basis.pin.policy.as_ref()),
            rollout: basis.pin.rollout.clone().filter(|_| naming == Naming::ItsRollout),
            withdrawn: self.gate.stated(),
            agent: self.builds(basis.pin.build.as_ref()),
        })
    }

    /// Why a device could not be told to run something; nothing if it could. Nothing is signed.
    pub(crate) fn obstacles(
        &self,
        wanted: &[(&DeviceId, &Assignment)],
    ) -> Result<BTreeMap<DeviceId, FleetError>, FleetError> {
        let models: Vec<(&DeviceId, &ModelId)> =
            wanted.iter().filter_map(|(device, assignment)| Some((*device, assignment.model.as_ref()?))).collect();
        let subjects = self.gate.subjects(self.fleet, &models)?;
        let obstacle = |(device, model): (&DeviceId, &ModelId)| {
            let refused = self.model((device, subjects.get(device)), model, 0).err()?;
            Some((device.clone(), refused))
        };
        Ok(models.into_iter().filter_map(obstacle).collect())
    }

    /// The policy of that name, else the fleet's. One that the catalogue does not list stays in force as it is.
    fn policy(&self, name: Option<&TargetName>) -> Option<TargetPin> {
        let name = name.unwrap_or(&self.policy);
        let is_it = |target: &&StoredTarget| target.name == *name && matches!(target.kind, TargetKind::Policy(_));
        self.targets.iter().find(is_it).map(pin)
    }

    /// The builds of that version. One that the catalogue does not list any more leaves what runs.
    fn builds(&self, version: Option<&BuildVersion>) -> Vec<TargetPin> {
        version.map_or_else(Vec::new, |version| of_version(&self.targets, version).map(pin).collect())
    }

    /// The model with those of its variants that the device may run; none if there are none left of what it was told before.
    fn model(
        &self,
        subject: (&DeviceId, Option<&Subject>),
        model: &ModelId,
        minimum_context_tokens: u32,
    ) -> Result<Option<DesiredModel>, FleetError> {
        let is_of_it =
            |target: &&StoredTarget| matches!(&target.kind, TargetKind::Variant(facts) if facts.model.model == *model);
        let variants: Vec<&StoredTarget> = self.targets.iter().filter(is_of_it).collect();
        if variants.is_empty() {
            return Err(FleetError::UnknownModel(model.to_string()));
        }
        let mut variants = self.gate.allowed(self.fleet, subject, model, variants)?;
        if variants.is_empty() {
            return Ok(None);
        }
        // Best first, for people who read it; the device's planner decides.
        variants.sort_by_key(|target| match &target.kind {
            TargetKind::Variant(facts) => std::cmp::Reverse(facts.quality_milli),
            _ => std::cmp::Reverse(0),
        });
        let variants = variants.into_iter().map(pin).collect();
        Ok(Some(DesiredModel { model: model.clone(), variants, minimum_context_tokens }))
    }
}

impl Fleet {
    fn signer(&self) -> Result<Signer<'_>, FleetError> {
        let (catalogue, targets) = (self.catalogue()?, self.inner.database.targets()?);
        Ok(Signer { fleet: self, catalogue, targets, policy: self.policy_target()?, gate: Gate::new(self)? })
    }

    /// Assigns a model (or none) to a device and signs its next desired state. Returns the version.
    ///
    /// # Errors
    /// If device or model are not known, or nothing was released yet; [`ModelError`](crate::ModelError) if the model is not
    /// approved for the device, its licence is refused, or it was withdrawn.
    pub fn assign(&self, device: &DeviceId, assignment: &Assignment) -> Result<u64, FleetError> {
        let mut versions = self.assign_all(std::slice::from_ref(device), assignment)?;
        versions.pop().ok_or_else(|| FleetError::UnknownDevice(device.clone()))
    }

    /// Assigns the same to many devices: to all of them or to none. Returns the version of each, in order.
    ///
    /// # Errors
    /// As [`assign`](Self::assign).
    pub fn assign_all(&self, devices: &[DeviceId], assignment: &Assignment) -> Result<Vec<u64>, FleetError> {
        let wanted: BTreeMap<&DeviceId, &Assignment> = devices.iter().map(|device| (device, assignment)).collect();
        let versions = self.inner.database.together(|| {
            let mut told = self.assign_each(&wanted, BY_OPERATOR)?;
            if let Some(device) = devices.iter().find(|device| !matches!(told.get(*device), Some(Ok(_)))) {
                return match told.remove(device) {
                    Some(Err(error)) => Err(error),
                    _ => Err(FleetError::UnknownDevice(device.clone())),
                };
            }
            Ok(devices.iter().filter_map(|device| told.get(device)?.as_ref().ok().copied()).collect())
        })?;
        self.touch();
        Ok(versions)
    }

    /// Assigns something to each of many devices, as a part of the caller's transaction; `by` is who takes them from their
    /// rollouts. Returns the version of each, or why there is none of it; then nothing has changed for that device.
    pub(crate) fn assign_each(&self, wanted: &BTreeMap<&DeviceId, &Assignment>, by: &str) -> Result<Told, FleetError> {
        let database = &self.inner.database;
        let wanted: Vec<(&DeviceId, &Assignment)> = wanted.iter().map(|(device, what)| (*device, *what)).collect();
        // Whoever assigns something to a device takes it from its rollout.
        let told = self.signer_of_new()?.sign_each(&wanted, Naming::NoRollout)?;
        let is_told = |device: &DeviceId| matches!(told.get(device), Some(Ok(_)));
        let assigned: Vec<_> = wanted.into_iter().filter(|(device, _)| is_told(device)).collect();
        let devices: Vec<DeviceId> = assigned.iter().map(|(device, _)| (*device).clone()).collect();
        database.depart_all(&devices, by)?;
        database.unroll(&devices)?;
        database.assign_each(&assigned)?;
        Ok(told)
    }

    /// Signs what somebody asks for now.
    pub(crate) fn signer_of_new(&self) -> Result<Signer<'_>, FleetError> {
        let signer = self.signer()?;
        Ok(Signer { gate: signer.gate.for_new_assignments(), ..signer })
    }

    /// Assigns to one device what its rollout orders, as a part of the caller's transaction; the first order of that makes the
    /// signer. What is new to the device (`is_new`) must be allowed to be assigned; what it is given back need not. Returns the
    /// version.
    pub(crate) fn order<'a>(
        &'a self,
        signer: &mut Option<Signer<'a>>,
        device: &DeviceId,
        assignment: &Assignment,
        pin: &Pin,
        is_new: bool,
    ) -> Result<u64, FleetError> {
        let database = &self.inner.database;
        database.together(|| {
            if !database.is_admitted(device)? {
                return Err(FleetError::UnknownDevice(device.clone()));
            }
            if pin.build.is_some() && is_new {
                self.check_takes_builds(device)?;
            }
            let signer = match signer {
                Some(signer) => signer,
                None => signer.insert(self.signer()?),
            };
            signer.gate.set_new(is_new);
            database.keep_pin(device, pin)?;
            let version = signer.sign(device, assignment)?;
            database.assign(device, assignment)?;
            Ok(version)
        })
    }

    /// Signs anew for every device that has an assignment: the catalogue has changed. If it does not come to its end, whoever
    /// leads the servers sees to it: what is owed is written down.
    pub(crate) fn sign_all(&self) -> Result<(), FleetError> {
        let owed = match self.owed()? {
            Some(owed) => owed,
            None => self.inner.database.together(|| self.owe_everybody())?,
        };
        self.sign_where(|_, _| true)?;
        self.paid(&owed)
    }

    /// Signs anew what a device that comes back after weeks could not accept any more.
    pub(crate) fn sign_aging(&self) -> Result<(), FleetError> {
        let half_s = i64::from(self.inner.config.desired_days) * DAY_S / 2;
        let now_s = self.now_s();
        self.sign_where(|version, not_after_s| version > 0 && not_after_s - now_s < half_s)
    }

    /// Signs anew for every device with an assignment whose newest version and its end are such.
    fn sign_where(&self, is_due: impl Fn(u64, i64) -> bool) -> Result<(), FleetError> {
        let database = &self.inner.database;
        let is_due = |(_, _, version, not_after_s): &Assigned| is_due(*version, *not_after_s);
        let due: Vec<DeviceId> =
            database.assignments()?.into_iter().filter(is_due).map(|(device, ..)| device).collect();
        // Not all at once: whoever else writes waits for the end of each transaction.
        for some in due.chunks(BATCH) {
            database.together(|| {
                // What was assigned since the list was made must not be taken back.
                let mut assigned = database.assignments_of(some)?;
                assigned.retain(is_due);
                let wanted: Vec<_> = assigned.iter().map(|(device, assignment, ..)| (device, assignment)).collect();
                for (device, told) in self.signer()?.sign_each(&wanted, Naming::ItsRollout)? {
                    match told {
                        // It was revoked since the list was made.
                        Ok(_) | Err(FleetError::UnknownDevice(_)) => {}
                        Err(FleetError::Database(error)) => return Err(error.into()),
                        Err(error) => tracing::warn!(%device, %error, "the device keeps what it was told before"),
                    }
                }
                Ok::<_, FleetError>(())
            })?;
        }
        Ok(())
    }

    /// Signs anew for a device that says it has accepted what was never signed here, or something else of the same
    /// version: it will not go back, so the version goes forward. True if it did.
    pub(crate) fn overtake(&self, reported: &Reported) -> Result<bool, FleetError> {
        let database = &self.inner.database;
        let signed = database.desired_version(&reported.device)?;
        let refused = reported.reasons.iter().any(|reason| reason.code == ReasonCode::Rollback);
        if reported.desired_version > MOST_OVERTAKEN {
            tracing::error!(device = %reported.device, reported = reported.desired_version,
                "the device says that it accepted a version that none can have reached; enrol it again");
            return Ok(false);
        }
        if signed == 0 || reported.desired_version < signed || (reported.desired_version == signed && !refused) {
            return Ok(false);
        }
        let signed = database.together(|| {
            let assigned = database.assignments_of(std::slice::from_ref(&reported.device))?;
            let again = |(device, assignment, ..): &Assigned| self.signer()?.sign(device, assignment);
            assigned.first().map(again).transpose()
        })?;
        let Some(version) = signed else { return Ok(false) };
        tracing::warn!(device = %reported.device, reported = reported.desired_version, version,
            "the device is ahead of this database (was it set back, or is a director key stolen?); it is overtaken");
        self.touch();
        Ok(true)
    }
}

pub(crate) fn pin(target: &StoredTarget) -> TargetPin {
    TargetPin {
        name: target.name.clone(),
        length: target.bytes.len() as u64,
        sha256: target.sha256,
        release: target.kind.release(),
    }
}

#[cfg(test)]
mod tests;
