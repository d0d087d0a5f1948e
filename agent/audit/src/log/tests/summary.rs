//! Hourly counts, and what they are checked by.

use std::time::Duration;

use super::*;

fn open(device: &Device, summary: Duration) -> AuditLog {
    device.open_with(&LogOptions::default(), Pace { summary, ..Pace::default() })
}

fn count(leaf: &Leaf, kind: &str) -> Option<i64> {
    match leaf.at("counts") {
        Some(crate::canonical::Value::Object(counts)) => counts.get(kind).and_then(crate::canonical::Value::integer),
        _ => None,
    }
}

#[test]
fn when_its_time_has_come_a_summary_counts_everything_since_the_last_one() {
    let device = Device::new();
    let log = open(&device, Duration::from_secs(3600));
    for record in [start("a"), end("a"), start("b")] {
        log.append(record).wait().unwrap();
    }
    drop(log);
    // Each record is due for one, so each transaction ends with one.
    let log = open(&device, Duration::ZERO);
    log.append(start("c")).wait().unwrap();
    drop(log);
    let leaves = device.leaves();
    let summaries: Vec<&Leaf> = leaves.iter().filter(|leaf| leaf.kind() == Some("summary")).collect();
    let first = summaries[0];
    assert_eq!((first.integer("detail.from"), first.integer("detail.to")), (Some(0), first.integer("i")));
    assert_eq!(
        (count(first, "infer.start"), count(first, "infer.end"), count(first, "summary")),
        (Some(2), Some(1), None)
    );
    // Whether it comes before the second start's record or after it, is a race.
    assert!(first.to_string().contains("  counts: boot "), "{first}");
    let last = summaries.last().unwrap();
    assert_eq!(count(last, "summary"), Some(1), "the one before is counted by the next");
    for pair in summaries.windows(2) {
        assert_eq!(pair[1].integer("detail.from"), pair[0].integer("i"));
    }
    device.assert_verifies_so_far();
}

#[test]
fn time_alone_brings_a_summary_once_and_not_again_while_nothing_happens() {
    let device = Device::new();
    let log = open(&device, Duration::from_millis(20));
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while log.size() < 2 {
        assert!(std::time::Instant::now() < deadline, "no summary came by time alone");
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(device.kinds(), ["boot", "summary"]);
}

#[test]
fn after_a_kill_the_next_summary_begins_where_the_last_one_ended() {
    let device = Device::new();
    let log = open(&device, Duration::ZERO);
    log.append(start("a")).wait().unwrap();
    drop(log);
    // A kill keeps no checkpoint: neither does a copy made in between.
    let log = open(&device, Duration::from_secs(3600));
    let end_of_last = log.size() - 1;
    for request in ["b", "c"] {
        log.append(start(request)).wait().unwrap();
    }
    let copy = Device { directory: tempfile::tempdir().unwrap(), key: clone(&device.key), clock: device.clock.clone() };
    std::fs::create_dir(copy.path()).unwrap();
    for name in ["audit.db", "audit.db-wal", "audit.vkey"] {
        std::fs::copy(device.path().join(name), copy.path().join(name)).unwrap();
    }
    drop(log);
    drop(open(&copy, Duration::ZERO));
    let leaves = copy.leaves();
    let last_before =
        leaves[..usize::try_from(end_of_last).unwrap()].iter().rev().find(|leaf| leaf.kind() == Some("summary"));
    let next =
        leaves[usize::try_from(end_of_last).unwrap()..].iter().find(|leaf| leaf.kind() == Some("summary")).unwrap();
    assert_eq!(next.integer("detail.from"), last_before.unwrap().integer("i"));
    assert_eq!(count(next, "infer.start"), Some(2));
    copy.assert_verifies_so_far();
}

fn clone(key: &outpost_disk::Secret) -> outpost_disk::Secret {
    outpost_disk::Secret::new(key.expose().to_vec())
}

#[test]
fn a_summary_that_the_writer_got_wrong_is_named_though_every_hash_is_right() {
    let device = Device::new();
    let log = open(&device, Duration::from_secs(3600));
    log.append(start("a")).wait().unwrap();
    log.shutdown("asked").unwrap();
    // A writer that forgets a record: one with a bug, or somebody's own who has the key.
    let connection = Connection::open(schema::database_path(&device.path())).unwrap();
    let row = r#"UPDATE tally SET first = 1, counts = '{"infer.start":1,"shutdown":1}'"#;
    assert_eq!(connection.execute(row, ()).unwrap(), 1);
    drop(connection);
    drop(open(&device, Duration::ZERO));
    let report = verify(&device.path()).unwrap();
    let summary = device.leaves().iter().position(|leaf| leaf.kind() == Some("summary")).unwrap();
    assert_eq!(report.problems[0].index, Some(summary as u64), "{:?}", report.problems);
    assert!(report.problems[0].what.contains("the last one ends at 0"), "{:?}", report.problems);
}
