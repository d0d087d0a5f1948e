//! A witness's state in a database of its own, `witness.db`: one transaction compares and sets, and is fsynced.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior};

use super::state::{Evidence, MAX_EVIDENCE, StateError, Suspicion, Swap, WitnessState, Witnessed};
use crate::consistency::TreeHead;

/// `OPwi`: says whose SQLite file this is.
const APPLICATION_ID: i64 = 0x4f50_7769;

/// Version of the tables.
const SCHEMA_VERSION: i64 = 1;

/// How long to wait for another process that holds a lock, such as a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

const TABLES: &str = "
    CREATE TABLE heads (origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL, note TEXT NOT NULL)
        STRICT, WITHOUT ROWID;
    CREATE TABLE evidence (id INTEGER PRIMARY KEY, origin TEXT NOT NULL, suspicion TEXT NOT NULL, held TEXT NOT NULL,
        offered TEXT NOT NULL, proof BLOB NOT NULL, found_s INTEGER NOT NULL, UNIQUE (origin, suspicion, offered)) STRICT;
";

/// State in a file. Blocks on the disk; many threads may share it.
#[derive(Debug)]
pub struct DatabaseState {
    path: PathBuf,
    connection: Mutex<Latched>,
}

/// The connection, until storage fails.
#[derive(Debug)]
struct Latched {
    connection: Connection,
    /// After a failed fsync the kernel may have dropped the pages and report success next time: never retried.
    failure: Option<String>,
}

impl DatabaseState {
    /// Opens `witness.db` in this directory, making it if it is not there.
    ///
    /// # Errors
    /// If it cannot be opened, or is some other program's.
    pub fn open(directory: &Path) -> Result<Self, StateError> {
        let path = directory.join("witness.db");
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&path, flags)
            .and_then(|connection| {
                connection.busy_timeout(BUSY_TIMEOUT)?;
                connection.pragma_update(None, "journal_mode", "WAL")?;
                // FULL: a cosignature leaves this machine only after what it says is on disk.
                connection.pragma_update(None, "synchronous", "FULL")?;
                connection.pragma_update(None, "fullfsync", true)?;
                connection.pragma_update(None, "trusted_schema", false)?;
                Ok(connection)
            })
            .map_err(|error| failed("open", &path, &error))?;
        prepare(&mut connection, &path)?;
        outpost_disk::atomic::sync_directory(directory).map_err(|error| refused("open", &path, &error.to_string()))?;
        Ok(Self { path, connection: Mutex::new(Latched { connection, failure: None }) })
    }

    /// Runs one act on the connection, unless storage failed before; remembers if it fails now.
    fn with<T>(
        &self,
        act: &'static str,
        run: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StateError> {
        let mut latched: MutexGuard<'_, Latched> = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cause) = &latched.failure {
            return Err(refused(act, &self.path, &format!("storage failed before ({cause}); check the disk, restart")));
        }
        run(&mut latched.connection).map_err(|error| {
            if matches!(error.sqlite_error_code(), Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt)) {
                latched.failure = Some(error.to_string());
            }
            failed(act, &self.path, &error)
        })
    }
}

impl DatabaseState {
    /// The evidence against all logs after a number, with their numbers, which rise for ever; at most so many.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn evidence_after(&self, number: i64, most: u32) -> Result<Vec<(i64, Evidence)>, StateError> {
        self.with("read", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT suspicion, held, offered, proof, found_s, origin, id FROM evidence WHERE id > ?1 ORDER BY id
                 LIMIT ?2",
            )?;
            let rows = statement.query_map((number, most), |row| {
                let origin: String = row.get(5)?;
                Ok((row.get(6)?, evidence_of(row, origin)?))
            })?;
            rows.collect()
        })
    }

    /// How many pieces of evidence there are.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn evidence_count(&self) -> Result<u64, StateError> {
        self.with("read", |connection| connection.query_row("SELECT count(*) FROM evidence", (), |row| row.get(0)))
    }

    /// The evidence against all logs whose names begin so, with its numbers.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn evidence_under(&self, stem: &str) -> Result<Vec<(i64, Evidence)>, StateError> {
        self.with("read", |connection| {
            // Every name that begins so lies between these two, and an index leads there.
            let mut statement = connection.prepare_cached(
                "SELECT suspicion, held, offered, proof, found_s, origin, id FROM evidence
                 WHERE origin >= ?1 AND origin < ?2 ORDER BY id",
            )?;
            let rows = statement.query_map((stem, format!("{stem}\u{10ffff}")), |row| {
                let origin: String = row.get(5)?;
                Ok((row.get(6)?, evidence_of(row, origin)?))
            })?;
            rows.collect()
        })
    }
}

