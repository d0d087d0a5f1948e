//! The database: one SQLite file, the truth of the fleet. Every other copy (the broker's above all) can be made from it.

mod catalogue;
mod certificates;
mod codes;
mod commands;
mod device_keys;
mod devices;
mod enrol_requests;
mod events;
mod facts;
mod homes;
mod inventory;
mod invitations;
mod leases;
mod people;
mod reports;
mod rollouts;
mod sites;
mod touched;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::ReentrantMutex;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

pub use catalogue::StoredTarget;
pub(crate) use catalogue::{ChunkPlace, CurrentCatalogue};
pub(crate) use certificates::RevokedCertificate;
pub use codes::CodeState;
pub(crate) use codes::Redeemed;
pub use commands::CommandRecord;
pub(crate) use device_keys::{Entered, Entrance, KeyStanding};
pub use devices::{Assignment, DeviceSummary};
pub use enrol_requests::EnrolmentRequest;
pub(crate) use enrol_requests::{Asked, Asking, InTheWay};
pub use events::StoredEvent;
pub(crate) use facts::is_wait;
pub(crate) use homes::Homecoming;
#[cfg(test)]
pub(crate) use inventory::Said;
pub(crate) use inventory::{AFTER_ALL, Row, StoredGroup};
pub(crate) use invitations::Page;
pub use invitations::{AllowedKey, OpenCode};
pub use people::{ApiToken, Person, Session};
pub(crate) use reports::Contact;
pub(crate) use rollouts::{Pin, StoredMember, StoredRollout};
pub(crate) use touched::Touched;

/// How long a write of another process (the command line beside the server) is waited for.
const BUSY: Duration = Duration::from_secs(10);

/// Statements that are kept prepared.
const STATEMENTS: usize = 64;

const SCHEMA: &str = include_str!("db/schema.sql");

/// Version of the schema above.
const SCHEMA_VERSION: i64 = 1;

/// The database refused, or holds something that this version does not understand.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// SQLite said no.
    #[error("the database failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The file was written by a newer version.
    #[error("the database has schema {found}, this version knows {SCHEMA_VERSION}; run the newer `outpost-control`")]
    Newer {
        /// What the file says.
        found: i64,
    },
    /// A stored document cannot be read.
    #[error("the database holds a {what} that cannot be read: {source}")]
    Document {
        /// Which kind of document.
        what: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// The database. Clones share one connection; calls are short and never wait for the network.
#[derive(Debug, Clone)]
pub struct Database {
    /// Reentrant: what is done [`together`](Database::together) is done by the same methods as alone.
    connection: Arc<ReentrantMutex<Connection>>,
}

impl Database {
    /// Opens or creates the file.
    ///
    /// # Errors
    /// If SQLite cannot, or the file is of a newer version.
    pub fn open(path: &Path) -> Result<Self, DbError> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        // WAL with FULL: what was acknowledged survives a power cut.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version > SCHEMA_VERSION {
            return Err(DbError::Newer { found: version });
        }
        let database = Self { connection: Arc::new(ReentrantMutex::new(connection)) };
        database.write(|transaction| {
            let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
            // Every statement makes only what is missing: a file of an earlier release gets the tables of this one.
            transaction.execute_batch(SCHEMA)?;
            facts::fill(transaction)?;
            if version == 0 {
                transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            }
            Ok(())
        })?;
        Ok(database)
    }

    /// One durable transaction: all of it or nothing.
    pub(crate) fn write<T>(&self, act: impl FnOnce(&Connection) -> Result<T, DbError>) -> Result<T, DbError> {
        let connection = self.connection.lock();
        self.together(|| act(&connection))
    }

    /// Makes one durable transaction of every write within `act`: all of it or nothing. Within another one it is a part of
    /// that, which comes to nothing alone if it fails.
    pub(crate) fn together<T, E: From<DbError>>(&self, act: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let connection = self.connection.lock();
        let failed = |error: rusqlite::Error| E::from(DbError::from(error));
        if connection.is_autocommit() {
            // Immediate: a transaction that reads first could not become a writer while another process writes. A panic
            // in `act` rolls it back.
            let transaction =
                Transaction::new_unchecked(&connection, TransactionBehavior::Immediate).map_err(failed)?;
            let value = act()?;
            transaction.commit().map_err(failed)?;
            return Ok(value);
        }
        connection.execute_batch("SAVEPOINT part").map_err(failed)?;
        let value = act();
        let end = if value.is_ok() { "RELEASE part" } else { "ROLLBACK TO part; RELEASE part" };
        connection.execute_batch(end).map_err(failed)?;
        value
    }

    /// Reads without holding up other processes.
    pub(crate) fn read<T>(&self, act: impl FnOnce(&Connection) -> Result<T, DbError>) -> Result<T, DbError> {
        act(&self.connection.lock())
    }

    /// A number that changes when another process has written.
    pub(crate) fn foreign_changes(&self) -> Result<i64, DbError> {
        self.read(|connection| Ok(connection.pragma_query_value(None, "data_version", |row| row.get(0))?))
    }

    /// A single value by name.
    pub(crate) fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT value FROM settings WHERE name = ?1")?;
            Ok(statement.query_row([name], |row| row.get(0)).optional()?)
        })
    }

    /// Sets a single value.
    pub(crate) fn set(&self, name: &str, value: &[u8]) -> Result<(), DbError> {
        self.write(|transaction| {
            transaction
                .execute("INSERT OR REPLACE INTO settings (name, value) VALUES (?1, ?2)", params![name, value])?;
            Ok(())
        })
    }
}

/// Reads a JSON document out of a column.
fn document<T: serde::de::DeserializeOwned>(what: &'static str, text: &str) -> Result<T, DbError> {
    serde_json::from_str(text).map_err(|source| DbError::Document { what, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_fails_spoils_nothing_else_and_a_whole_that_fails_leaves_nothing() {
        let database = Database::open(Path::new(":memory:")).unwrap();
        let whole = database.together(|| {
            database.set("first", b"1")?;
            let part: Result<(), DbError> = database.together(|| {
                database.set("second", b"2")?;
                Err(rusqlite::Error::InvalidQuery.into())
            });
            assert!(part.is_err());
            database.set("third", b"3")
        });
        whole.unwrap();
        let is_there = |name: &str| database.setting(name).unwrap().is_some();
        assert_eq!(["first", "second", "third"].map(is_there), [true, false, true]);
        let whole: Result<(), DbError> = database.together(|| {
            database.set("fourth", b"4")?;
            Err(rusqlite::Error::InvalidQuery.into())
        });
        assert!(whole.is_err() && !is_there("fourth"));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            database.together(|| -> Result<(), DbError> {
                database.set("fifth", b"5")?;
                panic!("in the middle")
            })
        }));
        assert!(panicked.is_err() && !is_there("fifth"));
        database.set("sixth", b"6").unwrap();
        assert!(is_there("sixth"));
    }
}
