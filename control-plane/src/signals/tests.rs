//! What is told, to whom, how often and in which order.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::deliver::turn;
use super::hooks::wants;
use super::observer::look;
use super::signature::Root;
use super::*;
use crate::clock::Clock;
use crate::config::Config;
use crate::db::sql::params;
use outpost_hub::outgoing::Outgoing;

const NOW_S: i64 = 1_800_000_000;

struct Desk {
    fleet: Fleet,
    _directory: TempDir,
}

impl Desk {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config::new(directory.path().join("state"));
        config.webhooks.allow = vec!["127.0.0.0/8".parse().unwrap()];
        config.webhooks.http = true;
        let fleet = Fleet::init(config, Clock::fixed(NOW_S)).unwrap().fleet;
        Self { fleet, _directory: directory }
    }

    fn sql(&self, sql: &str) {
        self.fleet.inner.database.write(|connection| Ok(connection.execute_batch(sql)?)).unwrap();
    }

    fn enrol(&self, name: &str) {
        self.sql(&format!(
            "INSERT INTO devices (device, enrolled_s, key_sha256, audit_key, agent) VALUES ('{name}', 5, x'00', '', '1');"
        ));
    }

    fn presence(&self, name: &str, online: bool, seen_s: i64) {
        let sql = "INSERT INTO contacts (device, boot, connection, online, seen_s) VALUES (?1, 'b', 1, ?2, ?3)
                   ON CONFLICT (device) DO UPDATE SET online = excluded.online, seen_s = excluded.seen_s";
        let values = params![name, online, seen_s];
        self.fleet.inner.database.write(|connection| Ok(connection.execute(sql, values)?)).unwrap();
    }

    /// Kinds and subjects after a number.
    fn told(&self, after: i64) -> Vec<(String, String)> {
        let page = self.fleet.fleet_events(after, "", 100).unwrap();
        page.events.into_iter().map(|event| (event.kind, event.subject)).collect()
    }

    fn tell(&self, kind: &'static str) -> i64 {
        self.fleet.tell(&NewEvent { kind, subject: "till-1".into(), data: json!({}) }).unwrap()
    }
}

fn words(told: &[(String, String)]) -> Vec<&str> {
    told.iter().map(|(kind, _)| kind.as_str()).collect()
}

#[test]
fn what_was_there_before_is_not_told_and_the_rest_once() {
    let desk = Desk::new();
    desk.enrol("till-0");
    assert!(!look(&desk.fleet, true).unwrap());
    assert_eq!(desk.told(0), [], "an older fleet is not told as if it were new");
    desk.enrol("till-1");
    desk.presence("till-1", true, NOW_S);
    look(&desk.fleet, true).unwrap();
    look(&desk.fleet, true).unwrap();
    assert_eq!(words(&desk.told(0)), ["device.enrolled", "device.seen"]);
    // After a start nobody is lost, and for half a minute nobody is either.
    desk.presence("till-1", false, NOW_S - 29);
    assert!(look(&desk.fleet, true).unwrap());
    desk.presence("till-1", false, NOW_S - 30);
    assert!(look(&desk.fleet, false).unwrap());
    assert_eq!(desk.told(2), []);
    assert!(!look(&desk.fleet, true).unwrap());
    desk.presence("till-1", true, NOW_S);
    look(&desk.fleet, true).unwrap();
    desk.sql("UPDATE devices SET revoked_s = 9 WHERE device = 'till-1'; UPDATE contacts SET online = 0;");
    look(&desk.fleet, true).unwrap();
    assert_eq!(words(&desk.told(2)), ["device.lost", "device.seen", "device.revoked"]);
    desk.sql("UPDATE devices SET revoked_s = NULL, enrolled_s = 6 WHERE device = 'till-1'");
    look(&desk.fleet, true).unwrap();
    assert_eq!(desk.told(5), [("device.enrolled".to_owned(), "till-1".to_owned())]);
}

