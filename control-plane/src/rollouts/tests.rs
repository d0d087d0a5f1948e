//! Rollouts in a database: stories with their ends, cuts at every write, several servers, and what one report costs.

mod builds;
mod large;

use std::collections::BTreeMap;

use outpost_contract::{Activity, BuildReport, DeviceId, Installed, LinkHealth, Reason, ReasonCode, Reported, Sha256};
use outpost_rollout::{Gates, OnFailure};

use super::driver::{LEASE_S, Turn};
use super::*;
use crate::catalogue::{ReleaseRequest, Variant};
use crate::clock::Clock;
use crate::config::Config;
use crate::db::Assignment;
use crate::db::sql::params;
use crate::small::small_variant;

const NOW_S: i64 = 1_800_000_000;

/// A fleet that released the models `old` and `new`, and devices that run `old`.
struct House {
    fleet: Fleet,
    clock: Clock,
    sequences: BTreeMap<String, u64>,
    /// What its devices tell of their agent.
    build: Option<BuildReport>,
    dir: tempfile::TempDir,
}

#[expect(clippy::disallowed_methods, reason = "a test's file needs to survive no power cut")]
fn variant(dir: &std::path::Path, name: &str) -> Variant {
    let path = dir.join(name);
    std::fs::write(&path, name.repeat(64)).unwrap();
    let facts = small_variant(name, 64 * name.len() as u64);
    Variant { path, target: None, facts, cuts: Vec::new() }
}

fn id(name: &str) -> DeviceId {
    name.parse().unwrap()
}

fn assigned(model: &str) -> Assignment {
    Assignment { model: Some(model.parse().unwrap()), minimum_context_tokens: 256 }
}

impl House {
    fn new(devices: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::new(dir.path().join("state"));
        config.tenant = "acme".parse().unwrap();
        let clock = Clock::fixed(NOW_S);
        let fleet = Fleet::init(config, clock.clone()).unwrap().fleet;
        let keys = fleet.create_offline_keys(&dir.path().join("keys")).unwrap();
        let variants = ["old", "new"].map(|name| variant(dir.path(), name)).into();
        fleet.release(&keys, ReleaseRequest { variants, ..ReleaseRequest::default() }).unwrap();
        let mut house = Self { fleet, clock, sequences: BTreeMap::new(), build: None, dir };
        devices.iter().for_each(|device| house.enter(device));
        house
    }

    /// A device enrols, is assigned `old` and says that it runs it.
    fn enter(&mut self, device: &str) {
        let sql =
            "INSERT INTO devices (device, enrolled_s, key_sha256, audit_key, agent) VALUES (?1, 1, x'00', '', '')";
        self.fleet.inner.database.write(|connection| Ok(connection.execute(sql, [device])?)).unwrap();
        self.fleet.assign(&id(device), &assigned("old")).unwrap();
        self.apply(device);
    }

    /// A driver that has just started.
    fn driver(&self) -> Driver {
        Driver::new(self.fleet.clone()).unwrap()
    }

    /// The server dies, and another starts on what is on the disk; the lease of the dead one runs out.
    fn restart(&mut self) -> Driver {
        self.fleet = Fleet::open(self.fleet.config().clone(), self.clock.clone()).unwrap();
        self.clock.advance(LEASE_S + 1);
        self.driver()
    }

    /// A device reports: all of what was signed for it is in force, or the newest is refused.
    fn say(&mut self, device: &str, refusal: Option<ReasonCode>) {
        self.say_of(device, refusal.map(|code| (code, "")));
    }

    fn say_of(&mut self, device: &str, refusal: Option<(ReasonCode, &str)>) {
        let version = self.fleet.inner.database.desired_version(&id(device)).unwrap();
        let sequence = self.sequences.entry(device.to_owned()).or_default();
        *sequence += 1;
        let reason = |(code, subject): (_, &str)| Reason { code, subject: subject.to_owned(), detail: String::new() };
        let reported = Reported {
            v: 1,
            device: id(device),
            boot: "b1".parse().unwrap(),
            sequence: *sequence,
            agent: "0".into(),
            desired_version: version,
            applied_version: if refusal.is_some() { version - 1 } else { version },
            model: Some(Installed {
                model: "old".parse().unwrap(),
                target: "old.Q8_0".parse().unwrap(),
                sha256: Sha256([0; 32]),
                context_tokens: 256,
                self_test_tokens_per_second_milli: 9_000,
            }),
            policy_version: 0,
            reasons: refusal.map(reason).into_iter().collect(),
            measurements: None,
            plan: Vec::new(),
            activity: Activity::default(),
            transfer: None,
            link: LinkHealth::default(),
            build: self.build.clone(),
        };
        let topic = format!("op/1/acme/d/{device}/up/reported");
        crate::ingest::take_in(&self.fleet, vec![(topic, serde_json::to_vec(&reported).unwrap().into())]).unwrap();
    }

