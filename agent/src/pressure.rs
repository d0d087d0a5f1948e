//! A box that runs short of memory, or too hot, does with less before the kernel takes what it wants.
//!
//! ```text
//! probe::room ──► marks: how short, why ──► ladder: which step ──► hands: does it ──► record, status, metrics
//! probe::heat ──► half as many answers at once, whatever the ladder says
//! ```
//! Every second it is looked, and five times as often where memory is near its end. What was asked for and cannot be had any more
//! is told to whoever asks, with the reason; what runs goes on as long as there is memory for it at all.

mod hands;
mod ladder;
mod marks;
mod stand_in;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use outpost_audit::{AuditLog, Kind, Record};
use outpost_disk::Clock;
use outpost_probe::Room;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use hands::Done;
pub(crate) use hands::Hands;
use ladder::{Ladder, Level, Step, Strain};
use marks::{Marks, judge};

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The same where memory is near its end.
const LOOK_OFTEN: Duration = Duration::from_millis(200);

/// How often temperature is looked at: it changes slowly, and its files are many.
const HEAT_EVERY: Duration = Duration::from_secs(5);

/// How long the processor must have been held back before anybody is made to wait for it: a moment of it is normal under load.
const HOT_AFTER: Duration = Duration::from_secs(15);

/// Where the device stands, for status and metrics.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Standing {
    /// The last step of the retreat that was taken; `full` for none.
    level: &'static str,
    /// How many steps that is below full.
    steps: u8,
    /// Why the last step was taken; empty if none was.
    because: String,
    /// When it was, seconds since 1970-01-01 UTC.
    since_s: i64,
    /// Memory that is left, at the last look.
    available_bytes: u64,
    /// All that there could ever be.
    capacity_bytes: u64,
    /// Whether heat holds the processor back.
    is_hot: bool,
}

/// Looks, and has done what is due.
#[derive(Debug)]
pub(crate) struct Keeper {
    hands: Arc<Hands>,
    audit: AuditLog,
    clock: Clock,
    told: watch::Sender<Standing>,
    ladder: Ladder,
    began: Instant,
    before: Room,
    /// Why the last step was thought of.
    because: String,
    heat: Heat,
    /// What a step that takes a while has come to.
    doing: Option<(Step, JoinHandle<Done>)>,
    /// That memory is nearly gone, told to whoever waits for answers to end.
    is_the_end: Arc<AtomicBool>,
}

/// Whether heat holds the processor back for longer than a moment.
#[derive(Debug, Default)]
struct Heat {
    looked: Option<Instant>,
    times: Option<u64>,
    changed: Option<Instant>,
    is_throttled: bool,
    is_hot: bool,
}

impl Keeper {
    /// Everything is as planned.
    pub(crate) fn new(hands: Hands, audit: AuditLog, clock: Clock, told: watch::Sender<Standing>) -> Self {
        let calm_ms = hands.calm().as_millis().try_into().unwrap_or(u64::MAX);
        told.send_modify(|standing| standing.level = Level::Full.word());
        Self {
            hands: Arc::new(hands),
            audit,
            clock,
            told,
            ladder: Ladder::new(calm_ms),
            began: Instant::now(),
            before: Room::default(),
            because: String::new(),
            heat: Heat::default(),
            doing: None,
            is_the_end: Arc::default(),
        }
    }

