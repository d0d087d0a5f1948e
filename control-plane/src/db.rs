//! The database: one SQLite file or a PostgreSQL, the truth of the fleet. Every other copy (the broker's above all) can be made
//! from it.

mod accounts;
mod awaited;
mod backlog;
mod catalogue;
mod certificates;
mod codes;
mod commands;
mod device_keys;
mod devices;
mod enrol_requests;
mod events;
mod facts;
mod fleet_events;
mod held_models;
mod homes;
mod idempotency;
mod inventory;
mod invitations;
mod leases;
mod logins;
mod many;
mod model_approvals;
mod orders;
mod people;
mod policy_drafts;
mod pool;
mod recovery;
mod reports;
mod rollouts;
mod sites;
mod speeds;
pub(crate) mod sql;
#[cfg(test)]
pub(crate) mod testing;
mod touched;
mod webhooks;
mod withdrawals;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{ReentrantMutex, ReentrantMutexGuard};
use sql::{Connection, OptionalExtension, Target, params};

use crate::config::DatabaseSettings;

pub use accounts::{Account, OpenSession};
pub(crate) use awaited::Arrived;
pub(crate) use backlog::Backlog;
pub use catalogue::StoredTarget;
pub(crate) use catalogue::{ChunkPlace, CurrentCatalogue};
pub(crate) use certificates::RevokedCertificate;
pub use codes::CodeState;
pub(crate) use codes::Redeemed;
pub use commands::CommandRecord;
pub(crate) use device_keys::{Entered, Entrance, KeyStanding};
pub(crate) use devices::Assigned;
pub use devices::{Assignment, DeviceSummary};
pub use enrol_requests::EnrolmentRequest;
pub(crate) use enrol_requests::{Asked, Asking, InTheWay};
pub use events::StoredEvent;
pub(crate) use facts::is_wait;
pub use fleet_events::FleetEvent;
pub(crate) use fleet_events::{NewEvent, Told};
pub(crate) use held_models::HeldRow;
pub(crate) use homes::Homecoming;
pub(crate) use idempotency::{Bounds, Keyed, Standing};
#[cfg(test)]
pub(crate) use inventory::Said;
pub(crate) use inventory::{AFTER_ALL, Row, StoredGroup};
pub(crate) use invitations::Page;
pub use invitations::{AllowedKey, OpenCode};
pub(crate) use leases::Lease;
pub(crate) use logins::{Login, Vouching};
pub use model_approvals::ModelApproval;
pub(crate) use orders::{Basis, Signed};
pub use people::{ApiToken, Person, Session};
pub(crate) use policy_drafts::DraftRow;
pub(crate) use reports::Contact;
pub(crate) use rollouts::{Pin, StoredMember, StoredRollout};
pub(crate) use speeds::MeasuredSpeed;
pub use sql::{Error as SqlError, TargetError};
pub(crate) use touched::Touched;
pub use webhooks::{DeadEvent, Delivery, Webhook};
pub use withdrawals::StoredWithdrawal;

/// How long a write of another process (the command line beside the server) is waited for.
const BUSY: Duration = Duration::from_secs(10);

/// Statements that are kept prepared.
const STATEMENTS: usize = 64;

/// How often a transaction is begun anew because its connection was lost before it.
const ATTEMPTS: u32 = 3;

const SCHEMA: &str = include_str!("db/schema.sql");

/// Version of the schema above.
const SCHEMA_VERSION: i64 = 1;

/// The database refused, or holds something that this version does not understand.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// SQLite or PostgreSQL said no.
    #[error("the database failed: {0}")]
    Sql(#[from] sql::Error),
    /// There is no way to the PostgreSQL.
    #[error(transparent)]
    Target(#[from] TargetError),
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

/// The database. Clones share its connections; calls are short and wait for no network but the database's own.
#[derive(Debug, Clone)]
pub struct Database(Source);

#[derive(Debug, Clone)]
enum Source {
    /// Reentrant: what is done [`together`](Database::together) is done by the same methods as alone.
    Sqlite(Arc<ReentrantMutex<Connection>>),
    Postgres(Arc<pool::Pool>),
}

/// A connection that this thread has for itself.
enum Held<'a> {
    Sqlite(ReentrantMutexGuard<'a, Connection>),
    Postgres(pool::Lent<'a>),
}

impl std::ops::Deref for Held<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        match self {
            Self::Sqlite(connection) => connection,
            Self::Postgres(lent) => lent.connection(),
        }
    }
}

/// A transaction that ends with nothing unless it is committed: also when what is in it panics.
struct Begun<'c>(Option<&'c Connection>);

impl Begun<'_> {
    fn commit(mut self) -> Result<(), sql::Error> {
        match self.0.take() {
            Some(connection) => connection.commit().inspect_err(|_| drop(connection.roll_back())),
            None => Ok(()),
        }
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.map(Connection::roll_back) {
            tracing::warn!(%error, "a transaction could not be rolled back; its connection is given up");
        }
    }
}

impl Database {
    /// Opens or creates the file.
    ///
    /// # Errors
    /// If SQLite cannot, or the file is of a newer version.
    pub fn open(path: &Path) -> Result<Self, DbError> {
        let connection = rusqlite::Connection::open(path).map_err(sql::Error::from)?;
        let prepared = || {
            connection.busy_timeout(BUSY)?;
            connection.set_prepared_statement_cache_capacity(STATEMENTS);
            // WAL with FULL: what was acknowledged survives a power cut.
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.pragma_update(None, "foreign_keys", true)
        };
        prepared().map_err(sql::Error::from)?;
        let source = Source::Sqlite(Arc::new(ReentrantMutex::new(Connection::Sqlite(connection))));
        Self(source).with_schema()
    }

