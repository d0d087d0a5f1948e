//! What one message does to the database, and what is said once that is on the disk. Whatever comes twice counts once.

use std::time::Instant;

use bytes::Bytes;
use outpost_contract::limits::DOCUMENT_BYTES;
use outpost_contract::topic::Topic;
use outpost_contract::{BootId, DeviceId, Down, Event, Hello, HelloAck, Presence, Reported, Response, Stored, Up};
use serde::Serialize;
use tokio::sync::mpsc;

use super::{read, sender_of};
use crate::audit::Request;
use crate::db::Contact;
use crate::fleet::{Fleet, FleetError};

/// Takes messages in. Its methods block.
pub(super) struct Intake {
    pub(super) fleet: Fleet,
    pub(super) audit: mpsc::Sender<Request>,
}

/// An answer. If it gets lost, the device says hello and sends again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Saying {
    pub(super) topic: Topic,
    pub(super) payload: Bytes,
    /// Whoever has not got it after so many seconds does not get it.
    pub(super) expiry_s: Option<u32>,
}

/// What follows from messages that are kept.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) say: Vec<Saying>,
    /// Somebody may wait for what was said.
    pub(super) is_news: bool,
}

impl Intake {
    /// Keeps messages in their order, in one transaction. One that cannot be kept spoils no other.
    pub(super) fn take_all(&self, messages: Vec<(String, Bytes)>) -> Result<Outcome, FleetError> {
        let database = &self.fleet.inner.database;
        let began = Instant::now();
        let taken = database.together(|| {
            let mut whole = Outcome::default();
            for (topic, payload) in messages {
                let mut outcome = Outcome::default();
                let taken = database.together(|| self.take(&topic, payload, &mut outcome));
                self.count(&topic, taken.is_ok());
                match taken {
                    Ok(()) => {
                        whole.say.append(&mut outcome.say);
                        whole.is_news |= outcome.is_news;
                    }
                    Err(error) => tracing::error!(topic, %error, "a message is not kept; the device sends it again"),
                }
            }
            Ok(whole)
        });
        self.fleet.inner.metrics.transaction(began.elapsed());
        taken
    }

    /// Counts a message by the name of its topic, which is one of ours.
    fn count(&self, topic: &str, is_kept: bool) {
        if let Some((_, up)) = sender_of(topic, &self.fleet) {
            self.fleet.inner.metrics.message(kind(up), is_kept);
        }
    }

    fn take(&self, topic: &str, payload: Bytes, outcome: &mut Outcome) -> Result<(), FleetError> {
        let Some((device, up)) = sender_of(topic, &self.fleet) else { return Ok(()) };
        if up == Up::Presence && payload.is_empty() {
            // Our own: the presence of a revoked device was withdrawn.
            return Ok(());
        }
        // A broker that is not ours may let in whom we have revoked; a retained message can outlive an admission.
        if !self.fleet.inner.database.is_admitted(&device)? {
            return Ok(());
        }
        if matches!(up, Up::AuditCheckpoint | Up::AuditEntries) {
            // Every server hears it; the one that leads has the mirrors.
            if self.fleet.leads() && self.audit.try_send(Request { device, up, payload }).is_err() {
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
                Some(hello) if hello.v == 1 && hello.device == device => self.on_hello(hello, outcome),
                _ => Ok(()),
            },
            Up::Presence => match read::<Presence>(topic, &payload) {
                Some(presence) if presence.v == 1 => self.on_presence(&device, presence, outcome),
                _ => Ok(()),
            },
            Up::Reported => match read::<Reported>(topic, &payload) {
                Some(reported) if reported.v == 1 && reported.device == device => self.on_reported(&reported, outcome),
                _ => Ok(()),
            },
            Up::Response => match read::<Response>(topic, &payload) {
                Some(response) if response.v == 1 && response.device == device => self.on_response(response, outcome),
                _ => Ok(()),
            },
            Up::Event => match read::<Event>(topic, &payload) {
                Some(event) if event.v == 1 && event.device == device => self.on_event(event, outcome),
                _ => Ok(()),
            },
            // Chunks are asked for over the other connection; audit logs are answered elsewhere.
            Up::BlobRequest | Up::AuditCheckpoint | Up::AuditEntries => Ok(()),
        }
    }