impl WitnessState for DatabaseState {
    fn latest(&self, origin: &str) -> Result<Option<Witnessed>, StateError> {
        self.with("read", |connection| head_of(connection, origin))
    }

    fn compare_and_set(&self, origin: &str, expected: Option<&TreeHead>, next: &Witnessed) -> Result<Swap, StateError> {
        self.with("write", |connection| {
            // Immediate: the lock is taken before the head is read, so nobody writes between the two.
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let held = head_of(&transaction, origin)?;
            if held.as_ref().map(|held| &held.head) != expected {
                return Ok(Swap::Conflict(held));
            }
            transaction.execute(
                "INSERT OR REPLACE INTO heads (origin, size, root, note) VALUES (?1, ?2, ?3, ?4)",
                (origin, next.head.size, next.head.root, &next.note),
            )?;
            transaction.commit()?;
            Ok(Swap::Stored)
        })
    }

    fn keep_evidence(&self, evidence: &Evidence) -> Result<bool, StateError> {
        self.with("write", |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let kept: usize = transaction.query_row(
                "SELECT count(*) FROM evidence WHERE origin = ?1 AND suspicion = ?2",
                (&evidence.origin, evidence.suspicion.name()),
                |row| row.get(0),
            )?;
            if kept >= MAX_EVIDENCE {
                return Ok(false);
            }
            let added = transaction.execute(
                "INSERT OR IGNORE INTO evidence (origin, suspicion, held, offered, proof, found_s)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                (
                    &evidence.origin,
                    evidence.suspicion.name(),
                    &evidence.held,
                    &evidence.offered,
                    evidence.proof.concat(),
                    evidence.found_s,
                ),
            )?;
            transaction.commit()?;
            Ok(added > 0)
        })
    }

    fn evidence(&self, origin: &str) -> Result<Vec<Evidence>, StateError> {
        self.with("read", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT suspicion, held, offered, proof, found_s FROM evidence WHERE origin = ?1 ORDER BY id",
            )?;
            let rows = statement.query_map([origin], |row| evidence_of(row, origin.to_owned()))?;
            rows.collect()
        })
    }
}

fn evidence_of(row: &rusqlite::Row<'_>, origin: String) -> rusqlite::Result<Evidence> {
    let (suspicion, proof): (String, Vec<u8>) = (row.get(0)?, row.get(3)?);
    let known = Suspicion::from_name(&suspicion);
    let unknown = || rusqlite::Error::InvalidColumnType(0, suspicion.clone(), rusqlite::types::Type::Text);
    Ok(Evidence {
        origin,
        suspicion: known.ok_or_else(unknown)?,
        held: row.get(1)?,
        offered: row.get(2)?,
        proof: proof.as_chunks::<32>().0.to_vec(),
        found_s: row.get(4)?,
    })
}

fn head_of(connection: &Connection, origin: &str) -> rusqlite::Result<Option<Witnessed>> {
    let mut statement = connection.prepare_cached("SELECT size, root, note FROM heads WHERE origin = ?1")?;
    let head = |row: &rusqlite::Row<'_>| {
        Ok(Witnessed { head: TreeHead { size: row.get(0)?, root: row.get(1)? }, note: row.get(2)? })
    };
    statement.query_row([origin], head).optional()
}

fn prepare(connection: &mut Connection, path: &Path) -> Result<(), StateError> {
    let open = |error: rusqlite::Error| failed("open", path, &error);
    // Looked at under the lock: another process may be making the tables.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(open)?;
    let pragma = |name: &str| transaction.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(open);
    match (pragma("application_id")?, pragma("user_version")?) {
        (APPLICATION_ID, SCHEMA_VERSION) => Ok(()),
        // A fresh file, or one whose first transaction a power cut took back.
        (0, 0) => {
            let marks = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};");
            transaction.execute_batch(&format!("{TABLES} {marks}")).map_err(open)?;
            transaction.commit().map_err(open)
        }
        (APPLICATION_ID, _) => Err(refused("open", path, "it was written by a newer version")),
        _ => Err(refused("open", path, "it is some other program's database")),
    }
}

fn failed(act: &'static str, path: &Path, error: &rusqlite::Error) -> StateError {
    refused(act, path, &error.to_string())
}

