//! The log as its users meet it: promises kept through restarts, faults and many threads.

mod latch;
mod space;
mod summary;
mod time;

use outpost_disk::Clock;

use super::*;
use crate::verify::verify;
use crate::writer::CheckpointPace;
use crate::writer::tests::Fault;
use crate::{Leaf, Previous, Who};

const NOW_S: i64 = 1_795_380_305;

struct Device {
    directory: tempfile::TempDir,
    key: outpost_disk::Secret,
    clock: Clock,
}

impl Device {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            key: CheckpointKey::generate().unwrap(),
            clock: Clock::fixed(NOW_S),
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("audit")
    }

    fn identity(&self) -> LogIdentity {
        let key = CheckpointKey::from_pkcs8(self.key.expose()).unwrap();
        LogIdentity { origin: "audit.example/dev-1/1".to_owned(), key }
    }

    fn info(&self) -> BootInfo {
        BootInfo { agent: "0.1.0".to_owned(), device: "dev-1".to_owned(), clock: self.clock.clone() }
    }

    fn open(&self) -> (AuditLog, BootReport) {
        self.try_open().unwrap()
    }

    fn try_open(&self) -> Result<(AuditLog, BootReport), AuditError> {
        AuditLog::open(&self.path(), self.identity(), self.info())
    }

    fn open_at_pace(&self, records: u64, interval: std::time::Duration) -> AuditLog {
        self.open_with(
            &LogOptions::default(),
            Pace { checkpoint: CheckpointPace { records, interval }, ..Pace::default() },
        )
    }

    fn open_with(&self, options: &LogOptions, pace: Pace) -> AuditLog {
        AuditLog::open_at_pace(&self.path(), self.identity(), self.info(), options, pace).unwrap().0
    }

    fn leaves(&self) -> Vec<Leaf> {
        reader::list(&self.path(), &Filter::default()).unwrap().iter().map(|entry| entry.leaf().unwrap()).collect()
    }

    fn kinds(&self) -> Vec<String> {
        self.leaves().iter().map(|leaf| leaf.kind().unwrap().to_owned()).collect()
    }

    /// That what is there is in order, open or not.
    fn assert_verifies_so_far(&self) {
        assert_eq!(verify(&self.path()).unwrap().problems, []);
    }

    fn assert_verifies(&self, records: u64) {
        let report = verify(&self.path()).unwrap();
        assert_eq!(report.problems, []);
        assert_eq!(report.records, records);
        assert_eq!(report.checkpoint_size, Some(records));
    }
}

fn start(request: &str) -> Record {
    let who = Who { kind: "user".into(), id: "p:9c".into(), roles: vec!["operator".into()], auth: "jwt".into() };
    Record::new(Kind::InferStart).request(request).who(who).act("infer")
}

fn end(request: &str) -> Record {
    Record::new(Kind::InferEnd).request(request)
}

pub(crate) fn inject(log: &AuditLog, fault: Fault) {
    *log.0.shared.fault.lock().unwrap() = Some(fault);
}

#[test]
fn a_new_log_begins_with_its_boot_and_a_clean_end_is_seen_by_the_next() {
    let device = Device::new();
    let (log, report) = device.open();
    assert_eq!((report.previous, report.records), (Previous::None, 1));
    assert_eq!(log.append(Record::new(Kind::AdminAct).act("drain")).wait().unwrap(), 1);
    log.shutdown("asked").unwrap();
    let (log, report) = device.open();
    assert_eq!((report.previous, report.records), (Previous::Clean, 4));
    drop(log);
    assert_eq!(device.kinds(), ["boot", "admin.act", "shutdown", "boot"]);
    device.assert_verifies(4);
    let boots = device.leaves();
    assert_eq!(boots[3].text("detail.previous_boot"), boots[0].text("t.boot"));
}

#[test]
fn a_log_that_was_not_shut_down_says_so_and_ends_what_was_open() {
    let device = Device::new();
    let (log, _) = device.open();
    for record in [start("a"), start("b"), end("a"), start("c")] {
        log.append(record).wait().unwrap();
    }
    drop(log);
    let (log, report) = device.open();
    assert_eq!(report.previous, Previous::Unclean);
    assert_eq!(report.aborted, ["b", "c"]);
    drop(log);
    let leaves = device.leaves();
    assert_eq!(leaves[5].text("detail.previous"), Some("unclean"));
    assert_eq!(leaves[5].integer("detail.open_requests"), Some(2));
    let aborted = &leaves[6];
    assert_eq!((aborted.kind(), aborted.request()), (Some("infer.aborted"), Some("b")));
    assert_eq!((aborted.who(), aborted.integer("detail.start")), (Some("p:9c"), Some(2)));
    // Nothing is ended twice.
    assert_eq!(device.open().1.aborted, Vec::<String>::new());
    device.assert_verifies(9);
}

