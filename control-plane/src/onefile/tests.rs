//! Fleet files over real fleets: rebuilt elsewhere, applied twice, refused whole.

mod api;
mod awaited;
mod properties;
mod reading;

use std::collections::BTreeMap;

use outpost_contract::{
    BlobRef, DeviceId, EnrolRequest, Fingerprint, GoldenPrompts, ModelFacts, Sha256, TargetKind, VariantFacts,
};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use sha2::Digest as _;

use super::*;
use crate::catalogue::{ReleaseRequest, Variant};
use crate::clock::Clock;
use crate::config::Config;
use crate::db::{Assignment, Database, StoredTarget};
use crate::inventory::Group;

const NOW_S: i64 = 1_800_000_000;

/// A fleet without a network.
struct House {
    fleet: Fleet,
    token: String,
    dir: tempfile::TempDir,
}

impl House {
    /// An empty server.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = Fleet::init(Config::new(dir.path().join("state")), Clock::fixed(NOW_S)).unwrap();
        Self { fleet: made.fleet, token: made.admin_token, dir }
    }

    /// With offline keys of its own.
    fn rooted() -> Self {
        let house = Self::new();
        house.fleet.create_offline_keys(&house.dir.path().join("stick")).unwrap();
        house
    }

    /// The holders of the offline keys release models.
    #[expect(clippy::disallowed_methods, reason = "a test's file needs to survive no power cut")]
    fn release(&self, models: &[&str]) {
        let keys = crate::keys::OfflineKeys::load(&self.dir.path().join("stick")).unwrap();
        let variant = |model: &&str| {
            let path = self.dir.path().join(format!("{model}.gguf"));
            std::fs::write(&path, model.repeat(100)).unwrap();
            let facts = VariantFacts { file_bytes: std::fs::metadata(&path).unwrap().len(), ..facts(model) };
            Variant { path, target: None, facts, cuts: Vec::new() }
        };
        let variants = models.iter().map(variant).collect();
        self.fleet.release(&keys, ReleaseRequest { variants, ..ReleaseRequest::default() }).unwrap();
    }

    /// A catalogue that lists models and that nobody signed.
    fn list(&self, models: &[&str]) {
        let target = |model: &&str| StoredTarget {
            name: format!("{model}.Q4_0").parse().unwrap(),
            kind: TargetKind::Variant(facts(model)),
            sha256: Sha256([1; 32]),
            bytes: Vec::new(),
        };
        let targets: Vec<_> = models.iter().map(target).collect();
        let reference = BlobRef { bytes: 1, blake3: outpost_contract::Blake3([2; 32]), chunks: Vec::new() };
        assert!(self.fleet.inner.database.publish(&targets, &reference, None, NOW_S).unwrap());
    }

    /// A device enrols with its key, and a code if it has one.
    fn enrol(&self, key: &KeyPair, code: &str) -> DeviceId {
        let request = EnrolRequest {
            code: code.to_owned(),
            certificate_request: CertificateParams::default().serialize_request(key).unwrap().pem().unwrap(),
            audit_key: "till+1+key".to_owned(),
            agent: "0.1.0".to_owned(),
            wished_name: String::new(),
        };
        self.fleet.enrol(&request, "192.0.2.7".parse().unwrap()).unwrap().device
    }

    fn enrol_by_code(&self, name: &str) -> KeyPair {
        let key = new_key();
        let code = self.fleet.create_code(&id(name), 60).unwrap();
        assert_eq!(self.enrol(&key, &code), id(name));
        key
    }

    fn plan(&self, text: &str, prune: bool) -> Result<FleetPlan, FleetError> {
        self.fleet.plan_file(&FleetFile::read(text)?, prune)
    }

    fn apply(&self, text: &str) -> FleetPlan {
        self.apply_with(text, false)
    }

    fn apply_with(&self, text: &str, prune: bool) -> FleetPlan {
        let file = FleetFile::read(text).unwrap();
        let plan = self.fleet.plan_file(&file, prune).unwrap();
        self.fleet.apply_plan(&file, &plan, prune).unwrap();
        plan
    }

    fn export(&self) -> String {
        self.fleet.export_file(true).unwrap()
    }

    /// Another opening of the same database.
    fn beside(&self) -> Database {
        Database::open(&self.fleet.config().state_dir.join("control.db")).unwrap()
    }

    /// What is signed for each device.
    fn signed(&self) -> BTreeMap<DeviceId, (u64, Vec<u8>)> {
        let signed = self.fleet.inner.database.signed().unwrap();
        signed.into_iter().map(|(device, version, envelope)| (device, (version, envelope))).collect()
    }
}

