//! The tables of `audit.db`, and how a connection to them is set up.
//!
//! | table | holds |
//! |---|---|
//! | `leaves` | every record: its index, the hash of its leaf, the bytes of its leaf |
//! | `nodes` | roots of perfect subtrees of 256^level leaves: what hash tiles above level 0 are made of |
//! | `tree` | one row: size, root, frontier, and the signed note over them |
//! | `checkpoints` | signed notes kept for good: every 1,000 records, every minute, at shutdown |
//! | `open_requests` | requests with a start and no end, by the index of their start |
//! | `meta` | `origin` and `vkey` of the log |
//! | `counters` | what is counted beside the log, in the same transactions |
//! | `tally` | one row: how many records of each type there are since the last `summary` |
//! | `vault_keys`, `tombstones`, `sealed` | content and its keys, see [`vault`](crate::vault) |
//!
//! Everything but `leaves`, the signatures, `counters`, what `tally` counts without leaves, and the vault can be computed again; it is stored so that a start, a proof or a report
//! does not read the whole log.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::{AuditError, tally, vault};

/// `OPau`: says whose SQLite file this is.
const APPLICATION_ID: i64 = 0x4f50_6175;

/// Version of the tables.
const SCHEMA_VERSION: i64 = 1;

/// How long a writer waits for another process that holds a lock, such as a backup.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Came later than the others, and older agents can go on without it: made where it is missing, under the same version.
const COUNTERS: &str = "
    CREATE TABLE IF NOT EXISTS counters (key TEXT NOT NULL, period INTEGER NOT NULL, value INTEGER NOT NULL,
        PRIMARY KEY (key, period)) STRICT, WITHOUT ROWID;
";

const TABLES: &str = "
    CREATE TABLE leaves (idx INTEGER PRIMARY KEY, hash BLOB NOT NULL, bytes BLOB NOT NULL) STRICT;
    CREATE TABLE nodes (level INTEGER NOT NULL, idx INTEGER NOT NULL, hash BLOB NOT NULL,
        PRIMARY KEY (level, idx)) STRICT, WITHOUT ROWID;
    CREATE TABLE tree (one INTEGER PRIMARY KEY CHECK (one = 1), size INTEGER NOT NULL, root BLOB NOT NULL,
        frontier BLOB NOT NULL, note TEXT NOT NULL) STRICT;
    CREATE TABLE checkpoints (size INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT;
    CREATE TABLE open_requests (request TEXT PRIMARY KEY, idx INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
";

/// The database of the log in `directory`.
pub(crate) fn database_path(directory: &Path) -> PathBuf {
    directory.join("audit.db")
}

/// The public key of the log in `directory`.
pub(crate) fn verifier_key_path(directory: &Path) -> PathBuf {
    directory.join("audit.vkey")
}

/// The newest kept checkpoint of the log in `directory`.
pub(crate) fn checkpoint_path(directory: &Path) -> PathBuf {
    directory.join("audit.checkpoint")
}

/// The file that keeps room on the disk for the last records of the log in `directory`.
pub(crate) fn reserve_path(directory: &Path) -> PathBuf {
    directory.join("reserve")
}

/// Opens the database for the one writer, making it if it is not there.
pub(crate) fn open_writer(directory: &Path) -> Result<Connection, AuditError> {
    let open = |error: rusqlite::Error| AuditError::database("open", directory, &error);
    let path = database_path(directory);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(open)?;
    if connection.is_readonly("main").map_err(open)? {
        return Err(AuditError::Database {
            act: "write to",
            directory: directory.to_owned(),
            cause: "it may only be read here".to_owned(),
        });
    }
    connection.busy_timeout(BUSY_TIMEOUT).map_err(open)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(open)?;
    // FULL: the write-ahead log is fsynced at every commit. That fsync is the promise of `append`.
    connection.pragma_update(None, "synchronous", "FULL").map_err(open)?;
    // Apple's fsync does not reach the platter; harmless elsewhere.
    connection.pragma_update(None, "fullfsync", true).map_err(open)?;
    connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024).map_err(open)?;
    connection.pragma_update(None, "trusted_schema", false).map_err(open)?;
    // What is deleted is overwritten: keys and ciphertext of the vault.
    connection.pragma_update(None, "secure_delete", true).map_err(open)?;
    prepare(&connection, directory)?;
    connection.execute_batch(COUNTERS).map_err(open)?;
    connection.execute_batch(tally::TABLE).map_err(open)?;
    connection.execute_batch(vault::TABLES).map_err(open)?;
    Ok(connection)
}

fn prepare(connection: &Connection, directory: &Path) -> Result<(), AuditError> {
    let open = |error: rusqlite::Error| AuditError::database("open", directory, &error);
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    match (pragma("application_id").map_err(open)?, pragma("user_version").map_err(open)?) {
        (APPLICATION_ID, SCHEMA_VERSION) => Ok(()),
        // A fresh file, or one whose first transaction a power cut took back.
        (0, 0) => {
            let create = format!(
                "BEGIN IMMEDIATE; {TABLES} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
            );
            connection.execute_batch(&create).map_err(open)?;
            outpost_disk::atomic::sync_directory(directory)?;
            Ok(())
        }
        (APPLICATION_ID, version) => Err(AuditError::Database {
            act: "open",
            directory: directory.to_owned(),
            cause: format!("it was written by a newer agent (format {version}, this one knows {SCHEMA_VERSION})"),
        }),
        _ => Err(AuditError::Database {
            act: "open",
            directory: directory.to_owned(),
            cause: "`audit.db` is some other program's database".to_owned(),
        }),
    }
}
