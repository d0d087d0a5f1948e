//! Takes in what devices say: hello, presence, reported state. Whatever comes twice counts once.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use outpost_contract::limits::DOCUMENT_BYTES;
use outpost_contract::topic::{Leaf, Topic};
use outpost_contract::{
    BootId, ChunkRequest, DeviceId, Down, Event, Hello, HelloAck, Presence, Reported, Response, Stored, Up,
};
use tokio::sync::{mpsc, watch};

use crate::audit::Request;
use crate::blobs::Question;
use crate::db::Contact;
use crate::fleet::{Fleet, FleetError};
use crate::link::{Heard, Sender};

/// Takes in documents on the first connection.
pub(crate) struct Ingest {
    pub(crate) fleet: Fleet,
    pub(crate) sender: Sender,
    /// Counts connections, for the director.
    pub(crate) connections: watch::Sender<u64>,
    /// Where questions about audit logs are answered.
    pub(crate) audit: mpsc::Sender<Request>,
}

impl Ingest {
    /// Runs until the link ends. Nothing here waits for the broker, which would keep the link from reading.
    pub(crate) async fn run(self, mut heard: mpsc::Receiver<Heard>) {
        while let Some(heard) = heard.recv().await {
            match heard {
                Heard::Up => {
                    self.fleet.inner.linked.store(true, Ordering::Relaxed);
                    self.connections.send_modify(|count| *count += 1);
                }
                Heard::Down => self.fleet.inner.linked.store(false, Ordering::Relaxed),
                Heard::Message { topic, payload } => {
                    if let Err(error) = self.take(&topic, payload).await {
                        tracing::error!(topic, %error, "a message is not kept; the device sends it again");
                    }
                }
            }
        }
    }

    async fn take(&self, topic: &str, payload: Bytes) -> Result<(), FleetError> {
        let Some((device, up)) = sender_of(topic, &self.fleet) else { return Ok(()) };
        if up == Up::Presence && payload.is_empty() {
            // Our own: the presence of a revoked device was withdrawn.
            return Ok(());
        }
        // A broker that is not ours may let in whom we have revoked; a retained message can outlive an admission.
        if !is_admitted(&self.fleet, &device).await? {
            return Ok(());
        }
        if matches!(up, Up::AuditCheckpoint | Up::AuditEntries) {
            if self.audit.try_send(Request { device, up, payload }).is_err() {
                tracing::warn!(topic, "too many questions about audit logs; this one is dropped and comes again");
            }
            return Ok(());
        }
        if payload.len() > DOCUMENT_BYTES {
            tracing::warn!(topic, bytes = payload.len(), "a document above the limit was ignored");
            return Ok(());
        }
        match up {
            Up::Hello => match read::<Hello>(topic, &payload) {
                Some(hello) if hello.v == 1 && hello.device == device => self.on_hello(hello).await,
                _ => Ok(()),
            },
            Up::Presence => match read::<Presence>(topic, &payload) {
                Some(presence) if presence.v == 1 => self.on_presence(device, presence).await,
                _ => Ok(()),
            },
            Up::Reported => match read::<Reported>(topic, &payload) {
                Some(reported) if reported.v == 1 && reported.device == device => self.on_reported(reported).await,
                _ => Ok(()),
            },
            Up::Response => match read::<Response>(topic, &payload) {
                Some(response) if response.v == 1 && response.device == device => self.on_response(response).await,
                _ => Ok(()),
            },
            Up::Event => match read::<Event>(topic, &payload) {
                Some(event) if event.v == 1 && event.device == device => self.on_event(event).await,
                _ => Ok(()),
            },
            // Chunks are asked for over the other connection; audit logs are answered elsewhere.
            Up::BlobRequest | Up::AuditCheckpoint | Up::AuditEntries => Ok(()),
        }
    }

    async fn on_hello(&self, hello: Hello) -> Result<(), FleetError> {
        let contact = Contact { boot: hello.boot.clone(), connection: hello.connection, online: true };
        self.note(hello.device.clone(), contact).await?;
        tracing::info!(device = %hello.device, connection = hello.connection, "hello");
        self.fleet.inner.neighbours.note(&hello.device, hello.neighbour.as_ref());
        let device = hello.device.clone();
        self.acknowledge(hello.device, hello.boot, hello.connection).await?;
        let due = self.fleet.run(move |fleet| fleet.inner.database.unanswered(Some(&device), fleet.now_s())).await?;
        for command in due {
            command.send(&self.fleet, &self.sender);
        }
        Ok(())
    }

    async fn on_presence(&self, device: DeviceId, presence: Presence) -> Result<(), FleetError> {
        let contact = Contact { boot: presence.boot, connection: presence.connection, online: presence.online };
        self.note(device, contact).await
    }

    async fn note(&self, device: DeviceId, contact: Contact) -> Result<(), FleetError> {
        let noted = self.fleet.run(move |fleet| {
            Ok::<_, FleetError>(fleet.inner.database.note_presence(&device, &contact, fleet.now_s())?)
        });
        if noted.await? {
            self.fleet.tell_news();
        }
        Ok(())
    }

