//! The mirror's copy of one log: grows only by records that lead to a head which the log's key signed.

use std::path::{Path, PathBuf};

use outpost_disk::atomic;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::Package;
use crate::leaf::Leaf;
use crate::note::{Note, NoteError};
use crate::reader::Snapshot;
use crate::tree::{self, Tree};
use crate::{AuditError, Checkpoint, Kind, VerifierKey, log, schema};

/// Most bytes that wait for their head: more than the records between two checkpoints can have.
const MAX_WAITING_BYTES: u64 = 64 * 1024 * 1024;

/// Records whose head has not arrived. Only here, so that what is in `leaves` is always under a signature.
const WAITING: &str = "
    CREATE TABLE IF NOT EXISTS waiting (idx INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
";

/// A copy of a log, in a directory of its own. One mirror at a time may be open on it.
#[derive(Debug)]
pub struct Mirror {
    directory: PathBuf,
    connection: Connection,
    key: VerifierKey,
}

/// What became of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// Its records are in the copy, durable, under its head.
    Kept {
        /// The head.
        head: Checkpoint,
        /// The head as the log signed it.
        note: String,
    },
    /// Its records wait for their head, durable.
    Waiting {
        /// Index of the record that comes next.
        next: u64,
    },
    /// It does not begin where the copy ends. Nothing changed.
    Elsewhere {
        /// Index of the record that comes next.
        next: u64,
    },
    /// It contradicts its head. What waited is gone and comes again.
    Refused(String),
}

impl Mirror {
    /// Opens the copy of the log with this key, or begins one (the directory is made if missing, mode 0700).
    ///
    /// # Errors
    /// If it cannot be opened, or is the copy of another log.
    pub fn open(directory: &Path, key: &VerifierKey) -> Result<Self, AuditError> {
        log::make_private_directory(directory)?;
        let connection = schema::open_writer(directory)?;
        connection.execute_batch(WAITING).map_err(|error| AuditError::database("open", directory, &error))?;
        let mirror = Self { directory: directory.to_owned(), connection, key: key.clone() };
        match mirror.stored_key()? {
            Some(found) if found != key.to_string() => {
                Err(AuditError::OtherKey { directory: directory.to_owned(), found, expected: key.to_string() })
            }
            _ => Ok(mirror),
        }
    }

