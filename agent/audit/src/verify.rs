//! Checking a log without trusting the program that wrote it.
//!
//! Read-only; works while the agent runs and on a copied directory (with its `audit.db-wal`, if there is one). Shares
//! no hashing code with the writer: hashes come from the `ct-merkle` and `sha2` crates here. What is checked:
//!
//! 1. every leaf: dense indices, its bytes against its stored hash, its form, the index and the id that it claims;
//! 2. every stored node against the leaves below it, so that a changed leaf is found even with its hash changed too;
//! 3. the root over all leaves against the signed head, and against every checkpoint ever kept, at that size;
//! 4. every signature, by the log's public key;
//! 5. every `summary` against the records that it counts;
//! 6. with a policy of witnesses ([`Options::policy`]): how far their quorum vouches for it;
//! 7. that the log is not shorter than any signed checkpoint: those kept, the one in `audit.checkpoint`, and those that
//!    the caller brings along from elsewhere.
//!
//! What left the log is checked in the same way: a tree of tiles, an export with its manifest, the proof of one record.
//!
//! What no check of one directory can show is that the whole directory is an old copy: bring a checkpoint from
//! elsewhere ([`Options::checkpoints`]) for that.

mod claims;
mod files;
mod proof;
mod records;
mod scan;
mod signed;
mod stack;
mod summaries;
mod tiles;

use std::fmt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde::Serialize;

use crate::export::manifest;
use crate::reader::Snapshot;
use crate::witness::{self, Policy, Vouched};
use crate::{AuditError, VerifierKey, schema, tile};

/// More problems than this are counted, not listed.
const MAX_PROBLEMS: usize = 1_000;

/// What the verifier knows from elsewhere.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The log's public key, as the auditor holds it. Without it, the key beside the log is used: that detects damage,
    /// but not somebody who re-signed everything with another key.
    pub verifier_key: Option<VerifierKey>,
    /// Signed checkpoints of this log that the auditor kept from earlier visits or got from a witness.
    pub checkpoints: Vec<String>,
    /// Which witnesses, and how many of them, must vouch for the log or for the head of a proof.
    pub policy: Option<Policy>,
    /// The file with the record that a proof is about; beside the proof, ending in `json`, by default.
    pub record: Option<PathBuf>,
}

/// What was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// A log, as an agent writes it.
    Log,
    /// A log as a tree of tiles.
    Tiles,
    /// A range of records with its manifest.
    Export,
    /// One record with the proof that it is in the log.
    Proof,
}

/// What a check found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What was checked.
    pub subject: Subject,
    /// Name of the log.
    pub origin: String,
    /// The key that signatures were checked with.
    pub verifier_key: String,
    /// Records read.
    pub records: u64,
    /// Index of the first of them; in a log, of the first that has not left the device past its retention.
    pub first: u64,
    /// RFC 6962 root that they lead to, hexadecimal: with the hashes of the manifest or the proof where they are a part.
    pub root_hex: String,
    /// Size of the largest signed head that verified; none in an empty log.
    pub checkpoint_size: Option<u64>,
    /// Checkpoints that verified.
    pub checkpoints: usize,
    /// How far the quorum of the policy that was brought along vouches for the log; none without one, or if it does not.
    pub vouched: Option<Vouched>,
    /// What is wrong; empty for a good log.
    pub problems: Vec<Problem>,
    /// Problems beyond those listed.
    pub further_problems: u64,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The record, where one can be named.
    pub index: Option<u64>,
    /// What is wrong, in words.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            Some(index) => write!(formatter, "record {index}: {}", self.what),
            None => formatter.write_str(&self.what),
        }
    }
}

/// Problems in the order found, up to a bound.
#[derive(Debug, Default)]
struct Problems {
    listed: Vec<Problem>,
    further: u64,
}

impl Problems {
    fn add(&mut self, index: impl Into<Option<u64>>, what: impl Into<String>) {
        if self.listed.len() < MAX_PROBLEMS {
            self.listed.push(Problem { index: index.into(), what: what.into() });
        } else {
            self.further += 1;
        }
    }

