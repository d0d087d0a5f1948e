//! After a storage error: nothing is taken, and after a while the log reads what the disk has and goes on, if all is there.
//!
//! ```text
//! recording ── fsync or read or write failed ──► latched ── back-off ──► close, forget what the kernel holds, reopen, recheck
//!     ▲                                             ▲                          │              │                │
//!     └──── `audit.integrity` is durable ───────────┼──────────────────────────┼── all there ─┘                │
//!                                                   └───── not readable yet ───┘                not what was acknowledged ─► failed
//! ```

use std::time::{Duration, Instant};

use outpost_disk::space::forget_cached;
use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::{Health, Writer, recheck};
use crate::queue::Pending;
use crate::tally::Tally;
use crate::{AuditError, Kind, Record, reader, schema};

/// The longest wait between two tries.
const MAX_BACK_OFF: Duration = Duration::from_secs(300);

/// Why nothing is taken.
#[derive(Debug)]
pub(crate) struct Latch {
    cause: String,
    since: Instant,
    /// Records that were refused meanwhile.
    refused: u64,
    tries: u32,
    /// When to try to go on; none if only somebody who looks can help.
    next: Option<Instant>,
}

impl Latch {
    pub(super) fn due(&self) -> Option<Instant> {
        self.next
    }

    fn record(&self, size_before: u64, size: u64) -> Record {
        Record::new(Kind::Integrity)
            .act("recover")
            .detail("cause", self.cause.as_str())
            .detail("latched_ms", u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX))
            .detail("refused", self.refused)
            .detail("tries", self.tries)
            .detail("acknowledged", size_before)
            .detail("found", size)
    }
}

impl Writer {
    /// Stops taking records, and tries to go on after a while.
    pub(super) fn latch(&mut self, cause: String) {
        let now = Instant::now();
        let latch = self.latch.get_or_insert_with(|| {
            let cause = cause.clone();
            Latch { cause, since: now, refused: 0, tries: 0, next: None }
        });
        let back_off = self.pace.recovery.saturating_mul(1 << latch.tries.min(16)).min(MAX_BACK_OFF);
        latch.next = Some(now + back_off);
        self.shared.set_health(Health::Latched(cause));
    }

    /// Stops taking records for good: what is on the disk cannot be gone on from.
    pub(super) fn give_up(&mut self, what: String) {
        self.latch(what.clone());
        if let Some(latch) = &mut self.latch {
            latch.next = None;
        }
        self.shared.set_health(Health::Failed(what));
    }

    /// Answers everybody in a batch that nothing is taken.
    pub(super) fn refuse(&mut self, batch: Vec<Pending>) {
        let directory = self.directory.clone();
        let Some(latch) = &mut self.latch else { return };
        latch.refused += batch.len() as u64;
        let error = match self.shared.health() {
            Health::Failed(what) => AuditError::Damaged { directory, what },
            Health::Latched(cause) => AuditError::Latched { directory, cause },
            Health::Recording | Health::Full => AuditError::Latched { directory, cause: latch.cause.clone() },
        };
        for pending in batch {
            pending.completion.complete(Err(error.clone()));
        }
    }

    /// Goes on after a storage error, if it is time and all is there.
    pub(super) fn recover_if_due(&mut self) {
        let Some(latch) = self.latch.as_mut().filter(|latch| latch.next.is_some_and(|next| next <= Instant::now()))
        else {
            return;
        };
        latch.tries += 1;
        let acknowledged = self.tree.size();
        if let Err(error) = self.reopen() {
            tracing::warn!(%error, "the audit log cannot go on yet");
            return match error {
                AuditError::Damaged { what, .. } => self.give_up(what),
                AuditError::RolledBack { size, signed, .. } => {
                    self.give_up(format!("it has {size} records, and a checkpoint over {signed} was signed"));
                }
                AuditError::Latched { cause, .. } => self.latch(cause),
                other => self.latch(other.to_string()),
            };
        }
        let size = self.tree.size();
        let Some(latch) = &self.latch else { return };
        let record = latch.record(acknowledged, size);
        tracing::info!(acknowledged, size, refused = latch.refused, "the audit log is whole on the disk");
        // Its durability is the proof that storage works again: only then is anything else taken.
        match self.author.draft(record, self.author.moment()) {
            Ok(draft) => self.record(vec![draft.into()]),
            Err(error) => self.latch(error.to_string()),
        }
        // A refusal for a reason of its own, such as a disk that is full, leaves nobody to try again.
        if self.latch.as_ref().is_some_and(|latch| latch.next.is_some_and(|next| next <= Instant::now())) {
            self.latch("its return could not be recorded".to_owned());
        }
    }

    /// Opens the database anew and makes sure that what the disk has goes on from what was acknowledged.
    fn reopen(&mut self) -> Result<(), AuditError> {
        #[cfg(test)]
        self.inject_fault_into_reopening()?;
        let error = |error: rusqlite::Error| AuditError::database("open", &self.directory, &error);
        let Some(alone) = reader::alone() else {
            return Err(AuditError::Disk("somebody is reading the audit log".to_owned()));
        };
        let closed = std::mem::replace(&mut self.connection, Connection::open_in_memory().map_err(error)?);
        // What cannot be trusted is not moved into the database on the way out.
        closed.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(error)?;
        if let Err((_, cause)) = closed.close() {
            return Err(error(cause));
        }
        let database = schema::database_path(&self.directory);
        forget_cached(&database)?;
        forget_cached(reader::journal_path(&database))?;
        let connection = schema::open_writer(&self.directory)?;
        drop(alone);
        let found = recheck::recheck(&connection, &self.directory, &self.key.verifier_key(&self.origin)?, &self.tree)?;
        let tally = Tally::load(&connection, found.tree.size())
            .map_err(|error| AuditError::database("read", &self.directory, &error))?;
        if let Some(keeper) = &mut self.keeper {
            keeper.reopen(&connection, &self.directory)?;
        }
        // The next transaction begins on a journal of which every byte was synced.
        connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))
            .map_err(|error| AuditError::database("truncate the journal of", &self.directory, &error))?;
        self.connection = connection;
        self.memory.tally = tally;
        self.kept_size = found.kept_size;
        self.tree = found.tree;
        *self.shared.tip.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = found.tip;
        Ok(())
    }
}
