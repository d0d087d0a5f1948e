//! Releasing an approved draft with the offline keys: for the whole fleet, or beside its policy for a rollout to bring.

use std::collections::BTreeMap;

use outpost_contract::{BlobRef, PolicyFacts, SealedKind, TargetKind, TargetName};
use outpost_policies::Bundle;
use outpost_trust::Signers;
use outpost_trust::sealed::is_sealed;
use serde::Serialize;

use super::DeskError;
use super::draft::{digest, good};
use crate::catalogue::{POLICY_TARGET, ReleaseRequest, authority_in, check_policy, known_name, put};
use crate::db::StoredTarget;
use crate::fleet::{Fleet, FleetError};
use crate::keys::OfflineKeys;

/// The setting that names the fleet's policy among the targets; empty or missing is `policy.json`.
pub(crate) const POLICY_DEFAULT: &str = "policy_default";

/// Policies beside the fleet's that no device is told of and that are kept all the same, the newest: a rollout may still
/// begin with them.
const IDLE: usize = 4;

/// A draft that was released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PublishedPolicy {
    /// Its name in the catalogue.
    pub target: TargetName,
    /// The bundle's version.
    pub version: u64,
    /// Whether it is for a rollout to bring; else the fleet enforces it.
    pub staged: bool,
    /// The catalogue that holds it.
    pub catalogue: BlobRef,
}

impl Fleet {
    /// Releases an approved draft. `sealed` is the same bundle with people's signatures, where devices ask for them. Staged,
    /// it is only in the catalogue: [`staged_policy`](Self::staged_policy) gives what a rollout names.
    ///
    /// # Errors
    /// If it is faulty, not approved, not above the version in force, or the keys are not those of the root.
    pub fn publish_policy(
        &self,
        holders: &[OfflineKeys],
        name: &str,
        sealed: Option<Vec<u8>>,
        staged: bool,
    ) -> Result<PublishedPolicy, FleetError> {
        let (row, files) = self.kept(name)?;
        let draft = self.looked_at(row.clone(), &files)?;
        let wanted = good(&draft)?;
        let bundle = files.check(row.base_version).bundle.ok_or_else(|| DeskError::Unknown(name.to_owned()))?;
        if self.two_persons()? && draft.summary.approvals.is_empty() {
            return Err(DeskError::NotApproved(name.to_owned()).into());
        }
        let in_force = self.policy_in_force()?;
        let released = in_force.as_ref().map_or(0, |bundle| bundle.version);
        if in_force.as_ref().is_some_and(|bundle| digest(bundle) == wanted) {
            return Err(DeskError::Released(name.to_owned()).into());
        }
        if bundle.version <= released {
            let next = released + 1;
            return Err(DeskError::Version { draft: bundle.version, released, next }.into());
        }
        let asked = in_force.as_ref().map_or(0, |bundle| bundle.required_approvals);
        let document = match sealed {
            Some(sealed) => self.sealed_of(name, sealed, &bundle)?,
            None if asked > 0 => return Err(DeskError::Unsealed { name: name.to_owned(), asked }.into()),
            None => bundle.to_bytes(),
        };
        let keys: Vec<_> = holders.iter().map(|holder| &holder.targets).collect();
        if !staged {
            let request = ReleaseRequest { policy: Some(document), ..ReleaseRequest::default() };
            let catalogue = self.release_by(holders, request)?;
            let target = known_name(POLICY_TARGET);
            return Ok(PublishedPolicy { target, version: bundle.version, staged, catalogue });
        }
        // A roll-back goes to the policy in force as it is signed now.
        if usize::from(bundle.required_approvals) > self.signatures_in_force()? {
            return Err(DeskError::NoWayBack.into());
        }
        let target: TargetName = known_name(&format!("policy-{name}.v{}.json", bundle.version));
        let mut targets = self.next_targets(ReleaseRequest::default())?;
        // Under one name only one document: what is pinned by name never changes by itself.
        if targets.iter().any(|known| known.name == target && known.bytes != document) {
            let (released, next) = (bundle.version, bundle.version + 1);
            return Err(DeskError::Version { draft: bundle.version, released, next }.into());
        }
        let listed = authority_in(&targets)?.map(|authority| authority.signers).unwrap_or_default();
        check_policy(&document, &listed)?;
        let facts = TargetKind::Policy(PolicyFacts { release: 0, version: bundle.version });
        put(&mut targets, target.clone(), document, facts);
        self.tidy(&mut targets, &target)?;
        let catalogue = self.sign_release(targets, &keys)?;
        Ok(PublishedPolicy { target, version: bundle.version, staged, catalogue })
    }

    /// Whether two people stand behind a bundle, where two must; one that is in the catalogue already needs nobody again.
    pub(crate) fn demand_second_person(&self, bundle: &Bundle) -> Result<(), FleetError> {
        if !self.two_persons()? {
            return Ok(());
        }
        let digest = digest(bundle);
        if self.released_digests()?.contains_key(&digest) || self.is_approved(&digest)? {
            return Ok(());
        }
        Err(DeskError::NoDraft.into())
    }

