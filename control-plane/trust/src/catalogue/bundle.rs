//! A whole catalogue in one byte string: metadata and targets, with exactly one spelling.
//!
//! ```text
//! {"v":1,"files":{"metadata/1.root.json":<base64>, …, "metadata/timestamp.json":…, "metadata/4.snapshot.json":…,
//!                 "metadata/2.targets.json":…, "targets/<sha256>.<name>":…, …}}
//! ```
//!
//! The paths are those of a TUF repository with consistent snapshots, so a bundle unpacks into one. They are parsed
//! into [`BundlePath`], which cannot name anything else.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outpost_contract::limits::CATALOGUE_BYTES;
use outpost_contract::{Sha256, TargetName};
use serde::{Deserialize, Serialize};

use crate::MOST_VERSION;

/// Files that a bundle may hold.
pub const MOST_FILES: usize = 4096;

/// Largest root, timestamp or snapshot, bytes; the same ceiling as `tough`'s.
const METADATA_BYTES: usize = 1024 * 1024;

/// A catalogue as it travels. Reading one proves that it is well-formed, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueBundle {
    files: BTreeMap<BundlePath, Vec<u8>>,
}

/// A file of a bundle; in this order they stand in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum BundlePath {
    /// `metadata/<version>.root.json`
    Root(u64),
    /// `metadata/timestamp.json`
    Timestamp,
    /// `metadata/<version>.snapshot.json`
    Snapshot(u64),
    /// `metadata/<version>.targets.json`
    Targets(u64),
    /// `targets/<sha256>.<name>`
    Target(Sha256, TargetName),
}

/// Bytes are not a bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// More bytes than a catalogue may have.
    #[error("the bundle has {0} bytes, more than the {CATALOGUE_BYTES} allowed")]
    TooLarge(usize),
    /// More files than a catalogue may have.
    #[error("the bundle has {0} files, more than the {MOST_FILES} allowed")]
    TooManyFiles(usize),
    /// Not the JSON of a bundle.
    #[error("not a catalogue bundle: {0}")]
    Malformed(String),
    /// The form's version is unknown here.
    #[error("bundle form {0} is unknown here (this program reads form 1)")]
    Form(u32),
    /// A path that no bundle has.
    #[error("`{0}` is not a file of a catalogue")]
    Path(String),
    /// A file is not base64, or too large.
    #[error("`{path}` is refused: {what}")]
    File {
        /// Which file.
        path: BundlePath,
        /// What is wrong.
        what: String,
    },
    /// Metadata is missing or there twice.
    #[error("the bundle must hold {0}")]
    Incomplete(&'static str),
    /// The bytes differ from those that this content has.
    #[error("the bundle is not in its one canonical spelling (duplicate keys, spaces or another order)")]
    NotCanonical,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire<Files> {
    v: u32,
    files: Files,
}

impl CatalogueBundle {
    /// Reads a bundle of at most [`CATALOGUE_BYTES`] bytes.
    ///
    /// # Errors
    /// [`BundleError::TooLarge`] before anything is read; otherwise the first rule that it breaks.
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        if bytes.len() as u64 > CATALOGUE_BYTES {
            return Err(BundleError::TooLarge(bytes.len()));
        }
        let wire: Wire<BTreeMap<String, String>> =
            serde_json::from_slice(bytes).map_err(|error| BundleError::Malformed(error.to_string()))?;
        if wire.v != 1 {
            return Err(BundleError::Form(wire.v));
        }
        if wire.files.len() > MOST_FILES {
            return Err(BundleError::TooManyFiles(wire.files.len()));
        }
        let mut files = BTreeMap::new();
        for (path, text) in wire.files {
            let path: BundlePath = path.parse()?;
            let content = STANDARD
                .decode(text)
                .map_err(|error| BundleError::File { path: path.clone(), what: format!("not base64: {error}") })?;
            files.insert(path, content);
        }
        let bundle = Self::from_files(files)?;
        // One spelling: two different byte strings never mean the same catalogue.
        if bundle.to_bytes() == bytes { Ok(bundle) } else { Err(BundleError::NotCanonical) }
    }

    /// The bundle's bytes; always the same for the same content.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        struct InOrder<'a>(&'a BTreeMap<BundlePath, Vec<u8>>);
        impl Serialize for InOrder<'_> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.0.iter().map(|(path, bytes)| (path.to_string(), STANDARD.encode(bytes))))
            }
        }
        serde_json::to_vec(&Wire { v: 1, files: InOrder(&self.files) }).expect("strings always have a JSON form")
    }

    /// The content of one file.
    #[must_use]
    pub fn file(&self, path: &BundlePath) -> Option<&[u8]> {
        self.files.get(path).map(Vec::as_slice)
    }

    /// Every file, in the order of the bundle.
    pub fn files(&self) -> impl Iterator<Item = (&BundlePath, &[u8])> {
        self.files.iter().map(|(path, bytes)| (path, bytes.as_slice()))
    }

    /// Versions and bytes of the roots, oldest first; at least one, without a gap.
    pub fn roots(&self) -> impl DoubleEndedIterator<Item = (u64, &[u8])> {
        self.files.iter().filter_map(|(path, bytes)| match path {
            BundlePath::Root(version) => Some((*version, bytes.as_slice())),
            _ => None,
        })
    }

    /// The newest root in the bundle. Not yet trusted.
    #[must_use]
    pub fn newest_root(&self) -> &[u8] {
        self.roots().next_back().map(|(_, bytes)| bytes).unwrap_or_default()
    }

    pub(crate) fn timestamp(&self) -> &[u8] {
        self.file(&BundlePath::Timestamp).unwrap_or_default()
    }

    pub(crate) fn snapshot(&self) -> &[u8] {
        self.first(|path| matches!(path, BundlePath::Snapshot(_)))
    }

    pub(crate) fn targets(&self) -> &[u8] {
        self.first(|path| matches!(path, BundlePath::Targets(_)))
    }

    pub(crate) fn target_files(&self) -> impl Iterator<Item = (&BundlePath, &[u8])> {
        self.files().filter(|(path, _)| matches!(path, BundlePath::Target(..)))
    }

    fn first(&self, wanted: impl Fn(&BundlePath) -> bool) -> &[u8] {
        self.files().find(|(path, _)| wanted(path)).map(|(_, bytes)| bytes).unwrap_or_default()
    }

    /// Puts a bundle together from files, as from a directory that one was unpacked into.
    ///
    /// # Errors
    /// If a limit is broken or metadata is missing.
    pub fn from_files(files: BTreeMap<BundlePath, Vec<u8>>) -> Result<Self, BundleError> {
        if files.len() > MOST_FILES {
            return Err(BundleError::TooManyFiles(files.len()));
        }
        for (path, bytes) in &files {
            let metadata = matches!(path, BundlePath::Root(_) | BundlePath::Timestamp | BundlePath::Snapshot(_));
            if metadata && bytes.len() > METADATA_BYTES {
                let what = format!("{} bytes, more than the {METADATA_BYTES} allowed", bytes.len());
                return Err(BundleError::File { path: path.clone(), what });
            }
        }
        let count = |wanted: fn(&BundlePath) -> bool| files.keys().filter(|path| wanted(path)).count();
        if count(|path| matches!(path, BundlePath::Timestamp)) != 1 {
            return Err(BundleError::Incomplete("one `metadata/timestamp.json`"));
        }
        if count(|path| matches!(path, BundlePath::Snapshot(_))) != 1 {
            return Err(BundleError::Incomplete("exactly one `metadata/<version>.snapshot.json`"));
        }
        if count(|path| matches!(path, BundlePath::Targets(_))) != 1 {
            return Err(BundleError::Incomplete("exactly one `metadata/<version>.targets.json`"));
        }
        let bundle = Self { files };
        let versions: Vec<u64> = bundle.roots().map(|(version, _)| version).collect();
        if versions.is_empty() || versions.windows(2).any(|pair| pair[0] + 1 != pair[1]) {
            return Err(BundleError::Incomplete(
                "at least one `metadata/<version>.root.json`, and none left out between",
            ));
        }
        Ok(bundle)
    }
}

