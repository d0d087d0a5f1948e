//! What an auditor finds at the desk: how complete the logs are, evidence, records, and the report on the fleet.

use std::path::PathBuf;
use std::time::Duration;

use outpost_audit::mirror::next_package;
use outpost_audit::witness::AddCheckpoint;
use outpost_audit::{
    AuditLog, BootInfo, CheckpointKey, DecisionRef, Kind, LogIdentity, ObjectRef, Record, Who, verify,
};
use tempfile::TempDir;

use super::*;
use crate::clock::Clock;
use crate::config::Config;
use crate::db::sql::params;
use crate::fleet::{Fleet, FleetError};

const NOW_S: i64 = 1_800_000_000;
const HOSTILE: &str = "<script>alert(1)</script>";

struct Desk {
    fleet: Fleet,
    directory: TempDir,
}

/// A device with a log of its own.
struct Device {
    name: &'static str,
    origin: String,
    key: Vec<u8>,
    log: AuditLog,
}

impl Device {
    fn record(&self, kind: Kind, who: &str, act: &str, effect: &str) {
        let who = Who { kind: "user".into(), id: who.into(), ..Who::default() };
        let decision = DecisionRef { effect: effect.into(), rules: vec!["no-chat".into()], ..DecisionRef::default() };
        let object = ObjectRef { model: HOSTILE.into(), ..ObjectRef::default() };
        let record = Record::new(kind).who(who).act(act).decision(decision).object(object);
        self.log.append(record.detail("version", 7_u64)).wait().unwrap();
    }

    fn audit_key(&self) -> String {
        key_of(&self.key).verifier_key(&self.origin).unwrap().to_string()
    }
}

fn key_of(bytes: &[u8]) -> CheckpointKey {
    CheckpointKey::from_pkcs8(bytes).unwrap()
}

impl Desk {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let fleet = Fleet::init(Config::new(directory.path().join("state")), Clock::fixed(NOW_S)).unwrap().fleet;
        Self { fleet, directory }
    }

    fn open(&self, folder: &str, name: &str, origin: &str, key: &[u8]) -> AuditLog {
        let identity = LogIdentity { origin: origin.to_owned(), key: key_of(key) };
        let path = self.directory.path().join(folder);
        AuditLog::open(&path, identity, BootInfo::at_system_time("0", name)).unwrap().0
    }

    fn enrol(&self, name: &'static str) -> Device {
        let key = CheckpointKey::generate().unwrap().expose().to_vec();
        let origin = format!("audit.outpost/{name}/1");
        let device = Device { name, log: self.open(name, name, &origin, &key), origin, key };
        let sql =
            "INSERT INTO devices (device, enrolled_s, key_sha256, audit_key, agent) VALUES (?1, 5, x'00', ?2, '0')";
        let audit_key = device.audit_key();
        let write = |connection: &crate::db::sql::Connection| Ok(connection.execute(sql, params![name, audit_key])?);
        self.fleet.inner.database.write(write).unwrap();
        device
    }

    /// The device sends what it has, and has its head cosigned.
    fn mirror(&self, device: &Device) {
        let (name, key) = (device.name.parse().unwrap(), device.audit_key());
        let keeper = &self.fleet.inner.audit;
        let mut next = 0;
        while let Some(cut) = next_package(device.log.directory(), next).unwrap() {
            let receipt = keeper.mirror(&name, &key, &cut.bytes, NOW_S).unwrap();
            assert_eq!(receipt.status(), 200, "{receipt:?}");
            next = device.log.size();
        }
        keeper.vouch_for_mirror(&name, &key, &device.origin, NOW_S).unwrap().unwrap();
    }

    /// The device is set back and goes another way: a head that is not the one cosigned.
    fn fork(&self, device: &Device) {
        let other = self.open(&format!("{}-other", device.name), device.name, &device.origin, &device.key);
        while other.size() < device.log.size() {
            other.append(Record::new(Kind::Request)).wait().unwrap();
        }
        let package = next_package(other.directory(), 0).unwrap().unwrap().package;
        let offer = AddCheckpoint { old: 0, proof: Vec::new(), checkpoint: package.head.unwrap() };
        let keeper = &self.fleet.inner.audit;
        let outcome = keeper.witness(&device.audit_key(), offer.to_body().as_bytes(), NOW_S).unwrap();
        assert_ne!(outcome.status(), 200, "{outcome}");
        let held = device.log.size();
        let offer = AddCheckpoint { old: held, ..offer };
        keeper.witness(&device.audit_key(), offer.to_body().as_bytes(), NOW_S).unwrap();
    }

    fn report(&self, verify: bool, most_records: u64) -> String {
        let request =
            ReportRequest { verify, most_records, patience: Duration::from_secs(600), ..ReportRequest::quick() };
        self.fleet.fleet_report(&request).unwrap()
    }

    fn mirror_of(&self, name: &str) -> PathBuf {
        self.directory.path().join("state/audit").join(name).join("1")
    }
}