    /// Looks until the agent stops.
    pub(crate) async fn watch(mut self, stop: CancellationToken) {
        let mut wait = LOOK_EVERY;
        while stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
            let now = match tokio::task::spawn_blocking(outpost_probe::room).await {
                Ok(now) => now,
                Err(error) => {
                    tracing::error!(%error, "it cannot be seen what memory is left");
                    continue;
                }
            };
            let is_near = now.capacity_bytes > 0 && now.available_bytes < Marks::of(now.capacity_bytes).near_bytes;
            wait = if is_near { LOOK_OFTEN } else { LOOK_EVERY };
            self.look(&now).await;
            self.feel().await;
            self.before = now;
        }
        // Models leave anyway now.
        if let Some((_, doing)) = self.doing.take() {
            doing.abort();
        }
    }

    async fn look(&mut self, now: &Room) {
        let (strain, because) = judge(now, &self.before);
        self.is_the_end.store(strain == Strain::Critical, Ordering::Release);
        self.told.send_modify(|standing| {
            (standing.available_bytes, standing.capacity_bytes) = (now.available_bytes, now.capacity_bytes);
        });
        if strain >= Strain::Short {
            tokio::task::spawn_blocking(crate::allocator::give_back).await.ok();
        }
        if let Some((step, doing)) = self.doing.take() {
            if !doing.is_finished() {
                self.doing = Some((step, doing));
                return;
            }
            match doing.await {
                Ok(done) => self.did(step, done, now).await,
                Err(error) => {
                    tracing::error!(%error, "a step back broke off");
                    self.ladder.taken(self.now_ms(), step);
                }
            }
        }
        // Another model may have come: what holds holds for it, too.
        self.hands.limit(self.ladder.level(), self.heat.is_hot);
        let now_ms = self.now_ms();
        if let Some(step) = self.ladder.look(now_ms, strain) {
            self.take(step, &because, now).await;
        } else if strain == Strain::Calm && self.hands.may_return(now_ms, self.ladder.calm_needed_ms()) {
            // The steps are taken back, and a smaller variant still serves: the larger one is thought of now and then.
            let step = Step { from: self.ladder.level(), to: self.ladder.level() };
            let hands = Arc::clone(&self.hands);
            let told = self.note(step, &because, now);
            self.doing = Some((step, tokio::spawn(async move { hands.bring_back(now_ms, told).await })));
        }
    }

    /// Takes a step, or begins to.
    async fn take(&mut self, step: Step, because: &str, now: &Room) {
        let told = self.note(step, because, now);
        let models_change = |level: Level| matches!(level, Level::Variant | Level::Nothing);
        let (hands, is_the_end, now_ms) = (Arc::clone(&self.hands), Arc::clone(&self.is_the_end), self.now_ms());
        let (because, left) = (because.to_owned(), now.clone());
        let doing = match (step.is_up(), step.to) {
            (false, Level::Variant) => {
                tokio::spawn(async move { hands.step_down(&because, &left, &is_the_end, told).await })
            }
            (false, Level::Nothing) => tokio::spawn(async move { hands.leave(&because, &is_the_end, told).await }),
            (true, _) if models_change(step.from) => {
                tokio::spawn(async move { hands.step_up(step.from, now_ms, told).await })
            }
            _ => {
                let did = hands.adjust(step.to, self.heat.is_hot).await;
                self.record(told.did(did)).await;
                return self.did(step, Done::Taken { is_smallest: None }, now).await;
            }
        };
        self.doing = Some((step, doing));
    }

    async fn did(&mut self, step: Step, done: Done, now: &Room) {
        let now_ms = self.now_ms();
        match done {
            Done::Taken { is_smallest } => {
                if let Some(is_smallest) = is_smallest {
                    self.ladder.smallest(is_smallest);
                }
                self.reached(now_ms, step);
            }
            Done::Gone => {
                if step.to != Level::Nothing {
                    let (further, because) = (Step { from: step.to, to: Level::Nothing }, self.because.clone());
                    self.note(further, &because, now).tell("no model is in memory".to_owned()).await;
                }
                self.reached(now_ms, Step { to: Level::Nothing, ..step });
            }
            Done::PutOff => self.ladder.put_off(now_ms),
            Done::Returned => {}
        }
    }

    fn reached(&mut self, now_ms: u64, step: Step) {
        self.ladder.taken(now_ms, step);
        self.hands.limit(step.to, self.heat.is_hot);
        let since_s = self.clock.now_s();
        let because = self.because.clone();
        self.told.send_modify(|standing| {
            (standing.level, standing.steps) = (step.to.word(), step.to.steps());
            (standing.since_s, standing.because) = (since_s, because);
        });
    }

    /// Sees to it that a hot processor has less to do. Fewer answers at once are enough: each step of the engine is as long as
    /// it was, there are fewer, and whoever is answered does not wait longer for a word.
    async fn feel(&mut self) {
        if !self.heat.look().await {
            return;
        }
        let is_hot = self.heat.is_hot;
        let did = self.hands.adjust(self.ladder.level(), is_hot).await;
        let because =
            if is_hot { "heat, or the firmware, holds the processor back" } else { "the processor is not held back" };
        tracing::warn!(because, did, "answers at once");
        let record = Record::new(Kind::Pressure).act("heat").detail("because", because).detail("did", did.as_str());
        self.record(record).await;
        self.told.send_modify(|standing| standing.is_hot = is_hot);
    }

    fn note(&mut self, step: Step, because: &str, now: &Room) -> Note {
        because.clone_into(&mut self.because);
        Note {
            step,
            audit: self.audit.clone(),
            record: Record::new(Kind::Pressure)
                .act(if step.is_up() || step.from == step.to && step.to < Level::Variant { "up" } else { "down" })
                .detail("from", step.from.word())
                .detail("to", step.to.word())
                .detail("because", because)
                .detail("available_bytes", now.available_bytes)
                .detail("capacity_bytes", now.capacity_bytes)
                .detail("stalled_centi_percent", u64::from(now.some_stalled_centi_percent.unwrap_or(0))),
        }
    }

    async fn record(&self, record: Record) {
        if let Err(error) = self.audit.append(record).await {
            tracing::error!(%error, "a step back could not be recorded; it is taken all the same");
        }
    }

    fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis().try_into().unwrap_or(u64::MAX)
    }
}