    /// Whether looking further is of no use: a signed size may be any number.
    fn are_too_many(&self) -> bool {
        self.further > 0
    }
}

/// Checks the log in `directory` with the public key that lies beside it.
///
/// # Errors
/// If there is no log or it cannot be read at all. A log that reads and is wrong is a [`Report`] with problems.
pub fn verify(directory: &Path) -> Result<Report, AuditError> {
    verify_with(directory, &Options::default())
}

/// Checks the log in `directory` with what the auditor brings along.
///
/// # Errors
/// As [`verify`].
pub fn verify_with(directory: &Path, options: &Options) -> Result<Report, AuditError> {
    verified_state(directory, options).map(|(report, _)| report)
}

/// Checks the log in `directory` and hands over the state of it that was checked, so that more can be read of the same.
pub(crate) fn verified_state(directory: &Path, options: &Options) -> Result<(Report, Snapshot), AuditError> {
    // The files beside are read before the database: a log in use only grows, so what they say must be in it.
    let beside = Beside::read(directory);
    let snapshot = Snapshot::open(directory)?;
    Ok((check(&snapshot.connection, directory, &beside, options), snapshot))
}

/// Checks whatever lies at `path`: a log, tiles, an export or a proof.
///
/// # Errors
/// If nothing of that kind is there, or it cannot be read at all.
pub fn verify_any(path: &Path, options: &Options) -> Result<Report, AuditError> {
    let holds = |name: &str| path.join(name).is_file();
    if path.is_file() {
        proof::check(path, options)
    } else if schema::database_path(path).is_file() {
        verify_with(path, options)
    } else if holds(manifest::FILE) {
        records::check(path, options)
    } else if holds(tile::CHECKPOINT) {
        tiles::check(path, options)
    } else {
        Err(AuditError::Unknown { path: path.to_owned() })
    }
}

/// The small files beside the database.
#[derive(Debug, Clone, Default)]
struct Beside {
    verifier_key: Option<String>,
    checkpoint: Option<String>,
}

impl Beside {
    fn read(directory: &Path) -> Self {
        let read = |path| std::fs::read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Self {
            verifier_key: read(schema::verifier_key_path(directory)),
            checkpoint: read(schema::checkpoint_path(directory)),
        }
    }
}

fn check(connection: &Connection, directory: &Path, beside: &Beside, options: &Options) -> Report {
    let mut problems = Problems::default();
    let key = signed::choose_key(connection, beside, options, &mut problems);
    let heads = match &key {
        Some(key) => signed::collect(connection, beside, options, key, &mut problems),
        None => signed::Heads::default(),
    };
    let scan = scan::scan(connection, &heads, &mut problems);
    signed::compare(&heads, &scan, &mut problems);
    let vouched = match (&options.policy, &key) {
        (Some(policy), Some(key)) => ask_witnesses(connection, directory, key, policy, &mut problems),
        _ => None,
    };
    Report {
        subject: Subject::Log,
        origin: key.as_ref().map(|key| key.name().to_owned()).unwrap_or_default(),
        verifier_key: key.as_ref().map(ToString::to_string).unwrap_or_default(),
        records: scan.records,
        first: scan.first,
        root_hex: hex::encode(scan.root),
        checkpoint_size: heads.largest(),
        checkpoints: heads.count(),
        vouched,
        problems: problems.listed,
        further_problems: problems.further,
    }
}

/// How far the quorum vouches for this log. What came after is under the log's own word; that it vouches for nothing is a
/// problem.
fn ask_witnesses(
    connection: &Connection,
    directory: &Path,
    key: &VerifierKey,
    policy: &Policy,
    problems: &mut Problems,
) -> Option<Vouched> {
    match witness::vouched(connection, directory, key, policy) {
        Ok(Ok(vouched)) => Some(vouched),
        Ok(Err(unmet)) => {
            problems.add(None, format!("the witnesses do not vouch for this log: {unmet}"));
            None
        }
        Err(error) => {
            problems.add(None, format!("the cosignatures cannot be read: {error}"));
            None
        }
    }
}

#[cfg(test)]
mod tests;