    fn on_hello(&self, hello: Hello, outcome: &mut Outcome) -> Result<(), FleetError> {
        let fleet = &self.fleet;
        let contact = Contact { boot: hello.boot.clone(), connection: hello.connection, online: true };
        self.note(&hello.device, &contact, outcome)?;
        tracing::info!(device = %hello.device, connection = hello.connection, "hello");
        fleet.inner.neighbours.note(&hello.device, hello.neighbour.as_ref());
        self.acknowledge(&hello.device, hello.boot, hello.connection, outcome)?;
        for command in fleet.inner.database.unanswered(Some(&hello.device), fleet.now_s())? {
            let (topic, payload, left_s) = command.message(fleet);
            outcome.say.push(Saying { topic, payload, expiry_s: Some(left_s) });
        }
        Ok(())
    }

    fn on_presence(&self, device: &DeviceId, presence: Presence, outcome: &mut Outcome) -> Result<(), FleetError> {
        let contact = Contact { boot: presence.boot, connection: presence.connection, online: presence.online };
        self.note(device, &contact, outcome)
    }

    fn note(&self, device: &DeviceId, contact: &Contact, outcome: &mut Outcome) -> Result<(), FleetError> {
        outcome.is_news |= self.fleet.inner.database.note_presence(device, contact, self.fleet.now_s())?;
        Ok(())
    }

    fn on_reported(&self, reported: &Reported, outcome: &mut Outcome) -> Result<(), FleetError> {
        let database = &self.fleet.inner.database;
        let new = database.keep_report(reported, self.fleet.now_s())?;
        if new {
            self.fleet.overtake(reported)?;
        }
        tracing::info!(device = %reported.device, sequence = reported.sequence, new, "reported state");
        outcome.is_news = true;
        // The device need not ask whether it arrived, if this answer arrives.
        match database.contact(&reported.device)? {
            Some(contact) if contact.boot == reported.boot => {
                self.acknowledge(&reported.device, contact.boot, contact.connection, outcome)
            }
            _ => Ok(()),
        }
    }

    fn on_response(&self, response: Response, outcome: &mut Outcome) -> Result<(), FleetError> {
        self.fleet.inner.database.keep_response(&response, self.fleet.now_s())?;
        tracing::info!(device = %response.device, state = response.answer.state.name(), "a command was answered");
        outcome.is_news = true;
        let stored = Stored { v: 1, responses: vec![(response.boot, response.sequence)], events: Vec::new() };
        self.say(&response.device, Down::Stored, &stored, outcome);
        Ok(())
    }

    fn on_event(&self, event: Event, outcome: &mut Outcome) -> Result<(), FleetError> {
        tracing::info!(device = %event.device, kind = event.kind.name(), "event");
        if self.fleet.inner.database.keep_event(&event, self.fleet.now_s())? {
            self.fleet.tell_notice(&event)?;
        }
        outcome.is_news = true;
        let stored = Stored { v: 1, responses: Vec::new(), events: vec![(event.boot, event.sequence)] };
        self.say(&event.device, Down::Stored, &stored, outcome);
        Ok(())
    }

    /// Says what is stored.
    fn acknowledge(
        &self,
        device: &DeviceId,
        boot: BootId,
        connection: u64,
        outcome: &mut Outcome,
    ) -> Result<(), FleetError> {
        let database = &self.fleet.inner.database;
        // Only a device that spoke of neighbours hears of them: an older one would not understand the answer.
        let peers = self.fleet.inner.neighbours.of(device, |name| database.is_online(name))?;
        let revoked = if peers.is_some() { database.newly_revoked()? } else { Vec::new() };
        let answer = HelloAck {
            v: 1,
            desired_version: database.desired_version(device)?,
            reported_sequence: database.reported_sequence(device, &boot)?,
            server_time_s: self.fleet.now_s(),
            boot,
            connection,
            peers: peers.unwrap_or_default(),
            revoked,
        };
        self.say(device, Down::HelloAck, &answer, outcome);
        Ok(())
    }

