//! When models may be fetched, and how much of them in a day: what the policy in force says, kept over restarts.
//!
//! A day is 24 hours from its first byte, counted by the monotonic clock while the agent runs: setting the time opens no
//! second budget. Between two runs the clock's word is not taken either: there it is the clock's floor, which only signatures
//! raise, that proves a day to be over; without one, the age goes on from where it stood.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use outpost_contract::{Blake3, Chunk, ChunkRun, ReasonCode};
use outpost_disk::{Clock, DiskError, Ledger};
use outpost_policies::InForce;
use outpost_store::{Deliver, Source, SourceError};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

const DAY_S: i64 = 24 * 3600;

/// Bytes that are counted on disk before they are fetched: a power cut costs no more of a budget, and a disk few writes.
const COUNTED_AHEAD_BYTES: u64 = 16 * 1024 * 1024;

/// How often a fetch that goes on looks at the clock.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Chunks between a source and the gate.
const WAITING_CHUNKS: usize = 4;

/// What was fetched of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Day {
    /// Bytes counted, some of them ahead.
    bytes: u64,
    /// How old the day was.
    age_s: i64,
    /// When that was, seconds since 1970-01-01 UTC.
    at_s: i64,
}

/// Why nothing may be fetched now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) code: ReasonCode,
    pub(crate) detail: String,
}

/// Stands before every fetch of a model.
pub(crate) struct Gate {
    policies: InForce,
    clock: Clock,
    utc_offset_s: Box<dyn Fn(i64) -> i32 + Send + Sync>,
    count: Mutex<Count>,
}

#[derive(Debug)]
struct Count {
    ledger: Ledger<Day>,
    /// What is on disk.
    kept: Day,
    /// Bytes of the day that were really fetched.
    bytes: u64,
    /// When the day began, by the clock that nobody can set.
    began_boot_us: i64,
    /// And by the one that anybody can: only ever compared with what is proven.
    began_s: i64,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Gate").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Gate {
    /// A gate that goes on with the day that the ledger holds.
    pub(crate) fn new(
        policies: InForce,
        clock: Clock,
        utc_offset_s: impl Fn(i64) -> i32 + Send + Sync + 'static,
        (ledger, kept): (Ledger<Day>, Option<Day>),
    ) -> Self {
        let kept = kept.unwrap_or_default();
        let began_boot_us = clock.boot_us() - kept.age_s.clamp(0, DAY_S) * 1_000_000;
        let began_s = kept.at_s.saturating_sub(kept.age_s);
        let count = Mutex::new(Count { ledger, kept, bytes: kept.bytes, began_boot_us, began_s });
        Self { policies, clock, utc_offset_s: Box::new(utc_offset_s), count }
    }

    /// Why nothing may be fetched now; `None` if something may.
    pub(crate) fn closed(&self) -> Option<Closed> {
        let rules = self.policies.now().transfer();
        let minute = self.local_minute(self.clock.now_s());
        if let Some(hours) = rules.hours.filter(|_| rules.opens_in_minutes(minute) > 0) {
            let detail = format!(
                "the policy lets models be fetched at {hours}; it opens at {}, in {}",
                hours.from(),
                for_people(i64::from(rules.opens_in_minutes(minute)) * 60)
            );
            return Some(Closed { code: ReasonCode::WindowClosed, detail });
        }
        if self.left() == Some(0) {
            let left_s = DAY_S - self.count().age_s(&self.clock);
            let detail = format!(
                "the policy lets {} MiB of models be fetched in a day, and they were; the next day begins in {}",
                rules.mib_per_day,
                for_people(left_s)
            );
            return Some(Closed { code: ReasonCode::BudgetSpent, detail });
        }
        None
    }

    /// Bytes left of the day; `None` is no limit.
    fn left(&self) -> Option<u64> {
        let budget = self.policies.now().transfer().bytes_per_day()?;
        let mut count = self.count();
        count.turn_the_day(&self.clock);
        Some(budget.saturating_sub(count.bytes))
    }

