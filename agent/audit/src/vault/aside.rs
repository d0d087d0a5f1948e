//! Content beside logs that were set aside: nobody appends to them any more, and what was sealed there is erased and runs out
//! of time all the same.
//!
//! The record that says so goes into the log in use, with the ended log's name, and comes first: after a kill the keys are
//! found again, and whoever ordered it, or the clock, orders it once more. The tombstones of an ended log name the record that
//! would have been its next.

use std::path::{Path, PathBuf};

use outpost_disk::StateLock;
use rusqlite::Connection;

use super::keeper::Keeper;
use super::table::{self, Extent};
use crate::{AuditError, AuditLog, Record, schema};

/// Where logs that were set aside lie: each in a directory of its own, its root key in one of the same name.
#[derive(Debug, Clone)]
pub struct EndedLogs {
    /// Directories of logs.
    pub logs: PathBuf,
    /// Directories of their root keys.
    pub vaults: PathBuf,
}

impl EndedLogs {
    /// Every one that ever sealed anything.
    pub(crate) fn open(&self) -> Result<Vec<Aside>, AuditError> {
        let unreadable =
            |error: std::io::Error| AuditError::Disk(format!("cannot read `{}`: {error}", self.logs.display()));
        let entries = match std::fs::read_dir(&self.logs) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(unreadable(error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let directory = entry.map_err(unreadable)?.path();
            let Some(number) = directory.file_name() else { continue };
            found.extend(Aside::open(&directory, &self.vaults.join(number))?);
        }
        Ok(found)
    }
}

/// One log that was set aside, with its content.
pub(crate) struct Aside {
    pub(crate) origin: String,
    directory: PathBuf,
    connection: Connection,
    keeper: Keeper,
    size: u64,
    _lock: StateLock,
}

impl Aside {
    /// Opens one; `None` if no content was ever sealed beside it.
    fn open(directory: &Path, roots: &Path) -> Result<Option<Self>, AuditError> {
        if !schema::database_path(directory).is_file() {
            return Ok(None);
        }
        let lock = StateLock::acquire(directory)?;
        let connection = schema::open_writer(directory)?;
        let read = |error: rusqlite::Error| AuditError::database("read the vault of", directory, &error);
        if table::root_name(&connection).map_err(read)?.is_none() {
            return Ok(None);
        }
        let size = connection.query_row("SELECT size FROM tree", (), |row| row.get(0)).map_err(read)?;
        let origin =
            connection.query_row("SELECT value FROM meta WHERE key = 'origin'", (), |row| row.get(0)).map_err(read)?;
        let keeper = Keeper::open(&connection, directory, roots)?;
        let mut aside = Self { origin, directory: directory.to_owned(), connection, keeper, size, _lock: lock };
        if aside.keeper.is_sweeping() {
            aside.sweep()?;
        }
        Ok(Some(aside))
    }

    /// Ids of the keys that were made for this subject.
    pub(crate) fn keys_of(&self, subject: &str) -> Vec<String> {
        self.keeper.vault.keys().iter().filter(|key| key.subject == subject).map(|key| key.id.clone()).collect()
    }

    /// Ids and months of the keys whose month was over at this moment.
    pub(crate) fn keys_past(&self, horizon_ms: i64) -> Vec<(String, String)> {
        let keys = self.keeper.vault.keys();
        let past = keys.iter().filter(|key| key.month.end_ms() <= horizon_ms);
        past.map(|key| (key.id.clone(), key.month.to_string())).collect()
    }

    /// How much was sealed under these keys.
    pub(crate) fn extent(&self, keys: &[String]) -> Result<Extent, AuditError> {
        table::extent(&self.connection, keys.iter().map(String::as_str))
            .map_err(|error| AuditError::database("read the vault of", &self.directory, &error))
    }

    fn destroy(&mut self, keys: &[String]) -> Result<(), AuditError> {
        let (directory, size) = (&self.directory, self.size);
        self.keeper.destroy_at_once(&mut self.connection, directory, size, keys)?;
        self.sweep()
    }

    /// Removes the ciphertext of destroyed keys, and old pages with it.
    fn sweep(&mut self) -> Result<(), AuditError> {
        let write = |error: rusqlite::Error| AuditError::database("remove ciphertext from", &self.directory, &error);
        loop {
            let transaction = self.connection.transaction().map_err(write)?;
            let more = table::sweep(&transaction).map_err(write)?;
            transaction.commit().map_err(write)?;
            if !more {
                break;
            }
        }
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(())).map_err(write)
    }
}

impl AuditLog {
    /// The logs before this one that were set aside, with what was sealed beside them.
    pub(crate) fn asides(&self) -> Result<Vec<Aside>, AuditError> {
        self.ended_logs().map_or(Ok(Vec::new()), EndedLogs::open)
    }

    /// Records that keys of an ended log are destroyed, then destroys them. The index of the last record.
    pub(crate) fn destroy_aside(
        &self,
        aside: &mut Aside,
        keys: &[String],
        record: &Record,
    ) -> Result<Option<u64>, AuditError> {
        let mut index = None;
        for keys in keys.chunks(super::destroy::KEYS_PER_RECORD) {
            let record =
                record.clone().detail("log", aside.origin.as_str()).detail("keys", keys.len() as u64).keys(keys);
            index = Some(self.append(record).wait()?);
            aside.destroy(keys)?;
        }
        Ok(index)
    }
}