    fn say(&self, device: &DeviceId, down: Down, document: &impl Serialize, outcome: &mut Outcome) {
        let topic = Topic::down(&self.fleet.inner.config.tenant, device, down);
        if let Ok(payload) = serde_json::to_vec(document) {
            outcome.say.push(Saying { topic, payload: payload.into(), expiry_s: None });
        }
    }
}

/// What a message is, for measurements.
fn kind(up: Up) -> &'static str {
    match up {
        Up::Hello => "hello",
        Up::Presence => "presence",
        Up::Reported => "reported",
        Up::BlobRequest => "blob_request",
        Up::AuditCheckpoint => "audit_checkpoint",
        Up::AuditEntries => "audit_entries",
        Up::Response => "response",
        Up::Event => "event",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::config::Config;
    use outpost_contract::{Activity, LinkHealth};

    fn hello(device: &str, connection: u64) -> (String, Bytes) {
        let hello = serde_json::json!({"v": 1, "device": device, "boot": "b1", "connection": connection, "agent": "0",
            "desired_version": 0});
        (format!("op/1/acme/d/{device}/up/hello"), hello.to_string().into())
    }

    fn report(device: &str, sequence: u64) -> (String, Bytes) {
        let reported = Reported {
            v: 1,
            device: device.parse().unwrap(),
            boot: "b1".parse().unwrap(),
            sequence,
            agent: "0".into(),
            desired_version: 0,
            applied_version: 0,
            model: None,
            policy_version: 0,
            reasons: Vec::new(),
            measurements: None,
            plan: Vec::new(),
            activity: Activity::default(),
            transfer: None,
            link: LinkHealth::default(),
            build: None,
        };
        (format!("op/1/acme/d/{device}/up/reported"), serde_json::to_vec(&reported).unwrap().into())
    }

    #[test]
    fn messages_count_in_their_order_and_one_that_cannot_be_kept_spoils_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::new(dir.path().join("state"));
        config.tenant = "acme".parse().unwrap();
        let fleet = Fleet::init(config, Clock::fixed(1_800_000_000)).unwrap().fleet;
        let enrol = "INSERT INTO devices (device, enrolled_s, key_sha256, audit_key, agent)
            VALUES ('till-1', 1, x'00', '', ''), ('till-2', 1, x'01', '', '')";
        fleet.inner.database.write(|connection| Ok(connection.execute(enrol, [])?)).unwrap();
        let (audit, _questions) = mpsc::channel(1);
        let intake = Intake { fleet: fleet.clone(), audit };
        let outcome = intake
            .take_all(vec![
                hello("till-1", 1),
                // No database takes such a number.
                hello("till-2", u64::MAX),
                report("till-1", 1),
                ("op/1/acme/d/till-2/up/hello".into(), "{".into()),
                report("stranger", 1),
                report("till-1", 2),
            ])
            .unwrap();
        assert!(outcome.is_news);
        let answers: Vec<(DeviceId, u64)> = outcome
            .say
            .iter()
            .map(|saying| {
                let answer: HelloAck = serde_json::from_slice(&saying.payload).unwrap();
                (saying.topic.device.clone(), answer.reported_sequence)
            })
            .collect();
        let till: DeviceId = "till-1".parse().unwrap();
        assert_eq!(answers, [(till.clone(), 0), (till.clone(), 1), (till.clone(), 2)]);
        let summary = fleet.device(&till).unwrap();
        assert!(summary.online && summary.reported.is_some_and(|reported| reported.sequence == 2));
        assert!(!fleet.device(&"till-2".parse().unwrap()).unwrap().online);
    }
}
