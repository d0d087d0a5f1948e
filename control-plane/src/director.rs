//! The director: keeps the newest of what was signed for each device retained at the broker, and revoked devices out. Of several
//! servers, that of the leader does; the others only keep their revocation lists, and begin anew when they lead.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outpost_contract::topic::Topic;
use outpost_contract::{CommandId, DeviceId, Down, Up};
use tokio::sync::watch;
use tokio::time::{Instant, interval};

use crate::broker::{BULK_SUFFIX, Broker, PROOF_SUFFIX};
use crate::fleet::{Fleet, FleetError};
use crate::link::{self, LinkOptions, Sender};
use crate::revocation::RevocationList;

/// How often it is looked whether another process (the command line) changed something.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How often it is looked whether something is getting old.
const TEND_EVERY: Duration = Duration::from_secs(60 * 60);

/// How often it is looked whether somebody left half of the devices untold.
const SETTLE_EVERY: Duration = Duration::from_secs(60);

/// Documents that are read at once.
const DOCUMENTS: usize = 64;

/// Whoever was admitted in the moment of its revocation is connected by then: the broker's longest handshake, and a bit.
const PUT_OUT_AGAIN_AFTER: Duration = Duration::from_secs(12);

/// Ends the connections of a revoked device.
pub(crate) enum Doorkeeper {
    /// The broker inside is told.
    Inside(Arc<Broker>),
    /// At any other, connecting under the same client id ends the connection and its session.
    Outside(LinkOptions),
}