impl fmt::Display for BundlePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(version) => write!(formatter, "metadata/{version}.root.json"),
            Self::Timestamp => formatter.write_str("metadata/timestamp.json"),
            Self::Snapshot(version) => write!(formatter, "metadata/{version}.snapshot.json"),
            Self::Targets(version) => write!(formatter, "metadata/{version}.targets.json"),
            Self::Target(sha256, name) => write!(formatter, "targets/{sha256}.{name}"),
        }
    }
}

impl FromStr for BundlePath {
    type Err = BundleError;

    fn from_str(text: &str) -> Result<Self, BundleError> {
        let refused = || BundleError::Path(text.chars().take(200).collect());
        if text == "metadata/timestamp.json" {
            return Ok(Self::Timestamp);
        }
        if let Some(file) = text.strip_prefix("targets/") {
            let (sha256, name) = file.split_once('.').ok_or_else(refused)?;
            return Ok(Self::Target(sha256.parse().map_err(|_| refused())?, name.parse().map_err(|_| refused())?));
        }
        let file = text.strip_prefix("metadata/").ok_or_else(refused)?;
        let (digits, role) = file.split_once('.').ok_or_else(refused)?;
        let version: u64 = digits.parse().map_err(|_| refused())?;
        if version.to_string() != digits || !(1..=MOST_VERSION).contains(&version) {
            return Err(refused());
        }
        match role {
            "root.json" => Ok(Self::Root(version)),
            "snapshot.json" => Ok(Self::Snapshot(version)),
            "targets.json" => Ok(Self::Targets(version)),
            _ => Err(refused()),
        }
    }
}

#[cfg(test)]
mod tests;
