//! One connection from the broker's acceptance to its end: subscribe, hello, then empty the outbox.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use outpost_contract::limits::DOCUMENT_BYTES;
use outpost_contract::topic::{Leaf, Topic};
use outpost_contract::{AuditAnswer, Down, Hello, HelloAck, Presence, Stored, Up};
use tokio::time::{Instant, sleep_until};

use super::mailbox::Mailbox;
use super::supervisor::Shared;
use super::{LinkEvent, Message, NotSent, Phase, Subscription, Wire, WireEvent};
use crate::outbox::Letter;
use crate::{Announcement, Class};

/// Questions to the control plane are repeated no more slowly than this.
const SLOWEST_ASKING: Duration = Duration::from_secs(300);

/// While all is quiet the time of the last contact is written this often: a kill makes an absence look longer by an hour at most.
const REMEMBER_CONTACT_EVERY: Duration = Duration::from_secs(3600);

/// Hellos without an answer after which the control plane counts as out of reach.
const UNANSWERED: u32 = 3;

/// A hello that waited longer than this at the broker says nothing any more, seconds.
const HELLO_EXPIRY_S: u32 = 300;

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// The connection broke, or the broker refused something that matters.
    Lost(String),
    /// The agent asked for it.
    Stopped,
}

/// A running session.
pub(super) struct Session<'a> {
    shared: &'a Shared,
    wire: Box<dyn Wire>,
    mailbox: &'a mut Mailbox,
    connection: u64,
    phase: Phase,
    /// Letters handed to this connection, by outbox id: the broker's number, then whether the broker has it.
    sent: HashMap<i64, (u64, bool)>,
    /// When to ask the control plane (again) with a hello; none if there is nothing to ask.
    ask_at: Option<Instant>,
    asking_every: Duration,
    /// Hellos since the last answer.
    unanswered: u32,
    /// The agent was told that the control plane is there, and not yet that it is gone.
    up: bool,
}

/// The presence document of a connection; `None` only if it cannot be written as JSON, which cannot happen.
pub(super) fn presence(shared: &Shared, connection: u64, online: bool) -> Option<Bytes> {
    serde_json::to_vec(&Presence { v: 1, online, boot: shared.boot.clone(), connection }).ok().map(Bytes::from)
}

impl<'a> Session<'a> {
    pub(super) fn new(shared: &'a Shared, wire: Box<dyn Wire>, mailbox: &'a mut Mailbox, connection: u64) -> Self {
        let asking_every = shared.ask_again_after;
        Self {
            shared,
            wire,
            mailbox,
            connection,
            phase: Phase::Connecting,
            sent: HashMap::new(),
            ask_at: None,
            asking_every,
            unanswered: 0,
            up: false,
        }
    }

    /// True if the agent was told that the control plane is there, and not yet that it is gone.
    pub(super) fn was_up(&self) -> bool {
        self.up
    }

    /// Runs until the connection ends. `patience` is for the broker's answer to the subscription.
    pub(super) async fn run(&mut self, patience: Duration) -> End {
        let end = match self.begin() {
            Ok(()) => self.turn(Instant::now() + patience).await,
            Err(end) => end,
        };
        if self.was_up() {
            self.shared.heard(true);
        }
        if end == End::Stopped {
            self.say_goodbye().await;
        }
        end
    }

    /// Asks for what is for this device: precise topics, so that chunks never travel on this connection.
    fn begin(&mut self) -> Result<(), End> {
        let names = &self.shared.names;
        let subscriptions =
            [Down::Desired, Down::HelloAck, Down::AuditCheckpoint, Down::AuditEntries, Down::Command, Down::Stored];
        let subscriptions = subscriptions.map(|down| Subscription {
            filter: Topic::down(&names.tenant, &names.device, down).to_string(),
            acknowledged: true,
        });
        self.wire.subscribe(&subscriptions).map_err(|_| End::Lost("the connection ended at once".to_owned()))
    }