    /// Counts bytes ahead on disk, so that what is fetched after a power cut was counted before.
    fn reserve(&self, bytes: u64) -> Result<(), DiskError> {
        let mut count = self.count();
        count.turn_the_day(&self.clock);
        let needed = count.bytes.saturating_add(bytes);
        if needed <= count.kept.bytes {
            return Ok(());
        }
        count.keep(needed, &self.clock)
    }

    /// They were fetched.
    fn spend(&self, bytes: u64) {
        let mut count = self.count();
        count.bytes = count.bytes.saturating_add(bytes);
    }

    /// The end of a fetch: what was counted ahead and not fetched is free again.
    fn settle(&self) -> Result<(), DiskError> {
        let mut count = self.count();
        let bytes = count.bytes;
        if bytes == count.kept.bytes { Ok(()) } else { count.keep(bytes, &self.clock) }
    }

    /// Counts bytes that came from elsewhere than a [`Source`]. They are on their way, so that what the disk refuses to count is
    /// only said.
    pub(crate) fn take(&self, bytes: u64) {
        let Some(left) = self.left() else { return };
        let ahead = {
            let count = self.count();
            count.bytes.saturating_add(bytes) > count.kept.bytes
        };
        if ahead && let Err(error) = self.reserve(bytes.max(COUNTED_AHEAD_BYTES.min(left))) {
            tracing::warn!(%error, "the day's bytes cannot be counted");
        }
        self.spend(bytes);
    }

    /// Nothing more of them comes now.
    pub(crate) fn taken(&self) {
        if let Err(error) = self.settle() {
            tracing::warn!(%error, "the bytes of the day stay counted ahead");
        }
    }

    fn local_minute(&self, now_s: i64) -> u16 {
        let local_s = now_s.saturating_add(i64::from((self.utc_offset_s)(now_s)));
        u16::try_from(local_s.rem_euclid(DAY_S) / 60).unwrap_or(0)
    }

    fn count(&self) -> MutexGuard<'_, Count> {
        // Every update leaves the count whole or too high, so a panic elsewhere gives nothing away.
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Count {
    fn age_s(&self, clock: &Clock) -> i64 {
        let counted_s = clock.boot_us().saturating_sub(self.began_boot_us) / 1_000_000;
        let proven_s = clock.floor_s().saturating_sub(self.began_s);
        counted_s.max(proven_s).max(0)
    }

    fn turn_the_day(&mut self, clock: &Clock) {
        if self.age_s(clock) >= DAY_S {
            self.bytes = 0;
            self.kept.bytes = 0;
            self.began_boot_us = clock.boot_us();
            self.began_s = clock.now_s();
        }
    }

    fn keep(&mut self, bytes: u64, clock: &Clock) -> Result<(), DiskError> {
        let age_s = self.age_s(clock);
        let day = Day { bytes, age_s, at_s: self.began_s.saturating_add(age_s) };
        self.ledger.commit(&day)?;
        self.kept = day;
        Ok(())
    }
}

/// `45 min`, `6 h 5 min`.
fn for_people(seconds: i64) -> String {
    let minutes = (seconds.max(0) + 59) / 60;
    if minutes < 60 { format!("{minutes} min") } else { format!("{} h {} min", minutes / 60, minutes % 60) }
}

/// A source behind the gate.
pub(crate) struct Gated<'a> {
    pub(crate) gate: &'a Gate,
    pub(crate) source: &'a dyn Source,
}

impl Gated<'_> {
    fn refusal(&self, detail: String) -> SourceError {
        SourceError::Refused { origin: "the policy".into(), detail, retry_after_s: None }
    }

    /// The first of the wanted chunks that fit into what is left of the day, and that is counted on disk; all without a
    /// budget. They are asked for in parts, so that little is counted ahead.
    fn allowed<'w>(&self, wanted: &'w [Chunk]) -> Result<&'w [Chunk], SourceError> {
        if let Some(closed) = self.gate.closed() {
            return Err(self.refusal(closed.detail));
        }
        let Some(left) = self.gate.left() else { return Ok(wanted) };
        let most = left.min(COUNTED_AHEAD_BYTES);
        let (mut bytes, mut count) = (0, 0);
        for chunk in wanted {
            if bytes + u64::from(chunk.bytes) > most {
                break;
            }
            bytes += u64::from(chunk.bytes);
            count += 1;
        }
        if count == 0 && !wanted.is_empty() {
            // What is left is smaller than a chunk.
            self.gate.spend(left);
            let detail =
                self.gate.closed().map_or_else(|| "the day's budget is spent".to_owned(), |closed| closed.detail);
            return Err(self.refusal(detail));
        }
        let counted = self.gate.reserve(bytes);
        counted.map_err(|error| self.refusal(format!("the day's bytes cannot be counted: {error}")))?;
        Ok(&wanted[..count])
    }
}

