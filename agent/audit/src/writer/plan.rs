//! What a batch becomes: which records are refused, which are only counted, and what the log itself adds.

use std::collections::HashSet;
use std::time::Instant;

use super::Writer;
use crate::author::Author;
use crate::queue::{Draft, Pending};
use crate::record::Effect;
use crate::space::Admission;
use crate::tally::Tally;
use crate::{AuditError, CapacityMode, Kind, Moment, Record, SpaceLevel};

/// The wall clock and the time since the machine's start may go so far apart before that is recorded.
const STEP_MS: i64 = 2_000;

/// One transaction, before it is made.
pub(super) struct Plan {
    /// Records in the order of their indices.
    pub(super) lines: Vec<Pending>,
    /// Records that are counted and get no leaf.
    pub(super) counted: Vec<Pending>,
    /// Records that are refused: told so after the rest is written, so that the record of why comes first.
    pub(super) refused: Vec<(Pending, AuditError)>,
    /// What the writer remembers once it is durable.
    pub(super) next: Memory,
    /// Whether the tally has to be in the transaction.
    pub(super) stores_tally: bool,
    /// Why nothing of it can be written.
    pub(super) failure: Option<AuditError>,
}

/// What the writer remembers from batch to batch.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    pub(crate) tally: Tally,
    /// The level that the newest `audit.capacity` record of this run names.
    pub(super) recorded: Option<SpaceLevel>,
    pub(super) mode: CapacityMode,
    /// Requests that began without a leaf, and end so.
    counted_open: HashSet<String>,
    /// Wall clock less time since the machine's start, milliseconds.
    offset_ms: Option<i64>,
}

impl Memory {
    pub(crate) fn new(tally: Tally) -> Self {
        Self { tally, recorded: None, mode: CapacityMode::Strict, counted_open: HashSet::new(), offset_ms: None }
    }

    /// What becomes of a record, and what it does to the list of those that are only counted.
    fn admit(&mut self, level: SpaceLevel, draft: &Draft) -> Admission {
        if let Effect::Closes(request) = &draft.effect {
            return if self.counted_open.remove(request) { Admission::Counted } else { Admission::Leaf };
        }
        let admission = level.admits(self.mode, draft.kind);
        if let (Admission::Counted, Effect::Opens(request)) = (admission, &draft.effect) {
            self.counted_open.insert(request.clone());
        }
        admission
    }

    /// The record of a clock that was set between the last record and this one.
    fn step(&mut self, moment: Moment) -> Option<Record> {
        let offset_ms = moment.wall_ms.saturating_sub(moment.boot_us / 1000);
        let before_ms = *self.offset_ms.get_or_insert(offset_ms);
        let step_ms = offset_ms.saturating_sub(before_ms);
        if step_ms.saturating_abs() <= STEP_MS {
            return None;
        }
        self.offset_ms = Some(offset_ms);
        Some(
            Record::new(Kind::TimeStep)
                .detail("step_ms", step_ms)
                .detail("wall_ms", moment.wall_ms)
                .detail("expected_ms", moment.wall_ms.saturating_sub(step_ms)),
        )
    }
}

impl Author {
    /// A record of the log's own.
    pub(super) fn draft(&self, record: Record, moment: Moment) -> Result<Draft, AuditError> {
        let kind = record.kind();
        Ok(Draft::plain(kind, moment, self.render(record, moment)?))
    }
}

impl Writer {
    /// Decides what becomes of each record.
    pub(super) fn plan(&self, batch: Vec<Pending>) -> Plan {
        let mut plan = Plan {
            lines: Vec::with_capacity(batch.len() + 2),
            counted: Vec::new(),
            refused: Vec::new(),
            next: self.memory.clone(),
            stores_tally: false,
            failure: None,
        };
        let first = self.tree.size();
        for pending in batch {
            match plan.next.admit(self.gauge.level(), &pending.draft) {
                Admission::Refused => {
                    let error = self.no_room(pending.draft.kind);
                    plan.refused.push((pending, error));
                }
                Admission::Counted => {
                    plan.next.tally.add_unrecorded(pending.draft.kind);
                    plan.stores_tally = true;
                    plan.counted.push(pending);
                }
                Admission::Leaf => {
                    let moment = pending.draft.moment;
                    if let Some(step) = plan.next.step(moment) {
                        match self.author.draft(step, moment) {
                            Ok(draft) => plan.push(first, draft.into()),
                            Err(error) => plan.failure = Some(error),
                        }
                    }
                    plan.next.mode = pending.draft.mode.unwrap_or(plan.next.mode);
                    plan.push(first, pending);
                }
            }
        }
        if let Err(error) = self.add_own(&mut plan, first) {
            plan.failure = Some(error);
        }
        plan
    }

    /// What the log itself has to say, after the records that came.
    fn add_own(&self, plan: &mut Plan, first: u64) -> Result<(), AuditError> {
        let level = self.gauge.level();
        if level != plan.next.recorded.unwrap_or_default() {
            let space = self.gauge.space(plan.next.mode);
            let record = Record::new(Kind::Capacity)
                .act("level")
                .detail("level", level.name())
                .detail("free_bytes", space.free_bytes)
                .detail("whole_bytes", space.whole_bytes)
                .detail("mode", plan.next.mode.name());
            // What an earlier run said may be long ago.
            let record = match plan.next.recorded {
                Some(was) => record.detail("was", was.name()),
                None => record,
            };
            plan.push(first, self.author.draft(record, self.author.moment())?.into());
            plan.next.recorded = Some(level);
        }
        if self.is_summary_due(&plan.next.tally) {
            let summary = plan.next.tally.summary(first + plan.lines.len() as u64);
            plan.push(first, self.author.draft(summary, self.author.moment())?.into());
            plan.stores_tally = true;
        }
        Ok(())
    }

    /// Hourly, and as soon as there is room again for what was only counted.
    fn is_summary_due(&self, tally: &Tally) -> bool {
        let is_time = tally.due(self.pace.summary).is_some_and(|due| due <= Instant::now());
        is_time || (tally.has_unrecorded() && self.gauge.level() < SpaceLevel::Critical)
    }

    fn no_room(&self, kind: Kind) -> AuditError {
        let space = self.gauge.space(self.memory.mode);
        AuditError::NoRoom {
            directory: self.directory.clone(),
            kind: kind.name(),
            level: space.level,
            free_bytes: space.free_bytes,
        }
    }
}

impl Plan {
    fn push(&mut self, first: u64, pending: Pending) {
        self.next.tally.add(first + self.lines.len() as u64, pending.draft.kind.name());
        self.lines.push(pending);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.counted.is_empty()
    }

    /// Answers those that were refused.
    pub(super) fn refuse(refused: Vec<(Pending, AuditError)>) {
        for (pending, error) in refused {
            pending.completion.complete(Err(error));
        }
    }

    /// Answers everybody that nothing was written, because of this.
    pub(super) fn fail(self, error: &AuditError) {
        Self::refuse(self.refused);
        for pending in self.lines.into_iter().chain(self.counted) {
            pending.completion.complete(Err(error.clone()));
        }
    }
}