    /// Whether the directory holds the copy of another log than the one with this key. A directory that is not there is not made.
    ///
    /// # Errors
    /// If there is something that cannot be opened.
    pub fn is_of_another(directory: &Path, key: &VerifierKey) -> Result<bool, AuditError> {
        if !directory.is_dir() {
            return Ok(false);
        }
        match Self::open(directory, key) {
            Ok(_) => Ok(false),
            Err(AuditError::OtherKey { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Records under a head.
    ///
    /// # Errors
    /// If the copy cannot be read.
    pub fn size(&self) -> Result<u64, AuditError> {
        Ok(self.tree()?.size())
    }

    /// Index of the record that comes next.
    ///
    /// # Errors
    /// If the copy cannot be read.
    pub fn next(&self) -> Result<u64, AuditError> {
        let last: Option<u64> = self
            .connection
            .query_row("SELECT max(idx) FROM waiting", (), |row| row.get(0))
            .map_err(|error| self.failed("read", &error))?;
        Ok(last.map_or(self.size()?, |last| last + 1))
    }

    /// Takes a package in. What is answered with [`Taken::Kept`] or [`Taken::Waiting`] survives a power cut.
    ///
    /// # Errors
    /// If the copy cannot be read or written; nothing changed then, and the package may come again.
    pub fn take(&mut self, package: &Package) -> Result<Taken, AuditError> {
        let next = self.next()?;
        if package.origin != self.key.name() {
            return Ok(Taken::Refused(format!("this is the mirror of `{}`", self.key.name())));
        }
        if package.first != next {
            return Ok(Taken::Elsewhere { next });
        }
        match &package.head {
            None => self.wait(package, next),
            Some(note) => match Checkpoint::verify(note, &self.key) {
                Ok(head) => self.keep(package, head, note),
                Err(cause) => self.refuse(format!("the head: {cause}")),
            },
        }
    }

    fn wait(&mut self, package: &Package, next: u64) -> Result<Taken, AuditError> {
        let waiting: u64 = self
            .connection
            .query_row("SELECT coalesce(sum(length(bytes)), 0) FROM waiting", (), |row| row.get(0))
            .map_err(|error| self.failed("read", &error))?;
        let bytes: u64 = package.records.iter().map(|record| record.len() as u64).sum();
        if waiting + bytes > MAX_WAITING_BYTES {
            return self.refuse(format!("more than {MAX_WAITING_BYTES} bytes of records would wait for their head"));
        }
        let write = |transaction: &Transaction<'_>| {
            let mut insert = transaction.prepare_cached("INSERT INTO waiting (idx, bytes) VALUES (?1, ?2)")?;
            (next..).zip(&package.records).try_for_each(|(index, bytes)| insert.execute((index, bytes)).map(|_| ()))
        };
        self.transact(write)?;
        Ok(Taken::Waiting { next: next + package.records.len() as u64 })
    }

    fn keep(&mut self, package: &Package, head: Checkpoint, note: &str) -> Result<Taken, AuditError> {
        let mut tree = self.tree()?;
        let is_first = tree.size() == 0;
        let waiting = self.waiting()?;
        let records: Vec<&Vec<u8>> = waiting.iter().chain(&package.records).collect();
        let mut rows = Vec::with_capacity(records.len());
        let mut nodes = Vec::new();
        for bytes in &records {
            let hash = tree::leaf_hash(bytes);
            rows.push((tree.size(), hash, *bytes));
            nodes.extend(tree.push(hash));
        }
        if (tree.size(), tree.root()) != (head.size, head.root) {
            return self.refuse(format!(
                "the {} records from {} on do not lead to the head of {} records",
                records.len(),
                package.first - waiting.len() as u64,
                head.size
            ));
        }
        let key = self.key.clone();
        self.transact(|transaction| {
            if is_first {
                let mut meta = transaction.prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2)")?;
                meta.execute(("origin", key.name()))?;
                meta.execute(("vkey", key.to_string()))?;
            }
            let mut leaf = transaction.prepare_cached("INSERT INTO leaves (idx, hash, bytes) VALUES (?1, ?2, ?3)")?;
            for (index, hash, bytes) in &rows {
                leaf.execute((index, hash, bytes))?;
                follow_requests(transaction, *index, bytes)?;
            }
            let mut node = transaction.prepare_cached("INSERT INTO nodes (level, idx, hash) VALUES (?1, ?2, ?3)")?;
            for completed in &nodes {
                node.execute((completed.level, completed.index, completed.hash))?;
            }
            transaction.prepare_cached("INSERT OR REPLACE INTO tree VALUES (1, ?1, ?2, ?3, ?4)")?.execute((
                head.size,
                head.root,
                tree.frontier_bytes(),
                note,
            ))?;
            transaction.execute("INSERT OR IGNORE INTO checkpoints (size, note) VALUES (?1, ?2)", (head.size, note))?;
            transaction.execute("DELETE FROM waiting", ()).map(|_| ())
        })?;
        if is_first {
            atomic::write(schema::verifier_key_path(&self.directory), format!("{}\n", self.key))?;
        }
        atomic::write(schema::checkpoint_path(&self.directory), note)?;
        Ok(Taken::Kept { head, note: note.to_owned() })
    }

    /// Forgets what waited: one of its records may be what is wrong.
    fn refuse(&mut self, why: String) -> Result<Taken, AuditError> {
        self.transact(|transaction| transaction.execute("DELETE FROM waiting", ()).map(|_| ()))?;
        Ok(Taken::Refused(why))
    }

    fn transact(&mut self, write: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>) -> Result<(), AuditError> {
        let directory = self.directory.clone();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        transaction
            .and_then(|transaction| {
                write(&transaction)?;
                transaction.commit()
            })
            .map_err(|error| AuditError::database("write the mirror of", &directory, &error))
    }

    fn stored_key(&self) -> Result<Option<String>, AuditError> {
        self.connection
            .query_row("SELECT value FROM meta WHERE key = 'vkey'", (), |row| row.get(0))
            .optional()
            .map_err(|error| self.failed("read", &error))
    }

    fn tree(&self) -> Result<Tree, AuditError> {
        let stored: Option<(u64, Vec<u8>)> = self
            .connection
            .query_row("SELECT size, frontier FROM tree", (), |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
            .map_err(|error| self.failed("read", &error))?;
        let Some((size, frontier)) = stored else { return Ok(Tree::default()) };
        Tree::restore(size, &frontier).ok_or_else(|| AuditError::Damaged {
            directory: self.directory.clone(),
            what: "the frontier does not fit the size".to_owned(),
        })
    }

    fn waiting(&self) -> Result<Vec<Vec<u8>>, AuditError> {
        let read = || -> rusqlite::Result<Vec<Vec<u8>>> {
            let mut statement = self.connection.prepare_cached("SELECT bytes FROM waiting ORDER BY idx")?;
            statement.query_map((), |row| row.get(0))?.collect()
        };
        read().map_err(|error| self.failed("read", &error))
    }

    fn failed(&self, act: &'static str, error: &rusqlite::Error) -> AuditError {
        AuditError::database(act, &self.directory, error)
    }
}

/// The head that the copy in `directory` reaches to, as it was verified when it was taken; none if all of its records still
/// wait for theirs. Works while the mirror is in use.
///
/// # Errors
/// If there is no copy, or it cannot be read.
pub fn head(directory: &Path) -> Result<Option<Checkpoint>, AuditError> {
    Ok(newest(directory)?.map(|(head, _)| head))
}

/// As [`head`], with the note that the log signed.
///
/// # Errors
/// As [`head`].
pub fn newest(directory: &Path) -> Result<Option<(Checkpoint, String)>, AuditError> {
    let snapshot = Snapshot::open(directory)?;
    let read = |query| snapshot.connection.query_row(query, (), |row| row.get::<_, String>(0)).optional();
    let failed = |error| AuditError::database("read", directory, &error);
    // A copy that is being made has no tables for a moment.
    if read("SELECT name FROM sqlite_schema WHERE name = 'tree'").map_err(failed)?.is_none() {
        return Ok(None);
    }
    let Some(note) = read("SELECT note FROM tree").map_err(failed)? else { return Ok(None) };
    let damaged = |cause: NoteError| AuditError::Damaged { directory: directory.to_owned(), what: cause.to_string() };
    let head = Checkpoint::parse_text(Note::parse(&note).map_err(damaged)?.unverified_text()).map_err(damaged)?;
    Ok(Some((head, note)))
}

/// Keeps the list of open requests as the log's own writer does, from what the records say.
fn follow_requests(transaction: &Transaction<'_>, index: u64, bytes: &[u8]) -> rusqlite::Result<()> {
    let Ok(leaf) = Leaf::parse(bytes) else { return Ok(()) };
    let (Some(kind), Some(request)) = (leaf.kind().and_then(Kind::from_name), leaf.request()) else { return Ok(()) };
    match kind {
        Kind::InferStart => {
            let insert = "INSERT OR REPLACE INTO open_requests VALUES (?1, ?2)";
            transaction.prepare_cached(insert)?.execute((request, index)).map(|_| ())
        }
        Kind::InferEnd | Kind::InferAborted => {
            let delete = "DELETE FROM open_requests WHERE request = ?1";
            transaction.prepare_cached(delete)?.execute([request]).map(|_| ())
        }
        _ => Ok(()),
    }
}
