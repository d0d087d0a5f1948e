//! Keeps one connection alive for as long as the agent runs: attempt, session, back-off, again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use outpost_contract::topic::Topic;
use outpost_contract::{AuditAnswer, AuditAsk, BootId, DeviceId, Down, HelloAck, Reported, TenantId, Up};
use outpost_disk::Clock;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::mailbox::Mailbox;
use super::session::{End, Session, presence};
use super::wire::{Message, Will};
use super::{BackOff, Connectivity, Connector, Mqtt, NOT_AUTHORIZED, Opening, Phase, Waits};
use crate::{Announcement, Class, Commands, Events, Identity, SyncDatabase, SyncError, TlsError};

/// Events that may wait for the agent in the channel.
const EVENTS: usize = 16;

/// What a link is made from.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// This start of the agent.
    pub boot: BootId,
    /// The agent's version.
    pub agent: String,
    /// Waits between attempts.
    pub back_off: BackOff,
    /// A connection this old is stable: the next failure starts at the base of the back-off again.
    pub stable_after: Duration,
    /// A hello that is not answered, or a report that is not acknowledged, is repeated after this, then ever more slowly.
    pub ask_again_after: Duration,
    /// How long the broker may be silent; 5 seconds at least.
    pub keep_alive: Duration,
    /// Name lookup, TCP, TLS and the broker's answer together.
    pub connect_timeout: Duration,
    /// How long the broker keeps the session after a cut, seconds.
    pub session_expiry_s: u32,
    /// How long the broker waits before it says that this device is gone, seconds.
    pub will_delay_s: u32,
    /// What the control plane is told of this device's site; nothing if it stands on none.
    pub announcement: Option<Announcement>,
}

impl LinkConfig {
    /// The usual values.
    #[must_use]
    pub fn new(boot: BootId, agent: &str) -> Self {
        Self {
            boot,
            agent: agent.to_owned(),
            back_off: BackOff::default(),
            stable_after: Duration::from_secs(60),
            ask_again_after: Duration::from_secs(5),
            keep_alive: Duration::from_secs(30),
            // Slow links and hardware keys need more than a few seconds.
            connect_timeout: Duration::from_secs(30),
            session_expiry_s: 3600,
            will_delay_s: 30,
            announcement: None,
        }
    }
}

/// What the link tells the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// The control plane answered: online. Follows [`LinkEvent::Down`] or the start.
    Up {
        /// Counts connections within this start of the agent, from 1.
        connection: u64,
    },
    /// The control plane is out of reach; only after an [`LinkEvent::Up`].
    Down {
        /// Why, in words.
        reason: String,
    },
    /// A desired state arrived, unverified, [`outpost_contract::limits::DOCUMENT_BYTES`] at most. May come at any time,
    /// repeatedly, also before `Up`.
    Desired(Bytes),
    /// The control plane answered a hello of this connection. Its clock is not signed: good for a comparison, not for a floor.
    HelloAck(HelloAck),
    /// The control plane has stored this device's snapshots of this boot up to this sequence.
    ReportStored {
        /// The sequence.
        sequence: u64,
    },
    /// An answer in the audit exchange: to a checkpoint ([`Down::AuditCheckpoint`]) or to records
    /// ([`Down::AuditEntries`]).
    Audit {
        /// To what.
        down: Down,
        /// The answer.
        answer: AuditAnswer,
    },
    /// A command arrived, unverified, [`outpost_contract::limits::DOCUMENT_BYTES`] at most. May come repeatedly.
    Command(Bytes),
    /// A message could not be sent and was given up.
    Undeliverable {
        /// What kind of message.
        class: Class,
        /// Its sequence.
        sequence: u64,
        /// Why, in words.
        reason: String,
    },
}

impl LinkEvent {
    /// True if a newer event of the same kind says all that this one says.
    pub(super) fn is_superseded_by_newer(&self) -> bool {
        matches!(self, Self::Desired(_) | Self::HelloAck(_) | Self::ReportStored { .. })
    }
}

/// The link.
#[derive(Debug)]
pub struct Link;

impl Link {
    /// Starts the link's task on the current tokio runtime; it runs until [`LinkHandle::stop`].
    ///
    /// The receiver must be drained; while it is not, the newest of each kind of event is kept.
    ///
    /// # Errors
    /// If key or certificates cannot be used; everything else is retried for ever.
    pub fn start(
        identity: &Identity,
        config: LinkConfig,
        database: &SyncDatabase,
        clock: &Clock,
    ) -> Result<(LinkHandle, mpsc::Receiver<LinkEvent>), TlsError> {
        let opening = Opening {
            client_id: identity.device().to_string(),
            host: identity.broker().host.clone(),
            port: identity.broker().port,
            tls: identity.tls(clock)?,
            clean_start: false,
            session_expiry_s: config.session_expiry_s,
            keep_alive: config.keep_alive,
            connect_timeout: config.connect_timeout,
            will: None,
        };
        let names = Names { tenant: identity.tenant().clone(), device: identity.device().clone() };
        Ok(Self::start_with(Arc::new(Mqtt), opening, names, config, database, clock))
    }