#[test]
fn drift_is_told_with_its_reasons_and_so_is_its_end() {
    let desk = Desk::new();
    look(&desk.fleet, true).unwrap();
    desk.enrol("till-1");
    desk.sql(
        "INSERT INTO assignments (device, model, minimum_context_tokens) VALUES ('till-1', 'm', 1);
         INSERT INTO desired (device, version, not_after_s, envelope) VALUES ('till-1', 4, 1, x'00');
         INSERT INTO facts (device, ordinal, sequence, received_s, agent, desired_version, applied_version, policy_version,
           refusals, waits, reasons, backlog, dead_letters)
           VALUES ('till-1', 1, 1, 1, '1', 4, 3, 1, 1, 1, 'does_not_fit,window_closed', 0, 0);",
    );
    look(&desk.fleet, true).unwrap();
    let page = desk.fleet.fleet_events(0, "device.drift", 10).unwrap();
    assert_eq!((page.events.len(), page.next), (1, 2));
    assert_eq!(page.events[0].data["reasons"], json!(["does_not_fit", "window_closed"]));
    assert_eq!(page.events[0].data["state"], "refused");
    // On its way again: it is not over yet.
    desk.sql("UPDATE desired SET version = 5; UPDATE facts SET refusals = 0");
    look(&desk.fleet, true).unwrap();
    assert_eq!(words(&desk.told(2)), Vec::<&str>::new());
    desk.sql("UPDATE facts SET applied_version = 5, desired_version = 5, model = 'm'");
    look(&desk.fleet, true).unwrap();
    assert_eq!(words(&desk.told(2)), ["device.in_step"]);
}

#[test]
fn pages_lead_to_the_end_and_say_what_is_missing() {
    let desk = Desk::new();
    for _ in 0..5 {
        desk.tell("device.seen");
    }
    let page = |after, limit| desk.fleet.fleet_events(after, "", limit).unwrap();
    assert_eq!((page(0, 2).next, page(2, 2).next, page(4, 2).next, page(5, 2).next), (2, 4, 5, 5));
    assert_eq!(desk.fleet.fleet_events(0, "audit", 2).unwrap().next, 5, "what was passed over is not asked for again");
    desk.sql("DELETE FROM fleet_events WHERE number <= 3");
    assert_eq!((page(0, 9).gap, page(3, 9).gap, page(0, 9).oldest), (true, false, 4));
    desk.sql("DELETE FROM fleet_events");
    assert_eq!((page(0, 9).gap, page(5, 9).gap), (true, false));
    let ahead = page(9, 9);
    assert_eq!((ahead.gap, ahead.next), (true, 5), "who has more than a restored fleet begins again where that is");
}

#[test]
fn a_device_that_talks_all_the_time_does_not_push_the_others_out() {
    let desk = Desk::new();
    let event = |device: &str| outpost_contract::Event {
        v: 1,
        device: device.parse().unwrap(),
        boot: "b".parse().unwrap(),
        sequence: 1,
        at_s: 7,
        kind: outpost_contract::EventKind::DiskLow,
        text: "1 GiB left".into(),
    };
    for _ in 0..200 {
        desk.fleet.tell_notice(&event("till-1")).unwrap();
    }
    desk.fleet.tell_notice(&event("till-2")).unwrap();
    let told = desk.fleet.fleet_events(0, "", 1000).unwrap().events;
    assert_eq!(told.len(), 61);
    assert_eq!((told[58].kind.as_str(), told[59].kind.as_str()), ("device.notice", "device.noisy"));
    assert_eq!((told[60].kind.as_str(), told[60].subject.as_str()), ("device.notice", "till-2"));
    assert_eq!(told[60].data, json!({"kind": "disk_low", "text": "1 GiB left", "at_s": 7}));
}

