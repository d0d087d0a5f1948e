//! The one thread that owns the database: takes everything that waits, writes it in one transaction, answers all.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use outpost_disk::{StateLock, atomic};
use rusqlite::{Connection, TransactionBehavior};

use crate::queue::{Pending, Queue};
use crate::record::Effect;
use crate::tree::{self, Hash, Tree};
use crate::vault::{self, Keeper, Vault};
use crate::{AuditError, Checkpoint, CheckpointKey, schema};

/// Whether the log takes records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Recording,
    /// The disk was full at the last try; the next record tries again.
    Full,
    /// Storage failed; nothing is taken until the log is opened again. Holds what the storage said.
    Latched(String),
}

/// How often a checkpoint is kept for good, whichever comes first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CheckpointPace {
    pub(crate) records: u64,
    pub(crate) interval: Duration,
}

impl Default for CheckpointPace {
    fn default() -> Self {
        Self { records: 1_000, interval: Duration::from_secs(60) }
    }
}

/// The newest durable state of the log.
#[derive(Debug, Clone)]
pub(crate) struct Tip {
    pub(crate) size: u64,
    pub(crate) root: Hash,
    pub(crate) note: String,
}

/// What the handles and the writer thread share.
pub(crate) struct Shared {
    pub(crate) queue: Queue,
    /// Changes only after a commit is durable.
    pub(crate) tip: Mutex<Tip>,
    pub(crate) health: Mutex<Health>,
    pub(crate) commits: AtomicU64,
    pub(crate) vault: Option<Arc<Vault>>,
    #[cfg(test)]
    pub(crate) fault: Mutex<Option<tests::Fault>>,
}

impl Shared {
    pub(crate) fn new(tip: Tip, vault: Option<Arc<Vault>>) -> Self {
        Self {
            queue: Queue::default(),
            tip: Mutex::new(tip),
            health: Mutex::new(Health::Recording),
            commits: AtomicU64::new(0),
            vault,
            #[cfg(test)]
            fault: Mutex::new(None),
        }
    }

    pub(crate) fn tip(&self) -> Tip {
        self.tip.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn health(&self) -> Health {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_health(&self, health: Health) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }
}

/// Owner of the connection, the tree and the key.
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) directory: PathBuf,
    pub(crate) connection: Connection,
    pub(crate) tree: Tree,
    pub(crate) origin: String,
    pub(crate) key: CheckpointKey,
    pub(crate) pace: CheckpointPace,
    /// Size of the newest checkpoint in the table.
    pub(crate) kept_size: u64,
    /// When the next checkpoint is due; none while every record is under one.
    pub(crate) due: Option<Instant>,
    /// Keeps content; none if the log was opened without a vault.
    pub(crate) keeper: Option<Keeper>,
    /// Held as long as this process may write.
    pub(crate) _lock: StateLock,
}

/// Tells whoever waits that the writer is gone, even if it went by a panic.
struct Abandon(Arc<Shared>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.queue.abandon();
        if let Some(vault) = &self.0.vault {
            vault.sweep.abandon();
        }
    }
}

impl Writer {
    pub(crate) fn run(mut self) {
        let _abandon = Abandon(Arc::clone(&self.shared));
        loop {
            let is_sweeping = self.keeper.as_ref().is_some_and(Keeper::is_sweeping);
            let work = self.shared.queue.take(if is_sweeping { Some(Instant::now()) } else { self.due });
            if !work.batch.is_empty() {
                self.record(work.batch);
            }
            self.sweep_vault();
            self.keep_checkpoint_if_due(work.stopping);
            if work.stopping {
                break;
            }
        }
        if let Err((_, error)) = self.connection.close() {
            tracing::warn!(%error, "the audit database did not close cleanly; the next start recovers it");
        }
    }

    /// Writes a batch in one transaction, then answers everybody in it.
    fn record(&mut self, batch: Vec<Pending>) {
        match self.commit(&batch) {
            Ok((tree, tip)) => {
                let first = self.tree.size();
                self.tree = tree;
                *self.shared.tip.lock().unwrap_or_else(PoisonError::into_inner) = tip;
                self.shared.commits.fetch_add(1, Ordering::Relaxed);
                self.shared.set_health(Health::Recording);
                self.due.get_or_insert_with(|| Instant::now() + self.pace.interval);
                for (index, pending) in (first..).zip(batch) {
                    pending.completion.complete(Ok(index));
                }
            }
            Err(error) => {
                self.note_failure(&error);
                for pending in batch {
                    pending.completion.complete(Err(error.clone()));
                }
            }
        }
    }

