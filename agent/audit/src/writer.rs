//! The one thread that owns the database: takes everything that waits, writes it in one transaction, answers all.

mod latch;
mod plan;
mod recheck;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use outpost_disk::space::Room;
use outpost_disk::{DiskError, StateLock, atomic};
use rusqlite::{Connection, TransactionBehavior};

pub(crate) use self::latch::Latch;
pub(crate) use self::plan::Memory;
use self::plan::Plan;
use crate::author::Author;
use crate::queue::{Pending, Queue};
use crate::record::Effect;
use crate::space::{Gauge, SpacePace};
use crate::tree::{self, Hash, Tree};
use crate::vault::{self, Keeper, Vault};
use crate::{AuditError, Checkpoint, CheckpointKey, Space, schema};

/// Whether the log takes records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Recording,
    /// The disk was full at the last try; the next record tries again.
    Full,
    /// Storage failed; nothing is taken until the log has read it again, which it does by itself. Holds what the storage
    /// said.
    Latched(String),
    /// What is on the disk is not what was acknowledged; nothing is taken, and somebody has to look. Holds what is wrong.
    Failed(String),
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

/// How often the writer does what nobody asks it for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) checkpoint: CheckpointPace,
    pub(crate) space: SpacePace,
    /// From one summary to the next.
    pub(crate) summary: Duration,
    /// From a storage error to the first try to go on; each further one waits twice as long.
    pub(crate) recovery: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            checkpoint: CheckpointPace::default(),
            space: SpacePace::default(),
            summary: Duration::from_secs(3600),
            recovery: Duration::from_secs(5),
        }
    }
}

/// The writer's own records that could not be written are not tried again for so long, unless others are.
const PATIENCE: Duration = Duration::from_secs(10);

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
    /// As it was measured last.
    space: Mutex<Space>,
    #[cfg(test)]
    pub(crate) fault: Mutex<Option<tests::Fault>>,
    /// What a test says that the disk has.
    #[cfg(test)]
    pub(crate) room: Mutex<Option<Room>>,
}

impl Shared {
    pub(crate) fn new(tip: Tip, vault: Option<Arc<Vault>>, space: Space) -> Self {
        Self {
            queue: Queue::default(),
            tip: Mutex::new(tip),
            health: Mutex::new(Health::Recording),
            commits: AtomicU64::new(0),
            vault,
            space: Mutex::new(space),
            #[cfg(test)]
            fault: Mutex::new(None),
            #[cfg(test)]
            room: Mutex::new(None),
        }
    }

