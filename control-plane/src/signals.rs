//! What happens in the fleet, told in one order: `GET /v1/events`, and webhooks.
//!
//! ```text
//! database ──observer, every few seconds──► told_devices (what was told last) ──► fleet_events ──► GET /v1/events
//! a device's own event, a rollout ──`Fleet::tell`, in its own transaction──────────►    │
//!                                                                                      └─► deliver: one task, a cursor
//!                                                                                          for each hook, in order
//! ```
//!
//! What comes and goes between two looks of the observer is not told. A restart tells nothing twice.

mod deliver;
mod hooks;
mod observer;
mod signature;
#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::db::{FleetEvent, NewEvent};
use crate::fleet::{Fleet, FleetError};
use crate::tokens::random;

pub(crate) use deliver::deliver;
pub use hooks::{Deliveries, NewWebhook};
pub(crate) use observer::observe;

/// Events of a page at most.
const MOST_EVENTS: u32 = 1000;

/// Some events, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EventPage {
    /// They.
    pub events: Vec<FleetEvent>,
    /// Ask with `after` this number for what comes next.
    pub next: i64,
    /// Number of the oldest event that is kept.
    pub oldest: i64,
    /// True if events between `after` and the first of these are not kept any more.
    pub gap: bool,
}

impl Fleet {
    /// Tells an event. Call it within `Database::together` with what it is about.
    ///
    /// # Errors
    /// If it cannot be kept.
    pub(crate) fn tell(&self, event: &NewEvent) -> Result<i64, FleetError> {
        let id = format!("evt_{}", hex::encode(random::<16>().map_err(FleetError::Random)?));
        Ok(self.inner.database.tell(&id, event, self.now_s())?)
    }

    /// What happened in the fleet after a number: everything, or one kind (`device.lost`) or area (`device`).
    ///
    /// # Errors
    /// If the database fails.
    pub fn fleet_events(&self, after: i64, kind: &str, limit: u32) -> Result<EventPage, FleetError> {
        let limit = limit.clamp(1, MOST_EVENTS);
        let database = &self.inner.database;
        // Newest first, so that nothing that comes meanwhile is passed over.
        let (oldest, newest) = database.fleet_event_span()?;
        let events = database.fleet_events(after, kind, limit)?;
        let is_full = events.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
        let last = events.last().map_or(after, |event| event.number);
        let next = if is_full { last } else { last.max(newest) };
        Ok(EventPage { events, next, oldest, gap: after + 1 < oldest })
    }
}
