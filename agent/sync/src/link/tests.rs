//! The link against a broker that tests hold in their hands.

mod library;
mod stolen;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outpost_contract::limits::DOCUMENT_BYTES;
use outpost_contract::{
    Activity, Answer, AuditAnswer, AuditAsk, BootId, Command, CommandId, CommandState, Down, Event, EventKind, Hello,
    HelloAck, Operation, Presence, Reported, Response, Stored, Up,
};
use outpost_disk::Clock;
use tokio::sync::mpsc;

use super::fake::{Attempt, Said, broker, opening};
use super::supervisor::Names;
use super::{BackOff, Link, LinkConfig, LinkEvent, LinkHandle, Phase, WireEvent};
use crate::{Backlog, Class, SyncDatabase};

const NOW_S: i64 = 1_800_000_000;

struct Bench {
    handle: LinkHandle,
    events: mpsc::Receiver<LinkEvent>,
    attempts: mpsc::UnboundedReceiver<Attempt>,
    database: SyncDatabase,
    clock: Clock,
    _dir: tempfile::TempDir,
}

fn boot() -> BootId {
    "boot-1".parse().unwrap()
}

fn start() -> Bench {
    start_with(1 << 20)
}

fn start_with(packet_bytes: usize) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let database = SyncDatabase::open(dir.path()).unwrap();
    let (mut connector, attempts) = broker();
    connector.packet_bytes = packet_bytes;
    let mut config = LinkConfig::new(boot(), "0.1.0");
    config.back_off = BackOff { base: Duration::from_secs(1), cap: Duration::from_secs(60) };
    let names = Names { tenant: "acme".parse().unwrap(), device: "till-7".parse().unwrap() };
    let clock = Clock::fixed(NOW_S);
    let (handle, events) = Link::start_with(Arc::new(connector), opening("till-7"), names, config, &database, &clock);
    Bench { handle, events, attempts, database, clock, _dir: dir }
}

fn answer(connection: u64, reported_sequence: u64) -> HelloAck {
    HelloAck {
        v: 1,
        boot: boot(),
        connection,
        desired_version: 0,
        reported_sequence,
        server_time_s: NOW_S,
        peers: vec![],
        revoked: vec![],
    }
}

fn reported(sequence: u64) -> Reported {
    Reported {
        v: 1,
        device: "till-7".parse().unwrap(),
        boot: boot(),
        sequence,
        agent: "0.1.0".into(),
        desired_version: 0,
        applied_version: 0,
        model: None,
        policy_version: 0,
        reasons: Vec::new(),
        measurements: None,
        plan: Vec::new(),
        activity: Activity::default(),
        transfer: None,
        link: outpost_contract::LinkHealth::default(),
        build: None,
    }
}

impl Bench {
    async fn attempt(&mut self) -> Attempt {
        self.attempts.recv().await.expect("the link dials")
    }

    /// A connection that is subscribed and has said hello.
    async fn greeted(&mut self) -> Attempt {
        let mut broker = self.attempt().await;
        broker.accept_subscription().await;
        broker.published("up/presence").await;
        broker.published("up/hello").await;
        broker
    }

    async fn online(&mut self, connection: u64) -> Attempt {
        let broker = self.greeted().await;
        broker.acknowledge(connection, 0);
        assert_eq!(self.event().await, LinkEvent::Up { connection });
        assert_eq!(self.event().await, LinkEvent::HelloAck(answer(connection, 0)));
        broker
    }

    async fn event(&mut self) -> LinkEvent {
        self.events.recv().await.expect("the link lives")
    }

    async fn phase(&self, phase: Phase) {
        self.handle.connectivity().wait_for(|now| now.phase == phase).await.unwrap();
    }

    fn backlog(&self) -> Backlog {
        self.database.outbox().backlog().unwrap()
    }
}