    /// Connects to a PostgreSQL, and makes what is missing in it.
    ///
    /// # Errors
    /// If there is no way to it, or what is in it is of a newer version.
    pub fn connect(settings: &DatabaseSettings) -> Result<Self, DbError> {
        let pool = pool::Pool::new(Target::of(settings)?)?;
        pool.to_write()?.connection().make_state()?;
        Self(Source::Postgres(Arc::new(pool))).with_schema()
    }

    /// True if servers on several machines may share it.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.0, Source::Postgres(_))
    }

    fn with_schema(self) -> Result<Self, DbError> {
        self.write(|transaction| {
            let found = transaction.schema_version()?;
            if found > SCHEMA_VERSION {
                return Err(DbError::Newer { found });
            }
            // Every statement makes only what is missing: a file of an earlier release gets the tables of this one.
            transaction.make_schema(SCHEMA)?;
            facts::fill(transaction)?;
            if found == 0 {
                transaction.set_schema_version(SCHEMA_VERSION)?;
            }
            Ok(())
        })?;
        Ok(self)
    }

    /// One durable transaction: all of it or nothing.
    pub(crate) fn write<T>(&self, act: impl FnOnce(&Connection) -> Result<T, DbError>) -> Result<T, DbError> {
        let (held, is_outermost) = self.begin()?;
        self.finish(&held, is_outermost, || act(&held))
    }

    /// Makes one durable transaction of every write within `act`: all of it or nothing. Within another one it is a part of
    /// that, which comes to nothing alone if it fails. There is one writer at a time, whatever machines they are on: what `act`
    /// reads is so until it ends.
    pub(crate) fn together<T, E: From<DbError>>(&self, act: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let (held, is_outermost) = self.begin()?;
        self.finish(&held, is_outermost, act)
    }

    /// The connection of a transaction, and whether it was begun here.
    fn begin(&self) -> Result<(Held<'_>, bool), DbError> {
        match &self.0 {
            Source::Sqlite(connection) => {
                let connection = connection.lock();
                let is_outermost = !connection.is_in_transaction();
                if is_outermost {
                    connection.begin()?;
                }
                Ok((Held::Sqlite(connection), is_outermost))
            }
            Source::Postgres(pool) => {
                let mut attempts = 0;
                loop {
                    let lent = pool.to_write()?;
                    if lent.connection().is_in_transaction() {
                        return Ok((Held::Postgres(lent), false));
                    }
                    attempts += 1;
                    match lent.connection().begin() {
                        Ok(()) => return Ok((Held::Postgres(lent), true)),
                        // It was lost while nobody used it: nothing was done yet.
                        Err(sql::Error::Away(_)) if lent.is_first() && attempts < ATTEMPTS => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
    }

    fn finish<T, E: From<DbError>>(
        &self,
        connection: &Connection,
        is_outermost: bool,
        act: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let failed = |error: sql::Error| E::from(DbError::from(error));
        if is_outermost {
            let begun = Begun(Some(connection));
            let value = act()?;
            let committed = match &self.0 {
                Source::Sqlite(_) => begun.commit(),
                Source::Postgres(pool) => pool.commit(|| begun.commit()),
            };
            return committed.map(|()| value).map_err(failed);
        }
        connection.execute_batch("SAVEPOINT part").map_err(failed)?;
        let value = act();
        let end = if value.is_ok() { "RELEASE SAVEPOINT part" } else { "ROLLBACK TO part; RELEASE SAVEPOINT part" };
        connection.execute_batch(end).map_err(failed)?;
        value
    }

    /// Reads without holding up writers; within a transaction, what that wrote, too.
    pub(crate) fn read<T>(&self, act: impl FnOnce(&Connection) -> Result<T, DbError>) -> Result<T, DbError> {
        match &self.0 {
            Source::Sqlite(connection) => act(&connection.lock()),
            Source::Postgres(pool) => act(pool.to_read()?.connection()),
        }
    }

    /// A number that changes when another process has written.
    pub(crate) fn foreign_changes(&self) -> Result<i64, DbError> {
        self.read(|connection| {
            Ok(match &self.0 {
                Source::Sqlite(_) => connection.changes()?,
                Source::Postgres(pool) => pool.foreign_changes(|| connection.changes())?,
            })
        })
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
            let sql = "INSERT INTO settings (name, value) VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value";
            transaction.execute(sql, params![name, value])?;
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
    use testing::both;

    #[test]
    fn a_part_that_fails_spoils_nothing_else_and_a_whole_that_fails_leaves_nothing() {
        both(|database| {
            let whole = database.together(|| {
                database.set("first", b"1")?;
                let part: Result<(), DbError> = database.together(|| {
                    database.set("second", b"2")?;
                    Err(sql::Error::NoRow.into())
                });
                assert!(part.is_err());
                database.set("third", b"3")
            });
            whole.unwrap();
            let is_there = |name: &str| database.setting(name).unwrap().is_some();
            assert_eq!(["first", "second", "third"].map(is_there), [true, false, true]);
            let whole: Result<(), DbError> = database.together(|| {
                database.set("fourth", b"4")?;
                Err(sql::Error::NoRow.into())
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
        });
    }
}
