//! Consistency proofs of RFC 6962 §2.1.2: that a log at one size is the beginning of the same log at a later size.
//!
//! ```text
//! sizes 3 → 7:          root(7)
//!                     /         \
//!                 0–3             4–6        proof = [ 2, 3, 0–1, 4–6 ]
//!                /    \          /   \
//!             0–1     2–3      4–5    6      0–1 and 2 lead to root(3);
//!                    /   \                   0–1, 2, 3 and 4–6 lead to root(7)
//!                   2     3
//! ```
//!
//! A proof is made from the hashes that are stored, of leaves and of every 256^n leaves: at most 63 hashes, for each of
//! which at most 128 rows per tree level are read. [`check()`] does the other side's work, and with other hashing code.

mod check;
mod stored;

use std::path::Path;

pub(crate) use self::check::MAX_TREE_SIZE;
pub use self::check::{Inconsistent, TreeHead, check};
pub(crate) use self::stored::StoredTree;
use crate::reader::Snapshot;
use crate::{AuditError, AuditLog};

/// More hashes are never needed, and never read: a tree has fewer than 2^63 leaves.
pub const MAX_PROOF_HASHES: usize = 63;

/// Why a proof cannot be made.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The log never had such sizes, in this order.
    #[error("there is no proof from size {old} to size {new} in a log of {size} records; ask for old ≤ new ≤ {size}")]
    OutOfRange {
        /// The earlier size.
        old: u64,
        /// The later size.
        new: u64,
        /// Records in the log.
        size: u64,
    },
    /// Hashes that the proof needs are not stored.
    #[error(
        "the hashes of records {first}–{last} are not in this log (pruned or lost); ask for a proof from a size \
        that starts after them, or take it from a mirror"
    )]
    Gone {
        /// First record below them.
        first: u64,
        /// Last record below them.
        last: u64,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] AuditError),
}

/// Proves that the log in `directory` at size `old` is the beginning of it at size `new`. Works while the agent runs,
/// and on a copy. The proof from size 0, or between equal sizes, is empty.
///
/// # Errors
/// If the log never had these sizes, the hashes were pruned, or the log cannot be read.
pub fn prove(directory: &Path, old: u64, new: u64) -> Result<Vec<[u8; 32]>, ProofError> {
    let snapshot = Snapshot::open(directory)?;
    StoredTree::open(&snapshot.connection, directory)?.prove(old, new)
}

/// The root that the log in `directory` had at `size`. Works while the agent runs, and on a copy.
///
/// # Errors
/// If the log never had this size, the hashes were pruned, or the log cannot be read.
pub fn root_at(directory: &Path, size: u64) -> Result<[u8; 32], ProofError> {
    let snapshot = Snapshot::open(directory)?;
    StoredTree::open(&snapshot.connection, directory)?.root_at(size)
}

impl AuditLog {
    /// Proves that this log at size `old` is the beginning of it at size `new`. Reads the disk.
    ///
    /// # Errors
    /// As [`prove`].
    pub fn prove_consistency(&self, old: u64, new: u64) -> Result<Vec<[u8; 32]>, ProofError> {
        prove(self.directory(), old, new)
    }
}

#[cfg(test)]
mod tests;