fn facts(model: &str) -> VariantFacts {
    let model = ModelFacts {
        model: model.parse().unwrap(),
        architecture: "llama".into(),
        licence: "apache-2.0".into(),
        parameters: 1000,
        context_tokens: 4096,
        layers: 2,
        embedding_length: 64,
        vocabulary: 256,
        kv_elements_per_layer: 64,
        feed_forward_length: 128,
        query_elements: 64,
    };
    VariantFacts {
        release: 1,
        model,
        quantisation: "Q4_0".into(),
        file_bytes: 1,
        weight_bytes: 1,
        quality_milli: 4_500,
        golden: GoldenPrompts::default(),
        origin: None,
        footprint: None,
    }
}

fn id(name: &str) -> DeviceId {
    name.parse().unwrap()
}

fn new_key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

fn fingerprint(key: &KeyPair) -> Fingerprint {
    Fingerprint(sha2::Sha256::digest(key.der_bytes()).into())
}

fn words(plan: &[Change]) -> Vec<&str> {
    plan.iter().map(|change| change.words.as_str()).collect()
}

/// What is wrong with a file for this fleet.
fn mistakes(house: &House, text: &str, prune: bool) -> String {
    house.plan(text, prune).unwrap_err().to_string()
}

fn assigned(model: &str, minimum_context_tokens: u32) -> Assignment {
    Assignment { model: Some(model.parse().unwrap()), minimum_context_tokens }
}

/// A fleet with everything that a file holds, built by the commands of every day; and the keys of its devices.
fn grown() -> (House, Vec<KeyPair>) {
    let house = House::rooted();
    let fleet = &house.fleet;
    house.release(&["demo", "second"]);
    let keys: Vec<_> = ["till-1", "till-2", "kiosk-1"].map(|name| house.enrol_by_code(name)).into();
    fleet.assign(&id("till-1"), &assigned("demo", 512)).unwrap();
    fleet.assign(&id("till-2"), &assigned("second", 2048)).unwrap();
    fleet.assign(&id("kiosk-1"), &Assignment { model: None, minimum_context_tokens: 7 }).unwrap();
    fleet.set_site(&id("till-1"), Some("store-12")).unwrap();
    fleet
        .set_labels(&id("till-1"), &[("role".into(), "till".into()), ("a.b".into(), "X_1".into())].into(), &[])
        .unwrap();
    fleet.allow_keys(&[(id("till-9"), Fingerprint([9; 32]))]).unwrap();
    let group = |name: &str, selector: Option<&str>, members: &[&str]| {
        let members = members.iter().map(|member| id(member)).collect();
        let description = "of \"a\" test \\ ä".to_owned();
        fleet
            .keep_group(&Group { name: name.into(), description, selector: selector.map(str::to_owned), members })
            .unwrap();
    };
    group("lab", None, &["till-1", "kiosk-1", "till-9"]);
    group("canary", Some("group=lab and label.role=till or cpu=\"x y\""), &[]);
    fleet.add_person("ada", &["operator".to_owned(), "auditor".to_owned()]).unwrap();
    fleet.add_person("bo@example", &["viewer".to_owned()]).unwrap();
    fleet.disable_person("bo@example", true).unwrap();
    fleet.create_api_token("ci", &["operator".to_owned()], &["see".to_owned(), "assign".to_owned()], 30).unwrap();
    // What is gone is in no file.
    let gone = house.enrol_by_code("gone");
    drop(gone);
    group("old", None, &["gone", "till-2"]);
    fleet.revoke(&id("gone")).unwrap();
    fleet.create_api_token("leaked", &["viewer".to_owned()], &[], 30).unwrap();
    fleet.revoke_api_token("leaked").unwrap();
    (house, keys)
}