    fn apply(&mut self, device: &str) {
        self.say(device, None);
    }

    fn all_apply(&mut self, devices: &[&str]) {
        devices.iter().for_each(|device| self.apply(device));
    }

    fn refuse(&mut self, device: &str) {
        self.say(device, Some(ReasonCode::DoesNotFit));
    }

    /// The model that a device is assigned.
    fn model(&self, device: &str) -> String {
        self.fleet.device(&id(device)).unwrap().assignment.unwrap().model.unwrap().to_string()
    }

    fn version(&self, device: &str) -> u64 {
        self.fleet.inner.database.desired_version(&id(device)).unwrap()
    }

    fn state(&self, name: &str) -> String {
        self.fleet.rollout(name).unwrap().state
    }

    fn run(&self, sql: &str) {
        self.fleet.inner.database.write(|connection| Ok(connection.execute_batch(sql)?)).unwrap();
    }

    /// Every row that a step may write, but for signatures and revisions.
    fn dump(&self) -> Vec<String> {
        let tables = [
            "SELECT name || state || is_active || document FROM rollouts ORDER BY name",
            "SELECT device || name || status || version || heard || document FROM rollout_devices ORDER BY name, device",
            "SELECT name || number || document FROM rollout_notices ORDER BY name, number",
            "SELECT device || by_whom FROM rollout_departures ORDER BY device",
            "SELECT device || coalesce(rollout, '-') || coalesce(policy, '-') FROM pins ORDER BY device",
            "SELECT device || version FROM pinned_builds ORDER BY device",
            "SELECT device || coalesce(model, '-') || minimum_context_tokens FROM assignments ORDER BY device",
            "SELECT device || version FROM desired ORDER BY device",
        ];
        let mut dump = Vec::new();
        for sql in tables {
            let read = |connection: &crate::db::sql::Connection| {
                let mut statement = connection.prepare_cached(sql)?;
                let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
                Ok(rows.collect::<Result<Vec<_>, _>>()?)
            };
            dump.extend(self.fleet.inner.database.read(read).unwrap());
        }
        dump
    }
}

/// One device, then the rest; one failure is one too many; a minute of soaking.
fn request(name: &str) -> RolloutRequest {
    RolloutRequest {
        model: Some("new".parse().unwrap()),
        minimum_context_tokens: 256,
        waves: vec![WaveRequest { name: Some("canary".into()), count: Some(1), ..WaveRequest::default() }],
        error_percent: 0,
        soak_s: 60,
        ..RolloutRequest::named(name)
    }
}

#[test]
fn what_fails_in_the_second_wave_gives_everybody_back_what_they_had() {
    let mut house = House::new(&["a", "b", "c", "d"]);
    let mut driver = house.driver();
    assert_eq!(driver.turn().unwrap(), Turn::Idle);
    let started = house.fleet.start_rollout("ada", &request("march")).unwrap();
    assert_eq!((started.state.as_str(), started.waves.len()), ("running", 2));
    assert_eq!(["a", "b", "c", "d"].map(|device| house.model(device)), ["new", "old", "old", "old"]);
    let twice = house.fleet.start_rollout("ada", &request("march")).unwrap_err();
    assert!(matches!(twice, FleetError::Rollout(Refusal::NameTaken { .. })), "{twice}");

    house.apply("a");
    assert_eq!(driver.turn().unwrap(), Turn::Done);
    assert_eq!(house.fleet.rollout("march").unwrap().waves[0].state, "soaking");
    assert_eq!(house.model("b"), "old");
    house.clock.advance(60);
    driver.turn().unwrap();
    assert_eq!(["a", "b", "c", "d"].map(|device| house.model(device)), ["new"; 4]);

    house.refuse("c");
    driver.turn().unwrap();
    assert_eq!(house.state("march"), "rolling_back");
    assert_eq!(["a", "b", "c", "d"].map(|device| house.model(device)), ["old"; 4]);
    house.all_apply(&["a", "b", "c", "d"]);
    driver.turn().unwrap();
    let ended = house.fleet.rollout("march").unwrap();
    assert_eq!(ended.state, "rolled_back");
    assert_eq!(ended.reason.as_deref(), Some("too many devices of wave 2 (`rest`) failed"));
    assert_eq!(ended.waves.iter().map(WaveView::rolled_back).sum::<u64>(), 4);
    assert_eq!(ended.waves.iter().map(|wave| wave.state).collect::<Vec<_>>(), ["passed", "failed"]);
    assert!(ended.notices.iter().any(|notice| notice.text == "c failed: it refuses: does_not_fit"));
    let shown = picture(&ended);
    assert!(shown.contains("[<<<<<<<<<<<<<<<<<<<<<<<<]"), "{shown}");
    assert_eq!(driver.turn().unwrap(), Turn::Idle);
    assert_eq!(house.version("b"), 3, "old, new, old: each was signed once");
}