impl Attempt {
    fn acknowledge(&self, connection: u64, reported_sequence: u64) {
        let payload = serde_json::to_vec(&answer(connection, reported_sequence)).unwrap();
        self.hear_message("op/1/acme/d/till-7/down/hello-ack", payload, None);
    }

    fn desire(&self, payload: impl Into<Bytes>) {
        self.hear_message("op/1/acme/d/till-7/down/desired", payload, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_subscribes_then_says_hello_and_is_online_when_the_control_plane_answers() {
    let mut bench = start();
    let mut broker = bench.attempt().await;
    bench.phase(Phase::Connecting).await;
    let Said::Subscribe(subscriptions) = broker.said().await else { panic!("expected a subscription") };
    let filters: Vec<_> = subscriptions.iter().map(|subscription| subscription.filter.as_str()).collect();
    let own = ["desired", "hello-ack", "audit/checkpoint", "audit/entries", "cmd", "ack"];
    assert_eq!(filters, own.map(|leaf| format!("op/1/acme/d/till-7/down/{leaf}")));

    // Nothing is said before the broker took the subscription.
    bench.handle.report(&reported(1)).unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(broker.said_already(), None);
    broker.hear(WireEvent::Subscribed);
    let (_, message) = broker.published("up/presence").await;
    let presence: Presence = serde_json::from_slice(&message.payload).unwrap();
    assert!(message.retain && presence.online && presence.connection == 1);
    let (_, message) = broker.published("up/hello").await;
    let hello: Hello = serde_json::from_slice(&message.payload).unwrap();
    assert_eq!((hello.connection, hello.desired_version, hello.boot), (1, 0, boot()));
    bench.phase(Phase::Syncing).await;

    broker.acknowledge(1, 0);
    bench.phase(Phase::Online).await;
    assert_eq!(bench.event().await, LinkEvent::Up { connection: 1 });
    broker.published("up/reported").await;
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_never_answers_the_subscription_is_left() {
    let mut bench = start();
    let first = bench.attempt().await;
    let second = bench.attempt().await;
    drop((first, second));
    let reason = bench.handle.connectivity().borrow().reason.clone().unwrap();
    assert!(reason.contains("did not answer the subscription"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_report_leaves_the_outbox_on_the_control_planes_word_not_on_the_brokers() {
    let mut bench = start();
    let mut broker = bench.online(1).await;
    bench.handle.report(&reported(1)).unwrap();
    let (number, _) = broker.published("up/reported").await;
    broker.hear(WireEvent::Taken(number));

    // Nobody says that it is stored: ask, and send it again if it is not.
    broker.published("up/hello").await;
    assert_eq!(bench.backlog().letters, 1);
    broker.acknowledge(1, 0);
    let (number, _) = broker.published("up/reported").await;
    broker.hear(WireEvent::Taken(number));
    broker.published("up/hello").await;
    broker.acknowledge(1, 1);
    loop {
        match bench.event().await {
            LinkEvent::ReportStored { sequence } => break assert_eq!(sequence, 1),
            LinkEvent::HelloAck(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(bench.backlog().letters, 0);
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(broker.said_already(), None, "nothing is left to ask");
}

#[tokio::test(start_paused = true)]
async fn a_newer_report_replaces_one_that_still_waits() {
    let mut bench = start();
    for sequence in 1..=3 {
        bench.handle.report(&reported(sequence)).unwrap();
    }
    let mut broker = bench.online(1).await;
    let (_, message) = broker.published("up/reported").await;
    assert_eq!(serde_json::from_slice::<Reported>(&message.payload).unwrap().sequence, 3);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(broker.said_already(), None);
}

#[tokio::test(start_paused = true)]
async fn after_a_cut_everything_unacknowledged_is_said_again_on_a_new_connection() {
    let mut bench = start();
    let mut broker = bench.online(1).await;
    bench.handle.report(&reported(1)).unwrap();
    let (number, _) = broker.published("up/reported").await;
    broker.hear(WireEvent::Taken(number));
    broker.hear(WireEvent::Lost("cable pulled".into()));
    assert_eq!(bench.event().await, LinkEvent::Down { reason: "cable pulled".into() });
    let mut broker = bench.greeted().await;
    let will = broker.opening.will.clone().unwrap().message;
    let presence: Presence = serde_json::from_slice(&will.payload).unwrap();
    assert!(will.retain && !presence.online && presence.connection == 2, "an old will must not hide this connection");
    broker.acknowledge(2, 0);
    broker.published("up/reported").await;
}

#[tokio::test(start_paused = true)]
async fn the_desired_state_is_handed_up_and_nothing_else_is_mistaken_for_it() {
    let mut bench = start();
    let mut broker = bench.attempt().await;
    broker.accept_subscription().await;
    broker.desire(vec![b'x'; DOCUMENT_BYTES + 1]);
    broker.desire(Bytes::new());
    broker.hear_message("op/1/acme/d/till-8/down/desired", "for another device", None);
    broker.hear_message("op/1/other/d/till-7/down/desired", "for another tenant", None);
    broker.hear_message("op/1/acme/d/till-7/down/desired/x", "no topic of ours", None);
    broker.hear_message("op/1/acme/d/till-7/down/blob/1", "a chunk on the wrong connection", None);
    broker.hear_message("op/1/acme/d/till-7/down/hello-ack", "{not json", None);
    broker.desire("signed");
    assert_eq!(bench.event().await, LinkEvent::Desired("signed".into()), "also before the control plane answered");
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_another_start_of_the_agent_means_nothing() {
    let mut bench = start();
    let broker = bench.greeted().await;
    bench.handle.report(&reported(1)).unwrap();
    let other = HelloAck { boot: "boot-0".parse().unwrap(), reported_sequence: 9, ..answer(1, 9) };
    broker.hear_message("op/1/acme/d/till-7/down/hello-ack", serde_json::to_vec(&other).unwrap(), None);
    let future = HelloAck { v: 2, ..answer(1, 9) };
    broker.hear_message("op/1/acme/d/till-7/down/hello-ack", serde_json::to_vec(&future).unwrap(), None);
    broker.acknowledge(7, 9);
    broker.desire("marker");
    assert_eq!(bench.event().await, LinkEvent::Desired("marker".into()));
    assert_eq!(bench.handle.connectivity().borrow().phase, Phase::Syncing);
    assert_eq!(bench.backlog().letters, 1);
}

#[tokio::test(start_paused = true)]
async fn a_control_plane_that_falls_silent_behind_a_living_broker_is_offline() {
    let mut bench = start();
    let mut broker = bench.online(1).await;
    bench.handle.report(&reported(1)).unwrap();
    let (number, _) = broker.published("up/reported").await;
    broker.hear(WireEvent::Taken(number));
    let LinkEvent::Down { reason } = bench.event().await else { panic!("expected to be told") };
    assert!(reason.contains("its broker does"), "{reason}");
    bench.phase(Phase::Syncing).await;
    broker.acknowledge(1, 1);
    assert_eq!(bench.event().await, LinkEvent::ReportStored { sequence: 1 });
    assert_eq!(bench.event().await, LinkEvent::Up { connection: 1 });
}

#[tokio::test(start_paused = true)]
async fn a_report_that_the_broker_can_never_take_is_given_up_and_told() {
    let mut bench = start_with(300);
    let mut broker = bench.online(1).await;
    let mut large = reported(1);
    large.plan = vec!["x".repeat(1000)];
    bench.handle.report(&large).unwrap();
    let LinkEvent::Undeliverable { class: Class::Reported, sequence: 1, reason } = bench.event().await else {
        panic!("expected to be told")
    };
    assert!(reason.contains("packet limit"), "{reason}");
    assert_eq!(bench.backlog(), Backlog { letters: 0, bytes: 0, dead_letters: 1, events_dropped: 0 });
    assert_eq!(broker.said_already(), None, "the connection lives on");
}

#[tokio::test(start_paused = true)]
async fn a_refused_report_is_tried_again_without_losing_the_connection() {
    let mut bench = start();
    let mut broker = bench.online(1).await;
    bench.handle.report(&reported(1)).unwrap();
    let (number, _) = broker.published("up/reported").await;
    broker.hear(WireEvent::NotTaken(number, "QuotaExceeded".into()));
    broker.published("up/hello").await;
    broker.acknowledge(1, 0);
    broker.published("up/reported").await;
}

#[tokio::test(start_paused = true)]
async fn a_revoked_device_keeps_trying_politely() {
    let mut bench = start();
    for _ in 0..3 {
        let mut broker = bench.attempt().await;
        broker.said().await;
        broker.hear(WireEvent::NotSubscribed("NotAuthorized".into()));
    }
    bench.attempt().await;
    let reason = bench.handle.connectivity().borrow().reason.clone().unwrap();
    assert!(reason.contains("revoked"), "{reason}");
    assert!(bench.events.try_recv().is_err(), "it was never up, so it is not told that it is down");
}

#[tokio::test(start_paused = true)]
async fn stopping_says_goodbye_so_that_the_will_stays_silent() {
    let mut bench = start();
    let mut broker = bench.online(1).await;
    bench.handle.stop().await;
    let (_, message) = broker.published("up/presence").await;
    assert!(!serde_json::from_slice::<Presence>(&message.payload).unwrap().online);
    assert_eq!(broker.said().await, Said::Goodbye);
    assert_eq!(bench.handle.connectivity().borrow().phase, Phase::Offline);
}

#[tokio::test(start_paused = true)]
async fn an_absence_is_counted_across_restarts_of_the_agent() {
    let mut bench = start();
    assert_eq!(bench.handle.connectivity().borrow().offline_s(NOW_S + 5), 5, "never connected: since the start");
    let broker = bench.online(1).await;
    assert_eq!(bench.handle.connectivity().borrow().offline_s(NOW_S + 9), 0);
    bench.clock.advance(Duration::from_secs(100));
    drop(broker);
    assert!(matches!(bench.event().await, LinkEvent::Down { .. }));
    assert_eq!(bench.database.last_contact_s().unwrap(), Some(NOW_S + 100));
    bench.handle.stop().await;

    let names = Names { tenant: "acme".parse().unwrap(), device: "till-7".parse().unwrap() };
    let (connector, _attempts) = broker_that_listens();
    let later = Clock::fixed(NOW_S + 5000);
    let config = LinkConfig::new(boot(), "0.1.0");
    let (handle, _events) = Link::start_with(connector, opening("till-7"), names, config, &bench.database, &later);
    assert_eq!(handle.connectivity().borrow().offline_s(later.now_s()), 4900);
}

fn broker_that_listens() -> (Arc<super::fake::FakeConnector>, mpsc::UnboundedReceiver<Attempt>) {
    let (connector, attempts) = broker();
    (Arc::new(connector), attempts)
}

#[tokio::test(start_paused = true)]
async fn a_question_about_the_audit_log_leaves_once_the_control_plane_is_there_and_its_answer_arrives() {
    let mut bench = start();
    let ask = |number| AuditAsk { number, body: Bytes::from_static(b"records") };
    bench.handle.ask(Up::AuditEntries, &ask(1));
    // Newer, so the first one is not sent at all.
    bench.handle.ask(Up::AuditEntries, &ask(2));
    let mut broker = bench.online(1).await;
    let (_, message) = broker.published("up/audit/entries").await;
    assert_eq!((AuditAsk::parse(&message.payload), message.retain), (Some(ask(2)), false));
    let answer = AuditAnswer { number: 2, status: 409, body: Bytes::from_static(b"7\n") };
    broker.hear_message("op/1/acme/d/till-7/down/audit/entries", Bytes::from_static(b"no answer"), None);
    broker.hear_message("op/1/acme/d/till-8/down/audit/entries", answer.to_bytes(), None);
    broker.hear_message("op/1/acme/d/till-7/down/audit/entries", answer.to_bytes(), None);
    assert_eq!(bench.event().await, LinkEvent::Audit { down: Down::AuditEntries, answer });
    assert_eq!(broker.said_already(), None, "it is not sent again by itself");
}

fn stored(broker: &Attempt, responses: Vec<(BootId, u64)>, events: Vec<(BootId, u64)>) {
    let payload = serde_json::to_vec(&Stored { v: 1, responses, events }).unwrap();
    broker.hear_message("op/1/acme/d/till-7/down/ack", payload, None);
}

#[tokio::test(start_paused = true)]
async fn an_event_leaves_the_outbox_when_it_is_stored_and_comes_again_when_that_word_is_lost() {
    let mut bench = start();
    bench.handle.events().say(EventKind::DiskLow, "12 MiB are left").unwrap();
    let mut broker = bench.online(1).await;
    let (number, message) = broker.published("up/event").await;
    let event: Event = serde_json::from_slice(&message.payload).unwrap();
    assert_eq!((event.kind, event.at_s, event.boot.clone()), (EventKind::DiskLow, NOW_S, boot()));
    broker.hear(WireEvent::Taken(number));
    // The broker has it, nobody says that it is stored: asked, then sent again with the same number.
    broker.published("up/hello").await;
    broker.acknowledge(1, 0);
    let (number, message) = broker.published("up/event").await;
    assert_eq!(serde_json::from_slice::<Event>(&message.payload).unwrap(), event);
    broker.hear(WireEvent::Taken(number));
    stored(&broker, vec![(boot(), event.sequence)], vec![("boot-0".parse().unwrap(), event.sequence)]);
    broker.hear_message("op/1/acme/d/till-7/down/ack", "{not json", None);
    stored(&broker, vec![], vec![(boot(), event.sequence)]);
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(broker.said_already(), None, "nothing is left to ask");
    assert_eq!(bench.backlog().letters, 0);
}

#[tokio::test(start_paused = true)]
async fn a_command_is_handed_up_and_its_answers_travel_before_events() {
    let mut bench = start();
    let mut broker = bench.online(1).await;
    broker.hear_message("op/1/acme/d/till-7/down/cmd", "signed", None);
    broker.hear_message("op/1/acme/d/till-8/down/cmd", "for another device", None);
    assert_eq!(bench.event().await, LinkEvent::Command("signed".into()));
    let command = Command {
        v: 1,
        tenant: "acme".parse().unwrap(),
        device: "till-7".parse().unwrap(),
        id: CommandId::of([7; 16]),
        op: Operation::Status,
        issued_at_s: NOW_S,
        not_after_s: NOW_S + 60,
        asked_by: "ada".into(),
    };
    bench.handle.events().say(EventKind::Refused, "no room").unwrap();
    let commands = bench.handle.commands();
    commands.take(&command, Ok(())).unwrap();
    commands.answer(&command.id, Answer::new(CommandState::Done, "fine")).unwrap();
    let mut states = Vec::new();
    for _ in 0..2 {
        let (_, message) = broker.published("up/res").await;
        states.push(serde_json::from_slice::<Response>(&message.payload).unwrap().answer.state);
    }
    assert_eq!(states, [CommandState::Accepted, CommandState::Done]);
    broker.published("up/event").await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_can_never_be_taken_holds_up_nothing_behind_it() {
    let mut bench = start_with(400);
    let mut broker = bench.online(1).await;
    bench.handle.events().say(EventKind::Refused, &"x".repeat(500)).unwrap();
    bench.handle.events().say(EventKind::Refused, "short").unwrap();
    broker.published("up/event").await;
    let LinkEvent::Undeliverable { class: Class::Event, .. } = bench.event().await else { panic!("expected an alarm") };
    assert_eq!(bench.handle.events().health().unwrap().dead_letters, 1);
}
