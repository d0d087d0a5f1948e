//! Publishing: the offline keys sign what exists, the online key says what is newest, and a bundle carries both.
//!
//! ```text
//! RootPlan::sign ─► root        Release::sign ─► SignedRelease ─► publish ─► CatalogueBundle ─► refresh ─► …
//!   root keys, offline            targets keys, offline            online key                    online key
//! ```

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU64;

use aws_lc_rs::digest::{SHA256, digest};
use outpost_contract::limits::{DOCUMENT_BYTES, SEALED_BYTES};
use outpost_contract::{Sha256, TargetKind, TargetName};
use serde_json::Value;
use tough::schema::{self, Hashes, Metafile, Root, Signed, Snapshot, Targets, Timestamp};

use super::root::{SPECIFICATION, instant, next_version, read, sign_with, to_bytes};
use super::{BundlePath, CatalogueBundle, PublishError};
use crate::{MOST_VERSION, SigningKey};

const DAY_S: i64 = 24 * 60 * 60;

/// How long each role is good for, seconds. Long, because boxes go weeks without a network and expiry must not be
/// what stops them from taking an update off a stick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// Root; 5 years.
    pub root_s: i64,
    /// Targets; 1 year.
    pub targets_s: i64,
    /// Snapshot; 90 days.
    pub snapshot_s: i64,
    /// Timestamp; 30 days: how long a device can be kept from noticing that there is something newer.
    pub timestamp_s: i64,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self { root_s: 5 * 365 * DAY_S, targets_s: 365 * DAY_S, snapshot_s: 90 * DAY_S, timestamp_s: 30 * DAY_S }
    }
}

/// Everything that shall exist: a release replaces the one before it.
#[derive(Debug, Clone, Default)]
pub struct Release {
    /// Name, bytes and facts of each target.
    pub targets: Vec<(TargetName, Vec<u8>, TargetKind)>,
}

/// Metadata without a signature, and the files that it names.
pub(super) type Draft = (Targets, BTreeMap<BundlePath, Vec<u8>>);

/// A release with the signatures of the offline keys; goes to the server, which can publish it but not change it.
#[derive(Debug, Clone)]
pub struct SignedRelease {
    version: NonZeroU64,
    metadata: Vec<u8>,
    files: BTreeMap<BundlePath, Vec<u8>>,
}

impl Release {
    /// Signs the release with the targets keys of `root`, as the one after that in `previous`.
    ///
    /// # Errors
    /// If a target breaks a rule that devices hold (its release counter must go up when its bytes change), or the
    /// keys do not reach the threshold.
    pub fn sign(
        self,
        root: &[u8],
        previous: Option<&CatalogueBundle>,
        expires_at_s: i64,
        signers: &[&SigningKey],
    ) -> Result<SignedRelease, PublishError> {
        let root: Signed<Root> = read("root", root)?;
        let previous = previous.map(|bundle| read::<Targets>("targets", bundle.targets())).transpose()?;
        let (targets, files) = self.draft(previous.as_ref().map(|targets| &targets.signed), expires_at_s)?;
        let version = targets.version;
        let metadata = to_bytes(&sign_with(targets, signers, &[&root.signed])?)?;
        Ok(SignedRelease { version, metadata, files })
    }

    /// What there is to be signed, and the files that it names.
    pub(super) fn draft(self, previous: Option<&Targets>, expires_at_s: i64) -> Result<Draft, PublishError> {
        let version = next_version(previous.map(|targets| targets.version))?;
        let mut targets = HashMap::new();
        let mut files = BTreeMap::new();
        for (name, bytes, kind) in self.targets {
            let refused = |what: &str| PublishError::Target { name: name.to_string(), what: what.to_owned() };
            check_limits(&bytes, &kind).map_err(refused)?;
            let sha256 = sha256(&bytes);
            let tough_name = tough::TargetName::new(name.as_str()).map_err(|error| refused(&error.to_string()))?;
            if let Some(before) = previous.and_then(|targets| targets.targets.get(&tough_name)) {
                check_counter(before, &sha256, &kind).map_err(|what| refused(&what))?;
            }
            let target = schema::Target {
                length: bytes.len() as u64,
                hashes: hashes(&sha256),
                custom: custom(&kind).ok_or_else(|| refused("its facts are no JSON object"))?,
                _extra: HashMap::new(),
            };
            if targets.insert(tough_name, target).is_some() {
                return Err(refused("it is listed twice"));
            }
            files.insert(BundlePath::Target(sha256, name.clone()), bytes);
        }
        let targets = Targets {
            spec_version: SPECIFICATION.to_owned(),
            version,
            expires: instant(expires_at_s)?,
            targets,
            delegations: None,
            _extra: HashMap::new(),
        };
        Ok((targets, files))
    }
}

