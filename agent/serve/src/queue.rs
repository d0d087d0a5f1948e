//! The one queue before the models: who may wait, for how long that will be, and whose turn it is.
//!
//! [`fair`] decides who is next, [`speed`] knows how long answers take here, [`forecast`] plays the queue forward; this
//! file gives them the time and wakes whoever's turn it is.

mod fair;
mod forecast;
mod speed;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::{Limits, Timings, Usage};
use outpost_policies::Priority;

use fair::{Bounds, Fair, Full, Ticket};
use speed::Speeds;
pub(crate) use speed::Work;

/// When to come back, where nothing was measured yet.
const RETRY_AFTER_S: u32 = 2;

/// Nobody is told to stay away for longer than this, whatever is foreseen.
const MOST_RETRY_AFTER_S: u64 = 600;

/// What somebody wants to wait for.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) tenant: String,
    pub(crate) class: Priority,
    /// What names the model's lane: the same for all names of one file.
    pub(crate) model: String,
    pub(crate) prompt_bytes: usize,
    pub(crate) max_tokens: u32,
}

/// Why somebody may not wait, and when to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// This tenant has as many waiting as one may.
    Tenant { retry_after_s: u32 },
    /// The device is too busy.
    Device { retry_after_s: u32 },
}

/// The queue.
pub(crate) struct Queue {
    state: Mutex<State>,
    start_within: Duration,
    began: Instant,
}

struct State {
    fair: Fair,
    speeds: Speeds,
    /// Whom to wake when it is their turn.
    waiters: HashMap<u64, oneshot::Sender<()>>,
    entries: HashMap<u64, Entry>,
}

/// What is known of a request in the queue or running.
struct Entry {
    expected: Work,
    started_ms: Option<u64>,
}

/// How many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) running: usize,
    pub(crate) waiting: usize,
}

