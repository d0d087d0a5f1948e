//! `sync.db`: the outbox, the accepted desired state, and when the control plane was last heard.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, params};

use crate::{AcceptedSlot, Outbox};

/// Form of the tables that this code reads and writes.
const FORM: i64 = 1;

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS facts (
        name  TEXT PRIMARY KEY,
        value INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS outbox (
        id       INTEGER PRIMARY KEY AUTOINCREMENT,
        class    TEXT NOT NULL,
        boot     TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        payload  BLOB NOT NULL
    );
    CREATE TABLE IF NOT EXISTS dead_letters (
        id      INTEGER PRIMARY KEY AUTOINCREMENT,
        class   TEXT NOT NULL,
        bytes   INTEGER NOT NULL,
        because TEXT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS accepted (
        slot         INTEGER PRIMARY KEY CHECK (slot = 1),
        version      INTEGER NOT NULL,
        envelope     BLOB NOT NULL,
        catalogue    BLOB NOT NULL,
        floors       BLOB NOT NULL,
        trusted_root BLOB NOT NULL
    );
    CREATE TABLE IF NOT EXISTS commands (
        number      INTEGER PRIMARY KEY AUTOINCREMENT,
        id          TEXT NOT NULL UNIQUE,
        boot        TEXT NOT NULL,
        not_after_s INTEGER NOT NULL,
        document    TEXT NOT NULL,
        begun       INTEGER NOT NULL,
        answer      TEXT,
        letter      INTEGER
    );
    CREATE TABLE IF NOT EXISTS command_ends (
        number   INTEGER PRIMARY KEY AUTOINCREMENT,
        id       TEXT NOT NULL UNIQUE,
        document TEXT NOT NULL,
        state    TEXT NOT NULL
    );
";

/// Why `sync.db` could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// SQLite refused.
    #[error("cannot {act} `sync.db`: {source}; free disk space, or restore the state directory from a backup")]
    Database {
        /// What was tried, as in `write`.
        act: &'static str,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// It was written by a newer agent.
    #[error("`sync.db` has form {found}, this agent knows up to {known}; run the newer agent again")]
    NewerForm {
        /// What the file says.
        found: i64,
        /// What this agent reads and writes.
        known: i64,
    },
    /// A message is larger than its kind may be.
    #[error("a {class} message has {bytes} bytes, the most is {most}; nothing was queued")]
    TooLarge {
        /// The kind of message.
        class: &'static str,
        /// What it has.
        bytes: usize,
        /// What it may have.
        most: usize,
    },
    /// As many messages of this kind wait as may.
    #[error("as many {class} messages wait as may; nothing was queued, the control plane has to be within reach first")]
    Full {
        /// The kind of message.
        class: &'static str,
    },
    /// Something older than what is in force was to be stored.
    #[error("{what} {offered} is older than {stored}, which was accepted before; nothing was changed")]
    Rollback {
        /// What would go back: `desired version`, `catalogue snapshot` …
        what: String,
        /// What was offered.
        offered: u64,
        /// What is stored.
        stored: u64,
    },
    /// Another document with the version of the one in force.
    #[error("desired version {version} was accepted before with other content; nothing was changed")]
    Conflict {
        /// The version.
        version: u64,
    },
    /// What is stored cannot be read.
    #[error("what `sync.db` holds as {what} cannot be read: {detail}; restore the state directory from a backup")]
    Unreadable {
        /// What it is.
        what: &'static str,
        /// What is wrong.
        detail: String,
    },
}

impl SyncError {
    pub(crate) fn database(act: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| Self::Database { act, source }
    }
}

/// The database; clones share one connection. Its methods block for one small transaction.
#[derive(Debug, Clone)]
pub struct SyncDatabase {
    connection: Arc<Mutex<Connection>>,
}

impl SyncDatabase {
    /// Opens or makes `sync.db` in a directory.
    ///
    /// # Errors
    /// If it cannot be opened or a newer agent wrote it.
    pub fn open(dir: &Path) -> Result<Self, SyncError> {
        let connection = Connection::open(dir.join("sync.db")).map_err(SyncError::database("open"))?;
        let prepare = || -> rusqlite::Result<i64> {
            connection.pragma_update(None, "journal_mode", "WAL")?;
            // FULL: a floor that a power cut takes back is not a floor.
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.pragma_query_value(None, "user_version", |row| row.get(0))
        };
        let found = prepare().map_err(SyncError::database("open"))?;
        if found > FORM {
            return Err(SyncError::NewerForm { found, known: FORM });
        }
        connection
            .execute_batch(TABLES)
            .and_then(|()| connection.pragma_update(None, "user_version", FORM))
            .map_err(SyncError::database("prepare"))?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    /// What is to be said to the control plane.
    #[must_use]
    pub fn outbox(&self) -> Outbox {
        Outbox::over(self.clone())
    }

    /// What was last agreed with it.
    #[must_use]
    pub fn accepted(&self) -> AcceptedSlot {
        AcceptedSlot::over(self.clone())
    }

    /// When the control plane was last heard, seconds since 1970-01-01 UTC.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn last_contact_s(&self) -> Result<Option<i64>, SyncError> {
        let sql = "SELECT value FROM facts WHERE name = 'last_contact_s'";
        self.lock().query_row(sql, [], |row| row.get(0)).optional().map_err(SyncError::database("read"))
    }

    /// A number by name; 0 if it was never set.
    pub(crate) fn fact(connection: &Connection, name: &str) -> Result<i64, SyncError> {
        let sql = "SELECT value FROM facts WHERE name = ?1";
        let value = connection.query_row(sql, [name], |row| row.get(0)).optional();
        Ok(value.map_err(SyncError::database("read"))?.unwrap_or(0))
    }

    pub(crate) fn set_last_contact_s(&self, now_s: i64) -> Result<(), SyncError> {
        let sql = "INSERT OR REPLACE INTO facts (name, value) VALUES ('last_contact_s', ?1)";
        self.lock().execute(sql, params![now_s]).map(|_| ()).map_err(SyncError::database("write"))
    }

    /// When it was found out that this device was revoked, seconds since 1970-01-01 UTC; none while it is not.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn revoked_s(&self) -> Result<Option<i64>, SyncError> {
        let sql = "SELECT value FROM facts WHERE name = 'revoked_s'";
        self.lock().query_row(sql, [], |row| row.get(0)).optional().map_err(SyncError::database("read"))
    }

    /// Remembers that this device was revoked; true if that is news.
    pub(crate) fn note_revoked(&self, now_s: i64) -> Result<bool, SyncError> {
        let sql = "INSERT OR IGNORE INTO facts (name, value) VALUES ('revoked_s', ?1)";
        self.lock().execute(sql, params![now_s]).map(|rows| rows > 0).map_err(SyncError::database("write"))
    }

    /// Remembers that it is not any more; true if that is news.
    pub(crate) fn note_admitted(&self) -> Result<bool, SyncError> {
        // Asked at every change of the link, and a flash is thanked for what is not written.
        if self.revoked_s()?.is_none() {
            return Ok(false);
        }
        let sql = "DELETE FROM facts WHERE name = 'revoked_s'";
        self.lock().execute(sql, []).map(|rows| rows > 0).map_err(SyncError::database("write"))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic elsewhere cannot leave a transaction half done: rusqlite rolls back when it drops one.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
