//! The catalogue: a TUF repository in one byte string; published with offline keys, verified through `tough`.
//!
//! The traps of `tough` (0.24) that this module exists to keep away from callers:
//!
//! * its datastore is neither crash-safe nor required to survive: here it is thrown away after each call, and what
//!   must never go down is in [`Floors`], which the caller commits with what it guards;
//! * it reads the system clock: here it never decides about time; every expiry is judged by the caller's clock and
//!   the floor, so a box that wakes up in 1970 verifies as well as any other;
//! * it takes any failure to fetch the next root for "there is none": here all roots travel in the bundle, and the
//!   chain is walked and compared before `tough` runs;
//! * its editor cannot refresh snapshot and timestamp without the targets key: here roles are signed one by one.

mod bundle;
mod error;
mod facts;
mod proposal;
mod publish;
mod root;
mod transport;
mod verify;

use std::collections::BTreeMap;

use outpost_contract::{Sha256, TargetKind, TargetName};
use serde::{Deserialize, Serialize};

pub use bundle::{BundleError, BundlePath, CatalogueBundle, MOST_FILES};
pub use error::{CatalogueError, Role};
pub use facts::{Expiry, RoleFacts, RootFacts, expiries, targets_of};
pub use proposal::{Kind, MOST_BYTES as MOST_PROPOSAL_BYTES, Proposal, Standing};
pub(crate) use publish::sha256;
pub use publish::{Lifetimes, Release, SignedRelease, refresh};
pub use root::{PublishError, RoleKeys, RootPlan, newest_root, root_version};
pub use verify::{verify, verify_with};

/// A catalogue whose every signature, digest, version and date was checked.
#[derive(Debug, Clone)]
pub struct Catalogue {
    /// The newest root; to be stored, and given as `trusted_root` next time.
    pub root: Vec<u8>,
    /// The floors to store, in one transaction with whatever this catalogue makes happen.
    pub floors: Floors,
    /// Every target, its bytes included.
    pub targets: BTreeMap<TargetName, Target>,
    /// When the first of its roles expires (or did), seconds since 1970-01-01 UTC.
    pub expires_at_s: i64,
    /// True if it had expired and only [`ExpirationPolicy::AcceptStale`] let it pass: to be recorded and reported.
    pub stale: bool,
}

/// One target of a verified catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Length, bytes.
    pub length: u64,
    /// SHA-256 of the bytes.
    pub sha256: Sha256,
    /// What the catalogue says of it.
    pub kind: TargetKind,
    /// The bytes: a manifest, a policy bundle or the authority document.
    pub bytes: Vec<u8>,
}

/// What must never go down on a device. All zero on a device that has seen no catalogue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Floors {
    /// Version of the newest root accepted.
    pub root: u64,
    /// Version of the newest timestamp accepted.
    pub timestamp: u64,
    /// Version of the newest snapshot accepted.
    pub snapshot: u64,
    /// Version of the newest targets accepted.
    pub targets: u64,
    /// Latest moment at which an unexpired catalogue was accepted, seconds since 1970-01-01 UTC. Expiry is never judged
    /// by an earlier clock. It lies before the expiry of something signed, so a fast clock cannot push it far.
    pub clock_s: i64,
    /// Release counter of every target ever accepted, those that the catalogue no longer lists included.
    pub releases: BTreeMap<TargetName, u64>,
}

/// What to do with a catalogue that has expired.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ExpirationPolicy {
    /// Refuse it. The rule for everything that arrives.
    #[default]
    Enforce,
    /// Accept it up to so many seconds after its expiry, and **only** if its versions are exactly those of the floors:
    /// this re-verifies what was accepted before it expired, and lets nothing new in. It gives up protection against
    /// being frozen in the past; use it to go on with what is active, and record that it was used.
    AcceptStale {
        /// Seconds after expiry that are tolerated.
        at_most_s: i64,
    },
}