#[test]
fn export_then_apply_on_an_empty_server_rebuilds_the_same_fleet() {
    let (old, keys) = grown();
    let file = old.export();
    assert!(!file.contains("gone") && !file.contains("leaked"), "{file}");
    assert_eq!(old.plan(&file, true).unwrap().changes, [], "a fleet is as its own export says");

    let new = House::new();
    let plan = new.apply(&file);
    assert!(plan.changes.len() > 10 && plan.left.is_empty(), "{plan:?}");
    let notes = plan.notes.join("\n");
    for part in ["outpost-control backup", "offline keys", "`ada`, `bo@example` have no password", "tokens `ci`"] {
        assert!(notes.contains(part), "{part}: {notes}");
    }
    assert_eq!(new.export(), file);
    assert!(new.fleet.devices().unwrap().is_empty() && new.signed().is_empty());

    // The holders release, the devices come with the keys that they have: everybody is told what they were told before.
    new.fleet.create_offline_keys(&new.dir.path().join("stick")).unwrap();
    new.release(&["demo", "second"]);
    let names = keys.iter().map(|key| new.enrol(key, "")).collect::<Vec<_>>();
    assert_eq!(names, ["till-1", "till-2", "kiosk-1"].map(id));
    assert_eq!(new.export(), file);
    for name in &names {
        let (before, after) = (old.fleet.device(name).unwrap(), new.fleet.device(name).unwrap());
        let model = |summary: &crate::db::DeviceSummary| summary.assignment.clone().unwrap().model;
        assert_eq!((model(&before), &before.site), (model(&after), &after.site), "{name}");
        assert_eq!(after.desired_version, 1);
        assert_eq!(old.fleet.labels(name).unwrap(), new.fleet.labels(name).unwrap());
    }
    assert_eq!(new.signed().len(), 3);
    assert_eq!(new.fleet.inner.database.awaited().unwrap().len(), 1, "till-9 is still awaited");
    let reach = |house: &House, group: &str| {
        let selector = house.fleet.selector(&format!("group={group} and not revoked")).unwrap();
        house.fleet.select(&selector).unwrap()
    };
    for group in ["lab", "canary", "old"] {
        assert_eq!(reach(&old, group), reach(&new, group), "{group}");
    }
    assert_eq!(new.plan(&file, true).unwrap().changes, []);
}

#[test]
fn a_second_apply_changes_nothing_and_signs_nothing() {
    let (house, _) = grown();
    let file = house.export().replace("model = \"demo\"", "model = \"second\"").replace("store-12", "store-13");
    let plan = house.apply(&file);
    assert_eq!(words(&plan.changes), ["till-1: site store-12 → store-13", "till-1: model demo → second"]);
    assert_eq!(house.fleet.device(&id("till-1")).unwrap().desired_version, 2);

    let beside = house.beside();
    let (versions, moment) = (house.signed(), beside.foreign_changes().unwrap());
    for prune in [false, true] {
        assert_eq!(house.apply_with(&file, prune).changes, []);
    }
    assert_eq!(house.signed(), versions, "not a byte was signed");
    assert_eq!(beside.foreign_changes().unwrap(), moment, "the database was not written");
    house.fleet.set_site(&id("till-1"), None).unwrap();
    assert_ne!(beside.foreign_changes().unwrap(), moment, "this is how a write would show");
}

#[test]
fn without_prune_nothing_is_taken_away_and_with_it_deletions_come_first() {
    let (house, _) = grown();
    let file = "[[device]]\nid = \"till-1\"\nlabels = { role = \"desk\" }\nmodel = \"demo\"\n[[device]]\nid = \"till-9\"\n\
                [[group]]\nname = \"lab\"\nmembers = [\"till-1\"]\n";
    let plan = house.apply(file);
    assert_eq!(
        words(&plan.changes),
        [
            "till-1: label role till → desk",
            "group lab: members kiosk-1 till-1 till-9 (of \"a\" test \\ ä) → members till-1",
        ]
    );
    assert_eq!(words(&plan.left).len(), 7, "{:?}", words(&plan.left));
    assert_eq!(house.fleet.device(&id("till-1")).unwrap().site.as_deref(), Some("store-12"));
    assert!(house.fleet.device(&id("till-2")).unwrap().revoked_s.is_none());

    let plan = house.apply_with(file, true);
    assert_eq!(
        words(&plan.changes),
        [
            "kiosk-1: revoked",
            "till-2: revoked",
            "till-1: site store-12 → none",
            "till-1: label a.b X_1 → none",
            "till-9: key 0909-0909-0909-0909-0909-0909-0909-0909-0909-0909-0909-0909-0909-0909-0909-0909 → none",
            "group canary: where (group=lab and label.role=till) or cpu=\"x y\" (of \"a\" test \\ ä) → nothing",
            "group old: members till-2 (of \"a\" test \\ ä) → nothing",
        ]
    );
    assert!(plan.changes.iter().all(|change| change.removes));
    assert!(house.fleet.device(&id("till-2")).unwrap().revoked_s.is_some());
    assert_eq!(house.fleet.people().unwrap().len(), 2, "of people the file says nothing");
    assert_eq!(house.apply_with(file, true).changes, []);

    let nobody = format!("person = []\ntoken = []\n{file}");
    let plan = house.apply_with(&nobody, true);
    assert_eq!(plan.changes.len(), 3, "{:?}", words(&plan.changes));
    assert_eq!(house.fleet.people().unwrap(), []);
    assert!(house.fleet.api_tokens().unwrap().iter().all(|token| token.revoked_s.is_some()));
}