impl SignedRelease {
    pub(super) fn new(version: NonZeroU64, metadata: Vec<u8>, files: BTreeMap<BundlePath, Vec<u8>>) -> Self {
        Self { version, metadata, files }
    }

    /// Puts the release into a bundle with all `roots` (oldest first), after the one in `previous`; signs snapshot and
    /// timestamp with the online key.
    ///
    /// # Errors
    /// If the newest root does not know the keys that signed, or the bundle would be too large.
    pub fn publish<'a>(
        self,
        roots: impl IntoIterator<Item = &'a [u8]>,
        previous: Option<&CatalogueBundle>,
        lifetimes: &Lifetimes,
        now_s: i64,
        online: &[&SigningKey],
    ) -> Result<CatalogueBundle, PublishError> {
        let previous = previous.map(OnlineVersions::of).transpose()?;
        let mut files = self.files;
        for bytes in roots {
            let root: Signed<Root> = read("root", bytes)?;
            files.insert(BundlePath::Root(root.signed.version.get()), bytes.to_vec());
        }
        files.insert(BundlePath::Targets(self.version.get()), self.metadata);
        assemble(files, previous, lifetimes, now_s, online)
    }
}

/// Signs snapshot and timestamp anew, with the online key alone; everything else stays as it is. For the server to do
/// well before the timestamp expires. `newer_roots` are added to the chain.
///
/// # Errors
/// If the newest root does not know the online key, or no longer the keys that signed the targets.
pub fn refresh<'a>(
    bundle: &'a CatalogueBundle,
    newer_roots: impl IntoIterator<Item = &'a [u8]>,
    lifetimes: &Lifetimes,
    now_s: i64,
    online: &[&SigningKey],
) -> Result<CatalogueBundle, PublishError> {
    let targets: Signed<Targets> = read("targets", bundle.targets())?;
    let files = bundle.target_files().map(|(path, bytes)| (path.clone(), bytes.to_vec())).collect();
    let release = SignedRelease { version: targets.signed.version, metadata: bundle.targets().to_vec(), files };
    let roots = bundle.roots().map(|(_, bytes)| bytes).chain(newer_roots);
    release.publish(roots, Some(bundle), lifetimes, now_s, online)
}

struct OnlineVersions {
    snapshot: NonZeroU64,
    timestamp: NonZeroU64,
}

impl OnlineVersions {
    fn of(bundle: &CatalogueBundle) -> Result<Self, PublishError> {
        Ok(Self {
            snapshot: read::<Snapshot>("snapshot", bundle.snapshot())?.signed.version,
            timestamp: read::<Timestamp>("timestamp", bundle.timestamp())?.signed.version,
        })
    }
}

