//! When would a request start? Plays the queue forward with what its requests are expected to take.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::fair::{Fair, Ticket};

/// One start as it is foreseen, milliseconds from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) id: u64,
    pub(crate) at_ms: u64,
}

/// The starts of what waits, in order, up to that of `until`; everything that waits if there is none. `left_ms` says how
/// long what runs still runs, `takes_ms` how long what waits will run.
pub(crate) fn starts(
    queue: &Fair,
    now_ms: u64,
    until: Option<u64>,
    left_ms: impl Fn(&Ticket) -> u64,
    takes_ms: impl Fn(&Ticket) -> u64,
) -> Vec<Start> {
    let mut queue = queue.clone();
    let mut costs: HashMap<u64, u64> = queue.running_tickets().map(|ticket| (ticket.id, ticket.cost)).collect();
    let mut ends: BinaryHeap<Reverse<(u64, u64)>> =
        queue.running_tickets().map(|ticket| Reverse((left_ms(ticket), ticket.id))).collect();
    let mut starts = Vec::new();
    let mut at_ms = 0;
    loop {
        while let Some(ticket) = queue.next(now_ms.saturating_add(at_ms)) {
            starts.push(Start { id: ticket.id, at_ms });
            if until == Some(ticket.id) {
                return starts;
            }
            costs.insert(ticket.id, ticket.cost);
            ends.push(Reverse((at_ms.saturating_add(takes_ms(&ticket)), ticket.id)));
        }
        let Some(Reverse((end_ms, id))) = ends.pop() else { return starts };
        at_ms = at_ms.max(end_ms);
        queue.finish(id, costs.remove(&id).unwrap_or(0));
    }
}
