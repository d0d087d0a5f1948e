//! Who is next: priority classes, the share that each tenant has had, and patience. Pure: time comes in, choices come out.
//!
//! Start-time fair queueing: within a class, the tenant that has had the least goes first, and who comes back after a
//! pause begins where the others are, so that nobody saves up and nobody is in debt for a time when there was room.
//! A higher class goes first, but every fourth start belongs to whoever has waited longest, once patience is at its end:
//! no class waits for ever.
//!
//! ```text
//! arrive ──► waiting ──next──► running ──finish──► (what it took replaces what it was expected to take)
//!               ▲  └─leave       │ back: the model takes no more now
//!               └────────────────┘
//! ```

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use outpost_policies::Priority;

/// One start in so many belongs to whoever has waited longest.
const PATIENT_EVERY: u32 = 4;

/// After so many answers a model that once took no more is offered one more.
const PROBE_EVERY: u32 = 8;

/// How much may run and wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// At once.
    pub(crate) running: usize,
    /// In the queue.
    pub(crate) waiting: usize,
    /// In the queue, of one tenant.
    pub(crate) waiting_per_tenant: usize,
    /// After waiting so long, somebody goes first now and then, whatever the class.
    pub(crate) patience_ms: u64,
}

/// Why somebody may not wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// This tenant's part of the queue is full.
    Tenant,
    /// The queue is full.
    Queue,
}

/// A request in the queue or running.
#[derive(Debug, Clone)]
pub(crate) struct Ticket {
    pub(crate) id: u64,
    pub(crate) tenant: Arc<str>,
    pub(crate) model: Arc<str>,
    pub(crate) class: Priority,
    /// What it is expected to take.
    pub(crate) cost: u64,
    pub(crate) arrived_ms: u64,
}

/// One tenant in one class.
#[derive(Debug, Clone, Default)]
struct Flow {
    had: u64,
    running: usize,
    waiting: VecDeque<Ticket>,
}

/// One model: what runs on it, and how much it takes, where it has said so.
#[derive(Debug, Clone, Default)]
struct Lane {
    running: usize,
    most: Option<usize>,
    finished: u32,
}

impl Lane {
    fn is_open(&self) -> bool {
        self.most.is_none_or(|most| self.running < most)
    }
}

type FlowKey = (Arc<str>, Priority);

/// The queue.
#[derive(Debug, Clone)]
pub(crate) struct Fair {
    bounds: Bounds,
    next_id: u64,
    /// Starts since the last that patience chose.
    since_patient: u32,
    flows: HashMap<FlowKey, Flow>,
    lanes: HashMap<Arc<str>, Lane>,
    running: HashMap<u64, Ticket>,
    /// By class: what the tenant had had that was last served. Who comes back begins there.
    floors: HashMap<Priority, u64>,
    waiting: usize,
}

