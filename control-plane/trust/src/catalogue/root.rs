//! Roots: whose keys count for which role; made in a ceremony with the offline keys, changed by the next root.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU64;

use jiff::Timestamp;
use serde::Serialize;
use tough::schema::{self, RoleType, Root, Signature, Signed};

use super::{BundleError, CatalogueError};
use crate::{MOST_VERSION, SigningKey, VerifyingKey};

/// Version of the TUF specification that the metadata follows.
pub(super) const SPECIFICATION: &str = "1.0.0";

/// Keys that may hold one role.
const MOST_KEYS: usize = 16;

/// The keys of one role, and how many of them must sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleKeys {
    /// Distinct keys, 1 to 16.
    pub keys: Vec<VerifyingKey>,
    /// Signatures needed, 1 to the number of keys.
    pub threshold: u64,
}

/// What a root says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootPlan {
    /// May change this very list. Offline.
    pub root: RoleKeys,
    /// May say what exists. Offline.
    pub targets: RoleKeys,
    /// May say what is newest (snapshot and timestamp). On the server.
    pub online: RoleKeys,
    /// Who holds which key, for people who read a root; decides nothing.
    pub holders: BTreeMap<VerifyingKey, String>,
}

/// Where a root says who holds which key: key id to name.
pub(super) const HOLDERS: &str = "x-holders";

/// Something could not be signed or put together.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A role's keys make no sense.
    #[error("the keys of the {role} role are refused: {what}")]
    Keys {
        /// Which role.
        role: &'static str,
        /// What is wrong.
        what: String,
    },
    /// The keys at hand do not reach the threshold.
    #[error("the {role} is not signed by enough of its keys: {what}; bring the missing keys")]
    NotEnoughSignatures {
        /// Which role.
        role: String,
        /// What `tough` says.
        what: String,
    },
    /// Metadata that this builds on cannot be read.
    #[error("cannot read the {role} that this builds on: {what}")]
    Previous {
        /// Which role.
        role: &'static str,
        /// What is wrong.
        what: String,
    },
    /// A number or a date is outside what metadata can carry.
    #[error("{0}")]
    OutOfRange(String),
    /// A target may not be released like this.
    #[error("`{name}` cannot be released: {what}")]
    Target {
        /// The target.
        name: String,
        /// What is wrong, and the way out.
        what: String,
    },
    /// A proposal cannot be read, or is not the one that it should be.
    #[error("the proposal is refused: {0}")]
    Proposal(String),
    /// The result would be refused by every reader.
    #[error("the catalogue would be refused: {0}")]
    Bundle(#[from] BundleError),
}

impl RoleKeys {
    /// One key that must sign.
    #[must_use]
    pub fn one(key: VerifyingKey) -> Self {
        Self { keys: vec![key], threshold: 1 }
    }

    fn check(&self, role: &'static str) -> Result<schema::RoleKeys, PublishError> {
        let refused = |what: String| PublishError::Keys { role, what };
        let distinct: BTreeSet<_> = self.keys.iter().collect();
        if self.keys.is_empty() || self.keys.len() > MOST_KEYS || distinct.len() != self.keys.len() {
            return Err(refused(format!("{} keys; needed are 1 to {MOST_KEYS}, all different", self.keys.len())));
        }
        let threshold = NonZeroU64::new(self.threshold).filter(|most| most.get() <= self.keys.len() as u64);
        let threshold = threshold
            .ok_or_else(|| refused(format!("a threshold of {} of {} keys", self.threshold, self.keys.len())))?;
        let keyids = self.keys.iter().map(VerifyingKey::tuf_key_id).collect();
        Ok(schema::RoleKeys { keyids, threshold, _extra: HashMap::new() })
    }
}

impl RootPlan {
    /// One key for each role: the plan of a small fleet.
    #[must_use]
    pub fn single(root: VerifyingKey, targets: VerifyingKey, online: VerifyingKey) -> Self {
        Self {
            root: RoleKeys::one(root),
            targets: RoleKeys::one(targets),
            online: RoleKeys::one(online),
            holders: BTreeMap::new(),
        }
    }

    /// Signs the first root, or the one after `previous`. A later root needs the signatures of the previous root's
    /// keys as well as its own, each up to its threshold.
    ///
    /// # Errors
    /// If the plan makes no sense, the keys do not reach a threshold, or `previous` cannot be read.
    pub fn sign(
        &self,
        previous: Option<&[u8]>,
        expires_at_s: i64,
        signers: &[&SigningKey],
    ) -> Result<Vec<u8>, PublishError> {
        let previous = previous.map(|bytes| read::<Root>("root", bytes)).transpose()?;
        let root = self.draft(previous.as_ref().map(|root| &root.signed), expires_at_s)?;
        let authorities: Vec<&Root> = previous.iter().map(|root| &root.signed).chain([&root]).collect();
        let signed = sign_with(root.clone(), signers, &authorities)?;
        to_bytes(&signed)
    }

    /// The root that the plan makes, without a signature.
    pub(super) fn draft(&self, previous: Option<&Root>, expires_at_s: i64) -> Result<Root, PublishError> {
        let version = next_version(previous.map(|root| root.version))?;
        let online = self.online.check("online")?;
        let roles = HashMap::from([
            (RoleType::Root, self.root.check("root")?),
            (RoleType::Targets, self.targets.check("targets")?),
            (RoleType::Snapshot, online.clone()),
            (RoleType::Timestamp, online),
        ]);
        self.check_separation()?;
        let all_keys = self.root.keys.iter().chain(&self.targets.keys).chain(&self.online.keys);
        let holders: serde_json::Map<_, _> =
            self.holders.iter().map(|(key, name)| (key.key_id(), name.as_str().into())).collect();
        let extra = (!holders.is_empty()).then(|| (HOLDERS.to_owned(), holders.into()));
        Ok(Root {
            spec_version: SPECIFICATION.to_owned(),
            consistent_snapshot: true,
            version,
            expires: instant(expires_at_s)?,
            keys: all_keys.map(|key| (key.tuf_key_id(), key.tuf_key())).collect(),
            roles,
            _extra: extra.into_iter().collect(),
        })
    }

