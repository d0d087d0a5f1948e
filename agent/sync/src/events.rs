//! Where any part of the agent says that something happened which an operator wants to hear soon.

use std::sync::Arc;

use outpost_contract::event::TEXT_BYTES;
use outpost_contract::{BootId, DeviceId, Event, EventKind, LinkHealth};
use outpost_disk::Clock;
use tokio::sync::Notify;

use crate::outbox::{next_number, put_within};
use crate::{Class, SyncDatabase, SyncError};

/// Says events; clones say them to the same control plane.
#[derive(Debug, Clone)]
pub struct Events {
    pub(crate) database: SyncDatabase,
    pub(crate) device: DeviceId,
    pub(crate) boot: BootId,
    pub(crate) clock: Clock,
    pub(crate) news: Arc<Notify>,
}

impl Events {
    /// Queues an event; a longer text is cut. Once this returns `Ok` it survives a power cut, and is sent until the control
    /// plane has stored it or newer ones need its place. Blocks for one small transaction.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn say(&self, kind: EventKind, text: &str) -> Result<(), SyncError> {
        let text = text[..text.floor_char_boundary(TEXT_BYTES)].to_owned();
        let mut connection = self.database.lock();
        let transaction = connection.transaction().map_err(SyncError::database("write"))?;
        let sequence = next_number(&transaction)?;
        let (device, boot, at_s) = (self.device.clone(), self.boot.clone(), self.clock.now_s());
        let event = Event { v: 1, device, boot, sequence, at_s, kind, text };
        let payload = serde_json::to_vec(&event)
            .map_err(|error| SyncError::Unreadable { what: "an event", detail: error.to_string() })?;
        put_within(&transaction, Class::Event, &self.boot, sequence, &payload)?;
        transaction.commit().map_err(SyncError::database("write"))?;
        self.news.notify_one();
        Ok(())
    }

    /// Why the newest messages were given up, newest first: class, bytes, reason.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn dead_letters(&self) -> Result<Vec<(String, u64, String)>, SyncError> {
        self.database.outbox().dead_letters()
    }

    /// How what this device has to say gets through.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn health(&self) -> Result<LinkHealth, SyncError> {
        let backlog = self.database.outbox().backlog()?;
        Ok(LinkHealth {
            dead_letters: backlog.dead_letters,
            backlog: backlog.letters,
            events_dropped: backlog.events_dropped,
        })
    }
}
