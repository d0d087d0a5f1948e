//! The desk from the first draft to the last device, over a fleet on the disk.

use std::collections::BTreeMap;
use std::path::Path;

use outpost_audit::{AuditLog, BootInfo, CheckpointKey, DecisionRef, Kind, LogIdentity, ObjectRef, Record, Who};
use outpost_contract::{DeviceId, SealedKind};
use outpost_policies::{Bundle, BundleFiles};

use super::*;
use crate::clock::Clock;
use crate::config::Config;
use crate::db::Assignment;
use crate::fleet::{Fleet, FleetError};
use crate::keys::OfflineKeys;
use crate::people::{Actor, Means};

const NOW_S: i64 = 1_800_000_000;

struct House {
    fleet: Fleet,
    keys: OfflineKeys,
    dir: tempfile::TempDir,
}

impl House {
    fn new(two_persons: Option<bool>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { two_persons, ..Config::new(dir.path().join("state")) };
        let fleet = Fleet::init(config, Clock::fixed(NOW_S)).unwrap().fleet;
        let keys = fleet.create_offline_keys(&dir.path().join("keys")).unwrap();
        Self { fleet, keys, dir }
    }

    /// Releases the default bundle, as version 1, past the desk.
    fn release_default(&self) {
        let policy = Some(Bundle::default_bundle().to_bytes());
        self.fleet.release(&self.keys, crate::ReleaseRequest { policy, ..crate::ReleaseRequest::default() }).unwrap();
    }

    fn save(&self, author: &str, name: &str, files: &BundleFiles) -> PolicyDraft {
        self.fleet.save_policy_draft(author, name, files, None).unwrap()
    }

    fn person(&self, name: &str, role: &str) -> Actor {
        self.fleet.actor(name, &[role.to_owned()], Means::Session)
    }

    fn publish(&self, name: &str, staged: bool) -> Result<PublishedPolicy, FleetError> {
        self.fleet.publish_policy(std::slice::from_ref(&self.keys), name, None, staged)
    }

    /// A device with an assignment.
    fn device(&self, name: &str) -> DeviceId {
        let device: DeviceId = name.parse().unwrap();
        let sql =
            "INSERT INTO devices (device, enrolled_s, key_sha256, audit_key, agent) VALUES (?1, 1, x'00', 'k', '0')";
        let database = &self.fleet.inner.database;
        database.write(|connection| Ok(connection.execute(sql, [name])?)).unwrap();
        self.assign(&device);
        device
    }

    fn assign(&self, device: &DeviceId) {
        self.fleet.assign(device, &Assignment { model: None, minimum_context_tokens: 512 }).unwrap();
    }

    /// Tells a device of a policy, as a rollout does; none is the fleet's.
    fn pin(&self, device: &DeviceId, target: Option<&str>) {
        let sql = "INSERT INTO pins (device, policy) VALUES (?1, ?2) ON CONFLICT (device) DO UPDATE SET policy = excluded.policy";
        let database = &self.fleet.inner.database;
        database
            .write(|connection| Ok(connection.execute(sql, crate::db::sql::params![device.as_str(), target])?))
            .unwrap();
        self.assign(device);
    }

    /// The policy target that the device's newest desired state names.
    fn told(&self, device: &DeviceId) -> Option<String> {
        let signed = self.fleet.inner.database.signed_for(std::slice::from_ref(device)).unwrap();
        let envelope: serde_json::Value = serde_json::from_slice(&signed[0].2).unwrap();
        use base64::Engine as _;
        let payload = envelope["payload"].as_str().unwrap();
        let payload = base64::engine::general_purpose::STANDARD.decode(payload).unwrap();
        let desired: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        desired["policy"]["name"].as_str().map(str::to_owned)
    }

    /// What a device's log holds here, as if it had been mirrored.
    fn mirror(&self, device: &str, records: Vec<Record>) {
        let directory = self.fleet.config().state_dir.join("audit").join(device).join("1");
        let key = CheckpointKey::read_or_create(self.dir.path().join(format!("{device}.key"))).unwrap();
        let identity = LogIdentity { origin: format!("audit.outpost/{device}/1"), key };
        let (log, _) = AuditLog::open(&directory, identity, BootInfo::at_system_time("0", device)).unwrap();
        let appended: Vec<_> = records.into_iter().map(|record| log.append(record)).collect();
        appended.into_iter().for_each(|appended| assert!(appended.wait().is_ok()));
        log.shutdown("done").unwrap();
    }
}