    async fn on_reported(&self, reported: Reported) -> Result<(), FleetError> {
        let (device, boot, sequence) = (reported.device.clone(), reported.boot.clone(), reported.sequence);
        let kept = self.fleet.run(move |fleet| {
            let new = fleet.inner.database.keep_report(&reported, fleet.now_s())?;
            Ok::<_, FleetError>(
                new && {
                    fleet.overtake(&reported)?;
                    true
                },
            )
        });
        let new = kept.await?;
        tracing::info!(%device, sequence, new, "reported state");
        self.fleet.tell_news();
        // The device need not ask whether it arrived, if this answer arrives.
        let name = device.clone();
        match self.fleet.run(move |fleet| fleet.inner.database.contact(&name)).await? {
            Some(contact) if contact.boot == boot => self.acknowledge(device, boot, contact.connection).await,
            _ => Ok(()),
        }
    }

    async fn on_response(&self, response: Response) -> Result<(), FleetError> {
        let stored = (response.device.clone(), response.boot.clone(), response.sequence);
        let state = response.answer.state.name();
        self.fleet.run(move |fleet| fleet.inner.database.keep_response(&response, fleet.now_s())).await?;
        tracing::info!(device = %stored.0, state, "a command was answered");
        self.fleet.tell_news();
        let (device, boot, sequence) = stored;
        self.say_stored(&device, &Stored { v: 1, responses: vec![(boot, sequence)], events: Vec::new() });
        Ok(())
    }

    async fn on_event(&self, event: Event) -> Result<(), FleetError> {
        let stored = (event.device.clone(), event.boot.clone(), event.sequence);
        tracing::info!(device = %event.device, kind = event.kind.name(), "event");
        self.fleet.run(move |fleet| fleet.inner.database.keep_event(&event, fleet.now_s())).await?;
        self.fleet.tell_news();
        let (device, boot, sequence) = stored;
        self.say_stored(&device, &Stored { v: 1, responses: Vec::new(), events: vec![(boot, sequence)] });
        Ok(())
    }

    /// If it gets lost, the device says hello and sends again, and it counts once.
    fn say_stored(&self, device: &DeviceId, stored: &Stored) {
        let topic = Topic::down(&self.fleet.inner.config.tenant, device, Down::Stored);
        if let Ok(payload) = serde_json::to_vec(stored) {
            self.sender.try_send(&topic, payload.into());
        }
    }

    /// Says what is stored. If it gets lost, the device says hello again.
    async fn acknowledge(&self, device: DeviceId, boot: BootId, connection: u64) -> Result<(), FleetError> {
        let topic = Topic::down(&self.fleet.inner.config.tenant, &device, Down::HelloAck);
        let answer = self.fleet.run(move |fleet| {
            let database = &fleet.inner.database;
            // Only a device that spoke of neighbours hears of them: an older one would not understand the answer.
            let peers = fleet.inner.neighbours.of(&device, |name| database.is_online(name))?;
            let revoked = if peers.is_some() { database.newly_revoked()? } else { Vec::new() };
            Ok::<_, FleetError>(HelloAck {
                v: 1,
                desired_version: fleet.inner.database.desired_version(&device)?,
                reported_sequence: fleet.inner.database.reported_sequence(&device, &boot)?,
                server_time_s: fleet.now_s(),
                boot,
                connection,
                peers: peers.unwrap_or_default(),
                revoked,
            })
        });
        let answer = answer.await?;
        if let Ok(payload) = serde_json::to_vec(&answer) {
            let sent = self.sender.try_send(&topic, payload.into());
            tracing::debug!(%topic, sent, "acknowledged");
        }
        Ok(())
    }
}

/// Takes requests for chunks from the second connection and hands them on without waiting.
pub(crate) async fn hand_on_questions(
    fleet: Fleet,
    mut heard: mpsc::Receiver<Heard>,
    questions: mpsc::Sender<Question>,
) {
    while let Some(heard) = heard.recv().await {
        let Heard::Message { topic, payload } = heard else { continue };
        let Some((device, Up::BlobRequest)) = sender_of(&topic, &fleet) else { continue };
        let Some(request) = read::<ChunkRequest>(&topic, &payload) else { continue };
        if !is_admitted(&fleet, &device).await.unwrap_or(false) {
            continue;
        }
        if questions.try_send(Question { device, request }).is_err() {
            tracing::warn!(topic, "too many requests for chunks; this one is dropped and comes again");
        }
    }
}

async fn is_admitted(fleet: &Fleet, device: &DeviceId) -> Result<bool, FleetError> {
    let device = device.clone();
    Ok(fleet.run(move |fleet| fleet.inner.database.is_admitted(&device)).await?)
}

/// The device behind a topic of ours, and what about. The broker let only that device write there.
fn sender_of(topic: &str, fleet: &Fleet) -> Option<(DeviceId, Up)> {
    let topic: Topic = topic.parse().ok().filter(|topic: &Topic| topic.tenant == fleet.inner.config.tenant)?;
    match topic.leaf {
        Leaf::Up(up) => Some((topic.device, up)),
        Leaf::Down(_) => None,
    }
}

fn read<T: serde::de::DeserializeOwned>(topic: &str, payload: &[u8]) -> Option<T> {
    match serde_json::from_slice(payload) {
        Ok(document) => Some(document),
        Err(error) => {
            tracing::warn!(topic, %error, "a message that cannot be read was ignored");
            None
        }
    }
}
