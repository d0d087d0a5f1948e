//! Why a catalogue was refused, and the code under which a device reports it.

use std::fmt;

use outpost_contract::{ReasonCode, TargetName};

use super::BundleError;

/// A role of TUF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Says whose keys count.
    Root,
    /// Says which snapshot is the newest.
    Timestamp,
    /// Says which targets belong together.
    Snapshot,
    /// Says what may exist.
    Targets,
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Root => "root",
            Self::Timestamp => "timestamp",
            Self::Snapshot => "snapshot",
            Self::Targets => "targets",
        })
    }
}

/// A catalogue was refused; nothing of it may be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The bytes are not a bundle.
    #[error("the catalogue cannot be read: {0}")]
    Bundle(#[from] BundleError),
    /// The root that this device trusts is unusable; enrol again or give it a good one.
    #[error("the trusted root of this device cannot be used ({0}); enrol again to get a good one")]
    TrustedRoot(String),
    /// A root on the way from the trusted to the newest one is missing, forged or forked.
    #[error("root {version} of the catalogue does not continue the trusted one: {what}")]
    RootChain {
        /// The root's version.
        version: u64,
        /// What is wrong, in words.
        what: String,
    },
    /// Metadata cannot be read, or says more than it may.
    #[error("the catalogue's {role} cannot be read: {what}")]
    Metadata {
        /// The role.
        role: Role,
        /// What is wrong, in words.
        what: String,
    },
    /// A signature, digest, length or version does not hold.
    #[error("the catalogue did not verify: {0}")]
    Verification(#[source] Box<tough::error::Error>),
    /// Something older than what was accepted before.
    #[error("the catalogue's {role} has version {offered}, this device has accepted version {floor}: not going back")]
    Rollback {
        /// The role that went back.
        role: Role,
        /// Accepted before.
        floor: u64,
        /// Offered now.
        offered: u64,
    },
    /// A target's release counter went down.
    #[error("`{name}` has release {offered}, this device has accepted release {floor}: not going back")]
    ReleaseRollback {
        /// The target.
        name: TargetName,
        /// Accepted before.
        floor: u64,
        /// Offered now.
        offered: u64,
    },
    /// A version that no honest publisher reaches.
    #[error("the catalogue's {role} has version {version}, above any that is accepted")]
    Version {
        /// The role.
        role: Role,
        /// Its version.
        version: u64,
    },
    /// A role has expired.
    #[error(
        "the catalogue's {role} expired {} s ago (at {expired_at_s}, it is {now_s}); publish a fresh one, or correct the clock",
        now_s.saturating_sub(*expired_at_s)
    )]
    Expired {
        /// The first role that expired.
        role: Role,
        /// When, seconds since 1970-01-01 UTC.
        expired_at_s: i64,
        /// The time it was judged by.
        now_s: i64,
    },
    /// Stale content was tolerated for what is active, but this is something else.
    #[error("the catalogue has expired and its {role} is not the one accepted before: only that may be verified again")]
    NotActive {
        /// The role that differs.
        role: Role,
    },
    /// A target breaks a rule of ours although it is signed.
    #[error("target `{name}` of the catalogue is refused: {what}")]
    Target {
        /// Its name, shortened.
        name: String,
        /// What is wrong, in words.
        what: String,
    },
    /// The catalogue uses a part of TUF that is not accepted here.
    #[error("the catalogue is refused: {0}")]
    Unsupported(&'static str),
    /// The scratch directory could not be used.
    #[error("could not work in the scratch directory: {0}; free some space or make it writable")]
    Scratch(#[source] std::io::Error),
}

impl CatalogueError {
    /// The code under which a device reports the refusal.
    #[must_use]
    pub fn reason(&self) -> ReasonCode {
        match self {
            Self::Bundle(_) | Self::Metadata { .. } => ReasonCode::CorruptContent,
            Self::TrustedRoot(_) | Self::RootChain { .. } => ReasonCode::BadSignature,
            Self::Verification(error) => verification_reason(error),
            Self::Rollback { .. } | Self::ReleaseRollback { .. } | Self::NotActive { .. } => ReasonCode::Rollback,
            Self::Expired { .. } => ReasonCode::Expired,
            Self::Version { .. } | Self::Target { .. } | Self::Unsupported(_) => ReasonCode::Unloadable,
            Self::Scratch(_) => ReasonCode::InsufficientSpace,
        }
    }
}

fn verification_reason(error: &tough::error::Error) -> ReasonCode {
    use tough::error::Error;
    match error {
        Error::VerifyMetadata { .. } | Error::VerifyTrustedMetadata { .. } => ReasonCode::BadSignature,
        Error::DatastoreInit { .. } | Error::DatastoreCreate { .. } => ReasonCode::InsufficientSpace,
        _ => ReasonCode::CorruptContent,
    }
}
