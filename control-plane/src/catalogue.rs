//! Releases: model files become chunks and manifests, manifests and a policy bundle become a signed catalogue.

use std::path::PathBuf;

use outpost_contract::limits::CATALOGUE_BYTES;
use outpost_contract::{
    AgentFacts, Authority, BlobRef, PolicyFacts, SealedKind, Sha256, Signer, TargetKind, TargetName, VariantFacts,
};
use outpost_policies::{Bundle, Policies};
use outpost_trust::catalogue::{Lifetimes, Proposal, PublishError, Release, RootFacts, refresh};
use outpost_trust::sealed::is_sealed;
use outpost_trust::{CatalogueBundle, Signers, SigningKey};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::builds::Build;
use crate::db::{CurrentCatalogue, StoredTarget};
use crate::fleet::{Fleet, FleetError};
use crate::keys::OfflineKeys;
use crate::policy_desk::POLICY_DEFAULT;
use crate::tokens::Issuer;

/// Name of the target that says who may sign what else.
const AUTHORITY_TARGET: &str = "authority.json";

/// Name of the policy bundle's target.
pub(crate) const POLICY_TARGET: &str = "policy.json";

/// Snapshot and timestamp are signed again after this long, seconds: well before the 30 days that they are good for.
const REFRESH_AFTER_S: i64 = 7 * 24 * 60 * 60;

/// One file of a model, with what its reader found in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// The GGUF file.
    pub path: PathBuf,
    /// Its name in the catalogue; none makes one of model and quantisation.
    #[serde(default)]
    pub target: Option<TargetName>,
    /// What the file is. Its release counter is not looked at: counting is done here.
    pub facts: VariantFacts,
    /// Offsets where tensors begin, rising; none cuts every 256 KiB.
    #[serde(default)]
    pub cuts: Vec<u64>,
}

/// What to add to the catalogue, or to replace in it. What was released before stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRequest {
    /// Files of models.
    #[serde(default)]
    pub variants: Vec<Variant>,
    /// Programs of the agent.
    #[serde(default)]
    pub builds: Vec<Build>,
    /// A policy bundle, JSON, plain or sealed; checked as strictly as a device would.
    #[serde(default)]
    pub policy: Option<Vec<u8>>,
    /// Whose signatures count on devices from now on, in the place of those before; `None` keeps those.
    #[serde(default)]
    pub signers: Option<Vec<Signer>>,
}

/// A target in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetSummary {
    /// Its name in the catalogue.
    pub name: TargetName,
    /// Length of the target (manifest or bundle, not of the model), bytes.
    pub length: u64,
    /// SHA-256 of the target.
    pub sha256: Sha256,
    /// What the catalogue says of it.
    pub facts: TargetKind,
}

impl Fleet {
    /// Imports files, signs a release with the offline keys and makes it the newest catalogue; then signs a new desired
    /// state for every device that has an assignment. Returns where the catalogue lies.
    ///
    /// Interrupted at any moment, either the old catalogue counts or the new one; it can be called again.
    ///
    /// # Errors
    /// If a file, its facts or the bundle are refused, or the offline keys are not those of the root.
    pub fn release(&self, keys: &OfflineKeys, request: ReleaseRequest) -> Result<BlobRef, FleetError> {
        self.release_by(std::slice::from_ref(keys), request)
    }

    /// As [`release`](Self::release), with the keys of several holders who sit at one machine.
    ///
    /// # Errors
    /// As [`release`](Self::release).
    pub fn release_by(&self, holders: &[OfflineKeys], request: ReleaseRequest) -> Result<BlobRef, FleetError> {
        let is_policy_for_all = request.policy.is_some();
        let targets = self.next_targets(request)?;
        let keys = holders.iter().map(|holder| &holder.targets).collect::<Vec<_>>();
        let released = self.sign_release(targets, &keys)?;
        // Also if it is word for word what was for all before a staged one took its place.
        if is_policy_for_all && self.policy_target()?.as_str() != POLICY_TARGET {
            self.inner.database.together(|| {
                self.owe_everybody()?;
                self.end_staging()
            })?;
            self.sign_all()?;
        }
        Ok(released)
    }