/// The default rules with one of their cases: the others speak against what is tried here.
fn files(version: u64) -> BundleFiles {
    let bundle = Bundle::default_bundle();
    let cases = bundle.cases.iter().find(|case| case.title.contains("without a role")).cloned().into_iter().collect();
    BundleFiles::of(&Bundle { version, cases, ..bundle }).unwrap()
}

fn with_rule(version: u64, rule: &str) -> BundleFiles {
    files(version).with("more.cedar", &format!("@id(\"new\") @title(\"New.\") @reason(\"r\")\n{rule}")).unwrap()
}

const NO_DRAINING: &str = r#"forbid (principal in Role::"admin", action == Action::"drain", resource);"#;

#[test]
fn a_draft_is_looked_at_when_it_is_saved_and_compared_in_words_and_lines() {
    let house = House::new(None);
    let first = BundleFiles::of(&Bundle::default_bundle()).unwrap();
    let first = house.fleet.save_policy_draft("ada", "first", &first, Some(0)).unwrap();
    assert_eq!(first.summary.state, DraftState::Ready, "{:?}", first.found);
    assert_eq!(house.fleet.policy_diff("first").unwrap().from, None);
    house.release_default();
    assert_eq!(house.fleet.policy_draft("first").unwrap().summary.state, DraftState::Released);

    let broken = house.save("ada", "night", &files(2).with("limits.toml", "[operator]\nx = 1").unwrap());
    assert_eq!((broken.summary.state, broken.summary.digest.as_deref()), (DraftState::Faulty, None));
    assert_eq!((broken.found[0].file.as_str(), broken.found[0].line), ("limits.toml", Some(2)));
    let diff = house.fleet.policy_diff("night").unwrap();
    assert!(diff.words.is_none() && diff.lines.iter().any(|file| file.file == "limits.toml"));

    let without_version = with_rule(2, NO_DRAINING).with("bundle.toml", "").unwrap();
    let good = house.save("ada", "night", &without_version);
    assert_eq!((good.summary.version, good.summary.revision), (Some(2), 2), "one above the one in force");
    let diff = house.fleet.policy_diff("night").unwrap();
    assert_eq!((diff.from, diff.to, diff.widens), (Some(1), Some(2), Some(false)));
    let words = diff.words.unwrap();
    assert!(words.iter().any(|words| words == "admins lose: drain the agent"), "{words:?}");
    assert!(words.iter().any(|words| words == "rule `new` added: New."), "{words:?}");
    let changed: Vec<&str> = diff.lines.iter().map(|file| file.file.as_str()).collect();
    assert_eq!(changed, ["bundle.toml", "cases.toml", "more.cedar"]);

    // Saved by two at once, the second is told.
    let late = house.fleet.save_policy_draft("bo", "night", &files(2), Some(1));
    assert!(matches!(late, Err(FleetError::Desk(DeskError::Overtaken(_)))), "{late:?}");
    let same = house.fleet.save_policy_draft("bo", "night", &without_version, Some(2)).unwrap();
    assert_eq!((same.summary.revision, same.summary.author.as_str()), (2, "ada"), "nothing was written");
    for name in ["", "../x", "Night", "a b", "-a"] {
        assert!(house.fleet.save_policy_draft("ada", name, &files(2), None).is_err(), "{name}");
    }
    house.fleet.drop_policy_draft("night").unwrap();
    assert!(matches!(house.fleet.policy_draft("night"), Err(FleetError::Desk(DeskError::Unknown(_)))));
}

