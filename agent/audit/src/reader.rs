//! Reading a log that another process may be writing, or a copy of one on a stick: never changes a record.

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::leaf::Leaf;
use crate::{AuditError, Counter, Kind, counter, schema};

/// How long a reader waits for a writer that recovers the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// One stored record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its index.
    pub index: u64,
    /// The stored hash of its leaf, hexadecimal.
    pub hash_hex: String,
    /// The leaf: JSON, as it was written.
    pub bytes: Vec<u8>,
}

impl Entry {
    /// The leaf, parsed.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn leaf(&self) -> Result<Leaf, String> {
        Leaf::parse(&self.bytes)
    }
}

/// Which records to show. Every part that is set must match; [`Default`] lets everything through. A record that cannot
/// be parsed is let through whatever the filter says: damage must not hide.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// First index.
    pub from: Option<u64>,
    /// First index that is not wanted any more.
    pub until: Option<u64>,
    /// Any of these types; empty for all.
    pub kinds: Vec<Kind>,
    /// Of this request.
    pub request: Option<String>,
    /// By this pseudonym.
    pub who: Option<String>,
    /// About this model.
    pub model: Option<String>,
    /// Recorded at or after this wall time, milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Recorded before this wall time, milliseconds since 1970.
    pub before_ms: Option<i64>,
    /// At most this many.
    pub limit: Option<usize>,
    /// Newest first, so that `limit` keeps the newest.
    pub newest_first: bool,
}

impl Filter {
    fn lets_through(&self, leaf: &Leaf) -> bool {
        let kind = self.kinds.is_empty() || self.kinds.iter().any(|kind| leaf.kind() == Some(kind.name()));
        let request = self.request.is_none() || self.request.as_deref() == leaf.request();
        let who = self.who.is_none() || self.who.as_deref() == leaf.who();
        let model = self.model.is_none() || self.model.as_deref() == leaf.text("obj.model");
        let wall_ms = leaf.wall_ms().unwrap_or_default();
        let time = self.since_ms.is_none_or(|since| wall_ms >= since) && self.before_ms.is_none_or(|end| wall_ms < end);
        kind && request && who && model && time
    }
}

/// The records of the log in `directory` that a filter lets through. Works while the agent runs, and on a copy.
///
/// # Errors
/// If there is no log, or it cannot be read.
pub fn list(directory: &Path, filter: &Filter) -> Result<Vec<Entry>, AuditError> {
    let snapshot = Snapshot::open(directory)?;
    let read = |error: rusqlite::Error| AuditError::database("read", directory, &error);
    let order = if filter.newest_first { "DESC" } else { "ASC" };
    let bound = |index: u64| i64::try_from(index).unwrap_or(i64::MAX);
    let mut statement = snapshot
        .connection
        .prepare(&format!("SELECT idx, hash, bytes FROM leaves WHERE idx >= ?1 AND idx < ?2 ORDER BY idx {order}"))
        .map_err(read)?;
    let mut rows =
        statement.query([bound(filter.from.unwrap_or(0)), filter.until.map_or(i64::MAX, bound)]).map_err(read)?;
    let mut entries = Vec::new();
    while entries.len() < filter.limit.unwrap_or(usize::MAX)
        && let Some(row) = rows.next().map_err(read)?
    {
        let hash: Vec<u8> = row.get(1).map_err(read)?;
        let entry =
            Entry { index: row.get(0).map_err(read)?, hash_hex: hex::encode(hash), bytes: row.get(2).map_err(read)? };
        if entry.leaf().map_or(true, |leaf| filter.lets_through(&leaf)) {
            entries.push(entry);
        }
    }
    Ok(entries)
}

/// Shows the records of the log in `directory` from index `from` up to, not including, `until`, one after the other and all of
/// one state of the log, until `show` has had enough and says false. Nothing is kept in memory.
///
/// # Errors
/// If there is no log, or it cannot be read.
pub fn each(
    directory: &Path,
    (from, until): (u64, u64),
    newest_first: bool,
    mut show: impl FnMut(u64, &[u8]) -> bool,
) -> Result<(), AuditError> {
    let snapshot = Snapshot::open(directory)?;
    let read = |error: rusqlite::Error| AuditError::database("read", directory, &error);
    let order = if newest_first { "DESC" } else { "ASC" };
    let bound = |index: u64| i64::try_from(index).unwrap_or(i64::MAX);
    let sql = format!("SELECT idx, bytes FROM leaves WHERE idx >= ?1 AND idx < ?2 ORDER BY idx {order}");
    let mut statement = snapshot.connection.prepare(&sql).map_err(read)?;
    let mut rows = statement.query([bound(from), bound(until)]).map_err(read)?;
    while let Some(row) = rows.next().map_err(read)? {
        let index = row.get(0).map_err(read)?;
        // What is no text of bytes is shown as nothing, which is no record: damage does not hide.
        let bytes = row.get_ref(1).map_err(read)?.as_bytes().unwrap_or_default();
        if !show(index, bytes) {
            break;
        }
    }
    Ok(())
}

