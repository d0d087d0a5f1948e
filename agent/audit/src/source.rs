//! One unchanging state of a log, as exports and proofs take from it: its signed head, its records, the roots below it.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension};

use crate::reader::Snapshot;
use crate::tile::{self, Subtree};
use crate::tree::{Hash, TILE_HEIGHT, node_hash};
use crate::{AuditError, Checkpoint, VerifierKey, prune, witness};

/// A log that is being read.
pub(crate) struct Source {
    directory: PathBuf,
    snapshot: Snapshot,
    /// The key that the log names.
    pub(crate) key: VerifierKey,
    /// The newest head, signed.
    pub(crate) note: String,
    /// What that head says.
    pub(crate) checkpoint: Checkpoint,
}

impl Source {
    /// Takes hold of the newest state of the log in `directory`.
    pub(crate) fn open(directory: &Path) -> Result<Self, AuditError> {
        let snapshot = Snapshot::open(directory)?;
        let read = |error: rusqlite::Error| AuditError::database("read", directory, &error);
        let damaged = |what: String| AuditError::Damaged { directory: directory.to_owned(), what };
        let connection = &snapshot.connection;
        let line: Option<String> = connection
            .query_row("SELECT value FROM meta WHERE key = 'vkey'", (), |row| row.get(0))
            .optional()
            .map_err(read)?;
        let line = line.ok_or_else(|| damaged("its public key is missing".to_owned()))?;
        let key: VerifierKey = line.parse().map_err(|cause| damaged(format!("its public key: {cause}")))?;
        let note: String = connection.query_row("SELECT note FROM tree", (), |row| row.get(0)).map_err(read)?;
        let checkpoint = Checkpoint::verify(&note, &key).map_err(|cause| damaged(format!("its head: {cause}")))?;
        Ok(Self { directory: directory.to_owned(), snapshot, key, note, checkpoint })
    }

    /// Index of the first record that has not left the device.
    pub(crate) fn first(&self) -> Result<u64, AuditError> {
        prune::first_kept(self.connection()).map_err(|error| self.read(&error))
    }

    /// Hands over each record in `from..to`, in order, one at a time.
    pub(crate) fn each(
        &self,
        from: u64,
        to: u64,
        mut take: impl FnMut(u64, &[u8]) -> Result<(), AuditError>,
    ) -> Result<(), AuditError> {
        let mut statement = self
            .connection()
            .prepare("SELECT idx, bytes FROM leaves WHERE idx >= ?1 AND idx < ?2 ORDER BY idx")
            .map_err(|error| self.read(&error))?;
        let mut rows = statement.query((from, to)).map_err(|error| self.read(&error))?;
        let mut expected = from;
        while let Some(row) = rows.next().map_err(|error| self.read(&error))? {
            if row.get(0) != Ok(expected) {
                break;
            }
            let bytes = row.get_ref(1).ok().and_then(|cell| cell.as_blob().ok());
            let bytes = bytes.ok_or_else(|| self.damaged(format!("record {expected} is no bytes")))?;
            take(expected, bytes)?;
            expected += 1;
        }
        if expected == to { Ok(()) } else { Err(self.damaged(format!("record {expected} is missing"))) }
    }

    /// The sibling hashes from record `index` up to the root of the first `size` records: PATH(index, D[size]) of RFC 6962.
    pub(crate) fn path(&self, index: u64, size: u64) -> Result<Vec<Hash>, AuditError> {
        let (mut from, mut to) = (0, size);
        let mut path = Vec::new();
        while to - from > 1 {
            // The left part is the largest power of two below the whole.
            let middle = from + (1 << (to - from - 1).ilog2());
            if index < middle {
                path.push(self.root(middle, to)?);
                to = middle;
            } else {
                path.push(self.root(from, middle)?);
                from = middle;
            }
        }
        path.reverse();
        Ok(path)
    }

    /// The head that holds the record at `index` and that most witnesses cosigned, with its note.
    pub(crate) fn cosigned(&self, index: u64) -> Result<Option<(Checkpoint, String)>, AuditError> {
        witness::best_note(self.connection(), &self.directory, &self.key, index)
    }

    /// The root over `from..to`, which is one node of the tree.
    fn root(&self, from: u64, to: u64) -> Result<Hash, AuditError> {
        let roots = self.roots(&tile::cover(from, to))?;
        let root = roots.into_iter().rev().reduce(|right, left| node_hash(&left, &right));
        root.ok_or_else(|| self.damaged("a part of the tree is empty".to_owned()))
    }

    /// The root of each of these subtrees.
    pub(crate) fn roots(&self, subtrees: &[Subtree]) -> Result<Vec<Hash>, AuditError> {
        subtrees.iter().map(|subtree| self.subtree_root(*subtree)).collect()
    }

    /// From the stored nodes next below it: at most 128 are read.
    fn subtree_root(&self, Subtree { height, position }: Subtree) -> Result<Hash, AuditError> {
        let (level, above) = (height / TILE_HEIGHT, height % TILE_HEIGHT);
        let (first, count) = (position << above, 1_u64 << above);
        let mut hashes = stored(self.connection(), level, first, count).map_err(|error| self.read(&error))?;
        if hashes.len() as u64 != count {
            return Err(self.damaged(format!("hashes of level {level} from {first} on are missing")));
        }
        while hashes.len() > 1 {
            hashes = hashes.as_chunks::<2>().0.iter().map(|[left, right]| node_hash(left, right)).collect();
        }
        Ok(hashes[0])
    }

    /// Says that the log contradicts itself.
    pub(crate) fn damaged(&self, what: String) -> AuditError {
        AuditError::Damaged { directory: self.directory.clone(), what }
    }

    fn read(&self, error: &rusqlite::Error) -> AuditError {
        AuditError::database("read", &self.directory, error)
    }

    fn connection(&self) -> &Connection {
        &self.snapshot.connection
    }
}

/// The stored hashes of one level: of the records themselves, or of the tiles above them.
fn stored(connection: &Connection, level: u32, first: u64, count: u64) -> rusqlite::Result<Vec<Hash>> {
    let end = first + count;
    if level == 0 {
        let query = "SELECT hash FROM leaves WHERE idx >= ?1 AND idx < ?2 ORDER BY idx";
        return connection.prepare_cached(query)?.query_map((first, end), |row| row.get(0))?.collect();
    }
    let query = "SELECT hash FROM nodes WHERE level = ?1 AND idx >= ?2 AND idx < ?3 ORDER BY idx";
    connection.prepare_cached(query)?.query_map((level, first, end), |row| row.get(0))?.collect()
}