    pub(crate) fn note_failure(&mut self, error: &AuditError) {
        tracing::error!(%error, "audit records could not be written");
        match error {
            AuditError::Full { .. } if self.connection.is_autocommit() => self.shared.set_health(Health::Full),
            AuditError::Latched { cause, .. } => self.shared.set_health(Health::Latched(cause.clone())),
            AuditError::Damaged { what, .. } => self.shared.set_health(Health::Latched(what.clone())),
            // The transaction was taken back whole, so the next batch may try.
            _ if self.connection.is_autocommit() => {}
            other => self.shared.set_health(Health::Latched(format!("{other}; it could not be taken back"))),
        }
    }

    fn commit(&mut self, batch: &[Pending]) -> Result<(Tree, Tip), AuditError> {
        if let Health::Latched(cause) = self.shared.health() {
            // After a failed fsync the kernel may have dropped the pages and report success next time: never retry.
            return Err(AuditError::Latched { directory: self.directory.clone(), cause });
        }
        #[cfg(test)]
        self.inject_fault()?;
        let next_root = self.prepare_vault(batch)?;
        let written = self
            .write(batch, next_root.as_ref())
            .map_err(|error| AuditError::database("write", &self.directory, &error));
        self.settle_vault(batch, next_root, written.as_ref().err());
        written
    }

    fn write(&mut self, batch: &[Pending], next_root: Option<&vault::Root>) -> rusqlite::Result<(Tree, Tip)> {
        let mut tree = self.tree.clone();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut leaf = transaction.prepare_cached("INSERT INTO leaves (idx, hash, bytes) VALUES (?1, ?2, ?3)")?;
            let mut node = transaction.prepare_cached("INSERT INTO nodes (level, idx, hash) VALUES (?1, ?2, ?3)")?;
            let mut open = transaction.prepare_cached("INSERT OR REPLACE INTO open_requests VALUES (?1, ?2)")?;
            let mut close = transaction.prepare_cached("DELETE FROM open_requests WHERE request = ?1")?;
            for pending in batch {
                let index = tree.size();
                let bytes = pending.leaf.place(index);
                let hash = tree::leaf_hash(&bytes);
                leaf.execute((index, hash, bytes))?;
                for completed in tree.push(hash) {
                    node.execute((completed.level, completed.index, completed.hash))?;
                }
                match &pending.effect {
                    Effect::Opens(request) => open.execute((request, index))?,
                    Effect::Closes(request) => close.execute([request])?,
                    Effect::None => 0,
                };
                for change in &pending.changes {
                    change.apply(&transaction)?;
                }
                vault::apply(self.keeper.as_ref(), next_root, &transaction, index, &pending.act)?;
            }
        }
        let checkpoint = Checkpoint { origin: self.origin.clone(), size: tree.size(), root: tree.root() };
        // Signed inside the transaction and shown to nobody before it is durable, so a head that a power cut takes
        // back was never spoken. It makes even the records since the last kept checkpoint impossible to cut off.
        let note = self.key.sign(&checkpoint);
        transaction.prepare_cached("UPDATE tree SET size = ?1, root = ?2, frontier = ?3, note = ?4")?.execute((
            checkpoint.size,
            checkpoint.root,
            tree.frontier_bytes(),
            &note,
        ))?;
        transaction.commit()?;
        let tip = Tip { size: checkpoint.size, root: checkpoint.root, note };
        Ok((tree, tip))
    }

    /// Keeps the newest tree head for good when it is time, in the database and in a file of its own.
    fn keep_checkpoint_if_due(&mut self, stopping: bool) {
        let tip = self.shared.tip();
        let new_records = tip.size - self.kept_size;
        let is_time = self.due.is_some_and(|due| due <= Instant::now());
        if new_records == 0 || !(stopping || is_time || new_records >= self.pace.records) {
            return;
        }
        if matches!(self.shared.health(), Health::Latched(_)) {
            self.due = None;
            return;
        }
        match self.keep_checkpoint(&tip) {
            Ok(()) => {
                self.kept_size = tip.size;
                self.due = None;
            }
            Err(error) => {
                self.note_failure(&error);
                self.due = Some(Instant::now() + self.pace.interval);
            }
        }
    }

    fn keep_checkpoint(&mut self, tip: &Tip) -> Result<(), AuditError> {
        self.connection
            .execute("INSERT OR IGNORE INTO checkpoints (size, note) VALUES (?1, ?2)", (tip.size, &tip.note))
            .map_err(|error| AuditError::database("write a checkpoint to", &self.directory, &error))?;
        // After the database, never before: the file must not speak of records that a power cut can take back.
        if let Err(error) = atomic::write(schema::checkpoint_path(&self.directory), &tip.note) {
            tracing::warn!(%error, "the checkpoint is in the database but not in its file");
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
