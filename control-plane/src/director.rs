//! The director: signs what each device should run, and keeps the newest of it retained at the broker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outpost_contract::topic::Topic;
use outpost_contract::{
    CommandId, Desired, DesiredModel, DeviceId, Down, ReasonCode, Reported, TargetKind, TargetPin, Up,
};
use tokio::sync::watch;
use tokio::time::{Instant, interval};

use crate::broker::{BULK_SUFFIX, Broker, PROOF_SUFFIX};
use crate::db::{Assignment, StoredTarget};
use crate::fleet::{Fleet, FleetError};
use crate::link::{self, LinkOptions, Sender};
use crate::revocation::RevocationList;

const DAY_S: i64 = 24 * 60 * 60;

/// How often it is looked whether another process (the command line) changed something.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How often it is looked whether something is getting old.
const TEND_EVERY: Duration = Duration::from_secs(60 * 60);

/// Versions above this one are not overtaken. A device goes forward by `MOST_STEP` at most, so none gets here but one
/// that lies, or one that met a thief of the director key before it met us; that one is enrolled again.
const MOST_OVERTAKEN: u64 = 1 << 33;

/// Whoever was admitted in the moment of its revocation is connected by then: the broker's longest handshake, and a bit.
const PUT_OUT_AGAIN_AFTER: Duration = Duration::from_secs(12);

impl Fleet {
    /// Signs and keeps the next desired state of a device. Returns its version.
    pub(crate) fn sign(&self, device: &DeviceId, assignment: &Assignment) -> Result<u64, FleetError> {
        let inner = &self.inner;
        let catalogue = self.catalogue()?;
        let targets = inner.database.targets()?;
        let model = assignment.model.as_ref().map(|model| {
            let mut variants: Vec<&StoredTarget> = targets
                .iter()
                .filter(|target| matches!(&target.kind, TargetKind::Variant(facts) if facts.model.model == *model))
                .collect();
            if variants.is_empty() {
                return Err(FleetError::UnknownModel(model.to_string()));
            }
            // Best first, for people who read it; the device's planner decides.
            variants.sort_by_key(|target| match &target.kind {
                TargetKind::Variant(facts) => std::cmp::Reverse(facts.quality_milli),
                _ => std::cmp::Reverse(0),
            });
            Ok(DesiredModel {
                model: model.clone(),
                variants: variants.into_iter().map(pin).collect(),
                minimum_context_tokens: assignment.minimum_context_tokens,
            })
        });
        let model = model.transpose()?;
        let policy = targets.iter().find(|target| matches!(target.kind, TargetKind::Policy(_))).map(pin);
        let issued_at_s = self.now_s();
        let not_after_s = issued_at_s + i64::from(inner.config.desired_days) * DAY_S;
        let desired = Desired {
            v: 1,
            tenant: inner.config.tenant.clone(),
            device: device.clone(),
            version: 0,
            issued_at_s,
            not_after_s,
            catalogue,
            model,
            policy,
            rollout: None,
        };
        // A thief of the director key, or a database from a backup, may have left the device ahead of us.
        let reported = inner.database.device(device)?.and_then(|summary| summary.reported);
        let after = reported.map_or(0, |reported| reported.desired_version);
        let after = if after <= MOST_OVERTAKEN { after } else { 0 };
        inner.database.sign_next(device, after, not_after_s, |version| {
            let desired = Desired { version, ..desired };
            Ok(outpost_trust::desired::sign(&desired, &inner.keys.directors())?.to_bytes())
        })
    }

    /// Signs anew for every device that has an assignment: the catalogue has changed.
    pub(crate) fn sign_all(&self) -> Result<(), FleetError> {
        for (device, assignment, ..) in self.inner.database.assignments()? {
            self.sign(&device, &assignment)?;
        }
        Ok(())
    }