#[test]
fn a_second_person_approves_exactly_what_is_there_and_nobody_else() {
    let house = House::new(None);
    assert!(!house.fleet.two_persons().unwrap());
    house.release_default();
    for name in ["ada", "bo"] {
        house.fleet.add_person(name, &["administrator".to_owned()]).unwrap();
    }
    assert!(house.fleet.two_persons().unwrap(), "there are two people");
    let draft = house.save("ada", "night", &with_rule(2, NO_DRAINING));
    assert_eq!(draft.summary.state, DraftState::Waiting);
    let digest = draft.summary.digest.unwrap();
    let approve = |actor: &Actor, digest: &str| house.fleet.approve_policy(actor, "night", digest);

    let own = approve(&house.person("ada", "administrator"), &digest);
    assert!(matches!(own, Err(FleetError::Forbidden(_))), "{own:?}");
    let own = house.fleet.approve_policy_locally("ada", "night", &digest);
    assert!(matches!(own, Err(FleetError::Forbidden(_))), "the account `ada` is ada: {own:?}");
    let viewer = approve(&house.person("bo", "viewer"), &digest);
    assert!(matches!(viewer, Err(FleetError::Forbidden(_))), "{viewer:?}");
    let token = house.fleet.actor("ci", &["administrator".to_owned()], Means::ApiToken);
    assert!(matches!(approve(&token, &digest), Err(FleetError::Desk(DeskError::ByToken))));
    for other in ["", "0123456789abcdef", &digest[..11]] {
        let refused = approve(&house.person("bo", "approver"), other);
        assert!(matches!(refused, Err(FleetError::Desk(DeskError::OtherDigest { .. }))), "{other}: {refused:?}");
    }
    let refused = house.publish("night", false);
    assert!(matches!(refused, Err(FleetError::Desk(DeskError::NotApproved(_)))), "{refused:?}");

    let approved = approve(&house.person("bo", "approver"), &digest[..12]).unwrap();
    assert_eq!(approved.summary.state, DraftState::Ready);
    assert_eq!(approved.summary.approvals[0].person, "bo");
    // Another word is another digest; and who wrote it does not approve it, whoever wrote last.
    let changed = house.save("bo", "night", &with_rule(2, &NO_DRAINING.replace("drain", "restart")));
    assert_eq!(changed.summary.state, DraftState::Waiting);
    let again = house.save("bo", "night", &with_rule(2, NO_DRAINING));
    assert_eq!((again.summary.digest.as_deref(), again.summary.state), (Some(digest.as_str()), DraftState::Waiting));
    let wrote = approve(&house.person("ada", "administrator"), &digest);
    assert!(matches!(wrote, Err(FleetError::Forbidden(_))), "{wrote:?}");
    approve(&house.person("cy", "approver"), &digest).unwrap();
    let released = house.publish("night", false).unwrap();
    assert_eq!((released.target.as_str(), released.version), ("policy.json", 2));
    assert_eq!(house.fleet.policy_in_force().unwrap().unwrap().version, 2);
    let again = house.publish("night", false);
    assert!(matches!(again, Err(FleetError::Desk(DeskError::Released(_)))), "{again:?}");
}

#[test]
fn where_two_must_stand_behind_a_policy_there_is_no_way_past_the_desk() {
    let house = House::new(Some(true));
    let policy =
        |bundle: &Bundle| crate::ReleaseRequest { policy: Some(bundle.to_bytes()), ..crate::ReleaseRequest::default() };
    let bundle = Bundle::default_bundle();
    for refused in [
        house.fleet.release(&house.keys, policy(&bundle)).map(|_| ()),
        house.fleet.prepare(policy(&bundle)).map(|_| ()),
    ] {
        assert!(matches!(refused, Err(FleetError::Desk(DeskError::NoDraft))), "{refused:?}");
    }
    let digest = house.save("ada", "first", &BundleFiles::of(&bundle).unwrap()).summary.digest.unwrap();
    house.fleet.approve_policy(&house.person("bo", "approver"), "first", &digest).unwrap();
    house.fleet.release(&house.keys, policy(&bundle)).unwrap();
    // What is released already needs nobody again.
    house.fleet.drop_policy_draft("first").unwrap();
    house.fleet.release(&house.keys, policy(&bundle)).unwrap();
}

#[test]
fn what_was_prepared_before_there_were_two_people_needs_the_second_one_too() {
    let house = House::new(None);
    let request = crate::ReleaseRequest { policy: Some(Bundle::default_bundle().to_bytes()), ..Default::default() };
    let mut prepared = house.fleet.prepare(request).unwrap();
    prepared.sign(&house.keys.targets).unwrap();
    for name in ["ada", "bo"] {
        house.fleet.add_person(name, &["administrator".to_owned()]).unwrap();
    }
    let refused = house.fleet.publish(prepared.clone());
    assert!(matches!(refused, Err(FleetError::Desk(DeskError::NoDraft))), "{refused:?}");
    house.fleet.disable_person("bo", true).unwrap();
    house.fleet.publish(prepared).unwrap();
}