    pub(crate) fn tip(&self) -> Tip {
        self.tip.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn health(&self) -> Health {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn space(&self) -> Space {
        *self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_health(&self, health: Health) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }

    fn set_space(&self, space: Space) {
        *self.space.lock().unwrap_or_else(PoisonError::into_inner) = space;
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
    pub(crate) author: Arc<Author>,
    pub(crate) pace: Pace,
    /// Size of the newest checkpoint in the table.
    pub(crate) kept_size: u64,
    /// When the next checkpoint is due; none while every record is under one.
    pub(crate) due: Option<Instant>,
    /// Keeps content; none if the log was opened without a vault.
    pub(crate) keeper: Option<Keeper>,
    pub(crate) gauge: Gauge,
    pub(crate) memory: Memory,
    /// What storage failed at; none while it works.
    pub(crate) latch: Option<Latch>,
    /// When to try the writer's own records again.
    pub(crate) patience: Option<Instant>,
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
            let work = self.shared.queue.take(self.next_own());
            if self.latch.is_some() {
                self.refuse(work.batch);
                if !work.stopping {
                    self.recover_if_due();
                }
            } else {
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

    /// When there is something to do even if no record comes.
    fn next_own(&self) -> Option<Instant> {
        if let Some(latch) = &self.latch {
            return latch.due();
        }
        if self.keeper.as_ref().is_some_and(Keeper::is_sweeping) {
            return Some(Instant::now());
        }
        let summary = self.memory.tally.due(self.pace.summary);
        let own = [Some(self.gauge.due()), self.due, summary].into_iter().flatten().min();
        own.max(self.patience)
    }

    /// Measures the room, if it is time; then writes a batch, with what the log itself has to say, in one transaction, and
    /// answers everybody in it.
    fn record(&mut self, batch: Vec<Pending>) {
        if batch.is_empty() && self.patience.is_some_and(|until| until > Instant::now()) {
            return;
        }
        if self.gauge.is_due(batch.len()) {
            self.gauge.measure(&self.connection, self.room());
            self.shared.set_space(self.gauge.space(self.memory.mode));
        }
        let mut plan = self.plan(batch);
        if let Some(error) = plan.failure.take() {
            return self.fail(plan, &error);
        }
        if plan.is_empty() {
            return Plan::refuse(plan.refused);
        }
        match self.commit(&plan) {
            Ok((tree, tip)) => self.adopt(plan, tree, tip),
            Err(error) => self.fail(plan, &error),
        }
    }

    /// What was written is durable.
    fn adopt(&mut self, plan: Plan, tree: Tree, tip: Tip) {
        let first = self.tree.size();
        let size = tree.size();
        self.tree = tree;
        *self.shared.tip.lock().unwrap_or_else(PoisonError::into_inner) = tip;
        self.shared.commits.fetch_add(1, Ordering::Relaxed);
        self.latch = None;
        self.patience = None;
        self.shared.set_health(Health::Recording);
        let now = Instant::now();
        // A head is kept at once where room changed: there may be none for it later.
        let is_capacity = self.memory.recorded != plan.next.recorded;
        let due = if is_capacity { now } else { now + self.pace.checkpoint.interval };
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
        self.memory = plan.next;
        self.shared.set_space(self.gauge.space(self.memory.mode));
        for (index, pending) in (first..).zip(plan.lines) {
            pending.completion.complete(Ok(index));
        }
        for pending in plan.counted {
            pending.completion.complete(Ok(size));
        }
        Plan::refuse(plan.refused);
    }

    fn fail(&mut self, plan: Plan, error: &AuditError) {
        self.patience = Some(Instant::now() + PATIENCE);
        self.note_failure(error);
        plan.fail(error);
    }

    pub(crate) fn note_failure(&mut self, error: &AuditError) {
        tracing::error!(%error, "audit records could not be written");
        match error {
            AuditError::Full { .. } if self.connection.is_autocommit() => {
                self.shared.set_health(Health::Full);
                if self.gauge.note_full() {
                    // The reserve is free now: the last record finds room.
                    self.patience = None;
                }
                self.shared.set_space(self.gauge.space(self.memory.mode));
            }
            AuditError::Latched { cause, .. } => self.latch(cause.clone()),
            AuditError::Damaged { what, .. } => self.give_up(what.clone()),
            // The transaction was taken back whole, so the next batch may try.
            _ if self.connection.is_autocommit() => {}
            other => self.latch(format!("{other}; it could not be taken back")),
        }
    }

    fn room(&self) -> Result<Room, DiskError> {
        #[cfg(test)]
        if let Some(room) = *self.shared.room.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(room);
        }
        outpost_disk::space::room(&self.directory)
    }

    fn commit(&mut self, plan: &Plan) -> Result<(Tree, Tip), AuditError> {
        #[cfg(test)]
        self.inject_fault()?;
        let next_root = self.prepare_vault(&plan.lines)?;
        let written = self.write(plan, next_root.as_ref());
        #[cfg(test)]
        let written = written.and_then(|written| self.inject_late_fault().map(|()| written));
        let written = written.map_err(|error| AuditError::database("write", &self.directory, &error));
        self.settle_vault(&plan.lines, next_root, written.as_ref().err());
        written
    }

    fn write(&mut self, plan: &Plan, next_root: Option<&vault::Root>) -> rusqlite::Result<(Tree, Tip)> {
        let mut tree = self.tree.clone();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut leaf = transaction.prepare_cached("INSERT INTO leaves (idx, hash, bytes) VALUES (?1, ?2, ?3)")?;
            let mut node = transaction.prepare_cached("INSERT INTO nodes (level, idx, hash) VALUES (?1, ?2, ?3)")?;
            let mut open = transaction.prepare_cached("INSERT OR REPLACE INTO open_requests VALUES (?1, ?2)")?;
            let mut close = transaction.prepare_cached("DELETE FROM open_requests WHERE request = ?1")?;
            for Pending { draft, .. } in &plan.lines {
                let index = tree.size();
                let bytes = draft.leaf.place(index);
                let hash = tree::leaf_hash(&bytes);
                leaf.execute((index, hash, bytes))?;
                for completed in tree.push(hash) {
                    node.execute((completed.level, completed.index, completed.hash))?;
                }
                match &draft.effect {
                    Effect::Opens(request) => open.execute((request, index))?,
                    Effect::Closes(request) => close.execute([request])?,
                    Effect::None => 0,
                };
                vault::apply(self.keeper.as_ref(), next_root, &transaction, index, &draft.act)?;
            }
        }
        for pending in plan.lines.iter().chain(&plan.counted) {
            for change in &pending.draft.changes {
                change.apply(&transaction)?;
            }
        }
        if plan.stores_tally {
            plan.next.tally.store(&transaction, tree.size())?;
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
        if self.latch.is_some()
            || new_records == 0
            || !(stopping || is_time || new_records >= self.pace.checkpoint.records)
        {
            return;
        }
        match self.keep_checkpoint(&tip) {
            Ok(()) => {
                self.kept_size = tip.size;
                self.due = None;
            }
            Err(error) => {
                self.note_failure(&error);
                self.due = Some(Instant::now() + self.pace.checkpoint.interval);
            }
        }
    }

    fn keep_checkpoint(&mut self, tip: &Tip) -> Result<(), AuditError> {
        let keep = |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction
                .execute("INSERT OR IGNORE INTO checkpoints (size, note) VALUES (?1, ?2)", (tip.size, &tip.note))?;
            self.memory.tally.store(&transaction, tip.size)?;
            transaction.commit()
        };
        keep(&mut self.connection)
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