#[test]
fn a_hook_gets_what_it_asks_for() {
    let kinds = |kinds: &[&str]| kinds.iter().map(|kind| (*kind).to_owned()).collect::<Vec<_>>();
    assert!(wants(&kinds(&[]), "device.lost"));
    assert!(wants(&kinds(&["audit.incident", "device.*"]), "device.lost"));
    assert!(!wants(&kinds(&["audit.*"]), "device.lost"));
    assert!(!wants(&kinds(&["device.lost"]), "device.lost_again"));
}

/// A receiver: what came, and what it answers.
#[derive(Clone, Default)]
struct Receiver {
    came: Arc<Mutex<Vec<(HeaderMap, String)>>>,
    /// Taken from the end; empty is 200.
    answers: Arc<Mutex<Vec<u16>>>,
    /// Somebody pauses the hook while the next event is on its way.
    paused_in: Arc<Mutex<Option<Fleet>>>,
}

impl Receiver {
    async fn start(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let take = |State(receiver): State<Self>, headers: HeaderMap, body: String| async move {
            receiver.came.lock().push((headers, body));
            if let Some(fleet) = receiver.paused_in.lock().take() {
                fleet.pause_webhook("pager", "ada").unwrap();
            }
            StatusCode::from_u16(receiver.answers.lock().pop().unwrap_or(200)).unwrap()
        };
        let router = axum::Router::new().route("/hook", axum::routing::post(take)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    /// Numbers of the events that came, in their order.
    fn numbers(&self) -> Vec<i64> {
        let number =
            |(_, body): &(HeaderMap, String)| serde_json::from_str::<Value>(body).unwrap()["data"]["number"].as_i64();
        self.came.lock().iter().filter_map(number).collect()
    }
}

struct Round {
    desk: Desk,
    receiver: Receiver,
    outgoing: Outgoing,
    secret: String,
}

impl Round {
    async fn new(kinds: &[&str]) -> Self {
        let (desk, receiver) = (Desk::new(), Receiver::default());
        let url = format!("http://{}/hook", receiver.start().await);
        let kinds = kinds.iter().map(|kind| (*kind).to_owned()).collect();
        desk.tell("device.seen");
        let secret = desk.fleet.add_webhook(&NewWebhook { name: "pager".into(), url, kinds }).unwrap();
        let outgoing = Outgoing::new(&desk.fleet.config().webhooks).unwrap();
        Self { desk, receiver, outgoing, secret }
    }

    /// One turn, whenever it would be.
    async fn turn(&self) -> crate::Webhook {
        self.desk.sql("UPDATE webhooks SET due_s = 0");
        let hook = self.desk.fleet.webhooks().unwrap().remove(0);
        turn(&self.desk.fleet, &self.outgoing, hook).await.unwrap();
        self.desk.fleet.webhooks().unwrap().remove(0)
    }
}

#[tokio::test]
async fn events_come_signed_in_their_order_and_again_until_they_are_taken() {
    let round = Round::new(&["device.*"]).await;
    for kind in ["device.lost", "audit.incident", "device.seen"] {
        round.desk.tell(kind);
    }
    *round.receiver.answers.lock() = vec![200, 503, 200];
    let hook = round.turn().await;
    assert_eq!((hook.delivered, hook.failures), (2, 1));
    assert_eq!(hook.due_s, NOW_S + 5);
    let hook = round.turn().await;
    assert_eq!((hook.delivered, hook.failures), (4, 0));
    assert_eq!(round.receiver.numbers(), [2, 4, 4], "what came before the hook is not sent, nor what it does not want");
    let (headers, body) = round.receiver.came.lock()[2].clone();
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let salt = round.desk.fleet.inner.database.webhook("pager").unwrap().unwrap().salt;
    let secret = Root::open(round.desk.fleet.state()).unwrap().secret("pager", &salt).unwrap();
    assert_eq!(secret.shown(), round.secret);
    assert_eq!(header("webhook-signature"), secret.sign(&header("webhook-id"), NOW_S, &body));
    let again = round.receiver.came.lock()[1].0["webhook-id"].to_str().unwrap().to_owned();
    assert_eq!(header("webhook-id"), again, "the receiver knows a repetition by it");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((body["type"].as_str(), body["data"]["subject"].as_str()), (Some("device.seen"), Some("till-1")));
    let deliveries = round.desk.fleet.webhook_deliveries("pager").unwrap();
    let statuses: Vec<_> = deliveries.attempts.iter().map(|attempt| attempt.status).collect();
    assert_eq!((statuses, deliveries.dead), (vec![Some(200), Some(503), Some(200)], vec![]));
}

#[tokio::test]
async fn what_is_refused_is_given_up_and_what_is_after_it_comes() {
    let round = Round::new(&[]).await;
    round.desk.tell("device.lost");
    round.desk.tell("device.seen");
    *round.receiver.answers.lock() = vec![422; 8];
    for _ in 0..7 {
        assert_eq!(round.turn().await.delivered, 1);
    }
    assert_eq!(round.turn().await.delivered, 2);
    let dead = round.desk.fleet.webhook_deliveries("pager").unwrap().dead;
    assert_eq!((dead.len(), dead[0].number), (1, 2));
    assert!(dead[0].why.contains("422"), "{}", dead[0].why);
    assert_eq!(round.turn().await.delivered, 3);
}

#[tokio::test]
async fn who_is_gone_is_not_asked_again_until_somebody_says_so() {
    let round = Round::new(&[]).await;
    round.desk.tell("device.lost");
    *round.receiver.answers.lock() = vec![410];
    assert!(round.turn().await.disabled.unwrap().contains("410"));
    assert_eq!(round.turn().await.delivered, 1, "nothing is sent");
    round.desk.fleet.retry_webhook("pager").unwrap();
    assert_eq!(round.turn().await.delivered, 2);
    assert_eq!(round.receiver.numbers(), [2, 2]);
}

#[tokio::test]
async fn a_hook_that_is_paused_gets_nothing_until_it_is_tried_again_and_then_everything_in_its_order() {
    let round = Round::new(&[]).await;
    for kind in ["device.lost", "device.seen", "device.drift"] {
        round.desk.tell(kind);
    }
    *round.receiver.paused_in.lock() = Some(round.desk.fleet.clone());
    let hook = round.turn().await;
    assert_eq!((hook.delivered, hook.disabled.as_deref()), (2, Some("ada paused it")), "it ends within the turn");
    assert_eq!(round.turn().await.delivered, 2);
    round.desk.fleet.pause_webhook("pager", "bo").unwrap();
    assert_eq!(round.turn().await.disabled.as_deref(), Some("ada paused it"), "who came first stands there");
    round.desk.fleet.retry_webhook("pager").unwrap();
    assert_eq!(round.turn().await.delivered, 4);
    assert_eq!(round.receiver.numbers(), [2, 3, 4]);
    round.desk.fleet.remove_webhook("pager").unwrap();
    assert!(matches!(round.desk.fleet.pause_webhook("pager", "bo"), Err(FleetError::UnknownWebhook(_))));
}

#[tokio::test]
async fn what_is_three_days_old_is_given_up_if_the_receiver_still_fails_and_so_is_what_is_not_kept() {
    let round = Round::new(&["device.*"]).await;
    for kind in ["device.lost", "audit.incident", "device.seen", "device.lost"] {
        round.desk.tell(kind);
    }
    round.desk.sql(&format!("UPDATE fleet_events SET at_s = {} WHERE number <= 4", NOW_S - 3 * 86_400));
    *round.receiver.answers.lock() = vec![500, 500];
    let hook = round.turn().await;
    assert_eq!((hook.delivered, hook.failures, hook.due_s), (4, 1, NOW_S + 3600));
    assert_eq!(round.turn().await.delivered, 4, "the next one is young");
    round.desk.tell("device.seen");
    round.desk.sql("DELETE FROM fleet_events WHERE number <= 5");
    assert_eq!(round.turn().await.delivered, 6);
    let dead = round.desk.fleet.webhook_deliveries("pager").unwrap().dead;
    assert_eq!(dead.iter().map(|dead| dead.number).collect::<Vec<_>>(), [5, 4, 2]);
    assert!(dead[0].why.contains("events 5 to 5"), "{}", dead[0].why);
}

#[tokio::test]
async fn of_two_servers_one_delivers() {
    let round = Round::new(&[]).await;
    round.desk.tell("device.lost");
    assert!(round.desk.fleet.inner.database.claim_webhook("pager", NOW_S, NOW_S + 60).unwrap());
    assert_eq!(round.turn().await.delivered, 1, "another server has it");
    round.desk.fleet.inner.database.release_webhook("pager").unwrap();
    assert_eq!(round.turn().await.delivered, 2);
}

#[tokio::test]
async fn a_test_says_what_came_of_it_and_disturbs_nothing() {
    let round = Round::new(&[]).await;
    let delivery = round.desk.fleet.test_webhook("pager").await.unwrap();
    assert_eq!((delivery.status, delivery.error.as_str(), delivery.number), (Some(200), "", 0));
    *round.receiver.answers.lock() = vec![500];
    assert!(round.desk.fleet.test_webhook("pager").await.unwrap().error.contains("500"));
    assert!(matches!(round.desk.fleet.test_webhook("other").await, Err(FleetError::UnknownWebhook(_))));
    assert_eq!(round.desk.fleet.webhooks().unwrap()[0].delivered, 1);
    // Taken back from the settings, the network is refused also for a hook that is there.
    let closed = Outgoing::new(&crate::Reach { section: Some("webhooks"), allow: Vec::new(), http: true }).unwrap();
    round.desk.tell("device.lost");
    let hook = round.desk.fleet.webhooks().unwrap().remove(0);
    turn(&round.desk.fleet, &closed, hook).await.unwrap();
    let deliveries = round.desk.fleet.webhook_deliveries("pager").unwrap();
    assert!(deliveries.attempts[0].error.contains("not a public address"), "{:?}", deliveries.attempts);
}

#[test]
fn a_hook_that_cannot_be_is_refused() {
    let desk = Desk::new();
    let new = |name: &str, url: &str, kind: &str| {
        let kinds = if kind.is_empty() { Vec::new() } else { vec![kind.to_owned()] };
        desk.fleet.add_webhook(&NewWebhook { name: name.into(), url: url.into(), kinds })
    };
    assert!(new("../pager", "https://a.example/", "").is_err());
    for kind in ["device", "Device.lost", "device.lost ", "*", "device.", "a.b.c"] {
        assert!(new("pager", "https://a.example/", kind).is_err(), "{kind}");
    }
    for url in ["https://10.0.0.1/", "https://169.254.169.254/", "https://u:p@a.example/", "ftp://a.example/", "a"] {
        assert!(matches!(new("pager", url, ""), Err(FleetError::Outgoing(_))), "{url}");
    }
    let secret = new("pager", "https://a.example/", "device.*").unwrap();
    assert!(secret.starts_with("whsec_") && secret.len() == 50, "{secret}");
    assert!(new("pager", "https://b.example/", "").is_err(), "the name is taken");
    let listed = serde_json::to_string(&desk.fleet.webhooks().unwrap()).unwrap();
    assert!(!listed.contains(&secret) && !listed.contains("salt"), "{listed}");
    for number in 1..32 {
        new(&format!("hook-{number}"), "https://a.example/", "").unwrap();
    }
    assert!(new("one-more", "https://a.example/", "").unwrap_err().to_string().contains("32"));
    desk.fleet.remove_webhook("pager").unwrap();
    assert!(matches!(desk.fleet.remove_webhook("pager"), Err(FleetError::UnknownWebhook(_))));
}