impl Fair {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            next_id: 0,
            since_patient: 0,
            flows: HashMap::new(),
            lanes: HashMap::new(),
            running: HashMap::new(),
            floors: HashMap::new(),
            waiting: 0,
        }
    }

    /// Requests that run.
    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    /// Requests that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// The tickets that run.
    pub(crate) fn running_tickets(&self) -> impl Iterator<Item = &Ticket> {
        self.running.values()
    }

    /// Requests that run on a model.
    pub(crate) fn running_on(&self, model: &str) -> usize {
        self.lanes.get(model).map_or(0, |lane| lane.running)
    }

    /// Whether a request for this model would start at once. What waits while there is room waits for another model.
    pub(crate) fn has_room(&self, model: &str) -> bool {
        self.running.len() < self.bounds.running && self.lanes.get(model).is_none_or(Lane::is_open)
    }

    /// Whether a request of this tenant waits.
    pub(crate) fn tenant_waits(&self, tenant: &str, id: u64) -> bool {
        let mut of_tenant = self.flows.iter().filter(|((name, _), _)| &**name == tenant);
        of_tenant.any(|(_, flow)| flow.waiting.iter().any(|ticket| ticket.id == id))
    }

    /// Whether one more may wait.
    pub(crate) fn may_wait(&self, tenant: &str) -> Result<(), Full> {
        let of_tenant = self.flows.iter().filter(|((name, _), _)| &**name == tenant);
        if of_tenant.map(|(_, flow)| flow.waiting.len()).sum::<usize>() >= self.bounds.waiting_per_tenant {
            return Err(Full::Tenant);
        }
        if self.waiting >= self.bounds.waiting { Err(Full::Queue) } else { Ok(()) }
    }

    /// Puts a request behind its tenant's others. Whether it may wait is the caller's question before.
    pub(crate) fn arrive(
        &mut self,
        (tenant, class, model): (&Arc<str>, Priority, &Arc<str>),
        cost: u64,
        now_ms: u64,
    ) -> u64 {
        self.next_id += 1;
        let floor = self.floors.get(&class).copied().unwrap_or(0);
        let flow = self.flows.entry((Arc::clone(tenant), class)).or_default();
        if flow.waiting.is_empty() && flow.running == 0 {
            flow.had = flow.had.max(floor);
        }
        let (tenant, model) = (Arc::clone(tenant), Arc::clone(model));
        flow.waiting.push_back(Ticket { id: self.next_id, tenant, model, class, cost, arrived_ms: now_ms });
        self.waiting += 1;
        self.next_id
    }

    /// The request that starts now, if one may.
    pub(crate) fn next(&mut self, now_ms: u64) -> Option<Ticket> {
        if self.running.len() >= self.bounds.running {
            return None;
        }
        let (key, place) = self.choose(now_ms)?;
        let flow = self.flows.get_mut(&key)?;
        let ticket = flow.waiting.remove(place)?;
        let floor = self.floors.entry(ticket.class).or_default();
        *floor = (*floor).max(flow.had);
        flow.had = flow.had.saturating_add(ticket.cost);
        flow.running += 1;
        self.lanes.entry(Arc::clone(&ticket.model)).or_default().running += 1;
        self.waiting -= 1;
        self.running.insert(ticket.id, ticket.clone());
        Some(ticket)
    }

    /// The first request of each flow whose model takes one, and the best of those.
    fn choose(&mut self, now_ms: u64) -> Option<(FlowKey, usize)> {
        let open = |model: &Arc<str>| self.lanes.get(model).is_none_or(Lane::is_open);
        let heads = self.flows.iter().filter_map(|(key, flow)| {
            let place = flow.waiting.iter().position(|ticket| open(&ticket.model))?;
            Some((key, flow, place, &flow.waiting[place]))
        });
        let heads: Vec<_> = heads.collect();
        let longest = heads.iter().min_by_key(|(.., ticket)| (ticket.arrived_ms, ticket.id))?;
        let overdue = now_ms.saturating_sub(longest.3.arrived_ms) >= self.bounds.patience_ms;
        let patient = overdue && self.since_patient + 1 >= PATIENT_EVERY;
        let chosen = if patient {
            longest
        } else {
            // The greater class goes first; among equals the tenant that has had less, then who came first.
            heads.iter().min_by_key(|(key, flow, _, ticket)| (std::cmp::Reverse(key.1), flow.had, ticket.id))?
        };
        let chosen = (chosen.0.clone(), chosen.2);
        self.since_patient = if patient { 0 } else { self.since_patient.saturating_add(1) };
        Some(chosen)
    }

    /// A running request is over, and took this.
    pub(crate) fn finish(&mut self, id: u64, took: u64) {
        let Some(ticket) = self.stop(id) else { return };
        if let Some(flow) = self.flows.get_mut(&(Arc::clone(&ticket.tenant), ticket.class)) {
            flow.had = flow.had.saturating_sub(ticket.cost).saturating_add(took);
        }
        if let Some(lane) = self.lanes.get_mut(&ticket.model) {
            lane.finished += 1;
            if lane.finished >= PROBE_EVERY {
                lane.finished = 0;
                lane.most = lane.most.map(|most| most + 1).filter(|most| *most < self.bounds.running);
            }
        }
        self.forget();
    }

    /// Its model takes no more now: back to the head of its tenant's requests, as if it had not started.
    pub(crate) fn back(&mut self, id: u64) {
        let Some(ticket) = self.stop(id) else { return };
        let lane = self.lanes.entry(Arc::clone(&ticket.model)).or_default();
        (lane.most, lane.finished) = (Some(lane.running.max(1)), 0);
        if let Some(flow) = self.flows.get_mut(&(Arc::clone(&ticket.tenant), ticket.class)) {
            flow.had = flow.had.saturating_sub(ticket.cost);
            let place = flow.waiting.iter().position(|other| other.id > ticket.id).unwrap_or(flow.waiting.len());
            flow.waiting.insert(place, ticket);
            self.waiting += 1;
        }
    }

    /// Somebody who waits does not want to any more.
    pub(crate) fn leave(&mut self, id: u64) -> bool {
        let found = self.flows.values_mut().find_map(|flow| {
            let place = flow.waiting.iter().position(|ticket| ticket.id == id)?;
            flow.waiting.remove(place)
        });
        if found.is_some() {
            self.waiting -= 1;
            self.forget();
        }
        found.is_some()
    }

    fn stop(&mut self, id: u64) -> Option<Ticket> {
        let ticket = self.running.remove(&id)?;
        if let Some(flow) = self.flows.get_mut(&(Arc::clone(&ticket.tenant), ticket.class)) {
            flow.running -= 1;
        }
        if let Some(lane) = self.lanes.get_mut(&ticket.model) {
            lane.running -= 1;
        }
        Some(ticket)
    }

    /// Nothing is kept of tenants who would begin at the floor anyway; nothing at all when all is quiet.
    fn forget(&mut self) {
        if self.running.is_empty() && self.waiting == 0 {
            self.flows.clear();
            self.lanes.clear();
            self.floors.clear();
            return;
        }
        self.lanes.retain(|_, lane| lane.running > 0 || lane.most.is_some());
        let floors = &self.floors;
        self.flows.retain(|(_, class), flow| {
            flow.running > 0 || !flow.waiting.is_empty() || flow.had > floors.get(class).copied().unwrap_or(0)
        });
    }
}

#[cfg(test)]
mod tests;