    /// The bundle that the fleet enforces; none before the first release.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn policy_in_force(&self) -> Result<Option<Bundle>, FleetError> {
        let (name, targets) = (self.policy_target()?, self.inner.database.targets()?);
        let signers = signers(&targets)?;
        let target = targets.iter().find(|target| target.name == name);
        target.map(|target| bundle_of(target, &signers)).transpose()
    }

    /// The name of the target that the fleet enforces, if it has one.
    pub(crate) fn policy_target(&self) -> Result<TargetName, FleetError> {
        let told = self.inner.database.setting(POLICY_DEFAULT)?.unwrap_or_default();
        let told = String::from_utf8(told).ok().and_then(|told| told.parse().ok());
        Ok(told.unwrap_or_else(|| known_name(POLICY_TARGET)))
    }

    /// By the digest of each bundle in the catalogue, whether it is the fleet's policy or lies beside it.
    pub(super) fn released_digests(&self) -> Result<BTreeMap<String, bool>, FleetError> {
        let (name, targets) = (self.policy_target()?, self.inner.database.targets()?);
        let signers = signers(&targets)?;
        let mut released = BTreeMap::new();
        for target in targets.iter().filter(|target| matches!(target.kind, TargetKind::Policy(_))) {
            *released.entry(digest(&bundle_of(target, &signers)?)).or_insert(false) |= target.name == name;
        }
        Ok(released)
    }

    /// People's signatures on the policy in force.
    fn signatures_in_force(&self) -> Result<usize, FleetError> {
        let (name, targets) = (self.policy_target()?, self.inner.database.targets()?);
        let signers = signers(&targets)?;
        let target = targets.iter().find(|target| target.name == name && is_sealed(&target.bytes));
        let opened = target.map(|target| signers.open(SealedKind::Policy, &target.bytes)).transpose();
        Ok(opened.map_err(|error| unreadable(&name, &error))?.map_or(0, |opened| opened.signed_by.len()))
    }

    /// The sealed document, if it holds exactly this bundle.
    fn sealed_of(&self, name: &str, sealed: Vec<u8>, bundle: &Bundle) -> Result<Vec<u8>, FleetError> {
        let refused = |why: String| DeskError::Sealed { name: name.to_owned(), why };
        if !is_sealed(&sealed) {
            return Err(refused("it is not what `outpost seal policy` writes".to_owned()).into());
        }
        let opened = signers(&self.inner.database.targets()?)?.open(SealedKind::Policy, &sealed);
        let opened = opened.map_err(|error| refused(error.to_string()))?;
        if opened.payload != bundle.to_bytes() {
            return Err(refused("another bundle than the draft was sealed".to_owned()).into());
        }
        Ok(sealed)
    }

    /// Leaves out what no device is told of, but for the newest.
    fn tidy(&self, targets: &mut Vec<StoredTarget>, new: &TargetName) -> Result<(), FleetError> {
        let (in_force, pins) = (self.policy_target()?, self.inner.database.policy_pins()?);
        let is_idle = |target: &StoredTarget| {
            let is_beside = target.name.as_str() != POLICY_TARGET && target.name != in_force && target.name != *new;
            is_beside && !pins.contains_key(target.name.as_str())
        };
        let mut idle: Vec<(u64, TargetName)> = Vec::new();
        for target in targets.iter().filter(|target| is_idle(target)) {
            if let TargetKind::Policy(facts) = &target.kind {
                idle.push((facts.version, target.name.clone()));
            }
        }
        idle.sort();
        let surplus = idle.len().saturating_sub(IDLE);
        idle.truncate(surplus);
        targets.retain(|target| !idle.iter().any(|(_, name)| *name == target.name));
        Ok(())
    }
}

/// Those whose signatures on documents count, as the newest catalogue says.
fn signers(targets: &[StoredTarget]) -> Result<Signers, FleetError> {
    let listed = authority_in(targets)?.map(|authority| authority.signers).unwrap_or_default();
    let refused = |error: outpost_trust::sealed::InvalidSigner| unreadable("authority.json", &error);
    Signers::new(&listed).map_err(refused)
}

/// The bundle in a target, plain or sealed.
fn bundle_of(target: &StoredTarget, signers: &Signers) -> Result<Bundle, FleetError> {
    let opened = is_sealed(&target.bytes).then(|| signers.open(SealedKind::Policy, &target.bytes)).transpose();
    let opened = opened.map_err(|error| unreadable(&target.name, &error))?;
    let bytes = opened.as_ref().map_or(target.bytes.as_slice(), |opened| opened.payload.as_slice());
    Bundle::parse(bytes).map_err(|error| unreadable(&target.name, &error))
}

fn unreadable(what: impl ToString, why: &impl ToString) -> FleetError {
    FleetError::Release { what: what.to_string(), why: why.to_string() }
}