#[test]
fn all_of_a_file_is_done_or_nothing() {
    let (house, _) = grown();
    let (before, signed) = (house.export(), house.signed());
    let sql = "CREATE TRIGGER full BEFORE INSERT ON people BEGIN SELECT RAISE(ABORT, 'the disk is full'); END";
    house.fleet.inner.database.write(|connection| Ok(connection.execute_batch(sql)?)).unwrap();
    let text = "[[device]]\nid = \"till-1\"\nsite = \"moon\"\nmodel = \"second\"\n[[device]]\nid = \"new-1\"\n\
                [[person]]\nname = \"cy\"\nroles = [\"viewer\"]\n";
    let file = FleetFile::read(text).unwrap();
    let plan = house.fleet.plan_file(&file, true).unwrap();
    assert!(plan.changes.len() > 6, "{:?}", words(&plan.changes));
    let error = house.fleet.apply_plan(&file, &plan, true).unwrap_err().to_string();
    assert!(error.contains("the disk is full"), "{error}");
    assert_eq!((house.export(), house.signed()), (before, signed));

    // What was looked at is what is done: nothing else.
    house.fleet.set_site(&id("till-1"), Some("mars")).unwrap();
    let moved = house.fleet.apply_plan(&file, &plan, true).unwrap_err();
    assert!(matches!(moved, FleetError::FleetFile(FleetFileError::Moved)), "{moved}");
}

#[test]
fn a_file_lets_nobody_in_again_who_was_revoked() {
    let (house, keys) = grown();
    let file = house.export();
    house.fleet.revoke(&id("till-1")).unwrap();
    house.fleet.revoke_api_token("ci").unwrap();
    let refused = mistakes(&house, &file, false);
    let line = file.lines().position(|line| line == "id = \"till-1\"").unwrap() + 1;
    assert!(refused.contains(&format!("line {line}: `till-1` was revoked: take it out of the file")), "{refused}");
    assert!(refused.contains("the token `ci` was revoked"), "{refused}");

    // An awaited name that is revoked is told nothing either when somebody lets it in again.
    let new = House::rooted();
    new.list(&["demo", "second"]);
    new.apply(&file);
    assert!(matches!(new.fleet.revoke(&id("till-1")), Err(FleetError::UnknownDevice(_))));
    new.fleet.allow_keys(&[(id("till-1"), fingerprint(&keys[0]))]).unwrap();
    assert_eq!(new.enrol(&keys[0], ""), id("till-1"));
    assert_eq!(new.fleet.device(&id("till-1")).unwrap().assignment, None);
    assert_eq!(new.enrol(&keys[1], ""), id("till-2"));
    assert_eq!(new.fleet.device(&id("till-2")).unwrap().assignment, Some(assigned("second", 2048)));
}

#[test]
fn what_waits_for_a_release_is_told_by_it_unless_something_newer_was_said() {
    let house = House::rooted();
    let (_one, _two) = (house.enrol_by_code("till-1"), house.enrol_by_code("till-2"));
    let file = "[[assign]]\nwhere = \"name=till-*\"\nmodel = \"demo\"\n";
    let plan = house.apply(file);
    assert_eq!(words(&plan.changes), ["till-1: model none → demo", "till-2: model none → demo"]);
    assert!(plan.notes[0].contains("nothing is released here yet"), "{:?}", plan.notes);
    assert_eq!(house.apply(file).changes, []);
    assert!(house.signed().is_empty());

    house.release(&["second"]);
    assert!(house.signed().is_empty(), "a release without the model tells nobody, and is not spoilt");
    let notes = house.plan(file, false).unwrap().notes;
    assert!(notes[0].contains("`till-1`, `till-2` wait for a model"), "{notes:?}");
    house.fleet.assign(&id("till-2"), &assigned("second", 512)).unwrap();
    house.release(&["demo"]);
    let model = |name: &str| house.fleet.device(&id(name)).unwrap().assignment.unwrap().model.unwrap().to_string();
    assert_eq!([model("till-1"), model("till-2")], ["demo", "second"]);
    assert_eq!(house.fleet.inner.database.awaited().unwrap(), []);
    assert_eq!(words(&house.plan(file, false).unwrap().changes), ["till-2: model second → demo"]);
}