#[test]
fn faulty_old_and_unsealed_drafts_are_not_released() {
    let house = House::new(Some(false));
    house.save("ada", "first", &files(1).with("cases.toml", "").unwrap());
    let faulty = house.publish("first", false);
    assert!(matches!(faulty, Err(FleetError::Desk(DeskError::Faulty { errors: 1, .. }))), "{faulty:?}");
    house.release_default();
    house.save("ada", "old", &with_rule(1, NO_DRAINING));
    let old = house.publish("old", false);
    assert!(matches!(old, Err(FleetError::Desk(DeskError::Version { draft: 1, released: 1, next: 2 }))), "{old:?}");
    let sealed = house.fleet.publish_policy(std::slice::from_ref(&house.keys), "old", Some(b"{}".to_vec()), false);
    assert!(sealed.is_err());
}

#[test]
fn where_devices_ask_for_signatures_the_sealed_bundle_is_exactly_the_draft() {
    let house = House::new(Some(false));
    let ada = outpost_trust::SigningKey::generate().unwrap();
    let key = ada.verifying_key().to_hex();
    let signer = outpost_contract::Signer { name: "ada".to_owned(), key, may: vec![SealedKind::Policy] };
    let request = crate::ReleaseRequest {
        policy: Some(Bundle::default_bundle().to_bytes()),
        signers: Some(vec![signer]),
        ..Default::default()
    };
    house.fleet.release(&house.keys, request).unwrap();
    let asking =
        |version| files(version).with("bundle.toml", &format!("version = {version}\nrequired_approvals = 1")).unwrap();
    house.save("ada", "strict", &asking(2));
    // Devices would not go back from it to one that nobody signed.
    assert!(matches!(house.publish("strict", true), Err(FleetError::Desk(DeskError::NoWayBack))));
    house.publish("strict", false).unwrap();

    house.save("ada", "next", &asking(3));
    assert!(matches!(house.publish("next", false), Err(FleetError::Desk(DeskError::Unsealed { asked: 1, .. }))));
    let seal = |version: u64| {
        let bundle = asking(version).check(version).bundle.unwrap();
        outpost_trust::sealed::seal(SealedKind::Policy, &bundle.to_bytes(), &ada).unwrap().to_bytes()
    };
    let publish =
        |sealed: Vec<u8>| house.fleet.publish_policy(std::slice::from_ref(&house.keys), "next", Some(sealed), false);
    assert!(matches!(publish(seal(4)), Err(FleetError::Desk(DeskError::Sealed { .. }))));
    publish(seal(3)).unwrap();
    assert_eq!(house.fleet.policy_in_force().unwrap().unwrap().version, 3);
    assert_eq!(house.fleet.policy_draft("next").unwrap().summary.state, DraftState::Released);
}

#[test]
fn a_staged_policy_reaches_only_who_is_pinned_to_it_until_it_is_settled_or_overtaken() {
    let house = House::new(Some(false));
    house.release_default();
    let (one, two) = (house.device("till-1"), house.device("till-2"));
    house.save("ada", "night", &with_rule(2, NO_DRAINING));
    let staged = house.publish("night", true).unwrap();
    assert_eq!(staged.target.as_str(), "policy-night.v2.json");
    let state = || house.fleet.policy_draft("night").unwrap().summary.state;
    assert_eq!(state(), DraftState::Staged);
    assert_eq!(house.told(&one).as_deref(), Some("policy.json"), "nobody is told of it yet");

    let pin = house.fleet.staged_policy("night").unwrap();
    assert_eq!(house.fleet.staged_policy("policy-night.v2.json").unwrap(), pin);
    assert!(house.fleet.staged_policy("nigh").is_err());
    house.pin(&one, Some(pin.name.as_str()));
    house.assign(&two);
    assert_eq!(house.told(&one).as_deref(), Some("policy-night.v2.json"));
    assert_eq!(house.told(&two).as_deref(), Some("policy.json"));
    // Rolled back.
    house.pin(&one, None);
    assert_eq!(house.told(&one).as_deref(), Some("policy.json"));
    // What the catalogue does not list leaves in force what is.
    house.pin(&one, Some("policy-gone.v1.json"));
    assert_eq!(house.told(&one), None);
    let forged = outpost_contract::TargetPin { length: 1, ..pin.clone() };
    assert!(house.fleet.settle_policy(&forged).is_err());

    // Its last gate passed.
    house.pin(&one, Some(pin.name.as_str()));
    house.fleet.settle_policy(&pin).unwrap();
    assert_eq!(house.told(&two).as_deref(), Some("policy-night.v2.json"));
    assert_eq!((state(), house.fleet.inner.database.pin(&one).unwrap().policy), (DraftState::Released, None));
    assert_eq!(house.fleet.policy_in_force().unwrap().unwrap().version, 2);
    let board = house.fleet.policy_board().unwrap();
    let in_force: BTreeMap<&str, bool> = board.released.iter().map(|one| (one.target.as_str(), one.in_force)).collect();
    assert_eq!(in_force, BTreeMap::from([("policy.json", false), ("policy-night.v2.json", true)]));

    // A release for all ends what was staged, also with the words that were in force before.
    house.release_default();
    assert_eq!(
        (house.told(&one).as_deref(), house.fleet.policy_in_force().unwrap().unwrap().version),
        (Some("policy.json"), 1)
    );
    house.fleet.settle_policy(&pin).unwrap();
    house.save("ada", "day", &files(3));
    house.publish("day", false).unwrap();
    assert_eq!((house.told(&one).as_deref(), house.told(&two).as_deref()), (Some("policy.json"), Some("policy.json")));
    assert_eq!(house.fleet.policy_in_force().unwrap().unwrap().version, 3);
}

