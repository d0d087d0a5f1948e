//! Verifying a bundle: root chain, then `tough`, then floors, dates and our own rules; all or nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use outpost_contract::{Sha256, TargetName};
use tough::schema::{Role as _, RoleType, Root, Signed, Timestamp};
use tough::{ExpirationEnforcement, IntoVec, Limits, Repository, RepositoryLoader};

use super::publish::{check_limits, is_of_later_kind, kind_of};
use super::root::{read_strictly, read_trusted};
use super::transport::BundleTransport;
use super::{BundlePath, Catalogue, CatalogueBundle, CatalogueError, ExpirationPolicy, Floors, Role, Target};
use crate::MOST_VERSION;

/// Root changes that one bundle may carry beyond the trusted one.
const MOST_ROOT_UPDATES: u64 = 1024;

/// Verifies a catalogue that arrived. `trusted_root` is what [`newest_root`](super::newest_root) chose; `now_s` comes
/// from a clock that never runs below its own floor; `scratch_dir` is an existing directory for files that may vanish
/// at any time.
///
/// # Errors
/// The first rule that it breaks; then nothing of it may be used, and floors stay as they are.
pub async fn verify(
    bundle_bytes: &[u8],
    trusted_root: &[u8],
    floors: &Floors,
    now_s: i64,
    scratch_dir: &Path,
) -> Result<Catalogue, CatalogueError> {
    verify_with(ExpirationPolicy::Enforce, bundle_bytes, trusted_root, floors, now_s, scratch_dir).await
}

/// [`verify`] with a word on what has expired: to verify again, at start, what was active before.
///
/// # Errors
/// As [`verify`].
pub async fn verify_with(
    expiration: ExpirationPolicy,
    bundle_bytes: &[u8],
    trusted_root: &[u8],
    floors: &Floors,
    now_s: i64,
    scratch_dir: &Path,
) -> Result<Catalogue, CatalogueError> {
    let bundle = Arc::new(CatalogueBundle::parse(bundle_bytes)?);
    let trusted = read_trusted(trusted_root)?;
    let newest = walk_roots(&bundle, &trusted)?;
    // Snapshot and targets need no such look: their digests are signed.
    read_strictly::<Timestamp>(bundle.timestamp())
        .map_err(|what| CatalogueError::Metadata { role: Role::Timestamp, what })?;
    let repository = load(&bundle, trusted_root, scratch_dir).await?;
    if repository.root().signed != newest.signed {
        let what = "the verifier stopped at another root".to_owned();
        return Err(CatalogueError::RootChain { version: newest.signed.version.get(), what });
    }
    if repository.targets().signed.delegations.is_some() {
        // Each delegation would be fetched on every load, and none is needed.
        return Err(CatalogueError::Unsupported("it delegates targets to other keys, which no catalogue of ours does"));
    }
    check_floors(&repository, &forgive_rotated(floors, &trusted, &newest))?;
    // Below the floor the clock is wrong, and whoever set it back would make the expired young again.
    let now_s = now_s.max(floors.clock_s);
    let (role, expires_at_s) = earliest_expiry(&repository);
    let stale = expires_at_s <= now_s;
    if stale {
        check_staleness(expiration, &repository, floors, role, expires_at_s, now_s)?;
    }
    let targets = read_targets(&repository, &bundle, &floors.releases).await?;
    let root = if newest.signed.version == trusted.signed.version { trusted_root } else { bundle.newest_root() };
    let clock_s = if stale { floors.clock_s } else { now_s };
    let floors = raise(floors, &repository, &targets, clock_s);
    Ok(Catalogue { root: root.to_vec(), floors, targets, expires_at_s, stale })
}

