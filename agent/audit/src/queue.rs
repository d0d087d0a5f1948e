//! Between the threads that record and the one that writes: a queue in, an answer for each record out.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use crate::record::{Effect, Unplaced};
use crate::vault::Act;
use crate::{AuditError, CapacityMode, Change, Kind, Moment};

/// More records than this do not wait in memory: the disk has stopped, and callers had better know.
const MAX_PENDING: usize = 65_536;

/// The most records in one transaction: bounds how long the first of them waits for the last.
const MAX_BATCH: usize = 4_096;

/// More ciphertext than this does not wait in memory, for the same reason.
const MAX_PENDING_BYTES: usize = 64 * 1024 * 1024;

/// The answer to one append: the record's index, once it is durable. Await it, or [`wait`](Self::wait) for it.
///
/// Dropping it does not take the record back.
#[must_use = "a record is not durable until this says so"]
pub struct Appended(Arc<Slot>);

impl Appended {
    /// Blocks this thread until the record is durable. Not for async code: await there.
    ///
    /// # Errors
    /// As [`AuditLog::append`](crate::AuditLog::append).
    pub fn wait(self) -> Result<u64, AuditError> {
        let mut answer = self.0.lock();
        loop {
            if let Some(result) = answer.result.take() {
                return result;
            }
            answer = self.0.ready.wait(answer).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// An answer that was known at once.
    pub(crate) fn failed(error: AuditError) -> Self {
        let (completion, appended) = completion();
        completion.complete(Err(error));
        appended
    }
}

impl Future for Appended {
    type Output = Result<u64, AuditError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut answer = self.0.lock();
        match answer.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                answer.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl fmt::Debug for Appended {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Appended")
    }
}

#[derive(Default)]
struct Slot {
    answer: Mutex<Answer>,
    ready: Condvar,
}

#[derive(Default)]
struct Answer {
    result: Option<Result<u64, AuditError>>,
    waker: Option<Waker>,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Answer> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writer's end of an [`Appended`]. Dropped unanswered, it answers [`AuditError::Closed`]: nobody waits for ever.
pub(crate) struct Completion(Option<Arc<Slot>>);

impl Completion {
    pub(crate) fn complete(mut self, result: Result<u64, AuditError>) {
        self.answer(result);
    }

    fn answer(&mut self, result: Result<u64, AuditError>) {
        let Some(slot) = self.0.take() else { return };
        let waker = {
            let mut answer = slot.lock();
            answer.result = Some(result);
            answer.waker.take()
        };
        slot.ready.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.answer(Err(AuditError::Closed));
    }
}

pub(crate) fn completion() -> (Completion, Appended) {
    let slot = Arc::new(Slot::default());
    (Completion(Some(Arc::clone(&slot))), Appended(slot))
}

/// A record as the thread that appends it leaves it.
pub(crate) struct Draft {
    pub(crate) kind: Kind,
    pub(crate) moment: Moment,
    pub(crate) leaf: Unplaced,
    pub(crate) effect: Effect,
    pub(crate) changes: Vec<Change>,
    pub(crate) act: Act,
    /// The mode that is chosen by this record, from when on it is durable.
    pub(crate) mode: Option<CapacityMode>,
}

impl Draft {
    /// A record that changes nothing beside the log.
    pub(crate) fn plain(kind: Kind, moment: Moment, leaf: Unplaced) -> Self {
        Self { kind, moment, leaf, effect: Effect::None, changes: Vec::new(), act: Act::None, mode: None }
    }
}

/// A record on its way to the writer.
pub(crate) struct Pending {
    pub(crate) draft: Draft,
    pub(crate) completion: Completion,
}

impl From<Draft> for Pending {
    /// One for whose index nobody waits.
    fn from(draft: Draft) -> Self {
        Self { draft, completion: completion().0 }
    }
}

/// What the writer is to do next.
pub(crate) struct Work {
    pub(crate) batch: Vec<Pending>,
    /// No more records will come: finish.
    pub(crate) stopping: bool,
}

/// Records in the order in which they were appended.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    records: VecDeque<Pending>,
    /// Ciphertext that they carry.
    bytes: usize,
    stopping: bool,
}

impl Queue {
    /// Adds a record; after the `last` one, no more are taken.
    pub(crate) fn push(&self, draft: Draft, last: bool) -> Appended {
        let (completion, appended) = completion();
        let mut waiting = self.lock();
        if waiting.stopping {
            return Appended::failed(AuditError::Closed);
        }
        let bytes = draft.act.bytes();
        if waiting.records.len() >= MAX_PENDING || waiting.bytes.saturating_add(bytes) > MAX_PENDING_BYTES {
            return Appended::failed(AuditError::Busy { pending: waiting.records.len() });
        }
        waiting.bytes += bytes;
        waiting.records.push_back(Pending { draft, completion });
        waiting.stopping = last;
        drop(waiting);
        self.changed.notify_one();
        appended
    }

    /// Waits for records, for the end, or for `deadline`; takes everything that waits, up to one batch.
    pub(crate) fn take(&self, deadline: Option<Instant>) -> Work {
        let mut waiting = self.lock();
        while waiting.records.is_empty() && !waiting.stopping {
            let Some(deadline) = deadline else {
                waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { break };
            waiting = self.changed.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let most = waiting.records.len().min(MAX_BATCH);
        let count = match waiting.records.iter().take(most).position(|pending| pending.draft.act.is_exclusive()) {
            Some(before) => before.max(1),
            None => most,
        };
        let batch: Vec<Pending> = waiting.records.drain(..count).collect();
        waiting.bytes -= batch.iter().map(|pending| pending.draft.act.bytes()).sum::<usize>();
        let stopping = waiting.stopping && waiting.records.is_empty();
        Work { batch, stopping }
    }

    /// Accepts no more records; those that wait are still written.
    pub(crate) fn stop(&self) {
        self.lock().stopping = true;
        self.changed.notify_all();
    }

    /// The writer is gone: whoever waits is told.
    pub(crate) fn abandon(&self) {
        let mut waiting = self.lock();
        waiting.stopping = true;
        let abandoned = std::mem::take(&mut waiting.records);
        drop(waiting);
        drop(abandoned);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
