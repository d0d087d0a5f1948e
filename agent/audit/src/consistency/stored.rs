//! The tree of a log as its database holds it: any root and any proof from a few rows.

use std::path::Path;

use rusqlite::Connection;

use super::ProofError;
use crate::AuditError;
use crate::tree::{Hash, TILE_HEIGHT, Tree, node_hash};

/// The stored hashes of one state of a log.
#[derive(Debug)]
pub(crate) struct StoredTree<'a> {
    connection: &'a Connection,
    directory: &'a Path,
    size: u64,
}

impl<'a> StoredTree<'a> {
    pub(crate) fn open(connection: &'a Connection, directory: &'a Path) -> Result<Self, AuditError> {
        let size = connection
            .query_row("SELECT size FROM tree", (), |row| row.get(0))
            .map_err(|error| AuditError::database("read", directory, &error))?;
        Ok(Self { connection, directory, size })
    }

    /// `PROOF(old, D[new])` of RFC 6962 §2.1.2. The RFC recurses and appends on the way back; this walks down and
    /// turns the list round.
    pub(crate) fn prove(&self, old: u64, new: u64) -> Result<Vec<Hash>, ProofError> {
        if old > new || new > self.size {
            return Err(ProofError::OutOfRange { old, new, size: self.size });
        }
        let mut proof = Vec::new();
        if old == 0 {
            return Ok(proof);
        }
        // The subtree over `start..end` holds the last leaf of the old tree.
        let (mut start, mut end) = (0, new);
        while old != end {
            let middle = start + largest_power_of_two_below(end - start);
            if old <= middle {
                proof.push(self.range_root(middle, end)?);
                end = middle;
            } else {
                proof.push(self.range_root(start, middle)?);
                start = middle;
            }
        }
        // A subtree that starts at 0 is the old tree itself, and the verifier has its root.
        if start > 0 {
            proof.push(self.range_root(start, end)?);
        }
        proof.reverse();
        Ok(proof)
    }

    /// The root that this log had at `size`.
    pub(crate) fn root_at(&self, size: u64) -> Result<Hash, ProofError> {
        if size > self.size {
            return Err(ProofError::OutOfRange { old: size, new: size, size: self.size });
        }
        if size == 0 { Ok(Tree::default().root()) } else { self.range_root(0, size) }
    }

    /// The root over leaves `start..end`, where `start` is a multiple of a power of two that is no less than their
    /// number.
    fn range_root(&self, start: u64, end: u64) -> Result<Hash, ProofError> {
        let mut next = start;
        let mut perfect = Vec::new();
        while next < end {
            let height = (end - next).ilog2();
            perfect.push(self.perfect_root(next, height)?);
            next += 1 << height;
        }
        let root = perfect.into_iter().rev().reduce(|right, left| node_hash(&left, &right));
        Ok(root.expect("a range has at least one leaf"))
    }

    /// The root of the 2^height leaves from `start` on, which is a multiple of their number.
    fn perfect_root(&self, start: u64, height: u32) -> Result<Hash, ProofError> {
        let level = height / TILE_HEIGHT;
        let first = start >> (level * TILE_HEIGHT);
        let count = 1_u64 << (height % TILE_HEIGHT);
        let mut hashes = self.stored_hashes(level, first, count)?;
        if hashes.len() as u64 != count {
            return Err(ProofError::Gone { first: start, last: start + (1 << height) - 1 });
        }
        while hashes.len() > 1 {
            hashes = hashes.as_chunks::<2>().0.iter().map(|[left, right]| node_hash(left, right)).collect();
        }
        Ok(hashes[0])
    }

    /// The `count` hashes from `first` on of one tile level, as many as there are.
    fn stored_hashes(&self, level: u32, first: u64, count: u64) -> Result<Vec<Hash>, AuditError> {
        let read = |error: rusqlite::Error| AuditError::database("read", self.directory, &error);
        let query = if level == 0 {
            "SELECT hash FROM leaves WHERE ?1 = 0 AND idx >= ?2 AND idx < ?3 ORDER BY idx"
        } else {
            "SELECT hash FROM nodes WHERE level = ?1 AND idx >= ?2 AND idx < ?3 ORDER BY idx"
        };
        let mut statement = self.connection.prepare_cached(query).map_err(read)?;
        let rows = statement.query_map((level, first, first + count), |row| row.get::<_, Hash>(0)).map_err(read)?;
        rows.collect::<Result<_, _>>().map_err(read)
    }
}

fn largest_power_of_two_below(number: u64) -> u64 {
    1 << (number - 1).ilog2()
}