#[test]
fn many_threads_share_commits_and_every_index_is_given_once() {
    let device = Device::new();
    let (log, _) = device.open();
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            let log = log.clone();
            std::thread::spawn(move || {
                let answers: Vec<_> = (0..100).map(|number| log.append(start(&format!("{thread}-{number}")))).collect();
                let indices: Vec<u64> = answers.into_iter().map(|answer| answer.wait().unwrap()).collect();
                assert!(indices.is_sorted(), "one thread's records keep their order");
                indices
            })
        })
        .collect();
    let mut indices: Vec<u64> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    indices.sort_unstable();
    assert_eq!(indices, (1..=800).collect::<Vec<_>>());
    assert!(log.commits() < 400, "{} commits for 801 records", log.commits());
    drop(log);
    device.assert_verifies(801);
}

#[tokio::test]
async fn an_append_can_be_awaited() {
    let device = Device::new();
    let (log, _) = device.open();
    assert_eq!(log.append(start("a")).await.unwrap(), 1);
}

#[test]
fn the_head_is_a_checkpoint_that_the_published_key_verifies() {
    let device = Device::new();
    let (log, report) = device.open();
    let key: VerifierKey = std::fs::read_to_string(device.path().join("audit.vkey")).unwrap().parse().unwrap();
    assert_eq!(key.to_string(), report.verifier_key);
    let checkpoint = Checkpoint::verify(&log.checkpoint(), &key).unwrap();
    assert_eq!((checkpoint.size, checkpoint.root), (log.size(), log.root()));
    assert_eq!(checkpoint.origin, report.origin);
}

#[test]
fn checkpoints_are_kept_by_count_by_time_and_at_shutdown() {
    let device = Device::new();
    let hour = std::time::Duration::from_secs(3600);
    let log = device.open_at_pace(10, hour);
    for number in 0..24 {
        log.append(start(&number.to_string())).wait().unwrap();
    }
    log.shutdown("asked").unwrap();
    // 25 records, one by one, are 26 with the shutdown: two by count, one by the end.
    assert_eq!(verify(&device.path()).unwrap().checkpoints, 3 + 2, "three kept, the head and the file");
    let kept = std::fs::read_to_string(device.path().join("audit.checkpoint")).unwrap();
    assert_eq!(kept, log.checkpoint());

    let log = device.open_at_pace(1_000, std::time::Duration::from_millis(1));
    let size = log.size();
    let path = device.path().join("audit.checkpoint");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !std::fs::read_to_string(&path).unwrap().contains(&format!("\n{size}\n")) {
        assert!(std::time::Instant::now() < deadline, "no checkpoint came by time alone");
        std::thread::yield_now();
    }
}

#[test]
fn a_full_disk_refuses_records_and_the_log_goes_on_by_itself_once_there_is_space() {
    let device = Device::new();
    let (log, _) = device.open();
    inject(&log, Fault::Full);
    // The pages that are there take a few records more; then none.
    let large = |number: u64| {
        (0..8).fold(start(&number.to_string()), |record, key| record.detail(&format!("k{key}"), "x".repeat(1000)))
    };
    let (accepted, error) =
        (0..).find_map(|number| log.append(large(number)).wait().err().map(|error| (number, error))).unwrap();
    assert!(error.is_full(), "{error}");
    assert!(error.to_string().contains("free space"), "{error}");
    assert_eq!(log.health(), Health::Full);
    let size = log.size();
    assert_eq!(size, 1 + accepted);
    inject(&log, Fault::SpaceAgain);
    assert_eq!(log.append(large(1000)).wait().unwrap(), size, "the refused record took no index");
    assert_eq!(log.health(), Health::Recording);
    log.shutdown("asked").unwrap();
    device.assert_verifies(size + 2);
}

#[test]
fn after_a_failed_fsync_nothing_is_taken_until_the_log_is_opened_again() {
    let device = Device::new();
    let (log, _) = device.open();
    inject(&log, Fault::Fsync);
    for _ in 0..2 {
        let error = log.append(start("a")).wait().unwrap_err();
        assert!(matches!(error, AuditError::Latched { .. }), "{error}");
    }
    assert!(matches!(log.health(), Health::Latched(_)));
    assert!(log.shutdown("asked").is_err());
    let (log, report) = device.open();
    assert_eq!((report.previous, report.records), (Previous::Unclean, 2));
    log.append(start("a")).wait().unwrap();
    drop(log);
    device.assert_verifies(3);
}

#[test]
fn after_shutdown_records_are_refused_and_nobody_waits_for_ever() {
    let device = Device::new();
    let (log, _) = device.open();
    log.shutdown("asked").unwrap();
    assert!(matches!(log.append(start("a")).wait(), Err(AuditError::Closed)));
    assert!(matches!(log.shutdown("again"), Err(AuditError::Closed)));
}