    /// A policy for all is for all: what was staged before it is over.
    fn end_staging(&self) -> Result<(), FleetError> {
        self.inner.database.set(POLICY_DEFAULT, &[])?;
        Ok(self.inner.database.unpin_policies(None)?)
    }

    /// The same release without a signature, for holders who sign it elsewhere; then [`publish`](Self::publish) it.
    ///
    /// # Errors
    /// If a file, its facts or the bundle are refused, or nobody signed a root yet.
    pub fn prepare(&self, request: ReleaseRequest) -> Result<Proposal, FleetError> {
        let targets = self.next_targets(request)?;
        let roots = self.roots()?;
        let root = roots.last().ok_or(FleetError::NoRoot)?;
        let previous = self.inner.database.current_catalogue()?.map(|current| self.bundle(&current)).transpose()?;
        let expires_at_s = self.now_s() + Lifetimes::default().targets_s;
        Ok(Proposal::release(release_of(&targets), root, previous.as_ref(), expires_at_s)?)
    }

    /// Makes a release that enough holders have signed the newest catalogue, as [`release`](Self::release) does.
    ///
    /// # Errors
    /// If signatures are missing, or another release or root came in between.
    pub fn publish(&self, proposal: Proposal) -> Result<BlobRef, FleetError> {
        let roots = self.roots()?;
        let root = roots.last().ok_or(FleetError::NoRoot)?;
        let current = self.inner.database.current_catalogue()?;
        let previous = current.as_ref().map(|current| self.bundle(current)).transpose()?;
        let (signed, listed) = proposal.into_release(root, previous.as_ref())?;
        let stored = |(name, bytes, kind): (TargetName, Vec<u8>, TargetKind)| {
            let sha256 = Sha256(sha2::Sha256::digest(&bytes).into());
            StoredTarget { name, kind, sha256, bytes }
        };
        let targets: Vec<_> = listed.into_iter().map(stored).collect();
        // Whoever prepared it: what two must stand behind, two stand behind now.
        let signers = signers_before(&targets)?;
        for target in targets.iter().filter(|target| matches!(target.kind, TargetKind::Policy(_))) {
            self.demand_second_person(&check_policy(&target.bytes, &signers)?)?;
        }
        let online = self.online_key(root)?;
        let roots = roots.iter().map(Vec::as_slice);
        let bundle = signed.publish(roots, previous.as_ref(), &Lifetimes::default(), self.now_s(), &[online])?;
        self.make_newest(&bundle, &targets, current.as_ref())
    }

    /// Imports what is new and says what the next catalogue lists.
    pub(crate) fn next_targets(&self, request: ReleaseRequest) -> Result<Vec<StoredTarget>, FleetError> {
        let mut targets = self.inner.database.targets()?;
        for variant in request.variants {
            let (name, bytes, facts) = self.import(variant)?;
            let kind = TargetKind::Variant(facts);
            check_free(&targets, &name, &kind)?;
            put(&mut targets, name, bytes, kind);
        }
        for build in &request.builds {
            let (name, bytes, kind) = self.import_build(build)?;
            check_free(&targets, &name, &kind)?;
            put(&mut targets, name, bytes, kind);
        }
        let signers = match request.signers {
            Some(signers) => signers,
            None => signers_before(&targets)?,
        };
        if let Some(policy) = request.policy {
            let bundle = check_policy(&policy, &signers)?;
            self.demand_second_person(&bundle)?;
            let version = bundle.version;
            put(
                &mut targets,
                known_name(POLICY_TARGET),
                policy,
                TargetKind::Policy(PolicyFacts { release: 0, version }),
            );
        }
        put(
            &mut targets,
            known_name(AUTHORITY_TARGET),
            self.authority_document(signers),
            TargetKind::Authority { release: 0 },
        );
        Ok(targets)
    }