    pub(super) fn start_with(
        connector: Arc<dyn Connector>,
        opening: Opening,
        names: Names,
        config: LinkConfig,
        database: &SyncDatabase,
        clock: &Clock,
    ) -> (LinkHandle, mpsc::Receiver<LinkEvent>) {
        let last_contact_s = database.last_contact_s().unwrap_or_else(|error| {
            tracing::warn!(%error, "the last contact is unknown, counting from now");
            None
        });
        let last_contact_s = last_contact_s.unwrap_or_else(|| clock.now_s());
        let (connectivity, watched) =
            watch::channel(Connectivity { phase: Phase::Offline, last_contact_s, reason: None, refusals: 0 });
        let (sender, events) = mpsc::channel(EVENTS);
        let shared = Shared {
            names,
            boot: config.boot.clone(),
            agent: config.agent.clone(),
            ask_again_after: config.ask_again_after,
            announcement: config.announcement.clone(),
            database: database.clone(),
            clock: clock.clone(),
            connectivity,
            asked: Asked::default(),
            news: Arc::new(Notify::new()),
            stop: CancellationToken::new(),
        };
        let (device, boot) = (shared.names.device.clone(), shared.boot.clone());
        let (asked, news, stop) = (shared.asked.clone(), Arc::clone(&shared.news), shared.stop.clone());
        let supervisor =
            Supervisor { connector, opening, config, shared, mailbox: Mailbox::new(sender), connection: 0 };
        let task = Arc::new(tokio::sync::Mutex::new(Some(tokio::spawn(supervisor.run()))));
        let (database, clock) = (database.clone(), clock.clone());
        let said = Events { database: database.clone(), device, boot, clock, news: Arc::clone(&news) };
        (LinkHandle { database, said, asked, news, stop, connectivity: watched, task }, events)
    }
}

/// The agent's side of the link; clones speak to the same link.
#[derive(Debug, Clone)]
pub struct LinkHandle {
    database: SyncDatabase,
    said: Events,
    asked: Asked,
    news: Arc<Notify>,
    stop: CancellationToken,
    connectivity: watch::Receiver<Connectivity>,
    task: Arc<tokio::sync::Mutex<Option<JoinHandle<()>>>>,
}

impl LinkHandle {
    /// Queues a snapshot of the reported state; it replaces an older one that still waits. When this returns `Ok` it survives
    /// a power cut and is sent until the control plane has stored it ([`LinkEvent::ReportStored`]). Blocks for one small
    /// transaction.
    ///
    /// # Errors
    /// [`SyncError::TooLarge`], or if it cannot be written.
    pub fn report(&self, reported: &Reported) -> Result<(), SyncError> {
        let payload = serde_json::to_vec(reported)
            .map_err(|error| SyncError::Unreadable { what: "a report", detail: error.to_string() })?;
        self.database.outbox().put(Class::Reported, &reported.boot, reported.sequence, &payload)?;
        self.news.notify_one();
        Ok(())
    }

    /// Asks in the audit exchange: `up` is [`Up::AuditCheckpoint`] or [`Up::AuditEntries`]. Sent once, as soon as the link
    /// is online; a newer question takes the place of one that has not left. The answer comes as [`LinkEvent::Audit`], or
    /// never: the log is the truth, and who asked asks again.
    pub fn ask(&self, up: Up, ask: &AuditAsk) {
        self.asked.put(up, ask.to_bytes());
        self.news.notify_one();
    }

    /// Where events are said.
    #[must_use]
    pub fn events(&self) -> Events {
        self.said.clone()
    }

    /// The journal of commands.
    #[must_use]
    pub fn commands(&self) -> Commands {
        let Events { database, device, boot, clock, news } = self.said.clone();
        Commands { database, device, boot, clock, news }
    }

    /// Where the link stands, now and from now on.
    #[must_use]
    pub fn connectivity(&self) -> watch::Receiver<Connectivity> {
        self.connectivity.clone()
    }

    /// Says goodbye to the broker and ends the link's task, within a few seconds. What is in the outbox stays there.
    pub async fn stop(&self) {
        self.stop.cancel();
        if let Some(task) = self.task.lock().await.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the link's task failed");
        }
    }
}