impl Doorkeeper {
    /// True if there is no such session any more.
    async fn put_out(&self, client_id: &str) -> bool {
        match self {
            Self::Inside(broker) => broker.kick(client_id).await,
            Self::Outside(options) => {
                let options = LinkOptions { client_id: client_id.to_owned(), ..options.clone() };
                if let Err(error) = link::take_over(&options).await {
                    tracing::warn!(client_id, error, "a session could not be ended");
                    return false;
                }
                true
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
    /// Which connection.
    connection: u64,
    published: BTreeMap<DeviceId, u64>,
    revoked: BTreeSet<DeviceId>,
    /// When revoked devices are put out for a second time.
    put_out_again: BTreeMap<DeviceId, Instant>,
    /// Who was put out for the second time since its revocation: outlives the connection.
    out: BTreeSet<DeviceId>,
    commands: BTreeSet<CommandId>,
    /// Something could not be sent: it is tried again soon.
    is_behind: bool,
}

impl Done {
    /// Nothing is known of what a new connection's broker holds; sessions that were ended stay so.
    fn on_new_connection(self, connection: u64) -> Self {
        Self { connection, out: self.out, ..Self::default() }
    }
}

impl Director {
    /// Runs until it is dropped.
    pub(crate) async fn run(mut self) {
        let mut changed = self.fleet.inner.changed.subscribe();
        let mut look = interval(LOOK_EVERY);
        let mut done = Done::default();
        let mut seen_foreign = None;
        let (mut tend_at, mut settle_at) = (Instant::now(), Instant::now());
        loop {
            tokio::select! {
                _ = changed.changed() => {}
                Ok(()) = self.connections.changed() => {}
                _ = look.tick() => {
                    let leads = self.fleet.leads();
                    if leads {
                        self.put_out_again(&mut done).await;
                    }
                    if leads && Instant::now() >= tend_at {
                        tend_at = Instant::now() + TEND_EVERY;
                        self.tend().await;
                    }
                    if leads && Instant::now() >= settle_at {
                        settle_at = Instant::now() + SETTLE_EVERY;
                        if let Err(error) = self.fleet.run(Fleet::settle_owed).await {
                            tracing::error!(%error, "devices that were not told of a change are told later");
                        }
                    }
                    let foreign = self.fleet.run(|fleet| fleet.inner.database.foreign_changes()).await.ok();
                    if foreign == seen_foreign && !done.is_behind {
                        continue;
                    }
                    seen_foreign = foreign;
                    self.fleet.tell_news();
                }
            }
            if !self.fleet.leads() {
                done = Done { is_behind: !self.keep_list().await, ..Done::default() };
                continue;
            }
            // By whose turn it is to send, not by the word that comes after it: what was published in between is not said twice.
            let connection = self.sender.connection();
            if connection != done.connection {
                done = done.on_new_connection(connection);
            }
            if let Err(error) = self.publish(&mut done).await {
                tracing::error!(%error, "the desired states cannot be read; they are tried again");
            }
        }
    }

    /// Renews what is getting old; one thing that cannot be renewed keeps nothing else from it.
    async fn tend(&self) {
        let renew = |fleet: &Fleet| {
            let failed = [fleet.refresh_catalogue().err(), fleet.sign_aging().err()];
            fleet.settle_awaited(None);
            failed
        };
        for error in self.fleet.run(renew).await.into_iter().flatten() {
            tracing::error!(%error, "the catalogue or desired states cannot be renewed");
        }
    }

    /// True if the revocation list is written.
    async fn keep_list(&mut self) -> bool {
        let kept = self.list.keep(&self.fleet).await;
        if let Err(error) = &kept {
            tracing::error!(%error, "the revocation list cannot be written; it is tried again");
        }
        kept.is_ok()
    }

    async fn publish(&mut self, done: &mut Done) -> Result<(), FleetError> {
        done.is_behind = !self.keep_list().await;
        // Ending a session takes a connection of its own at a broker that is not ours, and after a start all that were ever revoked
        // are ended: nobody waits behind them. Until it is out, a revoked device has nothing signed that others would not have.
        self.publish_commands(done).await?;
        self.publish_signed(done).await?;
        self.put_revoked_out(done).await
    }

    /// Takes back what is retained for revoked devices, and ends their sessions.
    async fn put_revoked_out(&self, done: &mut Done) -> Result<(), FleetError> {
        let revoked = self.fleet.run(|fleet| fleet.inner.database.revoked()).await?;
        let revoked: BTreeSet<DeviceId> = revoked.into_iter().collect();
        done.revoked.retain(|device| revoked.contains(device));
        // Who enrolled again and is revoked again is put out again.
        done.out.retain(|device| revoked.contains(device));
        for device in revoked {
            if done.revoked.contains(&device) {
                continue;
            }
            // First what matters: a device that is put out comes back at once if the broker lets it.
            if self.withdraw(&device).await {
                done.published.remove(&device);
                // What is retained can come back with a broker that lost it and its newest writes; a session that was ended
                // cannot, and ending one takes a connection of its own.
                if !done.out.contains(&device) {
                    self.put_out(&device).await;
                    done.put_out_again.insert(device.clone(), Instant::now() + PUT_OUT_AGAIN_AFTER);
                    // Its will has spoken when it was put out; what is left of that goes once more when it is put out again.
                    if !self.withdraw_presence(&device).await {
                        done.is_behind = true;
                        continue;
                    }
                }
                done.revoked.insert(device);
            } else {
                done.is_behind = true;
            }
        }
        Ok(())
    }

    /// What was signed and is not published yet.
    async fn publish_signed(&self, done: &mut Done) -> Result<(), FleetError> {
        let versions = self.fleet.run(|fleet| fleet.inner.database.signed_versions()).await?;
        let is_new = |(device, version): &(DeviceId, u64)| {
            done.published.get(device).is_none_or(|published| published < version)
        };
        let due: Vec<DeviceId> = versions.into_iter().filter(is_new).map(|(device, _)| device).collect();
        for some in due.chunks(DOCUMENTS) {
            let some = some.to_vec();
            for (device, version, envelope) in
                self.fleet.run(move |fleet| fleet.inner.database.signed_for(&some)).await?
            {
                // Whoever leads no more must not put an older state in the place of a newer one.
                if self.sender.connection() != done.connection || !self.fleet.leads() {
                    done.is_behind = true;
                    return Ok(());
                }
                if self.send(&device, envelope.into()).await {
                    tracing::info!(%device, version, "desired state published");
                    done.published.insert(device, version);
                } else {
                    done.is_behind = true;
                }
            }
        }
        Ok(())
    }

    /// Ends every session of a device; the broker forgets what it kept for them. True if all are known to be ended.
    async fn put_out(&self, device: &DeviceId) -> bool {
        let mut is_out = true;
        for suffix in ["", BULK_SUFFIX, PROOF_SUFFIX] {
            is_out &= self.broker.put_out(&format!("{device}{suffix}")).await;
        }
        is_out
    }

    /// Takes back what the broker retains for and of a device; true if it was handed over.
    async fn withdraw(&self, device: &DeviceId) -> bool {
        self.send(device, Bytes::new()).await && self.withdraw_presence(device).await
    }

    /// Takes back what the broker retains of a device; true if it was handed over.
    async fn withdraw_presence(&self, device: &DeviceId) -> bool {
        let presence = Topic::up(&self.fleet.inner.config.tenant, device, Up::Presence);
        self.sender.send_retained(&presence, Bytes::new()).await
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
                let is_out = self.put_out(&device).await;
                if !self.withdraw(&device).await {
                    continue;
                }
                if is_out {
                    done.out.insert(device.clone());
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