    /// What the newest catalogue lists.
    ///
    /// # Errors
    /// If the database fails.
    pub fn targets(&self) -> Result<Vec<TargetSummary>, FleetError> {
        let summary = |target: StoredTarget| TargetSummary {
            name: target.name,
            length: target.bytes.len() as u64,
            sha256: target.sha256,
            facts: target.kind,
        };
        Ok(self.inner.database.targets()?.into_iter().map(summary).collect())
    }

    /// Where the newest catalogue lies.
    ///
    /// # Errors
    /// [`FleetError::NoCatalogue`] before the first release.
    pub fn catalogue(&self) -> Result<BlobRef, FleetError> {
        Ok(self.inner.database.current_catalogue()?.ok_or(FleetError::NoCatalogue)?.reference)
    }

    /// Signs snapshot and timestamp again if they are getting old, with the online key alone. True if it did.
    pub(crate) fn refresh_catalogue(&self) -> Result<bool, FleetError> {
        self.refresh_older_than(REFRESH_AFTER_S)
    }

    /// Signs snapshot and timestamp again if they are at least so old, and takes in every root.
    pub(crate) fn refresh_older_than(&self, age_s: i64) -> Result<bool, FleetError> {
        let now_s = self.now_s();
        // A clock that was set back makes nothing look old; what was published in its future is.
        let old = |current: &CurrentCatalogue| {
            now_s - current.published_s >= age_s || current.published_s - now_s >= REFRESH_AFTER_S
        };
        let Some(current) = self.inner.database.current_catalogue()?.filter(old) else { return Ok(false) };
        let (bundle, targets) = (self.bundle(&current)?, self.inner.database.targets()?);
        let roots = self.roots()?;
        let newer = roots.iter().skip(bundle.roots().count()).map(Vec::as_slice);
        let online = self.online_key(roots.last().ok_or(FleetError::NoRoot)?)?;
        let refreshed = refresh(&bundle, newer, &Lifetimes::default(), now_s, &[online])?;
        self.make_newest(&refreshed, &targets, Some(&current))?;
        Ok(true)
    }

    /// The key of the server that a root names for snapshot and timestamp.
    pub(crate) fn online_key(&self, root: &[u8]) -> Result<&SigningKey, FleetError> {
        Ok(self.inner.keys.online_for(&RootFacts::read(root)?))
    }

    fn import(&self, variant: Variant) -> Result<(TargetName, Vec<u8>, VariantFacts), FleetError> {
        let what = variant.path.display().to_string();
        let refused = |why: String| FleetError::Release { what: what.clone(), why };
        let facts = variant.facts;
        let name = match variant.target {
            Some(name) => name,
            None => format!("{}.{}", facts.model.model, facts.quantisation)
                .parse()
                .map_err(|error: outpost_contract::ids::InvalidName| refused(error.to_string()))?,
        };
        if [AUTHORITY_TARGET, POLICY_TARGET].contains(&name.as_str()) {
            return Err(refused(format!("`{name}` is the name of another kind of target")));
        }
        let manifest = self.inner.blobs.import(&variant.path, &variant.cuts)?;
        manifest.check().map_err(|error| refused(error.to_string()))?;
        if manifest.bytes != facts.file_bytes {
            let why = format!("it has {} bytes, its facts say {}", manifest.bytes, facts.file_bytes);
            return Err(refused(why));
        }
        if let Some(origin) = facts.origin.as_ref().filter(|origin| origin.sha256 != manifest.sha256) {
            let why = format!("its SHA-256 is {}, its provenance says {}", manifest.sha256, origin.sha256);
            return Err(refused(format!("{why}: fetch it again")));
        }
        let bytes = serde_json::to_vec(&manifest).map_err(|error| refused(error.to_string()))?;
        tracing::info!(%name, bytes = manifest.bytes, chunks = manifest.chunks.len(), "a model file was imported");
        Ok((name, bytes, facts))
    }