/// How many records the log in `directory` has had, those that have left among them.
///
/// # Errors
/// If there is no log, or it cannot be read.
pub fn log_size(directory: &Path) -> Result<u64, AuditError> {
    let snapshot = Snapshot::open(directory)?;
    let size = snapshot.connection.query_row("SELECT size FROM tree", (), |row| row.get(0));
    size.map_err(|error| AuditError::database("read", directory, &error))
}

/// The counters of the log in `directory`.
pub(crate) fn counters(directory: &Path) -> Result<Vec<Counter>, AuditError> {
    let snapshot = Snapshot::open(directory)?;
    counter::list(&snapshot.connection).map_err(|error| AuditError::database("read", directory, &error))
}

/// A connection that reads one unchanging state of the log.
pub(crate) struct Snapshot {
    pub(crate) connection: Connection,
    /// Where the log had to be copied to be read; goes with the snapshot.
    _copy: Option<tempfile::TempDir>,
    /// Let go of last.
    _reading: RwLockReadGuard<'static, ()>,
}

/// Held by every reader of this process. The locks by which SQLite's connections respect each other are the process's, not
/// the connection's: whoever opens and closes the database's file past SQLite takes them from all readers.
static READERS: RwLock<()> = RwLock::new(());

/// That nobody in this process reads a log, as long as it is held; none if somebody does.
pub(crate) fn alone() -> Option<RwLockWriteGuard<'static, ()>> {
    match READERS.try_write() {
        Ok(alone) => Some(alone),
        Err(TryLockError::Poisoned(alone)) => Some(alone.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

impl Snapshot {
    pub(crate) fn open(directory: &Path) -> Result<Self, AuditError> {
        let database = schema::database_path(directory);
        if !database.is_file() {
            return Err(AuditError::Missing { directory: directory.to_owned() });
        }
        let read = |error: rusqlite::Error| AuditError::database("read", directory, &error);
        let reading = READERS.read().unwrap_or_else(PoisonError::into_inner);
        let journal = journal_path(&database);
        // An empty write-ahead log may have been cut a moment ago by a writer that lives: its index tells.
        let has_journal =
            std::fs::metadata(&journal).is_ok_and(|metadata| metadata.len() > 0) || beside(&database, "-shm").exists();
        if !has_journal && let Some(address) = immutable_address(&database) {
            // Nobody writes, so nothing needs to be locked and no file needs to be made beside the evidence.
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(address, flags).and_then(begin).map_err(read)?;
            return Ok(Self { connection, _copy: None, _reading: reading });
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        match Connection::open_with_flags(&database, flags).and_then(begin) {
            Ok(connection) => Ok(Self { connection, _copy: None, _reading: reading }),
            // A copy on read-only media: SQLite cannot make the index of the write-ahead log beside it.
            Err(error) if matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly)) => {
                Self::open_copy(directory, &database, &journal, reading)
            }
            Err(error) => Err(read(error)),
        }
    }

    fn open_copy(
        directory: &Path,
        database: &Path,
        journal: &Path,
        reading: RwLockReadGuard<'static, ()>,
    ) -> Result<Self, AuditError> {
        let copy = (|| {
            let copy = tempfile::tempdir()?;
            let target = schema::database_path(copy.path());
            std::fs::copy(database, &target)?;
            if journal.exists() {
                std::fs::copy(journal, journal_path(&target))?;
            }
            Ok(copy)
        })();
        let copy = copy.map_err(|cause: std::io::Error| {
            AuditError::Disk(format!("cannot copy the audit log in `{}` to read it: {cause}", directory.display()))
        })?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(schema::database_path(copy.path()), flags)
            .and_then(begin)
            .map_err(|error| AuditError::database("read a copy of", directory, &error))?;
        Ok(Self { connection, _copy: Some(copy), _reading: reading })
    }
}

/// Holds on to the state of this moment: everything read later is of the same commit.
fn begin(connection: Connection) -> rusqlite::Result<Connection> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.execute_batch("BEGIN")?;
    connection.query_row("SELECT count(*) FROM sqlite_schema", (), |_| Ok(()))?;
    Ok(connection)
}

/// SQLite's name for the write-ahead log of a database.
pub(crate) fn journal_path(database: &Path) -> PathBuf {
    beside(database, "-wal")
}

fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The database as an address that promises nobody changes it; `None` if its path is not UTF-8.
fn immutable_address(database: &Path) -> Option<String> {
    let path = std::path::absolute(database).ok()?;
    let path = path.to_str()?.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    Some(format!("file://{path}?immutable=1"))
}