#[test]
fn policies_that_nobody_is_told_of_do_not_pile_up_in_the_catalogue() {
    let house = House::new(Some(false));
    house.release_default();
    let device = house.device("till-1");
    for version in 2..10 {
        house.save("ada", "night", &files(version));
        house.publish("night", true).unwrap();
        if version == 2 {
            house.pin(&device, Some("policy-night.v2.json"));
        }
    }
    let names: Vec<String> = house.fleet.policy_board().unwrap().released.into_iter().map(|one| one.target).collect();
    let staged: Vec<&str> = names.iter().map(String::as_str).filter(|name| *name != "policy.json").collect();
    assert_eq!(staged.len(), 6, "one that a device is told of, four that wait, and the new one: {staged:?}");
    assert!(staged.contains(&"policy-night.v2.json") && staged.contains(&"policy-night.v9.json"));
}

fn decided(kind: Kind, role: &str, act: &str, allowed: bool, rules: &[&str], request: &str) -> Record {
    let who = Who { kind: "user".into(), id: format!("p:{role}"), roles: vec![role.into()], auth: "jwt".into() };
    let decision = DecisionRef {
        effect: if allowed { "allow" } else { "deny" }.into(),
        policy: "bundle-1".into(),
        rules: rules.iter().map(|rule| (*rule).to_owned()).collect(),
        errors: Vec::new(),
    };
    let object = ObjectRef { model: "demo".into(), endpoint: "/v1/chat/completions".into(), ..ObjectRef::default() };
    Record::new(kind).who(who).act(act).object(object).decision(decision).request(request)
}

fn now_is_now(house: &House) {
    // The log stamps its records by the system's clock.
    house.fleet.inner.clock.advance(Clock::system().now_s() - house.fleet.now_s());
}

#[test]
fn a_simulation_says_who_would_be_refused_who_newly_allowed_and_what_cannot_be_known() {
    let house = House::new(Some(false));
    now_is_now(&house);
    house.release_default();
    house.device("till-1");
    house.device("till-2");
    let ask = |request: &str, stream: i64| {
        let start = decided(Kind::InferStart, "operator", "infer", true, &["operators-use-models"], request);
        start.detail("max_tokens", 64_u32).detail("stream", stream)
    };
    let mut records = Vec::new();
    for number in 0..5 {
        let request = format!("r{number}");
        records.push(ask(&request, i64::from(number < 2)));
        records.push(decided(Kind::InferEnd, "operator", "infer", true, &["operators-use-models"], &request));
    }
    records.push(decided(Kind::AdminAct, "operator", "drain", false, &[], "r7"));
    records.push(decided(Kind::InferDenied, "operator", "infer", false, &["api-key-scope"], "r8"));
    records.push(decided(Kind::AdminAct, "admin", "paint", true, &["x"], "r9"));
    house.mirror("till-1", records);

    let rules = r#"forbid (principal in Role::"operator", action == Action::"infer", resource) when { context.stream };
        @id("newer") @title("New.") @reason("r")
        permit (principal in Role::"operator", action == Action::"drain", resource);"#;
    let draft = house.save("ada", "night", &with_rule(2, rules));
    assert_eq!(draft.summary.state, DraftState::Ready, "{:?}", draft.found);
    let told = house.fleet.simulate_policy("night", &Reach::default()).unwrap();
    assert_eq!((told.decisions, told.refused, told.allowed, told.same), (8, 2, 1, 3), "{told}");
    let unknown: Vec<(&str, u64)> = told.unknown.iter().map(|one| (one.because.as_str(), one.count)).collect();
    let expected =
        [("`paint` is no act that rules speak of", 1), ("a key's scope or an open override decided, not the rules", 1)];
    assert_eq!(unknown, expected);
    assert_eq!((told.devices, told.devices_without_records), (1, 1));
    let refused = &told.changed[0];
    assert_eq!(
        (refused.allowed, refused.count, refused.act.as_str(), refused.who.as_str()),
        (false, 2, "infer", "p:operator")
    );
    assert_eq!((refused.device.as_str(), refused.rules.as_slice()), ("till-1", ["new".to_owned()].as_slice()));
    assert_eq!(refused.examples.len(), 2);
    assert_eq!(refused.examples[0].by, ["operators-use-models"]);
    assert!(told.to_string().contains("2 would be refused, 1 newly allowed, 3 the same, 2 cannot be known"), "{told}");

    // A rule about what is not on record is not guessed at.
    let ada = r#"forbid (principal == User::"ada", action == Action::"infer", resource);"#;
    house.save("ada", "ada", &with_rule(2, ada));
    let told = house.fleet.simulate_policy("ada", &Reach::default()).unwrap();
    assert_eq!((told.refused, told.allowed), (0, 0));
    assert_eq!(told.unknown[0].because, "it depends on what is not on record: the caller's name", "{told}");
    assert_eq!(told.unknown[0].count, 5);
}

