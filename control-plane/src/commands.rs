//! Commands as an operator gives them: signed for one device, sent until it answers or the deadline passes.

use std::path::Path;

use bytes::Bytes;
use outpost_contract::topic::Topic;
use outpost_contract::{Command, CommandId, DeviceId, Down, Operation};

use crate::db::{CommandRecord, StoredEvent};
use crate::fleet::{Fleet, FleetError};
use crate::link::Sender;

/// A signed command that its device has not answered for good.
#[derive(Debug)]
pub(crate) struct Unanswered {
    pub(crate) id: CommandId,
    pub(crate) device: DeviceId,
    pub(crate) not_after_s: i64,
    pub(crate) envelope: Vec<u8>,
}

impl Unanswered {
    /// Sends it, if there is room at once; the broker drops it at its deadline.
    pub(crate) fn send(&self, fleet: &Fleet, sender: &Sender) -> bool {
        let (topic, envelope, left_s) = self.message(fleet);
        sender.try_send_until(&topic, envelope, left_s)
    }

    /// Topic, payload, and the seconds that are left.
    pub(crate) fn message(&self, fleet: &Fleet) -> (Topic, Bytes, u32) {
        let topic = Topic::down(&fleet.inner.config.tenant, &self.device, Down::Command);
        let left_s = u32::try_from(self.not_after_s.saturating_sub(fleet.now_s())).unwrap_or(0).max(1);
        (topic, self.envelope.clone().into(), left_s)
    }
}

impl Fleet {
    /// Signs a command for a device and keeps it; a running server sends it. `valid_s` is 60 s to 24 h.
    ///
    /// # Errors
    /// [`FleetError::UnknownDevice`], or [`FleetError::BadCommand`] if no device would obey it.
    pub fn command(
        &self,
        device: &DeviceId,
        op: Operation,
        valid_s: i64,
        asked_by: &str,
    ) -> Result<CommandId, FleetError> {
        if !self.inner.database.is_admitted(device)? {
            return Err(FleetError::UnknownDevice(device.clone()));
        }
        let mut bits = [0; 16];
        getrandom::fill(&mut bits).map_err(FleetError::Random)?;
        let issued_at_s = self.now_s();
        let command = Command {
            v: 1,
            tenant: self.inner.config.tenant.clone(),
            device: device.clone(),
            id: CommandId::of(bits),
            op,
            issued_at_s,
            not_after_s: issued_at_s.saturating_add(valid_s),
            asked_by: asked_by.to_owned(),
        };
        command.check().map_err(FleetError::BadCommand)?;
        let envelope = outpost_trust::command::sign(&command, &[&self.inner.keys.director])?.to_bytes();
        self.inner.database.keep_command(&command, &envelope)?;
        self.touch();
        Ok(command.id)
    }

    /// The commands that a device was given, newest first; those of the last are remembered.
    ///
    /// # Errors
    /// [`FleetError::UnknownDevice`], or if the database fails.
    pub fn commands(&self, device: &DeviceId) -> Result<Vec<CommandRecord>, FleetError> {
        self.device(device)?;
        Ok(self.inner.database.commands(device)?)
    }

    /// One of them.
    ///
    /// # Errors
    /// [`FleetError::UnknownCommand`] if that device was not given it.
    pub fn command_record(&self, device: &DeviceId, id: &CommandId) -> Result<CommandRecord, FleetError> {
        self.inner.database.command(device, id)?.ok_or_else(|| FleetError::UnknownCommand(id.clone()))
    }

    /// What a command collected, once all of it is here.
    ///
    /// # Errors
    /// [`FleetError::UnknownCommand`] if that device was not given it.
    pub fn collected(&self, device: &DeviceId, id: &CommandId) -> Result<Option<Vec<u8>>, FleetError> {
        self.command_record(device, id)?;
        Ok(self.inner.database.collected(id)?)
    }

    /// Writes what a command collected to a file that only its owner reads; gives its bytes, or none if not all of it is here.
    ///
    /// # Errors
    /// As [`collected`](Self::collected), or if the file cannot be written.
    pub fn write_collected(&self, device: &DeviceId, id: &CommandId, path: &Path) -> Result<Option<usize>, FleetError> {
        let Some(bytes) = self.collected(device, id)? else { return Ok(None) };
        crate::files::write(path, &bytes)?;
        Ok(Some(bytes.len()))
    }

    /// What happened on a device, newest first.
    ///
    /// # Errors
    /// [`FleetError::UnknownDevice`], or if the database fails.
    pub fn events(&self, device: &DeviceId) -> Result<Vec<StoredEvent>, FleetError> {
        self.device(device)?;
        Ok(self.inner.database.events(device)?)
    }
}