#[test]
fn a_box_that_began_anew_under_its_name_is_mirrored_beside_what_there_was() {
    let desk = Desk::new();
    let old = desk.enrol("till-1");
    old.record(Kind::Request, "ada", "infer", "allow");
    desk.mirror(&old);
    // Another disk: the name is the same, and its logs are numbered from 1 again.
    let key = CheckpointKey::generate().unwrap().expose().to_vec();
    let origin = "audit.outpost/another/1".to_owned();
    let new = Device { name: "till-1", log: desk.open("till-1-new", "till-1", &origin, &key), origin, key };
    let sql = "UPDATE devices SET audit_key = ?1 WHERE device = 'till-1'";
    let audit_key = new.audit_key();
    let write = |connection: &crate::db::sql::Connection| Ok(connection.execute(sql, params![audit_key])?);
    desk.fleet.inner.database.write(write).unwrap();
    for _ in 0..3 {
        new.record(Kind::Request, "bo", "infer", "allow");
    }
    desk.mirror(&new);

    let reports = desk.fleet.verify_mirrors(&"till-1".parse().unwrap()).unwrap();
    let kept: Vec<_> = reports.iter().map(|report| (report.origin.as_str(), report.records, report.is_ok())).collect();
    assert_eq!(
        kept,
        [(old.origin.as_str(), old.log.size(), true), (new.origin.as_str(), new.log.size(), true)],
        "both are whole"
    );
    let logs = desk.fleet.audit_of(&"till-1".parse().unwrap()).unwrap().logs;
    assert_eq!(logs.iter().map(|log| log.number).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn how_complete_a_log_is_and_what_speaks_against_it() {
    let desk = Desk::new();
    let (first, silent) = (desk.enrol("till-1"), desk.enrol("till-2"));
    first.record(Kind::InferStart, "ada", "chat", "allow");
    desk.mirror(&first);
    let page = desk.fleet.audit_page(None, 1).unwrap();
    assert_eq!((page.devices.len(), page.next.unwrap().as_str()), (1, "till-1"));
    let logs = &page.devices[0];
    assert_eq!((logs.logs.len(), logs.incidents.len()), (1, 0));
    let log = &logs.logs[0];
    assert_eq!((log.first, log.mirrored, log.cosigned, log.missing), (0, first.log.size(), first.log.size(), None));
    assert!(log.made_ms.unwrap().0 > 0);
    assert_eq!(desk.fleet.audit_of(&silent.name.parse().unwrap()).unwrap().logs, []);

    desk.fork(&first);
    let till = first.name.parse().unwrap();
    let incidents = desk.fleet.incidents(&till).unwrap();
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    let incident = desk.fleet.incident(&till, incidents[0].number).unwrap();
    assert_eq!((incident.kind, incident.convicts), ("fork", true));
    assert_eq!(desk.fleet.audit_of(&till).unwrap().incidents, [incident.number]);
    let other = desk.fleet.incident(&"till-2".parse().unwrap(), incident.number);
    assert!(matches!(other, Err(FleetError::UnknownIncident(..))), "another device's evidence is not shown as its own");

    // The evidence convicts without us: both notes verify by the key beside them.
    let folder = incident.write_into(&desk.directory.path().join("evidence")).unwrap();
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let key: outpost_audit::VerifierKey = read("log.vkey").trim().parse().unwrap();
    let head = |name: &str| outpost_audit::Checkpoint::verify(&read(name), &key).unwrap();
    let (held, offered) = (head("held.note"), head("offered.note"));
    assert!(held.size == offered.size && held.root != offered.root);
    assert!(read("evidence.json").contains("\"kind\": \"fork\""));
}

#[test]
fn records_are_found_by_what_is_asked_and_every_page_says_what_it_left_out() {
    let desk = Desk::new();
    let (first, second) = (desk.enrol("till-1"), desk.enrol("till-2"));
    desk.enrol("till-3");
    for device in [&first, &second] {
        for number in 0..10 {
            let effect = if number % 2 == 0 { "allow" } else { "deny" };
            device.record(Kind::InferStart, &format!("person-{number:04}"), "chat", effect);
        }
        desk.mirror(device);
    }
    let search = |request: SearchRequest| desk.fleet.search_records(&request).unwrap();
    let indexes = |found: &Found| -> Vec<(String, u64)> {
        found.hits.iter().map(|hit| (hit.device.to_string(), hit.index)).collect()
    };
    let denied = SearchRequest { effect: Some("deny".into()), ..SearchRequest::default() };
    let found = search(denied.clone());
    assert_eq!(found.hits.len(), 10);
    assert_eq!(found.next, None);
    assert_eq!(found.not_looked, ["no record of `till-3` has arrived"]);
    assert_eq!(found.hits[0].record["dec"]["effect"], "deny");
    let newest: Vec<u64> = found.hits[..5].iter().map(|hit| hit.index).collect();
    assert!(newest.is_sorted_by(|a, b| a > b), "{newest:?}");

    // Page by page, and with hardly any records a page, the same comes out, each once.
    for (limit, most) in [(Some(3), u64::MAX), (Some(200), 4), (Some(1), 2)] {
        let (mut request, mut all) = (SearchRequest { limit, ..denied.clone() }, Vec::new());
        for page in 0.. {
            assert!(page < 100, "it ends");
            let found = desk.fleet.search_within(&request, most).unwrap();
            all.extend(indexes(&found));
            assert!(found.looked <= most);
            let Some(next) = found.next else { break };
            assert!(found.not_looked.iter().any(|what| what.contains("this page ended")), "{:?}", found.not_looked);
            request.after = Some(next);
        }
        assert_eq!(all, indexes(&found), "{limit:?} {most}");
    }

    let who = found.hits[0].record["who"]["pid"].as_str().unwrap().to_owned();
    let by = |who: &str| SearchRequest { who: Some(who.to_owned()), ..SearchRequest::default() };
    assert!(search(by(&who)).hits.iter().all(|hit| hit.record["who"]["pid"] == who.as_str()));
    assert!(!search(by(&who[..9])).hits.is_empty());
    let acts = |act: &str| search(SearchRequest { act: Some(act.into()), ..SearchRequest::default() }).hits.len();
    assert_eq!((acts("chat"), acts("infer.start"), acts("boot"), acts("nothing")), (20, 20, 2, 0));
    let device = Some("till-2".parse().unwrap());
    assert_eq!(search(SearchRequest { device, ..denied.clone() }).hits.len(), 5);
    assert_eq!(search(SearchRequest { before_ms: Some(1), ..denied.clone() }).hits, []);
    assert_eq!(search(SearchRequest { since_ms: Some(1), ..denied.clone() }).hits.len(), 10);

    for wrong in [
        by("short"),
        SearchRequest { effect: Some("x".into()), ..denied.clone() },
        SearchRequest { after: Some("till-1".into()), ..denied.clone() },
        SearchRequest { after: Some("till-1/1/1/1".into()), ..denied },
    ] {
        assert!(matches!(desk.fleet.search_records(&wrong), Err(FleetError::Search(_))), "{wrong:?}");
    }
}

#[test]
fn the_report_tells_what_is_known_and_what_is_not() {
    let desk = Desk::new();
    let (first, _silent) = (desk.enrol("till-1"), desk.enrol("till-2"));
    first.record(Kind::PolicyActivate, "", "", "");
    first.record(Kind::InferDenied, "ada", "chat", "deny");
    desk.mirror(&first);
    desk.fleet.record_local("bo", "assign", HOSTILE).unwrap();
    let report = desk.report(true, u64::MAX);
    for told in [
        "verifies, every record",
        "no-chat",
        "version 7",
        "local:bo",
        "assign",
        "no record of `till-2` has arrived",
        "Nothing is held against any log.",
    ] {
        assert!(report.contains(told), "{told}: {report}");
    }
    assert!(!report.contains("<script") && report.contains("default-src 'none'"));
    let short = desk.report(false, 1);
    assert!(short.contains("was looked at in part") && short.contains("not for this report"), "{short}");

    desk.fork(&first);
    assert!(desk.report(false, u64::MAX).contains("<title>INCIDENTS"));
    // Somebody changes a record of the mirror behind everybody's back.
    let database = rusqlite::Connection::open(desk.mirror_of("till-1").join("audit.db")).unwrap();
    database
        .execute(
            "UPDATE leaves SET bytes = CAST(replace(CAST(bytes AS TEXT), 'chat', 'chut') AS BLOB) WHERE idx = 2",
            [],
        )
        .unwrap();
    drop(database);
    assert!(desk.report(true, u64::MAX).contains("DOES NOT VERIFY"));
}

#[test]
fn the_own_log_leaves_as_tiles_that_verify_alone() {
    let desk = Desk::new();
    desk.fleet.record_local("bo", "assign", "till-1").unwrap();
    let target = desk.directory.path().join("own-log");
    let exported = desk.fleet.export_own_log(&target).unwrap();
    let report = verify::verify_any(&target, &verify::Options::default()).unwrap();
    assert!(report.is_ok() && report.records == exported.size, "{:?}", report.problems);
    assert!(desk.fleet.export_own_log(&target).is_err(), "what is there is not replaced");
}