/// Walks the roots in the bundle, through the trusted one, to the newest (TUF 5.3, and stricter): every root is signed
/// by itself and by the one before it, none is missing after the trusted one, none contradicts it.
fn walk_roots(bundle: &CatalogueBundle, trusted: &Signed<Root>) -> Result<Signed<Root>, CatalogueError> {
    let trusted_version = trusted.signed.version.get();
    let mut before: Option<Signed<Root>> = None;
    for (version, bytes) in bundle.roots() {
        let broken = |what: String| CatalogueError::RootChain { version, what };
        let root: Signed<Root> = read_strictly(bytes).map_err(broken)?;
        if root.signed.version.get() != version {
            return Err(broken(format!("it says that its version is {}", root.signed.version)));
        }
        if version == trusted_version && root.signed != trusted.signed {
            return Err(broken("it differs from the trusted root of the same version".to_owned()));
        }
        root.signed.verify_role(&root).map_err(|error| broken(error.to_string()))?;
        if before.is_none() && version > trusted_version {
            if version != trusted_version + 1 {
                return Err(broken(format!("root {} is missing", trusted_version + 1)));
            }
            before = Some(trusted.clone());
        }
        if let Some(before) = &before {
            before.signed.verify_role(&root).map_err(|error| broken(error.to_string()))?;
        }
        before = Some(root);
    }
    let newest = before.ok_or(CatalogueError::Unsupported("it has no root"))?;
    match newest.signed.version.get() {
        offered if offered < trusted_version => {
            Err(CatalogueError::Rollback { role: Role::Root, floor: trusted_version, offered })
        }
        _ => Ok(newest),
    }
}

async fn load(
    bundle: &Arc<CatalogueBundle>,
    trusted_root: &[u8],
    scratch_dir: &Path,
) -> Result<Repository, CatalogueError> {
    // Only for this call: `tough` would otherwise compare with what it kept, which no power cut respects.
    let datastore = tempfile::Builder::new().prefix("catalogue-").tempdir_in(scratch_dir);
    let datastore = datastore.map_err(CatalogueError::Scratch)?;
    let (metadata, targets) = BundleTransport::addresses();
    RepositoryLoader::new(&trusted_root, metadata, targets)
        .transport(BundleTransport(Arc::clone(bundle)))
        .datastore(datastore.path())
        .limits(Limits { max_root_updates: MOST_ROOT_UPDATES, ..Limits::default() })
        // `tough` asks the system clock, which may stand in 1970 or 2107 here: dates are judged in `verify_with`.
        .expiration_enforcement(ExpirationEnforcement::Unsafe)
        .load()
        .await
        .map_err(|error| CatalogueError::Verification(Box::new(error)))
}

fn versions(repository: &Repository) -> [(Role, u64, i64); 4] {
    let root = &repository.root().signed;
    let timestamp = &repository.timestamp().signed;
    let snapshot = &repository.snapshot().signed;
    let targets = &repository.targets().signed;
    [
        (Role::Root, root.version.get(), root.expires().as_second()),
        (Role::Timestamp, timestamp.version.get(), timestamp.expires().as_second()),
        (Role::Snapshot, snapshot.version.get(), snapshot.expires().as_second()),
        (Role::Targets, targets.version.get(), targets.expires().as_second()),
    ]
}

fn floor_of(floors: &Floors, role: Role) -> u64 {
    match role {
        Role::Root => floors.root,
        Role::Timestamp => floors.timestamp,
        Role::Snapshot => floors.snapshot,
        Role::Targets => floors.targets,
    }
}

fn check_floors(repository: &Repository, floors: &Floors) -> Result<(), CatalogueError> {
    for (role, version, _) in versions(repository) {
        if version > MOST_VERSION {
            return Err(CatalogueError::Version { role, version });
        }
        let floor = floor_of(floors, role);
        if version < floor {
            return Err(CatalogueError::Rollback { role, floor, offered: version });
        }
    }
    Ok(())
}

/// TUF 5.3.11: when a newer root takes a role's keys away, that role's floor may have been pushed up by the thief of
/// those keys; honest versions start again. Only for a root that is new here: otherwise an old trusted root would
/// lower floors at will.
fn forgive_rotated(floors: &Floors, trusted: &Signed<Root>, newest: &Signed<Root>) -> Floors {
    let mut floors = floors.clone();
    let is_new = newest.signed.version.get() > floors.root && trusted.signed.version.get() >= floors.root;
    let taken_away = |role: RoleType| {
        let newer = newest.signed.roles.get(&role);
        let older = trusted.signed.roles.get(&role);
        older.zip(newer).is_some_and(|(older, newer)| older.keyids.iter().any(|key| !newer.keyids.contains(key)))
    };
    if is_new && (taken_away(RoleType::Timestamp) || taken_away(RoleType::Snapshot)) {
        floors.timestamp = 0;
        floors.snapshot = 0;
    }
    if is_new && taken_away(RoleType::Targets) {
        floors.targets = 0;
    }
    floors
}

