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
mod throttle;

use outpost_contract::Event;
use outpost_contract::event::TEXT_BYTES;
use serde::Serialize;
use serde_json::json;

use crate::db::{FleetEvent, NewEvent};
use crate::fleet::{Fleet, FleetError};
use crate::tokens::random;

pub(crate) use deliver::deliver;
pub use hooks::{Deliveries, NewWebhook};
pub(crate) use hooks::{HookBoard, HookStanding};
pub(crate) use observer::observe;
use throttle::PER_HOUR;
pub(crate) use throttle::Throttle;

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

    /// Tells what a device itself has to say, unless it talks too much.
    ///
    /// # Errors
    /// If it cannot be kept.
    pub(crate) fn tell_notice(&self, event: &Event) -> Result<(), FleetError> {
        let (kind, data) = match self.inner.throttle.count(&event.device, self.now_s()) {
            count if count < PER_HOUR => {
                let text: String = event.text.chars().take(TEXT_BYTES).collect();
                ("device.notice", json!({ "kind": event.kind.name(), "text": text, "at_s": event.at_s }))
            }
            PER_HOUR => ("device.noisy", json!({ "notices_per_hour": PER_HOUR })),
            _ => return Ok(()),
        };
        self.tell(&NewEvent { kind, subject: event.device.to_string(), data }).map(drop)
    }

    /// What happened in the fleet after a number: everything, or one kind (`device.lost`) or area (`device`).
    ///
    /// # Errors
    /// If the database fails.
    pub fn fleet_events(&self, after: i64, kind: &str, limit: u32) -> Result<EventPage, FleetError> {
        let limit = limit.clamp(1, MOST_EVENTS);
        let database = &self.inner.database;
        // The span first, so that nothing that comes meanwhile is passed over.
        let (oldest, newest) = database.fleet_event_span()?;
        // A fleet that was restored counts from further back.
        let is_restored = after > newest;
        let after = after.min(newest);
        let events = database.fleet_events(after, kind, limit)?;
        let is_full = events.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
        let last = events.last().map_or(after, |event| event.number);
        let next = if is_full { last } else { last.max(newest) };
        Ok(EventPage { events, next, oldest, gap: is_restored || after + 1 < oldest })
    }
}