#[test]
fn keys_and_names_change_hands_in_one_file() {
    let house = House::rooted();
    let device = |name: &str, key: u8| format!("[[device]]\nid = \"{name}\"\nkey = \"{}\"\n", Fingerprint([key; 32]));
    house.apply(&(device("till-1", 1) + &device("till-2", 2)));
    let swapped = device("till-1", 2) + &device("till-2", 1);
    assert_eq!(house.apply(&swapped).changes.len(), 2);
    assert!(house.export().contains(&device("till-1", 2)) && house.export().contains(&device("till-2", 1)));
    let taken = mistakes(&house, &device("till-3", 2), false);
    assert!(taken.contains("line 2: the key of `till-3` is that of `till-1`: revoke that one first"), "{taken}");
    let renamed = house.apply_with(&(device("till-3", 2) + &device("till-2", 1)), true);
    let key = Fingerprint([2; 32]);
    assert_eq!(
        words(&renamed.changes),
        [
            "till-1: awaited no longer, its key is forgotten",
            "till-3: awaited",
            format!("till-3: key none → {key}").as_str(),
        ]
    );
    // A device that renewed its key is not put out by an older file.
    let real = house.enrol_by_code("till-4");
    let plan = house.apply(&device("till-4", 7));
    assert_eq!(plan.changes, []);
    assert!(plan.notes[0].contains("`till-4` enrolled with another key"), "{:?}", plan.notes);
    assert!(house.export().contains(&fingerprint(&real).to_string()));
}

#[test]
fn what_devices_report_is_compared_with_the_file() {
    let house = House::new();
    house.fleet.add_crowd(40).unwrap();
    // As the crowd reports: every third runs the first of three models, with a context of 4096; box-00039 said nothing.
    let of = |number: usize| format!("[[device]]\nid = \"box-{number:05}\"\nmodel = \"qwen3-0.6b\"\n");
    let drifting = |text: &str| house.fleet.file_drift(&FleetFile::read(text).unwrap()).unwrap();
    assert_eq!(drifting(&of(0)), []);
    let file =
        of(0) + "minimum_context = 8192\n" + &of(1) + &of(3) + &of(39) + "[[device]]\nid = \"ghost\"\nidle = true\n";
    let found = drifting(&file);
    let told: Vec<_> = found.iter().map(|one| (one.device.as_str(), one.state.as_str(), one.runs.as_deref())).collect();
    assert_eq!(
        told,
        [
            ("box-00000", "in-step", Some("qwen3-0.6b")),
            ("box-00001", "in-step", Some("llama-3.2-1b")),
            ("box-00003", "refused", Some("nothing")),
            ("box-00039", "never-seen", None),
            ("ghost", "not-enrolled", None),
        ]
    );
    assert_eq!(found[0].words, "its context is smaller than wanted");
    assert!(found[1].words.contains("outpost-control apply"), "{}", found[1].words);
    assert!(found[2].words.contains("needs 2.6 GiB"), "{}", found[2].words);
}

/// Says how long it takes. `OUTPOST_DEVICES=10000 cargo test --release -p outpost-control --lib large_fleet -- --nocapture`
/// measures; the short form only does it.
#[test]
#[expect(clippy::print_stdout, reason = "a measurement says what it measured")]
fn a_large_fleet_is_exported_awaited_and_told() {
    let devices: usize = std::env::var("OUTPOST_DEVICES").map_or(300, |text| text.parse().unwrap());
    let old = House::new();
    old.list(&["qwen3-0.6b", "llama-3.2-1b", "phi-4-mini"]);
    old.fleet.add_crowd(devices).unwrap();
    let timed = |name: &str, start: std::time::Instant| {
        println!("{name:<40} {:>8.1} ms", start.elapsed().as_secs_f64() * 1000.0)
    };
    let clock = std::time::Instant::now;
    let start = clock();
    let file = old.export();
    timed("export", start);
    let start = clock();
    assert_eq!(old.plan(&file, true).unwrap().changes, []);
    timed("read and compare", start);
    let start = clock();
    let told = old.apply(&file.replace("minimum_context = 2048", "minimum_context = 1024"));
    timed("tell all of them", start);
    assert_eq!(told.changes.len(), (0..devices).filter(|number| number % 50 != 49).count());
    let new = House::new();
    let start = clock();
    new.apply(&file);
    timed("await all of them on an empty server", start);
    let start = clock();
    assert_eq!(new.apply(&file).changes, []);
    timed("a second time", start);
    assert_eq!(new.export(), file);
}