    async fn turn(&mut self, subscribed_by: Instant) -> End {
        let mut remember_at = Instant::now() + REMEMBER_CONTACT_EVERY;
        loop {
            let never = subscribed_by + Duration::from_secs(u64::from(u32::MAX));
            let ask_at = self.ask_at.unwrap_or(never);
            let gate = if self.phase == Phase::Connecting { subscribed_by } else { never };
            let step = tokio::select! {
                event = self.wire.next() => self.on_event(event),
                () = self.shared.stop.cancelled() => return End::Stopped,
                () = self.shared.news.notified() => self.send(),
                () = self.mailbox.room() => { self.mailbox.hand_over(); Ok(()) }
                () = sleep_until(ask_at) => self.ask(),
                () = sleep_until(gate) => Err(End::Lost("the broker did not answer the subscription".to_owned())),
                () = sleep_until(remember_at) => {
                    remember_at = Instant::now() + REMEMBER_CONTACT_EVERY;
                    if self.was_up() {
                        self.shared.heard(true);
                    }
                    Ok(())
                }
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    fn on_event(&mut self, event: WireEvent) -> Result<(), End> {
        match event {
            WireEvent::Subscribed => self.on_subscribed(),
            WireEvent::NotSubscribed(why) => Err(End::Lost(format!(
                "the broker refused this device's own topics ({why}); ask the operator whether it was revoked"
            ))),
            WireEvent::Message { topic, payload, .. } => self.on_message(&topic, payload),
            WireEvent::Taken(number) => self.on_taken(number),
            WireEvent::NotTaken(number, why) => {
                tracing::warn!(why, "the broker refused a message; it is sent again after the next answer");
                self.on_taken(number)
            }
            WireEvent::Lost(reason) => Err(End::Lost(reason)),
        }
    }

    fn on_subscribed(&mut self) -> Result<(), End> {
        if self.phase != Phase::Connecting {
            return Ok(());
        }
        self.enter(Phase::Syncing);
        if let Some(payload) = presence(self.shared, self.connection, true) {
            self.publish(Up::Presence, payload, true, None)?;
        }
        self.ask()
    }

    fn on_message(&mut self, topic: &str, payload: Bytes) -> Result<(), End> {
        let names = &self.shared.names;
        let ours =
            topic.parse::<Topic>().ok().filter(|topic| topic.tenant == names.tenant && topic.device == names.device);
        match ours.map(|topic| topic.leaf) {
            Some(Leaf::Down(_)) if payload.len() > DOCUMENT_BYTES => {
                tracing::warn!(topic, bytes = payload.len(), "a document above the limit was ignored");
                Ok(())
            }
            // An empty payload deletes a retained message; nobody signed that.
            Some(Leaf::Down(Down::Desired)) if payload.is_empty() => Ok(()),
            Some(Leaf::Down(Down::Desired)) => {
                self.mailbox.put(LinkEvent::Desired(payload));
                Ok(())
            }
            Some(Leaf::Down(Down::HelloAck)) => match serde_json::from_slice(&payload) {
                Ok(answer) => self.on_answer(answer),
                Err(error) => {
                    tracing::warn!(%error, "an answer that cannot be read was ignored");
                    Ok(())
                }
            },
            Some(Leaf::Down(Down::Command)) => {
                self.mailbox.put(LinkEvent::Command(payload));
                Ok(())
            }
            Some(Leaf::Down(Down::Stored)) => match serde_json::from_slice(&payload) {
                Ok(stored) => self.on_stored(&stored),
                Err(error) => {
                    tracing::warn!(%error, "an acknowledgement that cannot be read was ignored");
                    Ok(())
                }
            },
            Some(Leaf::Down(down @ (Down::AuditCheckpoint | Down::AuditEntries))) => {
                match AuditAnswer::parse(&payload) {
                    Some(answer) => self.mailbox.put(LinkEvent::Audit { down, answer }),
                    None => tracing::warn!(topic, "an answer that cannot be read was ignored"),
                }
                Ok(())
            }
            _ => {
                tracing::debug!(topic, "a message that is not for this connection was ignored");
                Ok(())
            }
        }
    }

    fn on_answer(&mut self, answer: HelloAck) -> Result<(), End> {
        if answer.v != 1 || answer.boot != self.shared.boot || answer.connection > self.connection {
            tracing::debug!("an answer to another hello was ignored");
            return Ok(());
        }
        let stored = answer.reported_sequence;
        match self.shared.database.outbox().acknowledge(Class::Reported, &self.shared.boot, stored) {
            Ok(true) => {
                self.asking_every = self.shared.ask_again_after;
                self.mailbox.put(LinkEvent::ReportStored { sequence: stored });
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "an acknowledgement is not kept; the report is sent again"),
        }
        if answer.connection == self.connection {
            self.unanswered = 0;
            if self.phase == Phase::Syncing {
                self.asking_every = self.shared.ask_again_after;
                self.enter(Phase::Online);
                self.up = true;
                self.shared.heard(true);
                self.mailbox.put(LinkEvent::Up { connection: self.connection });
            } else {
                self.shared.heard(false);
            }
            self.mailbox.put(LinkEvent::HelloAck(answer));
            self.ask_at = None;
            // Whatever the broker had taken and the control plane does not know of was lost between them.
            self.sent.retain(|_, (_, taken)| !*taken);
        }
        self.send()
    }

    /// The control plane has answers or events: they leave the outbox, and it is there.
    fn on_stored(&mut self, stored: &Stored) -> Result<(), End> {
        if stored.v != 1 {
            return Ok(());
        }
        let outbox = self.shared.database.outbox();
        for (class, letters) in [(Class::Response, &stored.responses), (Class::Event, &stored.events)] {
            if letters.is_empty() {
                continue;
            }
            match outbox.acknowledge_each(class, letters) {
                Ok(true) => self.asking_every = self.shared.ask_again_after,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "an acknowledgement is not kept; the message is sent again"),
            }
        }
        self.send()?;
        if self.phase == Phase::Online {
            self.unanswered = 0;
            self.shared.heard(false);
            // Nothing is left to ask about.
            if self.sent.is_empty() {
                self.ask_at = None;
            }
        }
        Ok(())
    }

    fn on_taken(&mut self, number: u64) -> Result<(), End> {
        for (sent, taken) in self.sent.values_mut() {
            if *sent == number {
                *taken = true;
                // The broker having it means nothing yet; ask the control plane, unless it speaks first.
                self.ask_at.get_or_insert_with(|| Instant::now() + self.asking_every);
            }
        }
        self.send()
    }

    /// Hands over what waits, as far as there is room.
    fn send(&mut self) -> Result<(), End> {
        self.send_letters()?;
        self.send_asked()
    }

    /// Hands over the question of the audit exchange, if one waits. Whether it arrived, only its answer tells.
    fn send_asked(&mut self) -> Result<(), End> {
        if self.phase != Phase::Online {
            return Ok(());
        }
        let Some((up, payload)) = self.shared.asked.take() else { return Ok(()) };
        let message =
            Message { topic: self.shared.names.up(up), payload: payload.clone(), retain: false, expiry_s: None };
        match self.wire.publish(message) {
            Ok(_) => Ok(()),
            Err(NotSent::NoRoom) => {
                self.shared.asked.put_back(up, payload);
                Ok(())
            }
            Err(NotSent::TooLarge { bytes, most }) => {
                tracing::error!(
                    bytes,
                    most,
                    "records of the audit log do not fit the broker's packets; raise its limit"
                );
                Ok(())
            }
            Err(NotSent::Closed) => Err(End::Lost("the connection ended".to_owned())),
        }
    }

    /// Hands over every letter that this connection has not had yet, as far as there is room.
    fn send_letters(&mut self) -> Result<(), End> {
        if self.phase != Phase::Online {
            return Ok(());
        }
        let waiting = match self.shared.database.outbox().waiting() {
            Ok(waiting) => waiting,
            Err(error) => {
                tracing::error!(%error, "the outbox cannot be read");
                return Ok(());
            }
        };
        let still: HashSet<i64> = waiting.iter().copied().collect();
        self.sent.retain(|id, _| still.contains(id));
        for id in waiting {
            if self.sent.contains_key(&id) {
                continue;
            }
            let letter = match self.shared.database.outbox().letter(id) {
                Ok(Some(letter)) => letter,
                Ok(None) => continue,
                Err(error) => {
                    tracing::error!(%error, "the outbox cannot be read");
                    return Ok(());
                }
            };
            let topic = self.shared.names.up(letter.class.topic());
            let message = Message { topic, payload: letter.payload.clone(), retain: false, expiry_s: None };
            match self.wire.publish(message) {
                Ok(number) => {
                    self.sent.insert(letter.id, (number, false));
                }
                Err(NotSent::NoRoom) => break,
                Err(NotSent::TooLarge { bytes, most }) => self.give_up(&letter, bytes, most),
                Err(NotSent::Closed) => return Err(End::Lost("the connection ended".to_owned())),
            }
        }
        Ok(())
    }

    fn give_up(&mut self, letter: &Letter, bytes: usize, most: usize) {
        let reason = format!("it needs {bytes} bytes, the broker takes {most}; raise the broker's packet limit");
        let class = letter.class;
        tracing::error!(class = class.name(), sequence = letter.sequence, reason, "a message cannot be delivered");
        if let Err(error) = self.shared.database.outbox().bury(letter, &reason) {
            tracing::error!(%error, "an undeliverable message stays in the outbox");
        }
        self.mailbox.put(LinkEvent::Undeliverable { class, sequence: letter.sequence, reason });
    }

    /// Says hello; the answer tells what the control plane has. Asked again until answered, ever more slowly.
    fn ask(&mut self) -> Result<(), End> {
        if self.up && self.unanswered >= UNANSWERED {
            // The broker is there and the control plane is not: that is offline, whatever the connection looks like.
            let reason = "the control plane does not answer, its broker does".to_owned();
            self.phase = Phase::Syncing;
            self.up = false;
            self.shared.enter(Phase::Syncing, Some(reason.clone()));
            self.mailbox.put(LinkEvent::Down { reason });
        }
        self.unanswered += 1;
        let accepted = self.shared.database.accepted().version().unwrap_or_else(|error| {
            tracing::warn!(%error, "the accepted version is unknown");
            0
        });
        let hello = Hello {
            v: 1,
            device: self.shared.names.device.clone(),
            boot: self.shared.boot.clone(),
            connection: self.connection,
            agent: self.shared.agent.clone(),
            desired_version: accepted,
            neighbour: self.shared.announcement.as_ref().map(Announcement::now),
        };
        if let Ok(payload) = serde_json::to_vec(&hello) {
            self.publish(Up::Hello, payload.into(), false, Some(HELLO_EXPIRY_S))?;
        }
        self.ask_at = Some(Instant::now() + self.asking_every);
        self.asking_every = (self.asking_every * 2).min(SLOWEST_ASKING);
        Ok(())
    }

    fn publish(&mut self, up: Up, payload: Bytes, retain: bool, expiry_s: Option<u32>) -> Result<(), End> {
        let message = Message { topic: self.shared.names.up(up), payload, retain, expiry_s };
        match self.wire.publish(message) {
            // No room: what is said here is said again soon.
            Ok(_) | Err(NotSent::NoRoom) => Ok(()),
            Err(NotSent::TooLarge { bytes, most }) => Err(End::Lost(format!(
                "a message of {bytes} bytes does not fit the broker's {most}; raise its packet limit"
            ))),
            Err(NotSent::Closed) => Err(End::Lost("the connection ended".to_owned())),
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.shared.enter(phase, None);
    }

    async fn say_goodbye(&mut self) {
        if let Some(payload) = presence(self.shared, self.connection, false)
            && self.phase != Phase::Connecting
            && self.publish(Up::Presence, payload, true, None).is_err()
        {
            return;
        }
        self.wire.close().await;
    }
}