fn earliest_expiry(repository: &Repository) -> (Role, i64) {
    let [root, others @ ..] = versions(repository).map(|(role, _, expires_at_s)| (role, expires_at_s));
    others.into_iter().fold(root, |first, next| if next.1 < first.1 { next } else { first })
}

fn check_staleness(
    expiration: ExpirationPolicy,
    repository: &Repository,
    floors: &Floors,
    role: Role,
    expired_at_s: i64,
    now_s: i64,
) -> Result<(), CatalogueError> {
    match expiration {
        ExpirationPolicy::AcceptStale { at_most_s } if now_s.saturating_sub(expired_at_s) <= at_most_s => {
            let differs =
                versions(repository).into_iter().find(|(role, version, _)| *version != floor_of(floors, *role));
            differs.map_or(Ok(()), |(role, _, _)| Err(CatalogueError::NotActive { role }))
        }
        _ => Err(CatalogueError::Expired { role, expired_at_s, now_s }),
    }
}

async fn read_targets(
    repository: &Repository,
    bundle: &CatalogueBundle,
    releases: &BTreeMap<TargetName, u64>,
) -> Result<BTreeMap<TargetName, Target>, CatalogueError> {
    let (mut targets, mut unknown) = (BTreeMap::new(), BTreeMap::new());
    // In the order of names, so that the same bundle is always refused for the same reason.
    let described: BTreeMap<_, _> = repository.targets().signed.targets.iter().collect();
    for (signed_name, described) in described {
        let raw = signed_name.raw();
        let refused = |what: &str| CatalogueError::Target {
            name: raw.chars().take(200).collect(),
            what: what.chars().take(400).collect(),
        };
        let name: TargetName = raw.parse().map_err(|error| refused(&format!("{error}")))?;
        let sha256 = described.hashes.sha256.as_ref().try_into().map(Sha256);
        let sha256 = sha256.map_err(|_| refused("its digest is not a SHA-256"))?;
        let stream = repository.read_target(signed_name).await;
        let stream = stream.map_err(|error| refused(&error.to_string()))?.ok_or_else(|| refused("it is not there"))?;
        let bytes = stream.into_vec().await.map_err(|error| refused(&error.to_string()))?;
        if bytes.len() as u64 != described.length {
            return Err(refused(&format!("it has {} bytes, {} were signed", bytes.len(), described.length)));
        }
        // A kind of later releases does not exist here, since nothing can name it: an agent that is to be replaced by a newer
        // one must be able to read the catalogue that lists that.
        let Some(kind) = kind_of(described) else {
            if !is_of_later_kind(described) {
                return Err(refused("its facts are not those of its kind"));
            }
            unknown.insert(name, sha256);
            continue;
        };
        let floor = releases.get(&name).copied().unwrap_or(0);
        if kind.release() < floor {
            return Err(CatalogueError::ReleaseRollback { name, floor, offered: kind.release() });
        }
        check_limits(&bytes, &kind).map_err(refused)?;
        targets.insert(name, Target { length: described.length, sha256, kind, bytes });
    }
    let stowaway = bundle.target_files().find(|(path, _)| match path {
        BundlePath::Target(sha256, name) => {
            let signed = targets.get(name).map(|target: &Target| target.sha256).or_else(|| unknown.get(name).copied());
            signed != Some(*sha256)
        }
        _ => false,
    });
    match stowaway {
        Some((path, _)) => {
            Err(CatalogueError::Target { name: path.to_string(), what: "nothing that is signed names it".to_owned() })
        }
        None => Ok(targets),
    }
}

fn raise(floors: &Floors, repository: &Repository, targets: &BTreeMap<TargetName, Target>, clock_s: i64) -> Floors {
    let [root, timestamp, snapshot, all_targets] = versions(repository).map(|(_, version, _)| version);
    let mut releases = floors.releases.clone();
    releases.extend(targets.iter().map(|(name, target)| (name.clone(), target.kind.release())));
    Floors { root, timestamp, snapshot, targets: all_targets, clock_s, releases }
}