#[test]
fn a_record_that_is_too_large_is_refused_and_the_log_goes_on() {
    let device = Device::new();
    let (log, _) = device.open();
    let large = (0..50).fold(start("a"), |record, key| record.detail(&format!("k{key}"), "x".repeat(1000)));
    assert!(matches!(log.append(large).wait(), Err(AuditError::TooLarge { .. })));
    assert_eq!(log.append(start("b")).wait().unwrap(), 1);
}

#[test]
fn one_directory_has_one_writer_and_any_number_of_readers() {
    let device = Device::new();
    let (log, _) = device.open();
    let error = device.try_open().unwrap_err().to_string();
    assert!(error.contains("in use"), "{error}");
    assert_eq!(log.tail(10).unwrap().len(), 1);
    device.assert_verifies(1);
}

#[test]
fn a_log_of_another_key_is_not_continued() {
    let device = Device::new();
    drop(device.open());
    let other = Device { directory: device.directory, ..Device::new() };
    assert!(matches!(other.try_open(), Err(AuditError::OtherKey { .. })));
}

#[test]
fn an_existing_log_keeps_its_name() {
    let device = Device::new();
    drop(device.open());
    let identity = LogIdentity { origin: "audit.example/dev-2/1".to_owned(), ..device.identity() };
    let (_log, report) = AuditLog::open(&device.path(), identity, device.info()).unwrap();
    assert_eq!(report.origin, "audit.example/dev-1/1");
}

#[test]
fn an_old_image_of_the_database_is_not_continued() {
    let device = Device::new();
    device.open().0.shutdown("asked").unwrap();
    let old = std::fs::read(device.path().join("audit.db")).unwrap();
    let (log, _) = device.open();
    log.append(start("a")).wait().unwrap();
    log.shutdown("asked").unwrap();
    atomic::write(device.path().join("audit.db"), old).unwrap();
    let error = device.try_open().unwrap_err();
    assert!(matches!(error, AuditError::RolledBack { size: 2, signed: 5, .. }), "{error}");
    let report = verify(&device.path()).unwrap();
    assert_eq!(report.problems[0].index, Some(2), "{:?}", report.problems);
}

#[test]
fn a_spoilt_checkpoint_file_does_not_keep_the_agent_from_starting() {
    let device = Device::new();
    device.open().0.shutdown("asked").unwrap();
    atomic::write(device.path().join("audit.checkpoint"), "spoilt").unwrap();
    device.open().0.shutdown("asked").unwrap();
    device.assert_verifies(4);
}

#[test]
fn a_database_of_another_program_is_left_alone() {
    let device = Device::new();
    std::fs::create_dir(device.path()).unwrap();
    let connection = Connection::open(device.path().join("audit.db")).unwrap();
    connection.execute_batch("PRAGMA user_version = 7; CREATE TABLE notes (text)").unwrap();
    drop(connection);
    assert!(device.try_open().unwrap_err().to_string().contains("some other program"));
}

#[test]
fn filters_find_records_by_type_request_person_time_and_page() {
    let device = Device::new();
    let (log, _) = device.open();
    for request in ["a", "b"] {
        log.append(start(request)).wait().unwrap();
        device.clock.advance(std::time::Duration::from_secs(1));
        log.append(end(request)).wait().unwrap();
    }
    let indices = |filter: Filter| -> Vec<u64> { log.find(&filter).unwrap().iter().map(|entry| entry.index).collect() };
    assert_eq!(indices(Filter { kinds: vec![Kind::InferEnd], ..Filter::default() }), [2, 4]);
    assert_eq!(indices(Filter { request: Some("b".into()), ..Filter::default() }), [3, 4]);
    assert_eq!(indices(Filter { who: Some("p:9c".into()), ..Filter::default() }), [1, 3]);
    assert_eq!(indices(Filter { since_ms: Some((NOW_S + 1) * 1000), ..Filter::default() }), [2, 3, 4]);
    assert_eq!(indices(Filter { before_ms: Some((NOW_S + 1) * 1000), ..Filter::default() }), [0, 1]);
    assert_eq!(indices(Filter { newest_first: true, limit: Some(2), ..Filter::default() }), [4, 3]);
    assert_eq!(log.list(1..3).unwrap().len(), 2);
    assert_eq!(log.tail(1).unwrap()[0].leaf().unwrap().index(), Some(4));
    let object = crate::ObjectRef { model: "m".into(), ..crate::ObjectRef::default() };
    log.append(start("c").object(object)).wait().unwrap();
    assert_eq!(indices(Filter { model: Some("m".into()), ..Filter::default() }), [5]);
}

#[test]
fn log_handles_cross_threads() {
    fn crosses<T: Send + Sync + Clone + 'static>() {}
    crosses::<AuditLog>();
    fn moves<T: Send + 'static>() {}
    moves::<Appended>();
}