/// Signs snapshot and timestamp over the targets metadata in `files`, and adds them.
fn assemble(
    mut files: BTreeMap<BundlePath, Vec<u8>>,
    previous: Option<OnlineVersions>,
    lifetimes: &Lifetimes,
    now_s: i64,
    online: &[&SigningKey],
) -> Result<CatalogueBundle, PublishError> {
    let newest_root = files.iter().rfind(|(path, _)| matches!(path, BundlePath::Root(_)));
    let newest_root = newest_root.map(|(_, bytes)| bytes.as_slice()).unwrap_or_default();
    let root: Signed<Root> = read("root", newest_root)?;
    let targets_bytes = files.iter().find(|(path, _)| matches!(path, BundlePath::Targets(_)));
    let targets_bytes = targets_bytes.map(|(_, bytes)| bytes.as_slice()).unwrap_or_default();
    let targets: Signed<Targets> = read("targets", targets_bytes)?;
    // What devices would refuse is not published: after a rotation the targets must be signed again, offline.
    root.signed
        .verify_role(&targets)
        .map_err(|error| PublishError::NotEnoughSignatures { role: "targets".to_owned(), what: error.to_string() })?;

    let snapshot_version = next_version(previous.as_ref().map(|versions| versions.snapshot))?;
    let mut snapshot = Snapshot::new(SPECIFICATION.to_owned(), snapshot_version, expiry(now_s, lifetimes.snapshot_s)?);
    snapshot.meta.insert("targets.json".to_owned(), metafile(targets.signed.version, targets_bytes));
    let snapshot = to_bytes(&sign_with(snapshot, online, &[&root.signed])?)?;

    let timestamp_version = next_version(previous.as_ref().map(|versions| versions.timestamp))?;
    let mut timestamp =
        Timestamp::new(SPECIFICATION.to_owned(), timestamp_version, expiry(now_s, lifetimes.timestamp_s)?);
    timestamp.meta.insert("snapshot.json".to_owned(), metafile(snapshot_version, &snapshot));
    let timestamp = to_bytes(&sign_with(timestamp, online, &[&root.signed])?)?;

    files.insert(BundlePath::Snapshot(snapshot_version.get()), snapshot);
    files.insert(BundlePath::Timestamp, timestamp);
    let bundle = CatalogueBundle::from_files(files)?;
    // The same limits on both sides: what is published can be read.
    Ok(CatalogueBundle::parse(&bundle.to_bytes())?)
}

/// The ceiling of each kind of target; the same on both sides.
pub(super) fn check_limits(bytes: &[u8], kind: &TargetKind) -> Result<(), &'static str> {
    if kind.release() > MOST_VERSION {
        return Err("its release counter is above any that is accepted");
    }
    match kind {
        TargetKind::Policy(_) if bytes.len() > SEALED_BYTES => Err("it is larger than a policy bundle may be"),
        TargetKind::Authority { .. } if bytes.len() > DOCUMENT_BYTES => Err("it is larger than a document may be"),
        _ => Ok(()),
    }
}

fn check_counter(before: &schema::Target, sha256: &Sha256, kind: &TargetKind) -> Result<(), String> {
    let same_bytes = before.hashes.sha256.as_ref() == sha256.0;
    let Some(before) = kind_of(before).map(|kind| kind.release()) else { return Ok(()) };
    let lowest = if same_bytes { before } else { before + 1 };
    if kind.release() >= lowest {
        return Ok(());
    }
    Err(format!(
        "release {} after release {before}, devices would refuse it; give it release {lowest} or higher",
        kind.release()
    ))
}

/// Reads a target's facts back.
pub(super) fn kind_of(target: &schema::Target) -> Option<TargetKind> {
    let object: serde_json::Map<String, Value> = target.custom.clone().into_iter().collect();
    serde_json::from_value(Value::Object(object)).ok()
}

/// Whether a target is of a kind that only later releases know, and not of a known one with facts that make no sense.
pub(super) fn is_of_later_kind(target: &schema::Target) -> bool {
    let kind = target.custom.get("kind").and_then(Value::as_str);
    kind.is_some_and(|kind| !TargetKind::NAMES.contains(&kind))
}

fn custom(kind: &TargetKind) -> Option<HashMap<String, Value>> {
    match serde_json::to_value(kind) {
        Ok(Value::Object(object)) => Some(object.into_iter().collect()),
        _ => None,
    }
}

fn metafile(version: NonZeroU64, bytes: &[u8]) -> Metafile {
    let hashes = hashes(&sha256(bytes));
    Metafile { length: Some(bytes.len() as u64), hashes: Some(hashes), version, _extra: HashMap::new() }
}

fn hashes(sha256: &Sha256) -> Hashes {
    Hashes { sha256: sha256.0.to_vec().into(), _extra: HashMap::new() }
}

pub(crate) fn sha256(bytes: &[u8]) -> Sha256 {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, bytes).as_ref());
    Sha256(sum)
}

fn expiry(now_s: i64, lifetime_s: i64) -> Result<jiff::Timestamp, PublishError> {
    instant(now_s.saturating_add(lifetime_s))
}