#[async_trait]
impl Source for Gated<'_> {
    fn name(&self) -> String {
        self.source.name()
    }

    async fn fetch(&self, wanted: &[Chunk], deliver: Deliver) -> Result<(), SourceError> {
        let mut left = wanted;
        let mut outcome = Ok(());
        while outcome.is_ok() && !left.is_empty() {
            let allowed = match self.allowed(left) {
                Ok(allowed) => allowed,
                Err(refusal) => {
                    outcome = Err(refusal);
                    break;
                }
            };
            outcome = self.pass(|into| self.source.fetch(allowed, into), &deliver).await;
            left = &left[allowed.len()..];
        }
        self.settle();
        outcome
    }

    async fn fetch_runs(&self, runs: &[ChunkRun], deliver: Deliver) -> Result<(), SourceError> {
        let wanted: Vec<Chunk> = runs.iter().flat_map(|run| run.chunks.iter().copied()).collect();
        let mut done = 0;
        let mut outcome = Ok(());
        while outcome.is_ok() && done < wanted.len() {
            let allowed = match self.allowed(&wanted[done..]) {
                Ok(allowed) => allowed.len(),
                Err(refusal) => {
                    outcome = Err(refusal);
                    break;
                }
            };
            let part = part_of(runs, done, allowed);
            outcome = self.pass(|into| self.source.fetch_runs(&part, into), &deliver).await;
            done += allowed;
        }
        self.settle();
        outcome
    }

    fn refuse(&self, corrupt: Blake3) -> bool {
        self.source.refuse(corrupt)
    }
}

/// The runs of the chunks `from..from + count`, counted over all runs.
fn part_of(runs: &[ChunkRun], from: usize, count: usize) -> Vec<ChunkRun> {
    let (mut place, mut part) = (0, Vec::new());
    for run in runs {
        let taken = |index: usize, _: &Chunk| (from..from + count).contains(&(place + index));
        part.extend(ChunkRun::gather(run.blob, run.start, &run.chunks, taken));
        place += run.chunks.len();
    }
    part
}

impl Gated<'_> {
    fn settle(&self) {
        if let Err(error) = self.gate.settle() {
            tracing::warn!(%error, "the bytes of the day stay counted ahead");
        }
    }

    /// Hands on what the source delivers, and counts it, as long as the gate is open.
    async fn pass<'a, F>(&'a self, fetch: impl FnOnce(Deliver) -> F, deliver: &Deliver) -> Result<(), SourceError>
    where
        F: Future<Output = Result<(), SourceError>> + Unpin + 'a,
    {
        let (into, mut arrivals) = mpsc::channel(WAITING_CHUNKS);
        let mut fetching = fetch(into);
        let mut looks = tokio::time::interval(LOOK_EVERY);
        let mut fetched = None;
        loop {
            tokio::select! {
                arrival = arrivals.recv() => match arrival {
                    Some((id, bytes)) => {
                        self.gate.spend(bytes.len() as u64);
                        deliver.send((id, bytes)).await.map_err(|_| SourceError::Closed)?;
                    }
                    None if fetched.is_some() => return fetched.unwrap_or(Ok(())),
                    None => return fetching.await,
                },
                outcome = &mut fetching, if fetched.is_none() => fetched = Some(outcome),
                _ = looks.tick() => {
                    // A spent budget is no reason here: what is on its way was counted when it was asked for.
                    if let Some(closed) = self.gate.closed().filter(|closed| closed.code == ReasonCode::WindowClosed) {
                        return Err(self.refusal(closed.detail));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