    /// A key on the server must not be able to say what exists, nor whose keys count.
    fn check_separation(&self) -> Result<(), PublishError> {
        let shared = |key: &&VerifyingKey| self.root.keys.contains(key) || self.targets.keys.contains(key);
        match self.online.keys.iter().find(shared) {
            Some(key) => Err(PublishError::Keys { role: "online", what: format!("{key} is an offline key too") }),
            None => Ok(()),
        }
    }
}

/// The newer of the root that the program was given and the one that was stored since; `stored` counts only if it can
/// be read. Both come from places that this device trusts.
///
/// # Errors
/// [`CatalogueError::TrustedRoot`] if neither can be read.
pub fn newest_root<'a>(shipped: &'a [u8], stored: Option<&'a [u8]>) -> Result<&'a [u8], CatalogueError> {
    let stored_version = stored.and_then(|bytes| root_version(bytes).ok());
    match (root_version(shipped), stored_version, stored) {
        (Ok(shipped_version), Some(version), Some(bytes)) if version > shipped_version => Ok(bytes),
        (Err(_), Some(_), Some(bytes)) => Ok(bytes),
        (Ok(_), _, _) => Ok(shipped),
        (Err(error), _, _) => Err(error),
    }
}

/// The version of a root that is signed by its own keys.
///
/// # Errors
/// [`CatalogueError::TrustedRoot`] if it cannot be read or is not.
pub fn root_version(bytes: &[u8]) -> Result<u64, CatalogueError> {
    Ok(read_trusted(bytes)?.signed.version.get())
}

pub(super) fn read_trusted(bytes: &[u8]) -> Result<Signed<Root>, CatalogueError> {
    let root: Signed<Root> =
        serde_json::from_slice(bytes).map_err(|error| CatalogueError::TrustedRoot(error.to_string()))?;
    root.signed.verify_role(&root).map_err(|error| CatalogueError::TrustedRoot(error.to_string()))?;
    Ok(root)
}

/// Reads metadata that arrived, and refuses what `tough` would read past: a wrong `_type`, fields outside the signed
/// part. What it signs over is its own reading, so none of this forges anything; but one text, one meaning.
pub(super) fn read_strictly<T>(bytes: &[u8]) -> Result<Signed<T>, String>
where
    T: serde::de::DeserializeOwned + Serialize,
{
    let metadata: Signed<T> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let as_read = serde_json::to_value(&metadata).map_err(|error| error.to_string())?;
    let as_written: serde_json::Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if as_read == as_written { Ok(metadata) } else { Err("it holds fields that do not belong there".to_owned()) }
}

/// Reads metadata that this side published before.
pub(super) fn read<T: serde::de::DeserializeOwned>(
    role: &'static str,
    bytes: &[u8],
) -> Result<Signed<T>, PublishError> {
    serde_json::from_slice(bytes).map_err(|error| PublishError::Previous { role, what: error.to_string() })
}

/// Signs a role with those of the keys that any of the authorities knows for it, and checks that all are satisfied.
pub(super) fn sign_with<T: schema::Role>(
    role: T,
    signers: &[&SigningKey],
    authorities: &[&Root],
) -> Result<Signed<T>, PublishError> {
    // A float in `custom` would fail here: canonical JSON has none.
    let message = role.canonical_form().map_err(|error| PublishError::OutOfRange(error.to_string()))?;
    let known = |key: &VerifyingKey| {
        let id = key.tuf_key_id();
        authorities.iter().any(|root| root.roles.get(&T::TYPE).is_some_and(|keys| keys.keyids.contains(&id)))
    };
    let mut seen = BTreeSet::new();
    let signatures = signers
        .iter()
        .filter(|key| known(&key.verifying_key()) && seen.insert(key.verifying_key()))
        .map(|key| Signature { keyid: key.verifying_key().tuf_key_id(), sig: key.sign(&message).to_vec().into() })
        .collect();
    let signed = Signed { signed: role, signatures };
    for root in authorities {
        root.verify_role(&signed).map_err(|error| PublishError::NotEnoughSignatures {
            role: T::TYPE.to_string(),
            what: error.to_string(),
        })?;
    }
    Ok(signed)
}

pub(super) fn to_bytes<T: Serialize>(signed: &Signed<T>) -> Result<Vec<u8>, PublishError> {
    serde_json::to_vec(signed).map_err(|error| PublishError::OutOfRange(error.to_string()))
}

pub(super) fn next_version(previous: Option<NonZeroU64>) -> Result<NonZeroU64, PublishError> {
    let next = previous.map_or(1, |version| version.get().saturating_add(1));
    NonZeroU64::new(next)
        .filter(|version| version.get() <= MOST_VERSION)
        .ok_or_else(|| PublishError::OutOfRange(format!("version {next} is above {MOST_VERSION}")))
}

pub(super) fn instant(seconds: i64) -> Result<Timestamp, PublishError> {
    Timestamp::from_second(seconds)
        .map_err(|error| PublishError::OutOfRange(format!("{seconds} is no date in seconds since 1970: {error}")))
}