#[test]
fn whoever_is_newer_rules_and_who_comes_later_joins() {
    let mut house = House::new(&["a", "b", "c", "d"]);
    let mut driver = house.driver();
    house.fleet.start_rollout("ada", &request("march")).unwrap();
    // A person decides otherwise for one device and shuts another out.
    house.fleet.assign(&id("b"), &assigned("old")).unwrap();
    house.fleet.revoke(&id("c")).unwrap();
    driver.turn().unwrap();
    let of = |house: &House, device: &str| {
        let (devices, _) = house.fleet.rollout_devices("march", None, None, 10).unwrap();
        devices.into_iter().find(|one| one.device.as_str() == device).map(|one| (one.wave, one.status))
    };
    assert_eq!(of(&house, "b"), Some((2, "superseded")));
    assert_eq!(of(&house, "c"), Some((2, "revoked")));
    assert_eq!(of(&house, "e"), None);
    house.enter("e");
    driver.turn().unwrap();
    assert_eq!(of(&house, "e"), Some((2, "waiting")), "the last wave has not opened");
    house.apply("a");
    driver.turn().unwrap();
    house.clock.advance(60);
    driver.turn().unwrap();
    assert_eq!(["a", "b", "d", "e"].map(|device| house.model(device)), ["new", "old", "new", "new"]);
    house.enter("f");
    driver.turn().unwrap();
    assert_eq!(of(&house, "f"), Some((3, "waiting")), "under a gate of its own");

    // A newer rollout takes what it is for, and the older one has nobody of them any more.
    let late = RolloutRequest { selector: "name=d".into(), ..request("april") };
    house.fleet.start_rollout("bo", &late).unwrap();
    assert_eq!(of(&house, "d"), Some((2, "superseded")));
    house.apply("e");
    driver.turn().unwrap();
    house.clock.advance(60);
    driver.turn().unwrap();
    house.apply("f");
    house.apply("d");
    driver.turn().unwrap();
    house.clock.advance(60);
    driver.turn().unwrap();
    assert_eq!((house.state("march"), house.state("april")), ("completed".into(), "completed".into()));
    assert_eq!(driver.turn().unwrap(), Turn::Idle);
}

#[test]
fn what_a_device_said_before_its_order_is_no_answer_to_it() {
    let mut house = House::new(&["a", "b"]);
    let mut driver = house.driver();
    // It would not take what was signed before; the rollout is what mends that.
    house.say_of("a", Some((ReasonCode::Expired, Reason::DESIRED_STATE)));
    house.fleet.start_rollout("ada", &request("march")).unwrap();
    driver.turn().unwrap();
    assert_eq!((house.model("a"), house.state("march")), ("new".into(), "running".into()));
    assert_eq!(house.fleet.rollout("march").unwrap().waves[0].state, "open", "nobody has failed");
    house.apply("a");
    driver.turn().unwrap();
    house.clock.advance(60);
    driver.turn().unwrap();
    assert_eq!(house.model("b"), "new");
}

#[test]
fn a_group_that_is_gone_keeps_joiners_out_and_stops_no_rollout() {
    let mut house = House::new(&["a", "b", "c"]);
    let mut driver = house.driver();
    let canary = serde_json::json!({ "name": "canary", "selector": "name=a" });
    house.fleet.keep_group(&serde_json::from_value(canary).unwrap()).unwrap();
    let waves = vec![WaveRequest { selector: Some("group=canary".into()), ..WaveRequest::default() }];
    house.fleet.start_rollout("ada", &RolloutRequest { waves, ..request("march") }).unwrap();
    driver.turn().unwrap();
    house.fleet.remove_group("canary").unwrap();
    house.enter("d");
    house.apply("a");
    driver.turn().unwrap();
    house.clock.advance(60);
    driver.turn().unwrap();
    assert_eq!(["a", "b", "c", "d"].map(|device| house.model(device)), ["new", "new", "new", "old"]);
}

