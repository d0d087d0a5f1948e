//! One build of the agent: its version, its target, and what its file must be.

use outpost_contract::{Blake3, Sha256};
use semver::Version;
use serde::{Deserialize, Serialize};

/// The version of the running program.
pub const OWN_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The target that the running program was built for, as Rust names it: `aarch64-unknown-linux-gnu`.
pub const OWN_TARGET: &str = env!("OUTPOST_TARGET");

/// One of the two places that a build lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// The name of its file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// A build that somebody offers: what its bytes must be, and what is said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The version that it must say of itself; `None` takes its own word.
    pub version: Option<String>,
    /// The target that it must have been built for; `None` takes its own word.
    pub target: Option<String>,
    /// What its bytes must hash to.
    pub sha256: Sha256,
    /// How many bytes it must have.
    pub bytes: u64,
}

/// A build that proved itself once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// Its version.
    pub version: String,
    /// Its target.
    pub target: String,
    /// What it is known by.
    pub sha256: Sha256,
    /// Its length.
    pub bytes: u64,
    /// What its file is held to at every start: several times as fast as SHA-256 where no instruction helps, and a start is
    /// short.
    pub(crate) blake3: Blake3,
}

/// Whether one version is newer than another. What is no version is never newer.
#[must_use]
pub fn is_newer(version: &str, than: &str) -> bool {
    match (Version::parse(version), Version::parse(than)) {
        (Ok(version), Ok(than)) => version > than,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number_and_what_is_none_is_not_newer() {
        assert!(is_newer("0.10.0", "0.9.9") && is_newer("1.0.0", "1.0.0-rc.1"));
        assert!(!is_newer("0.1.0", "0.1.0") && !is_newer("0.1.0", "0.2.0"));
        assert!(!is_newer("newest", "0.1.0") && !is_newer("1.0.0", ""));
    }

    #[test]
    fn this_build_knows_its_target() {
        assert!(OWN_TARGET.starts_with(std::env::consts::ARCH), "{OWN_TARGET}");
    }
}