#[test]
fn a_simulation_ends_where_it_was_told_to_and_says_so() {
    let house = House::new(Some(false));
    now_is_now(&house);
    house.release_default();
    house.device("till-1");
    let record = |number: usize| {
        decided(Kind::InferStart, "operator", "infer", true, &["operators-use-models"], &format!("r{number}"))
    };
    house.mirror("till-1", (0..450).map(record).collect());
    house.save(
        "ada",
        "night",
        &with_rule(2, r#"forbid (principal in Role::"operator", action == Action::"infer", resource);"#),
    );
    let reach = |records| Reach { records, ..Reach::default() };
    let all = house.fleet.simulate_policy("night", &reach(10_000)).unwrap();
    assert_eq!((all.refused, all.devices_cut), (450, 0), "{all}");
    let some = house.fleet.simulate_policy("night", &reach(100)).unwrap();
    assert!(some.records <= 200 && some.devices_cut == 1, "{some}");
    // Older than was asked for.
    house.fleet.inner.clock.advance(8 * 86_400);
    let none = house.fleet.simulate_policy("night", &reach(10_000)).unwrap();
    assert_eq!((none.decisions, none.refused), (0, 0), "{none}");
    assert!(house.fleet.simulate_policy("night", &Reach { days: 0, ..Reach::default() }).is_err());
    assert!(Path::new(house.dir.path()).exists());
}

/// `cargo test -p outpost-control --lib simulation_of_many -- --ignored --nocapture` prints what it takes.
#[test]
#[ignore = "a measurement"]
fn a_simulation_of_many_records_reads_them_all() {
    const DEVICES: usize = 20;
    const RECORDS: usize = 2_500;
    let house = House::new(Some(false));
    now_is_now(&house);
    house.release_default();
    for number in 0..DEVICES {
        let name = format!("till-{number}");
        house.device(&name);
        let record = |number: usize| {
            let role = ["operator", "admin"][number % 2];
            let rules = [["operators-use-models"], ["admins-use-models"]][number % 2];
            let record = decided(Kind::InferStart, role, "infer", true, &rules, &format!("r{number}"));
            record
                .detail("max_tokens", u32::try_from(number % 100).unwrap())
                .detail("stream", i64::from(number % 3 == 0))
        };
        house.mirror(&name, (0..RECORDS).map(record).collect());
    }
    let rule =
        r#"forbid (principal in Role::"operator", action == Action::"infer", resource) when { context.stream };"#;
    house.save("ada", "night", &with_rule(2, rule));
    let began = std::time::Instant::now();
    let told = house.fleet.simulate_policy("night", &Reach { records: 1_000_000, ..Reach::default() }).unwrap();
    eprintln!("{} records, {} decisions, {} ms", told.records, told.decisions, began.elapsed().as_millis());
    assert_eq!((told.decisions, told.devices_left_out, told.devices_cut), ((DEVICES * RECORDS) as u64, 0, 0), "{told}");
}