#[test]
fn a_second_person_approves_and_people_pause_resume_retry_and_abort() {
    let mut house = House::new(&["a", "b"]);
    let mut driver = house.driver();
    let mut asks = RolloutRequest { on_failure: OnFailure::Pause, ..request("march") };
    asks.waves[0].approvals = 1;
    let started = house.fleet.start_rollout("ada", &asks).unwrap();
    assert_eq!((started.awaits_approval_of, started.waves[0].state), (Some(1), "awaits_approval"));
    let actor = |name: &str, role: &str| house.fleet.actor(name, &[role.to_owned()], Means::Session);
    let own = house.fleet.approve_rollout(&actor("ada", "administrator"), "march", None).unwrap_err();
    assert!(matches!(own, FleetError::Forbidden(_)), "{own}");
    let viewer = house.fleet.approve_rollout(&actor("vic", "viewer"), "march", None).unwrap_err();
    assert!(matches!(viewer, FleetError::Forbidden(_)), "{viewer}");
    for (name, means) in [("local:ada", Means::Local), ("bo", Means::ApiToken)] {
        let actor = house.fleet.actor(name, &["administrator".to_owned()], means);
        let nobody = house.fleet.approve_rollout(&actor, "march", None).unwrap_err();
        assert!(matches!(nobody, FleetError::Forbidden(_)), "{name}: {nobody}");
    }
    assert_eq!(house.model("a"), "old");
    house.fleet.approve_rollout(&actor("bo", "approver"), "march", None).unwrap();
    assert_eq!(house.model("a"), "new");
    let twice = house.fleet.approve_rollout(&actor("cy", "approver"), "march", Some(1)).unwrap_err();
    assert!(matches!(twice, FleetError::Rollout(Refusal::NoApprovalAwaited { .. })), "{twice}");

    house.refuse("a");
    driver.turn().unwrap();
    assert_eq!(house.state("march"), "paused");
    assert_eq!(house.fleet.rollout("march").unwrap().waves[0].state, "failed");
    let still = house.fleet.resume_rollout("march").unwrap_err();
    assert!(matches!(still, FleetError::Rollout(Refusal::StoppedAtFailure)), "{still}");
    let again = house.fleet.retry_rollout("march").unwrap();
    assert_eq!((again.state.as_str(), again.waves[0].state), ("running", "open"));
    assert_eq!(house.version("a"), 3, "ordered once more");
    assert_eq!(house.fleet.pause_rollout("march").unwrap().state, "paused");
    assert_eq!(house.fleet.resume_rollout("march").unwrap().state, "running");
    let aborted = house.fleet.abort_rollout("march", true).unwrap();
    assert_eq!((aborted.state.as_str(), house.model("a").as_str()), ("rolling_back", "old"));
    house.apply("a");
    driver.turn().unwrap();
    assert_eq!(house.state("march"), "aborted");
    let over = house.fleet.pause_rollout("march").unwrap_err();
    assert!(matches!(over, FleetError::Rollout(Refusal::Over)), "{over}");
    assert!(matches!(house.fleet.pause_rollout("may").unwrap_err(), FleetError::UnknownRollout(_)));
}

#[test]
fn what_cannot_be_carried_out_is_refused_whole() {
    let house = House::new(&["a"]);
    let refused = |change: fn(&mut RolloutRequest)| {
        let mut asked = RolloutRequest { waves: Vec::new(), ..request("march") };
        change(&mut asked);
        house.fleet.start_rollout("ada", &asked).unwrap_err().to_string()
    };
    assert!(refused(|asked| asked.name = "../x".into()).contains("no name for a rollout"));
    assert!(refused(|asked| asked.model = Some("none".parse().unwrap())).contains("not in the catalogue"));
    assert!(refused(|asked| asked.policy = Some("p".parse().unwrap())).contains("no policy `p`"));
    assert!(refused(|asked| asked.model = None).contains("must name a model"));
    assert!(refused(|asked| asked.selector = "name==".into()).len() > 10);
    assert!(refused(|asked| asked.selector = "name=nobody".into()).contains("for no device"));
    let of_nobody = || WaveRequest { selector: Some("name=nobody".into()), ..WaveRequest::default() };
    let empty = RolloutRequest { waves: vec![of_nobody()], ..request("march") };
    assert!(house.fleet.start_rollout("ada", &empty).unwrap_err().to_string().contains("takes no device"));
    assert_eq!(house.fleet.rollouts(None, 10).unwrap(), (Vec::new(), false));
    assert_eq!(house.version("a"), 1);
    let shares = house.fleet.start_rollout("ada", &RolloutRequest { waves: Vec::new(), ..request("march") }).unwrap();
    assert_eq!(shares.waves.len(), 1, "of one device, the first share is all");
}