    fn authority_document(&self, signers: Vec<Signer>) -> Vec<u8> {
        let authority = Authority {
            v: 1,
            director_keys: self.inner.keys.accepted_directors().iter().map(ToString::to_string).collect(),
            token_issuers: self.issuers().iter().map(Issuer::described).collect(),
            signers,
        };
        serde_json::to_vec(&authority).expect("the document is plain data")
    }

    pub(crate) fn sign_release(&self, targets: Vec<StoredTarget>, keys: &[&SigningKey]) -> Result<BlobRef, FleetError> {
        let roots = self.roots()?;
        let root = roots.last().ok_or(FleetError::NoRoot)?;
        let current = self.inner.database.current_catalogue()?;
        let previous = current.as_ref().map(|current| self.bundle(current)).transpose()?;
        let lifetimes = Lifetimes::default();
        let now_s = self.now_s();
        let release = release_of(&targets);
        let signed = release.sign(root, previous.as_ref(), now_s + lifetimes.targets_s, keys)?;
        let online = self.online_key(root)?;
        let roots = roots.iter().map(Vec::as_slice);
        let bundle = signed.publish(roots, previous.as_ref(), &lifetimes, now_s, &[online])?;
        self.make_newest(&bundle, &targets, current.as_ref())
    }

    /// Keeps a catalogue, makes it the newest, and has every assigned device told.
    fn make_newest(
        &self,
        bundle: &CatalogueBundle,
        targets: &[StoredTarget],
        previous: Option<&CurrentCatalogue>,
    ) -> Result<BlobRef, FleetError> {
        // Bytes first: a catalogue that counts can always be fetched.
        let reference = self.inner.blobs.keep(&bundle.to_bytes())?;
        let previous = previous.map(|current| current.reference.blake3);
        let database = &self.inner.database;
        let policy = |targets: &[StoredTarget]| {
            targets.iter().find(|target| target.name.as_str() == POLICY_TARGET).map(|target| target.sha256)
        };
        database.together(|| {
            let is_new_policy = policy(&database.targets()?) != policy(targets);
            if !database.publish(targets, &reference, previous, self.now_s())? {
                return Err(FleetError::Overtaken);
            }
            self.owe_everybody()?;
            if is_new_policy { self.end_staging() } else { Ok(()) }
        })?;
        self.sign_all()?;
        self.settle_awaited(None);
        self.touch();
        Ok(reference)
    }

    pub(crate) fn bundle(&self, current: &CurrentCatalogue) -> Result<CatalogueBundle, FleetError> {
        let bytes = self.inner.blobs.read(&current.reference.blake3, CATALOGUE_BYTES)?;
        Ok(CatalogueBundle::parse(&bytes).map_err(PublishError::from)?)
    }
}

fn release_of(targets: &[StoredTarget]) -> Release {
    let copy = |target: &StoredTarget| (target.name.clone(), target.bytes.clone(), target.kind.clone());
    Release { targets: targets.iter().map(copy).collect() }
}

pub(crate) fn known_name(name: &str) -> TargetName {
    name.parse().expect("a valid target name")
}

/// Adds or replaces a target. Its release counter goes up if anything about it changed, and never otherwise.
pub(crate) fn put(targets: &mut Vec<StoredTarget>, name: TargetName, bytes: Vec<u8>, kind: TargetKind) {
    let sha256 = Sha256(sha2::Sha256::digest(&bytes).into());
    let before = targets.iter().position(|target| target.name == name).map(|at| targets.remove(at));
    let release = match &before {
        None => 1,
        Some(before) => {
            let release = before.kind.release();
            let same = before.sha256 == sha256 && before.kind == with_release(kind.clone(), release);
            if same { release } else { release + 1 }
        }
    };
    targets.push(StoredTarget { name, kind: with_release(kind, release), sha256, bytes });
    targets.sort_by(|one, other| one.name.cmp(&other.name));
}