impl Queue {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        let bounds = Bounds {
            running: limits.generations,
            waiting: limits.waiting,
            waiting_per_tenant: limits.waiting_per_tenant,
            patience_ms: milliseconds(limits.start_within) / 2,
        };
        let (waiters, entries) = (HashMap::new(), HashMap::new());
        let state = State { fair: Fair::new(bounds), speeds: Speeds::default(), waiters, entries };
        Arc::new(Self { state: Mutex::new(state), start_within: limits.start_within, began: Instant::now() })
    }

    /// Takes a place, which then waits for its [`turn`](Place::turn). Dropping it gives it up.
    pub(crate) fn enter(self: &Arc<Self>, wish: Wish) -> Result<Place, Refused> {
        self.arrive(wish, self.now_ms())
    }

    /// How many run and wait.
    pub(crate) fn load(&self) -> Load {
        let state = self.lock();
        Load { running: state.fair.running(), waiting: state.fair.waiting() }
    }

    /// Tokens that a prompt of so many bytes has, as far as earlier ones have taught.
    pub(crate) fn prompt_tokens(&self, model: &str, bytes: usize) -> u32 {
        u32::try_from(self.lock().speeds.prompt_tokens(model, bytes)).unwrap_or(u32::MAX)
    }

    fn arrive(self: &Arc<Self>, wish: Wish, now_ms: u64) -> Result<Place, Refused> {
        let (tenant, model): (Arc<str>, Arc<str>) = (wish.tenant.into(), wish.model.into());
        let mut state = self.lock();
        let starts_at_once = state.fair.has_room(&model);
        let may_wait = if starts_at_once { Ok(()) } else { state.fair.may_wait(&tenant) };
        if let Err(full) = may_wait {
            return Err(state.refuse(full, &tenant, now_ms));
        }
        let prompt_tokens = state.speeds.prompt_tokens(&model, wish.prompt_bytes);
        let expected = state.speeds.expect(&model, prompt_tokens, wish.max_tokens);
        let id = state.fair.arrive((&tenant, wish.class, &model), expected.cost(), now_ms);
        state.entries.insert(id, Entry { expected, started_ms: None });
        if !starts_at_once && let Some(starts_in) = state.foresee(id, now_ms) {
            let within_ms = milliseconds(self.start_within);
            if starts_in > within_ms {
                state.fair.leave(id);
                state.entries.remove(&id);
                // By then so much of what is before it is done that it may wait for the rest.
                return Err(Refused::Device { retry_after_s: seconds(starts_in - within_ms) });
            }
        }
        let (sender, turn) = oneshot::channel();
        state.waiters.insert(id, sender);
        state.pump(now_ms);
        drop(state);
        let arrived = Instant::now();
        Ok(Place {
            queue: Arc::clone(self),
            id,
            model,
            prompt_bytes: wish.prompt_bytes,
            took: expected,
            arrived,
            waited: Duration::ZERO,
            turn,
        })
    }

    fn now_ms(&self) -> u64 {
        milliseconds(self.began.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every update leaves the state whole, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Starts whatever may start.
    fn pump(&mut self, now_ms: u64) {
        while let Some(ticket) = self.fair.next(now_ms) {
            if let Some(entry) = self.entries.get_mut(&ticket.id) {
                entry.started_ms = Some(now_ms);
            }
            if let Some(waiter) = self.waiters.remove(&ticket.id) {
                // Whoever is gone gives the place back by dropping it.
                let _ = waiter.send(());
            }
        }
    }

    /// Milliseconds until this request would start; `None` if too little is known.
    fn foresee(&self, id: u64, now_ms: u64) -> Option<u64> {
        self.starts(Some(id), now_ms)?.last().filter(|start| start.id == id).map(|start| start.at_ms)
    }

    fn starts(&self, until: Option<u64>, now_ms: u64) -> Option<Vec<forecast::Start>> {
        let takes = |ticket: &Ticket| {
            let expected = self.entries.get(&ticket.id)?.expected;
            self.speeds.takes_ms(&ticket.model, expected)
        };
        if !self.fair.running_tickets().all(|ticket| takes(ticket).is_some()) {
            return None;
        }
        let left = |ticket: &Ticket| {
            let takes = takes(ticket).unwrap_or(0);
            let started_ms = self.entries.get(&ticket.id).and_then(|entry| entry.started_ms).unwrap_or(now_ms);
            // What takes longer than expected goes on for a while yet.
            takes.saturating_sub(now_ms.saturating_sub(started_ms)).max(takes / 8)
        };
        Some(forecast::starts(&self.fair, now_ms, until, left, |ticket| takes(ticket).unwrap_or(0)))
    }

    fn refuse(&self, full: Full, tenant: &str, now_ms: u64) -> Refused {
        let starts = self.starts(None, now_ms).unwrap_or_default();
        let first = match full {
            // A place of its own comes free when the first of its own starts.
            Full::Tenant => starts.iter().find(|start| self.fair.tenant_waits(tenant, start.id)),
            Full::Queue => starts.first(),
        };
        let retry_after_s = first.map_or(RETRY_AFTER_S, |start| seconds(start.at_ms));
        match full {
            Full::Tenant => Refused::Tenant { retry_after_s },
            Full::Queue => Refused::Device { retry_after_s },
        }
    }
}

/// A place in the queue, then among what runs. Dropping it gives it up, wherever it is.
pub(crate) struct Place {
    queue: Arc<Queue>,
    id: u64,
    model: Arc<str>,
    prompt_bytes: usize,
    took: Work,
    arrived: Instant,
    waited: Duration,
    turn: oneshot::Receiver<()>,
}

impl Place {
    /// Waits for its turn.
    pub(crate) async fn turn(&mut self) {
        // The sender is dropped only after its message, or with the place itself.
        let _ = (&mut self.turn).await;
        self.waited = self.arrived.elapsed();
    }

    /// How long it waited for its turn.
    pub(crate) fn waited(&self) -> Duration {
        self.waited
    }

    /// Whether others run on the same model: when one of them ends, there is room again.
    pub(crate) fn has_company(&self) -> bool {
        self.queue.lock().fair.running_on(&self.model) > 1
    }

    /// The model takes no more now: waits for another turn, before all that came later.
    pub(crate) async fn again(&mut self) {
        let (sender, turn) = oneshot::channel();
        self.turn = turn;
        {
            let mut state = self.queue.lock();
            state.fair.back(self.id);
            if let Some(entry) = state.entries.get_mut(&self.id) {
                entry.started_ms = None;
            }
            state.waiters.insert(self.id, sender);
            state.pump(self.queue.now_ms());
        }
        self.turn().await;
    }

    /// It came to its end: what it took is learned from.
    pub(crate) fn ended(&mut self, usage: &Usage, timings: &Timings) {
        self.took = Work::of(usage);
        self.queue.lock().speeds.learn(&self.model, self.prompt_bytes, usage, timings);
    }

    /// It was broken off after so many generated tokens.
    pub(crate) fn broke_off(&mut self, generated: u64) {
        self.took.generated = self.took.generated.min(generated);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let now_ms = self.queue.now_ms();
        let mut state = self.queue.lock();
        state.waiters.remove(&self.id);
        state.entries.remove(&self.id);
        if !state.fair.leave(self.id) {
            state.fair.finish(self.id, self.took.cost());
        }
        state.pump(now_ms);
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Place").field("id", &self.id).finish_non_exhaustive()
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn seconds(milliseconds: u64) -> u32 {
    u32::try_from(milliseconds.div_ceil(1000).clamp(1, MOST_RETRY_AFTER_S)).unwrap_or(RETRY_AFTER_S)
}

#[cfg(test)]
mod tests;