    /// Signs anew for a device that says it has accepted what was never signed here, or something else of the same
    /// version: it will not go back, so the version goes forward. True if it did.
    pub(crate) fn overtake(&self, reported: &Reported) -> Result<bool, FleetError> {
        let database = &self.inner.database;
        let signed = database.desired_version(&reported.device)?;
        let refused = reported.reasons.iter().any(|reason| reason.code == ReasonCode::Rollback);
        if reported.desired_version > MOST_OVERTAKEN {
            tracing::error!(device = %reported.device, reported = reported.desired_version,
                "the device says that it accepted a version that none can have reached; enrol it again");
            return Ok(false);
        }
        if signed == 0 || reported.desired_version < signed || (reported.desired_version == signed && !refused) {
            return Ok(false);
        }
        let Some((device, assignment, ..)) =
            database.assignments()?.into_iter().find(|(device, ..)| *device == reported.device)
        else {
            return Ok(false);
        };
        let version = self.sign(&device, &assignment)?;
        tracing::warn!(%device, reported = reported.desired_version, version,
            "the device is ahead of this database (was it set back, or is a director key stolen?); it is overtaken");
        self.touch();
        Ok(true)
    }

    /// Signs anew what a device that comes back after weeks could not accept any more.
    pub(crate) fn sign_aging(&self) -> Result<(), FleetError> {
        let half_s = i64::from(self.inner.config.desired_days) * DAY_S / 2;
        for (device, assignment, version, not_after_s) in self.inner.database.assignments()? {
            if version > 0 && not_after_s - self.now_s() < half_s {
                self.sign(&device, &assignment)?;
            }
        }
        Ok(())
    }
}

fn pin(target: &StoredTarget) -> TargetPin {
    TargetPin {
        name: target.name.clone(),
        length: target.bytes.len() as u64,
        sha256: target.sha256,
        release: target.kind.release(),
    }
}

/// Ends the connections of a revoked device.
pub(crate) enum Doorkeeper {
    /// The broker inside is told.
    Inside(Arc<Broker>),
    /// At any other, connecting under the same client id ends the connection and its session.
    Outside(LinkOptions),
}

impl Doorkeeper {
    async fn put_out(&self, client_id: &str) {
        match self {
            Self::Inside(broker) => broker.kick(client_id).await,
            Self::Outside(options) => {
                let options = LinkOptions { client_id: client_id.to_owned(), ..options.clone() };
                if let Err(error) = link::take_over(&options).await {
                    tracing::warn!(client_id, error, "a session could not be ended");
                }
            }
        }
    }
}

/// Keeps the broker's retained messages equal to the database, and revoked devices out.
pub(crate) struct Director {
    pub(crate) fleet: Fleet,
    pub(crate) sender: Sender,
    pub(crate) broker: Doorkeeper,
    pub(crate) list: RevocationList,
    /// Counts connections to the broker; each starts with nothing published.
    pub(crate) connections: watch::Receiver<u64>,
}

/// What this connection has published and whom it has put out.
#[derive(Debug, Default)]
struct Done {
    published: BTreeMap<DeviceId, u64>,
    revoked: BTreeSet<DeviceId>,
    /// When revoked devices are put out for a second time.
    put_out_again: BTreeMap<DeviceId, Instant>,
    commands: BTreeSet<CommandId>,
    /// Something could not be sent: it is tried again soon.
    is_behind: bool,
}

impl Director {
    /// Runs until it is dropped.
    pub(crate) async fn run(mut self) {
        let mut changed = self.fleet.inner.changed.subscribe();
        let mut look = interval(LOOK_EVERY);
        let mut done = Done::default();
        let mut seen_foreign = None;
        let mut tend_at = Instant::now();
        loop {
            tokio::select! {
                _ = changed.changed() => {}
                Ok(()) = self.connections.changed() => done = Done::default(),
                _ = look.tick() => {
                    self.put_out_again(&mut done).await;
                    if Instant::now() >= tend_at {
                        tend_at = Instant::now() + TEND_EVERY;
                        self.tend().await;
                    }
                    let foreign = self.fleet.run(|fleet| fleet.inner.database.foreign_changes()).await.ok();
                    if foreign == seen_foreign && !done.is_behind {
                        continue;
                    }
                    seen_foreign = foreign;
                    self.fleet.tell_news();
                }
            }
            if let Err(error) = self.publish(&mut done).await {
                tracing::error!(%error, "the desired states cannot be read; they are tried again");
            }
        }
    }