fn with_release(kind: TargetKind, release: u64) -> TargetKind {
    match kind {
        TargetKind::Variant(facts) => TargetKind::Variant(VariantFacts { release, ..facts }),
        TargetKind::Policy(facts) => TargetKind::Policy(PolicyFacts { release, ..facts }),
        TargetKind::Authority { .. } => TargetKind::Authority { release },
        TargetKind::Agent(facts) => TargetKind::Agent(AgentFacts { release, ..facts }),
    }
}

/// A name that another kind of target has is not taken from it.
fn check_free(targets: &[StoredTarget], name: &TargetName, kind: &TargetKind) -> Result<(), FleetError> {
    let is_other = |target: &&StoredTarget| {
        target.name == *name && std::mem::discriminant(&target.kind) != std::mem::discriminant(kind)
    };
    match targets.iter().find(is_other) {
        Some(_) => {
            let why = format!("`{name}` is the name of another kind of target");
            Err(FleetError::Release { what: name.to_string(), why })
        }
        None => Ok(()),
    }
}

/// The signers of the release before.
fn signers_before(targets: &[StoredTarget]) -> Result<Vec<Signer>, FleetError> {
    Ok(authority_in(targets)?.map(|authority| authority.signers).unwrap_or_default())
}

/// The authority document of the newest catalogue.
pub(crate) fn authority_in(targets: &[StoredTarget]) -> Result<Option<Authority>, FleetError> {
    let target = targets.iter().find(|target| target.name.as_str() == AUTHORITY_TARGET);
    let read = target.map(|target| serde_json::from_slice(&target.bytes)).transpose();
    read.map_err(|error| FleetError::Release { what: AUTHORITY_TARGET.to_owned(), why: error.to_string() })
}

/// Reads a bundle as a device would, signatures, cases and all. How many signatures it needs is up to the bundle in force
/// on each device.
pub(crate) fn check_policy(document: &[u8], signers: &[Signer]) -> Result<Bundle, FleetError> {
    let refused = |why: String| FleetError::Release { what: "the policy bundle".to_owned(), why };
    let signers = Signers::new(signers).map_err(|error| refused(error.to_string()))?;
    let opened = is_sealed(document).then(|| signers.open(SealedKind::Policy, document)).transpose();
    let opened = opened.map_err(|error| refused(error.to_string()))?;
    let bytes = opened.as_ref().map_or(document, |opened| opened.payload.as_slice());
    let bundle = Bundle::parse(bytes).map_err(|error| refused(error.to_string()))?;
    let asked = usize::from(bundle.required_approvals);
    let people = signers.people(SealedKind::Policy);
    if asked > people {
        let why = format!("it asks for {asked} approvals of the next one, and {people} people may sign one");
        return Err(refused(format!("{why}: release it with more signers (`--signers`)")));
    }
    Policies::activate(bundle.clone()).map_err(|findings| {
        let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
        refused(findings.join("; "))
    })?;
    Ok(bundle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(targets: &mut Vec<StoredTarget>, bytes: &[u8], version: u64) -> u64 {
        put(
            targets,
            known_name(POLICY_TARGET),
            bytes.to_vec(),
            TargetKind::Policy(PolicyFacts { release: 9, version }),
        );
        targets[0].kind.release()
    }

    #[test]
    fn a_release_counter_goes_up_only_when_something_changed() {
        let mut targets = Vec::new();
        assert_eq!(policy(&mut targets, b"one", 1), 1);
        assert_eq!(policy(&mut targets, b"one", 1), 1);
        assert_eq!(policy(&mut targets, b"two", 1), 2);
        assert_eq!(policy(&mut targets, b"two", 2), 3);
        assert_eq!(targets.len(), 1);
    }

    #[test]
    fn a_policy_bundle_that_a_device_would_refuse_is_not_released() {
        assert!(check_policy(b"{}", &[]).unwrap_err().to_string().contains("policy bundle"));
        let mut bundle = Bundle::default_bundle();
        assert_eq!(check_policy(&bundle.to_bytes(), &[]).unwrap(), bundle);
        bundle.policies.insert("broken.cedar".into(), "permit (".into());
        assert!(check_policy(&bundle.to_bytes(), &[]).is_err());
    }
}