fn refused(act: &'static str, path: &Path, cause: &str) -> StateError {
    StateError { act, place: format!(" in `{}`", path.display()), cause: cause.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: &str = "audit.example/dev-1/1";

    fn witnessed(size: u64, root: u8) -> Witnessed {
        Witnessed { head: TreeHead { size, root: [root; 32] }, note: format!("note {size}") }
    }

    fn evidence(number: usize, suspicion: Suspicion) -> Evidence {
        Evidence {
            origin: ORIGIN.into(),
            suspicion,
            held: "held".into(),
            offered: format!("offered {number}"),
            proof: vec![[1; 32], [2; 32]],
            found_s: 7,
        }
    }

    /// Both stores keep the same promises.
    fn check(state: &dyn WitnessState) {
        let (first, second, other) = (witnessed(3, 3), witnessed(5, 5), witnessed(5, 6));
        assert_eq!(state.latest(ORIGIN).unwrap(), None);
        assert_eq!(state.compare_and_set(ORIGIN, Some(&first.head), &second).unwrap(), Swap::Conflict(None));
        assert_eq!(state.compare_and_set(ORIGIN, None, &first).unwrap(), Swap::Stored);
        assert_eq!(state.compare_and_set(ORIGIN, None, &second).unwrap(), Swap::Conflict(Some(first.clone())));
        assert_eq!(state.compare_and_set(ORIGIN, Some(&first.head), &second).unwrap(), Swap::Stored);
        // The same size with another root is another head.
        assert_eq!(
            state.compare_and_set(ORIGIN, Some(&other.head), &first).unwrap(),
            Swap::Conflict(Some(second.clone()))
        );
        assert_eq!(state.latest(ORIGIN).unwrap(), Some(second));
        assert_eq!(state.latest("another").unwrap(), None);
        for number in 0..MAX_EVIDENCE + 5 {
            state.keep_evidence(&evidence(number, Suspicion::Unproven)).unwrap();
        }
        // What anybody can send does not crowd out what convicts.
        for _ in 0..2 {
            state.keep_evidence(&evidence(0, Suspicion::Fork)).unwrap();
        }
        let kept = state.evidence(ORIGIN).unwrap();
        assert_eq!(kept.len(), MAX_EVIDENCE + 1);
        assert_eq!((&kept[1], &kept[MAX_EVIDENCE]), (&evidence(1, Suspicion::Unproven), &evidence(0, Suspicion::Fork)));
        assert_eq!(state.evidence("another").unwrap(), []);
    }

    #[test]
    fn memory_and_database_keep_the_same_promises_and_the_database_keeps_them_through_a_restart() {
        check(&super::super::MemoryState::default());
        let directory = tempfile::tempdir().unwrap();
        check(&DatabaseState::open(directory.path()).unwrap());
        let state = DatabaseState::open(directory.path()).unwrap();
        assert_eq!(state.latest(ORIGIN).unwrap(), Some(witnessed(5, 5)));
        assert_eq!(state.evidence(ORIGIN).unwrap().len(), MAX_EVIDENCE + 1);
    }

    #[test]
    fn the_database_fsyncs_every_commit() {
        let directory = tempfile::tempdir().unwrap();
        let state = DatabaseState::open(directory.path()).unwrap();
        let synchronous: i64 = state
            .with("read", |connection| connection.pragma_query_value(None, "synchronous", |row| row.get(0)))
            .unwrap();
        assert_eq!(synchronous, 2);
        let journal: String = state
            .with("read", |connection| connection.pragma_query_value(None, "journal_mode", |row| row.get(0)))
            .unwrap();
        assert_eq!(journal, "wal");
    }

    #[test]
    fn after_an_fsync_error_nothing_is_stored_until_it_is_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let state = DatabaseState::open(directory.path()).unwrap();
        let broken = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC);
        let failure: Result<(), StateError> =
            state.with("write", |_| Err(rusqlite::Error::SqliteFailure(broken, None)));
        assert!(failure.is_err());
        let error = state.compare_and_set(ORIGIN, None, &witnessed(3, 3)).unwrap_err();
        assert!(error.cause.contains("check the disk"), "{error}");
        let state = DatabaseState::open(directory.path()).unwrap();
        assert_eq!(state.compare_and_set(ORIGIN, None, &witnessed(3, 3)).unwrap(), Swap::Stored);
    }

    #[test]
    fn some_other_programs_database_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let other = Connection::open(directory.path().join("witness.db")).unwrap();
        other.execute_batch("PRAGMA application_id = 7; CREATE TABLE heads (a)").unwrap();
        let error = DatabaseState::open(directory.path()).unwrap_err();
        assert!(error.to_string().contains("some other program's"), "{error}");
    }
}