#[test]
fn a_model_that_left_the_catalogue_is_a_failure_of_the_device_and_not_of_the_driver() {
    let house = House::new(&["a", "b"]);
    let mut driver = house.driver();
    house.fleet.start_rollout("ada", &request("march")).unwrap();
    house.run("DELETE FROM targets WHERE name LIKE 'new%' OR name LIKE 'old%'");
    house.fleet.abort_rollout("march", true).unwrap();
    driver.turn().unwrap();
    assert_eq!(house.state("march"), "aborted");
    let failed = house.fleet.rollout("march").unwrap().failures;
    assert_eq!(failed[0].reason.as_deref(), Some("it refuses: not_in_catalogue"));
}

/// What happens in the history that is cut and killed: an act, and a turn of the driver.
const HISTORY: usize = 14;

fn happen(house: &mut House, at: usize) {
    match at {
        2 => house.apply("a"),
        4 => house.clock.advance(60),
        6 => house.apply("b"),
        7 => drop(house.fleet.assign(&id("d"), &assigned("old")).unwrap()),
        8 => house.refuse("c"),
        10 => house.all_apply(&["a", "b", "c"]),
        _ => {}
    }
}

#[test]
fn a_step_that_fails_at_any_write_has_done_nothing_and_is_done_again_whole() {
    const WRITTEN: [&str; 7] =
        ["rollouts", "rollout_devices", "rollout_notices", "rollout_departures", "pins", "assignments", "desired"];
    let through = |cuts: bool| {
        let mut house = House::new(&["a", "b", "c", "d"]);
        house.run("CREATE TABLE cut (left INTEGER); INSERT INTO cut VALUES (-1);");
        for (table, act) in WRITTEN.into_iter().flat_map(|table| ["INSERT", "UPDATE", "DELETE"].map(|act| (table, act)))
        {
            house.run(&format!(
                "CREATE TRIGGER cut_{table}_{act} BEFORE {act} ON {table} WHEN (SELECT left FROM cut) >= 0 BEGIN
                 UPDATE cut SET left = left - 1; SELECT RAISE(ABORT, 'cut') WHERE (SELECT left FROM cut) < 0; END;"
            ));
        }
        let (mut driver, mut failed) = (house.driver(), 0);
        for at in 0..HISTORY {
            happen(&mut house, at);
            for write in 0.. {
                let before = house.dump();
                if cuts {
                    house.run(&format!("UPDATE cut SET left = {write}"));
                }
                let done = match at {
                    0 => house.fleet.start_rollout("ada", &request("march")).map(|_| ()),
                    _ => driver.turn().map(|_| ()),
                };
                house.run("UPDATE cut SET left = -1");
                if done.is_ok() {
                    break;
                }
                failed += 1;
                assert_eq!(house.dump(), before, "step {at}, write {write}");
            }
        }
        assert_eq!(house.state("march"), "rolled_back");
        (house.dump(), failed)
    };
    let ((whole, none), (cut, failed)) = (through(false), through(true));
    assert_eq!(cut, whole);
    assert_eq!(none, 0);
    assert!(failed > 60, "{failed}");
}

#[test]
fn a_server_that_dies_between_any_two_moments_leads_to_the_same_end() {
    let through = |dies_after: Option<usize>| {
        let mut house = House::new(&["a", "b", "c", "d"]);
        let mut driver = house.driver();
        for at in 0..HISTORY {
            happen(&mut house, at);
            if dies_after == Some(2 * at) {
                driver = house.restart();
            }
            match at {
                0 => house.fleet.start_rollout("ada", &request("march")).map(|_| ()).unwrap(),
                _ => assert_ne!(driver.turn().unwrap(), Turn::Follows),
            }
            if dies_after == Some(2 * at + 1) {
                driver = house.restart();
            }
        }
        let models = ["a", "b", "c", "d"].map(|device| (house.model(device), house.version(device)));
        let notices = house.fleet.inner.database.notices("march", 100).unwrap();
        (house.state("march"), models, notices.into_iter().map(|notice| notice.document).collect::<Vec<_>>())
    };
    let whole = through(None);
    assert_eq!(whole.0, "rolled_back");
    for dies_after in 0..2 * HISTORY {
        assert_eq!(through(Some(dies_after)), whole, "{dies_after}");
    }
}