/// A step as it will be recorded, once it is known what it comes to.
#[derive(Debug)]
struct Note {
    step: Step,
    audit: AuditLog,
    record: Record,
}

impl Note {
    fn did(self, did: String) -> Record {
        tracing::warn!(from = %self.step.from, to = %self.step.to, did, "what memory is left decides what is done");
        self.record.detail("did", did)
    }

    /// Records the step before it is taken. Memory does not wait for a disk that is full: it is taken even so.
    async fn tell(self, did: String) {
        let audit = self.audit.clone();
        if let Err(error) = audit.append(self.did(did)).await {
            tracing::error!(%error, "a step back could not be recorded; it is taken all the same");
        }
    }
}

impl Heat {
    /// Looks if it is time; gives whether it has become hot, or has cooled down.
    async fn look(&mut self) -> bool {
        if self.looked.is_some_and(|looked| looked.elapsed() < HEAT_EVERY) {
            return false;
        }
        self.looked = Some(Instant::now());
        let Ok((is_throttled, times)) = tokio::task::spawn_blocking(outpost_probe::heat).await else { return false };
        let grew = self.times.zip(times).is_some_and(|(before, now)| now > before);
        self.times = times;
        self.hear(is_throttled == Some(true) || grew, Instant::now())
    }

    fn hear(&mut self, is_throttled: bool, now: Instant) -> bool {
        if self.is_throttled != is_throttled || self.changed.is_none() {
            (self.is_throttled, self.changed) = (is_throttled, Some(now));
        }
        let lasts = self.changed.is_some_and(|changed| now.saturating_duration_since(changed) >= HOT_AFTER);
        let turns = lasts && self.is_hot != is_throttled;
        if turns {
            self.is_hot = is_throttled;
        }
        turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_of_heat_changes_nothing_and_lasting_heat_does_until_it_is_over() {
        let (mut heat, began) = (Heat::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        assert!(!heat.hear(false, at(0)));
        assert!(!heat.hear(true, at(5)) && !heat.hear(false, at(10)), "a moment");
        assert!(!heat.hear(true, at(15)) && !heat.hear(true, at(25)));
        assert!(heat.hear(true, at(30)) && heat.is_hot);
        assert!(!heat.hear(true, at(35)), "told once");
        assert!(!heat.hear(false, at(40)) && heat.is_hot);
        assert!(heat.hear(false, at(55)) && !heat.is_hot);
    }
}
