//! What is past its retention leaves, what stays is proven as before, and whoever only deletes is found out.

use std::path::PathBuf;
use std::time::Duration;

use outpost_disk::Clock;

use super::*;
use crate::export::{self, Format};
use crate::verify::{self, verify, verify_any};
use crate::{BootInfo, CheckpointKey, Filter, LogIdentity, mirror, reader};

const DAY: Duration = Duration::from_secs(86_400);
const ORIGIN: &str = "audit.example/dev-1/1";

struct Device {
    root: tempfile::TempDir,
    clock: Clock,
    log: AuditLog,
}

impl Device {
    /// A log with so many records on each of forty days, and the last summary at its end.
    fn new(records_a_day: usize) -> Self {
        let root = tempfile::tempdir().unwrap();
        let clock = Clock::fixed(1_795_380_305);
        let key = CheckpointKey::from_pkcs8(CheckpointKey::generate().unwrap().expose()).unwrap();
        let info = BootInfo { agent: "0.1.0".into(), device: "dev-1".into(), clock: clock.clone() };
        let identity = LogIdentity { origin: ORIGIN.into(), key };
        let (log, _) = AuditLog::open(&root.path().join("audit"), identity, info).unwrap();
        let device = Self { root, clock, log };
        for _ in 0..40 {
            device.record(records_a_day);
            device.clock.advance(DAY);
        }
        device.count_everything();
        device
    }

    fn path(&self) -> PathBuf {
        self.log.directory().to_owned()
    }

    fn record(&self, count: usize) {
        let appended: Vec<_> = (0..count).map(|_| self.log.append(Record::new(Kind::AdminAct))).collect();
        for appended in appended {
            appended.wait().unwrap();
        }
    }

    /// As if the summary of the hour had been written: nothing before the end needs to be counted again.
    fn count_everything(&self) {
        let connection = Connection::open(self.path().join("audit.db")).unwrap();
        connection.busy_timeout(Duration::from_secs(10)).unwrap();
        connection.execute("DELETE FROM tally", ()).unwrap();
        let row = (self.log.size(), self.log.size());
        connection.execute("INSERT INTO tally VALUES (1, ?1, ?2, '{}', '{}', 0)", row).unwrap();
    }

    fn prune(&self, days: u32, basis: PruneBasis) -> Range<u64> {
        let who = Who { kind: "local".into(), id: "p:1".into(), roles: Vec::new(), auth: "uds".into() };
        // Once more: a checkpoint that was due meanwhile has put its own count in that place.
        self.count_everything();
        self.log.prune_records(RecordRetention { days, basis }, &who).unwrap()
    }
}

fn problems(path: &std::path::Path) -> Vec<String> {
    verify(path).unwrap().problems.iter().map(ToString::to_string).collect()
}

#[test]
fn old_records_leave_in_whole_tiles_and_everything_that_stays_is_proven() {
    let device = Device::new(100);
    let before = device.log.size();
    assert_eq!(device.prune(400, PruneBasis::Policy), 0..0, "nothing is that old");
    let left = device.prune(10, PruneBasis::Policy);
    // Days 0 to 30 are ten days old or older, and their 3,101 records are 12 tiles and a part.
    assert_eq!(left, 0..3_072);
    let report = verify(&device.path()).unwrap();
    assert_eq!((report.problems, report.first), (Vec::new(), 3_072));
    assert_eq!(report.records, before + 1, "they count as before");
    assert_eq!(device.prune(10, PruneBasis::Policy), 3_072..3_072, "twice is once");
    for (name, index) in [("a", 3_072), ("b", 3_500), ("c", before)] {
        let proof = device.root.path().join(name);
        export::prove(&device.path(), index, &proof).unwrap();
        assert!(verify_any(&proof, &verify::Options::default()).is_ok(), "{index}");
    }
    let page = device.root.path().join("report.html");
    crate::report::report(&device.path(), &page, &crate::report::Options::default()).unwrap();
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("oldest record is number 3072: those before it left the device"));
    assert!(page.contains("0 up to, not with, 3,072; kept for 10 days; policy"));
    let options = || export::Options { from: None, to: None, key: None, tool: "test".into() };
    let exported =
        export::export(&device.path(), Format::ALL[1], &device.root.path().join("jsonl"), &options()).unwrap();
    assert_eq!((exported.from, exported.size), (3_072, before + 1));
    for refused in [
        export::export(&device.path(), Format::Tiles, &device.root.path().join("tiles"), &options()).unwrap_err(),
        export::prove(&device.path(), 3_071, &device.root.path().join("d")).unwrap_err(),
        mirror::next_package(&device.path(), 0).unwrap_err(),
    ] {
        assert!(matches!(refused, AuditError::Pruned { first: 3_072 }), "{refused}");
    }
}

#[test]
fn what_only_this_device_has_stays() {
    let device = Device::new(100);
    assert_eq!(device.prune(10, PruneBasis::Mirrored { records: 1_000 }), 0..768);
    let open = device.log.append(Record::new(Kind::InferStart).request("open")).wait().unwrap();
    device.clock.advance(40 * DAY);
    device.record(1_000);
    device.count_everything();
    let left = device.prune(10, PruneBasis::Policy);
    assert_eq!(left, 768..open - open % WIDTH, "the start of an open request stays");
    assert_eq!(problems(&device.path()), Vec::<String>::new());
}

#[test]
fn a_log_goes_on_after_a_prune_and_a_restart() {
    let device = Device::new(100);
    device.prune(10, PruneBasis::Policy);
    device.record(300);
    device.log.shutdown("asked").unwrap();
    let path = device.path();
    let filter = Filter { limit: Some(1), ..Filter::default() };
    assert_eq!(reader::list(&path, &filter).unwrap()[0].index, 3_072);
    assert_eq!(problems(&path), Vec::<String>::new());
}

#[test]
fn whoever_only_deletes_is_found_out() {
    let device = Device::new(100);
    let left = device.prune(20, PruneBasis::Policy);
    device.log.shutdown("asked").unwrap();
    let connection = Connection::open(device.path().join("audit.db")).unwrap();
    let delete = |until: u64| connection.execute("DELETE FROM leaves WHERE idx < ?1", [until]).unwrap();
    delete(left.end + WIDTH);
    connection.execute("DELETE FROM checkpoints WHERE size < ?1", [left.end + WIDTH]).unwrap();
    let found = problems(&device.path());
    assert!(found.iter().any(|problem| problem.contains("no record says that they left")), "{found:?}");
    delete(left.end + WIDTH + 1);
    let found = problems(&device.path());
    assert!(found.iter().any(|problem| problem.starts_with("record 0: it is missing")), "{found:?}");
    connection.execute("UPDATE nodes SET hash = zeroblob(32) WHERE level = 1 AND idx = 0", ()).unwrap();
    assert!(!problems(&device.path()).is_empty());
}

#[test]
fn a_hash_that_stands_for_records_that_left_is_still_vouched_for() {
    let device = Device::new(100);
    device.prune(10, PruneBasis::Policy);
    device.log.shutdown("asked").unwrap();
    assert_eq!(problems(&device.path()), Vec::<String>::new());
    let connection = Connection::open(device.path().join("audit.db")).unwrap();
    connection.execute("UPDATE nodes SET hash = zeroblob(32) WHERE level = 1 AND idx = 3", ()).unwrap();
    assert!(problems(&device.path()).iter().any(|problem| problem.contains("do not lead to the root")));
}