/// Whose topics.
#[derive(Debug, Clone)]
pub(super) struct Names {
    pub(super) tenant: TenantId,
    pub(super) device: DeviceId,
}

impl Names {
    pub(super) fn up(&self, up: Up) -> String {
        Topic::up(&self.tenant, &self.device, up).to_string()
    }
}

/// The one question of the audit exchange that has not left; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked(Arc<Mutex<Option<(Up, Bytes)>>>);

impl Asked {
    pub(super) fn put(&self, up: Up, message: Bytes) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((up, message));
    }

    pub(super) fn take(&self) -> Option<(Up, Bytes)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Puts back what could not leave, unless something newer came.
    pub(super) fn put_back(&self, up: Up, message: Bytes) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert((up, message));
    }
}

/// What every session of the link needs.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) names: Names,
    pub(super) boot: BootId,
    pub(super) agent: String,
    pub(super) ask_again_after: Duration,
    pub(super) announcement: Option<Announcement>,
    pub(super) database: SyncDatabase,
    pub(super) clock: Clock,
    pub(super) connectivity: watch::Sender<Connectivity>,
    pub(super) asked: Asked,
    /// Something was put into the outbox, or asked.
    pub(super) news: Arc<Notify>,
    pub(super) stop: CancellationToken,
}

impl Shared {
    pub(super) fn enter(&self, phase: Phase, reason: Option<String>) {
        self.connectivity.send_modify(|now| {
            now.phase = phase;
            match (phase, &reason) {
                (Phase::Online, _) => now.refusals = 0,
                (_, Some(reason)) if reason == NOT_AUTHORIZED => now.refusals = now.refusals.saturating_add(1),
                _ => {}
            }
            now.reason = reason.or_else(|| now.reason.take());
        });
    }

    /// The control plane was heard just now.
    pub(super) fn heard(&self, persist: bool) {
        let now_s = self.clock.now_s();
        self.connectivity.send_modify(|now| now.last_contact_s = now_s);
        if persist && let Err(error) = self.database.set_last_contact_s(now_s) {
            tracing::warn!(%error, "the time of the last contact is not kept");
        }
    }
}

struct Supervisor {
    connector: Arc<dyn Connector>,
    opening: Opening,
    config: LinkConfig,
    shared: Shared,
    mailbox: Mailbox,
    connection: u64,
}

impl Supervisor {
    async fn run(mut self) {
        let mut waits = Waits::new(self.config.back_off);
        while !self.shared.stop.is_cancelled() {
            let begun = Instant::now();
            let (end, was_up) = self.attempt().await;
            let End::Lost(reason) = end else { break };
            let wait = if was_up && begun.elapsed() >= self.config.stable_after {
                waits.reset();
                waits.next()
            } else {
                waits.next()
            };
            tracing::info!(reason, wait_ms = wait.as_millis(), "the control plane is out of reach");
            self.shared.enter(Phase::Offline, Some(reason.clone()));
            if was_up {
                self.mailbox.put(LinkEvent::Down { reason });
            }
            self.wait(wait).await;
        }
        self.shared.enter(Phase::Offline, Some("the agent stopped the link".to_owned()));
    }

    /// One connection from dialling to its end; true if the control plane answered on it.
    async fn attempt(&mut self) -> (End, bool) {
        self.shared.enter(Phase::Connecting, None);
        self.connection += 1;
        let mut opening = self.opening.clone();
        opening.will = self.will();
        // The library's own limit covers this; the second one covers the library.
        let limit = self.config.connect_timeout + Duration::from_secs(5);
        let dialled = tokio::select! {
            dialled = tokio::time::timeout(limit, self.connector.connect(&opening)) => dialled,
            () = self.shared.stop.cancelled() => return (End::Stopped, false),
        };
        match dialled {
            Ok(Ok(wire)) => {
                let mut session = Session::new(&self.shared, wire, &mut self.mailbox, self.connection);
                let end = session.run(self.config.connect_timeout).await;
                (end, session.was_up())
            }
            Ok(Err(reason)) => (End::Lost(reason), false),
            Err(_) => (End::Lost(format!("no answer within {} seconds", limit.as_secs())), false),
        }
    }

    fn will(&self) -> Option<Will> {
        let payload = presence(&self.shared, self.connection, false)?;
        let message = Message { topic: self.shared.names.up(Up::Presence), payload, retain: true, expiry_s: None };
        Some(Will { message, delay_s: self.config.will_delay_s })
    }

    async fn wait(&mut self, wait: Duration) {
        let until = Instant::now() + wait;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return,
                () = self.shared.stop.cancelled() => return,
                () = self.mailbox.room() => self.mailbox.hand_over(),
            }
        }
    }
}