#[test]
fn of_two_servers_on_one_database_one_leads_and_nothing_is_done_twice() {
    let mut house = House::new(&["a", "b", "c", "d"]);
    let second = Fleet::open(house.fleet.config().clone(), house.clock.clone()).unwrap();
    let (mut first, mut other) = (house.driver(), Driver::new(second.clone()).unwrap());
    house.fleet.start_rollout("ada", &request("march")).unwrap();
    assert_eq!((first.turn().unwrap(), other.turn().unwrap()), (Turn::Done, Turn::Follows));
    // What a person does through the other server counts for the one that leads.
    second.pause_rollout("march").unwrap();
    house.apply("a");
    house.clock.advance(LEASE_S - 1);
    assert_eq!((first.turn().unwrap(), other.turn().unwrap()), (Turn::Done, Turn::Follows));
    second.resume_rollout("march").unwrap();
    // The first is gone for a while and does not know that it leads no more.
    house.clock.advance(60);
    assert_eq!((other.turn().unwrap(), first.turn().unwrap()), (Turn::Done, Turn::Follows));
    assert_eq!(["a", "b", "c", "d"].map(|device| house.model(device)), ["new"; 4]);
    house.all_apply(&["b", "c", "d"]);
    // Both at once, from two threads.
    let turns = |mut driver: Driver| {
        std::thread::spawn(move || {
            for _ in 0..50 {
                driver.turn().unwrap();
            }
            driver
        })
    };
    let threads = [turns(first), turns(other)];
    house.clock.advance(30);
    let [mut first, mut other] = threads.map(|thread| thread.join().unwrap());
    house.clock.advance(60);
    assert_ne!((first.turn().unwrap(), other.turn().unwrap()), (Turn::Done, Turn::Done));
    assert_eq!(house.state("march"), "completed");
    assert_eq!(["a", "b", "c", "d"].map(|device| house.version(device)), [2; 4]);
    let notices = house.fleet.inner.database.notices("march", 100).unwrap();
    let mut told: Vec<&str> = notices.iter().map(|notice| notice.document.as_str()).collect();
    told.sort_unstable();
    told.dedup();
    assert_eq!(told.len(), notices.len(), "{told:?}");
}

#[test]
fn one_report_rewrites_one_device_and_a_look_at_nothing_new_writes_nothing() {
    let names: Vec<String> = (0..300).map(|number| format!("box-{number:03}")).collect();
    let mut house = House::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut driver = house.driver();
    let asked = RolloutRequest {
        waves: vec![WaveRequest { percent: Some(100), ..WaveRequest::default() }],
        gates: Gates { self_test: true, speed_percent_of_before: Some(90), ..Gates::default() },
        ..request("march")
    };
    house.fleet.start_rollout("ada", &asked).unwrap();
    driver.turn().unwrap();
    house.run(
        "CREATE TABLE written (what TEXT);
         CREATE TRIGGER w1 AFTER UPDATE ON rollout_devices BEGIN INSERT INTO written VALUES (new.device); END;
         CREATE TRIGGER w2 AFTER UPDATE ON rollouts BEGIN INSERT INTO written VALUES (new.name); END;",
    );
    let written = |house: &House| {
        let read = |connection: &crate::db::sql::Connection| {
            let mut statement = connection.prepare_cached("SELECT what FROM written")?;
            let rows = statement.query_map(params![], |row| row.get::<_, String>(0))?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        };
        let written = house.fleet.inner.database.read(read).unwrap();
        house.run("DELETE FROM written");
        written
    };
    house.clock.advance(2);
    driver.turn().unwrap();
    assert_eq!(written(&house), Vec::<String>::new());
    house.apply("box-007");
    driver.turn().unwrap();
    assert_eq!(written(&house), ["march", "box-007"]);
    house.clock.advance(60);
    driver.turn().unwrap();
    assert_eq!(written(&house), ["march"], "the time is written down now and then");
    for name in &names {
        house.apply(name);
    }
    assert_eq!((driver.turn().unwrap(), driver.turn().unwrap()), (Turn::More, Turn::Done));
    assert_eq!(house.fleet.rollout("march").unwrap().waves[0].parts()[0], ("done", 300));
}