    /// Renews what is getting old.
    async fn tend(&self) {
        let renewed = self.fleet.run(|fleet| fleet.refresh_catalogue().and_then(|_| fleet.sign_aging())).await;
        if let Err(error) = renewed {
            tracing::error!(%error, "catalogue and desired states cannot be renewed");
        }
    }

    async fn publish(&mut self, done: &mut Done) -> Result<(), FleetError> {
        done.is_behind = false;
        if let Err(error) = self.list.keep(&self.fleet).await {
            tracing::error!(%error, "the revocation list cannot be written; it is tried again");
            done.is_behind = true;
        }
        let revoked = self.fleet.run(|fleet| fleet.inner.database.revoked()).await?;
        done.revoked.retain(|device| revoked.contains(device));
        for device in revoked {
            if done.revoked.contains(&device) {
                continue;
            }
            // First what matters: a device that is put out comes back at once if the broker lets it.
            if self.withdraw(&device).await {
                self.put_out(&device).await;
                done.published.remove(&device);
                done.put_out_again.insert(device.clone(), Instant::now() + PUT_OUT_AGAIN_AFTER);
                done.revoked.insert(device);
            } else {
                done.is_behind = true;
            }
        }
        self.publish_commands(done).await?;
        for (device, version, envelope) in self.fleet.run(|fleet| fleet.inner.database.signed()).await? {
            let newest = done.published.get(&device).is_some_and(|published| *published >= version);
            if newest {
                continue;
            }
            if self.send(&device, envelope.into()).await {
                tracing::info!(%device, version, "desired state published");
                done.published.insert(device, version);
            } else {
                done.is_behind = true;
            }
        }
        Ok(())
    }

    /// Ends every session of a device; the broker forgets what it kept for them.
    async fn put_out(&self, device: &DeviceId) {
        for suffix in ["", BULK_SUFFIX, PROOF_SUFFIX] {
            self.broker.put_out(&format!("{device}{suffix}")).await;
        }
    }

    /// Takes back what the broker retains for and of a device; true if it was handed over.
    async fn withdraw(&self, device: &DeviceId) -> bool {
        let presence = Topic::up(&self.fleet.inner.config.tenant, device, Up::Presence);
        self.send(device, Bytes::new()).await && self.sender.send_retained(&presence, Bytes::new()).await
    }

    /// Puts out once more who was being let in while it was revoked, with what its will has left.
    async fn put_out_again(&self, done: &mut Done) {
        let now = Instant::now();
        let due: Vec<DeviceId> =
            done.put_out_again.iter().filter(|(_, at)| **at <= now).map(|(device, _)| device.clone()).collect();
        for device in due {
            let name = device.clone();
            let admitted = self.fleet.run(move |fleet| fleet.inner.database.is_admitted(&name)).await;
            if !admitted.unwrap_or(true) {
                self.put_out(&device).await;
                if !self.withdraw(&device).await {
                    continue;
                }
                // If it enrols again in this moment, what is published for it must not be lost with the rest.
                done.published.remove(&device);
            }
            done.put_out_again.remove(&device);
        }
    }

    /// Commands that nobody has answered, once on each connection; a device that comes back gets them again from whoever
    /// hears its hello.
    async fn publish_commands(&self, done: &mut Done) -> Result<(), FleetError> {
        let due = self.fleet.run(|fleet| fleet.inner.database.unanswered(None, fleet.now_s())).await?;
        done.commands.retain(|id| due.iter().any(|one| one.id == *id));
        for command in due {
            if done.commands.contains(&command.id) {
                continue;
            }
            if command.send(&self.fleet, &self.sender) {
                tracing::info!(device = %command.device, id = %command.id, "command published");
                done.commands.insert(command.id);
            } else {
                done.is_behind = true;
            }
        }
        Ok(())
    }

    async fn send(&self, device: &DeviceId, payload: Bytes) -> bool {
        let topic = Topic::down(&self.fleet.inner.config.tenant, device, Down::Desired);
        self.sender.send_retained(&topic, payload).await
    }
}
