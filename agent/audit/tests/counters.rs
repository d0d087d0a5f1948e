//! Counters that change together with records: what they say is what the records say, whenever the process is killed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use outpost_audit::{AuditLog, BootInfo, Change, CheckpointKey, Counter, Filter, Kind, LogIdentity, Record, reader};
use outpost_disk::Clock;

/// Names the log for the process that is to be killed.
const CHILD_LOG: &str = "OUTPOST_TEST_COUNTER_LOG";

const KILLS: usize = 6;

/// What every request reserves, and then takes.
const RESERVED: i64 = 100;
const TAKEN: i64 = 37;

fn open(directory: &Path) -> AuditLog {
    let key = CheckpointKey::read_or_create(directory.join("key")).unwrap();
    let identity = LogIdentity { origin: "audit.example/counters/1".to_owned(), key };
    let info = BootInfo { agent: "0.1.0".to_owned(), device: "counters".to_owned(), clock: Clock::system() };
    AuditLog::open(&directory.join("audit"), identity, info).unwrap().0
}

fn values(log: &AuditLog) -> Vec<(String, i64, i64)> {
    let counters = log.counters().unwrap().into_iter();
    counters.map(|Counter { key, period, value }| (key, period, value)).collect()
}

#[test]
fn a_counter_adds_rises_never_falls_below_zero_and_forgets() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    let count = |change| log.append(Record::new(Kind::AdminAct).count(change)).wait().unwrap();
    count(Change::add("a", 7, 5));
    count(Change::add("a", 7, -2));
    count(Change::add("b", 7, 5));
    count(Change::add("b", 7, -9));
    for (to, ceiling) in [(10, 20), (4, 20), (3, 9), (5, 9)] {
        count(Change::raise("c", 0, to, ceiling));
    }
    let counters = [("a", 7, 3), ("b", 7, 0), ("c", 0, 5)].map(|(key, period, value)| (key.to_owned(), period, value));
    assert_eq!(values(&log), counters);
    count(Change::forget("a", 7));
    assert_eq!(values(&log)[0].0, "b");
}

#[test]
fn a_record_that_is_not_written_changes_no_counter() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    let large = (0..100)
        .fold(Record::new(Kind::AdminAct), |record, number| record.detail(&format!("k{number}"), "x".repeat(1000)));
    log.append(large.count(Change::add("a", 0, 1))).wait().unwrap_err();
    assert_eq!(values(&log), []);
}

/// The process that is killed: reserves and settles from four threads. In an ordinary run it has nothing to do.
#[test]
fn counting_process() {
    let Some(directory) = std::env::var_os(CHILD_LOG) else { return };
    let log = open(Path::new(&directory));
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let log = log.clone();
            std::thread::spawn(move || {
                for number in 0_u64.. {
                    let request = format!("{}-{thread}-{number}", std::process::id());
                    let tenant = format!("tenant-{}", number % 3);
                    let record =
                        |kind, by| Record::new(kind).request(&request).act(&*tenant).count(Change::add(&tenant, 0, by));
                    log.append(record(Kind::InferStart, RESERVED)).wait().unwrap();
                    log.append(record(Kind::InferEnd, TAKEN - RESERVED)).wait().unwrap();
                    std::io::stdout().lock().write_all(b"counted\n").unwrap();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn counters_say_what_the_records_say_whenever_the_process_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "counting_process", "--nocapture"])
            .env(CHILD_LOG, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let counted = lines.filter(|line| line == "counted").take(1 + kill * 17).count();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(counted, 1 + kill * 17, "it counts without a hand");
        let log = open(directory.path());
        assert_eq!(sums(&log), by_record(log.directory()), "after kill {kill}");
    }
}

fn sums(log: &AuditLog) -> BTreeMap<String, i64> {
    values(log).into_iter().map(|(key, _, value)| (key, value)).collect()
}

/// The same sums from the records alone. A request that was cut off keeps what it had reserved.
fn by_record(directory: &Path) -> BTreeMap<String, i64> {
    let mut sums = BTreeMap::new();
    for entry in reader::list(directory, &Filter::default()).unwrap() {
        let leaf = entry.leaf().unwrap();
        let by = match leaf.kind().unwrap() {
            "infer.start" => RESERVED,
            "infer.end" => TAKEN - RESERVED,
            _ => continue,
        };
        *sums.entry(leaf.text("act").unwrap().to_owned()).or_default() += by;
    }
    sums
}
