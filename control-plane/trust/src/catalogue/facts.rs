//! What metadata says, for people and for the server that keeps it: whose keys, how many, until when.

use outpost_contract::{TargetKind, TargetName};
use serde::Serialize;
use tough::schema::key::Key;
use tough::schema::{RoleType, Root, Signed, Snapshot, Targets, Timestamp};

use super::publish::kind_of;
use super::root::{HOLDERS, read, read_trusted};
use super::{CatalogueBundle, CatalogueError, PublishError, Role};
use crate::VerifyingKey;

/// A root as a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootFacts {
    /// Its version.
    pub version: u64,
    /// When it expires, seconds since 1970-01-01 UTC.
    pub expires_at_s: i64,
    /// Whose keys may sign roots.
    pub root: RoleFacts,
    /// Whose keys may sign releases.
    pub targets: RoleFacts,
    /// Which keys of the server may sign snapshot and timestamp.
    pub online: RoleFacts,
}

/// One role of a root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoleFacts {
    /// Signatures needed.
    pub threshold: u64,
    /// Each key, with the name of its holder if the root says one.
    pub keys: Vec<(VerifyingKey, Option<String>)>,
}

/// When a part of a published catalogue expires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Expiry {
    /// `targets`, `snapshot` or `timestamp`.
    pub role: String,
    /// Its version.
    pub version: u64,
    /// Seconds since 1970-01-01 UTC.
    pub expires_at_s: i64,
}

impl RootFacts {
    /// Reads a root that is signed by its own keys.
    ///
    /// # Errors
    /// [`CatalogueError::TrustedRoot`] if it cannot be read or is not.
    pub fn read(bytes: &[u8]) -> Result<Self, CatalogueError> {
        Ok(Self::of(&read_trusted(bytes)?.signed))
    }

    pub(super) fn of(root: &Root) -> Self {
        Self {
            version: root.version.get(),
            expires_at_s: root.expires.as_second(),
            root: RoleFacts::of(root, RoleType::Root),
            targets: RoleFacts::of(root, RoleType::Targets),
            online: RoleFacts::of(root, RoleType::Timestamp),
        }
    }
}

impl RoleFacts {
    fn of(root: &Root, role: RoleType) -> Self {
        let Some(role) = root.roles.get(&role) else { return Self::default() };
        let mut keys: Vec<_> = role.keyids.iter().filter_map(|id| root.keys.get(id)).filter_map(public).collect();
        keys.sort_unstable();
        let keys = keys.into_iter().map(|key| (key, holder(root, &key))).collect();
        Self { threshold: role.threshold.get(), keys }
    }

    /// True if the key may sign for the role.
    #[must_use]
    pub fn knows(&self, key: &VerifyingKey) -> bool {
        self.keys.iter().any(|(known, _)| known == key)
    }
}

/// An Ed25519 key of a root; others are none of ours and count for nothing.
pub(super) fn public(key: &Key) -> Option<VerifyingKey> {
    match key {
        Key::Ed25519 { keyval, .. } => keyval.public.as_ref().try_into().ok().map(VerifyingKey::from_bytes),
        _ => None,
    }
}

fn holder(root: &Root, key: &VerifyingKey) -> Option<String> {
    let name = root._extra.get(HOLDERS)?.get(key.key_id())?.as_str()?;
    Some(name.chars().filter(|character| !character.is_control()).take(64).collect())
}

/// When each part of a published catalogue expires.
///
/// # Errors
/// If a part cannot be read.
pub fn expiries(bundle: &CatalogueBundle) -> Result<Vec<Expiry>, PublishError> {
    let targets = read::<Targets>("targets", bundle.targets())?.signed;
    let snapshot = read::<Snapshot>("snapshot", bundle.snapshot())?.signed;
    let timestamp = read::<Timestamp>("timestamp", bundle.timestamp())?.signed;
    let parts = [
        (Role::Targets, targets.version, targets.expires),
        (Role::Snapshot, snapshot.version, snapshot.expires),
        (Role::Timestamp, timestamp.version, timestamp.expires),
    ];
    let expiry = |(role, version, expires): (Role, std::num::NonZeroU64, jiff::Timestamp)| Expiry {
        role: role.to_string(),
        version: version.get(),
        expires_at_s: expires.as_second(),
    };
    Ok(parts.into_iter().map(expiry).collect())
}

/// What a signed list of targets says of each.
pub(super) fn listed(targets: &Signed<Targets>) -> Result<Vec<(TargetName, TargetKind)>, PublishError> {
    let read = |(name, target): (&tough::TargetName, &tough::schema::Target)| {
        let refused = |what: &str| PublishError::Target { name: name.raw().to_owned(), what: what.to_owned() };
        let kind = kind_of(target).ok_or_else(|| refused("its facts are not of a kind known here"))?;
        let name = name.raw().parse::<TargetName>().map_err(|_| refused("that is no name of a target"))?;
        Ok::<_, PublishError>((name, kind))
    };
    let mut listed = targets.signed.targets.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    listed.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(listed)
}

/// The targets of a published catalogue by name, with what it says of each.
///
/// # Errors
/// If they cannot be read.
pub fn targets_of(bundle: &CatalogueBundle) -> Result<Vec<(TargetName, TargetKind)>, PublishError> {
    listed(&read::<Targets>("targets", bundle.targets())?)
}
