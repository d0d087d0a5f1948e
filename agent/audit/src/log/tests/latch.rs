//! Storage that fails and works again, and storage that comes back with something else.

use std::time::{Duration, Instant};

use super::*;

/// Tries to go on at once.
fn open(device: &Device) -> AuditLog {
    device.open_with(&LogOptions::default(), Pace { recovery: Duration::from_millis(1), ..Pace::default() })
}

/// Waits until the log says so; the tests' only bound on time is this one.
fn wait_for(log: &AuditLog, what: &str, is_it: impl Fn(&Health) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_it(&log.health()) {
        assert!(Instant::now() < deadline, "the log never becomes {what}: {:?}", log.health());
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn is_recording(health: &Health) -> bool {
    *health == Health::Recording
}

#[test]
fn after_a_failed_fsync_the_log_checks_the_disk_says_so_and_goes_on_by_itself() {
    let device = Device::new();
    let log = open(&device);
    log.append(start("a")).wait().unwrap();
    inject(&log, Fault::Fsync);
    assert!(matches!(log.append(end("a")).wait(), Err(AuditError::Latched { .. })));
    wait_for(&log, "whole", is_recording);
    log.append(end("a")).wait().unwrap();
    log.shutdown("asked").unwrap();
    assert_eq!(device.kinds(), ["boot", "infer.start", "audit.integrity", "infer.end", "shutdown"]);
    let integrity = &device.leaves()[2];
    assert!(integrity.text("detail.cause").is_some_and(|cause| cause.contains("disk I/O error")), "{integrity}");
    assert_eq!((integrity.integer("detail.acknowledged"), integrity.integer("detail.found")), (Some(2), Some(2)));
    assert!(integrity.integer("detail.latched_ms").is_some());
    device.assert_verifies(5);
}

#[test]
fn what_was_refused_meanwhile_is_counted_and_a_try_that_fails_is_followed_by_another() {
    let device = Device::new();
    let pace = Pace { recovery: Duration::from_millis(200), ..Pace::default() };
    let log = device.open_with(&LogOptions::default(), pace);
    inject(&log, Fault::Fsync);
    // The one that meets the fault, and those that come before the next try.
    log.append(start("a")).wait().unwrap_err();
    inject(&log, Fault::Reopen);
    let refused = (0..3).filter(|_| matches!(log.append(start("b")).wait(), Err(AuditError::Latched { .. }))).count();
    wait_for(&log, "whole", is_recording);
    let leaves = device.leaves();
    let integrity = leaves.iter().find(|leaf| leaf.kind() == Some("audit.integrity")).unwrap();
    assert_eq!(integrity.integer("detail.tries"), Some(2));
    assert_eq!(integrity.integer("detail.refused"), Some(i64::try_from(refused).unwrap()));
}

#[test]
fn records_that_were_written_though_nobody_was_told_are_part_of_the_log_afterwards() {
    let device = Device::new();
    let log = open(&device);
    for number in 0..300 {
        drop(log.append(start(&number.to_string())));
    }
    let size = log.append(start("last")).wait().unwrap() + 1;
    inject(&log, Fault::LateFsync);
    assert!(matches!(log.append(start("unknown")).wait(), Err(AuditError::Latched { .. })));
    wait_for(&log, "whole", is_recording);
    assert_eq!(log.append(end("unknown")).wait().unwrap(), size + 2);
    let integrity = &device.leaves()[usize::try_from(size).unwrap() + 1];
    assert_eq!(integrity.integer("detail.found"), i64::try_from(size + 1).ok());
    log.shutdown("asked").unwrap();
    device.assert_verifies(size + 4);
}

/// What happens on a log that was latched while `tamper` did something to its database.
fn health_after(tamper: &str) -> String {
    let device = Device::new();
    let pace = Pace { recovery: Duration::from_millis(300), ..Pace::default() };
    let log = device.open_with(&LogOptions::default(), pace);
    for number in 0..300 {
        drop(log.append(start(&number.to_string())));
    }
    log.append(start("last")).wait().unwrap();
    inject(&log, Fault::Fsync);
    log.append(start("refused")).wait().unwrap_err();
    let other = Connection::open(schema::database_path(&device.path())).unwrap();
    other.execute_batch(tamper).unwrap();
    drop(other);
    wait_for(&log, "failed", |health| matches!(health, Health::Failed(_)));
    assert!(matches!(log.append(start("a")).wait(), Err(AuditError::Damaged { .. })));
    assert!(matches!(log.admits(Kind::InferStart), Err(AuditError::Damaged { .. })));
    let Health::Failed(what) = log.health() else { unreachable!("it was waited for") };
    what
}

#[test]
fn a_disk_that_comes_back_with_something_else_is_not_gone_on_from_and_what_is_wrong_is_named() {
    for (tamper, what) in [
        ("DELETE FROM leaves WHERE idx = 301", "it has 301 records and a tree over 302"),
        ("UPDATE leaves SET bytes = x'7b7d' WHERE idx = 290", "record 290 is missing or changed"),
        ("UPDATE leaves SET idx = 999 WHERE idx = 301; UPDATE tree SET size = 1000", "the frontier does not fit"),
        ("UPDATE nodes SET hash = zeroblob(32) WHERE level = 1", "the hash stored for the records up to 255"),
        ("UPDATE tree SET note = replace(note, 'dev-1', 'dev-2')", "its head"),
    ] {
        let found = health_after(tamper);
        assert!(found.contains(what), "{tamper}: {found}");
    }
}

#[test]
fn an_older_state_that_is_whole_in_itself_is_less_than_what_was_acknowledged() {
    let device = Device::new();
    let pace = Pace { recovery: Duration::from_millis(300), ..Pace::default() };
    let log = device.open_with(&LogOptions::default(), pace);
    let old = {
        let snapshot = Connection::open(schema::database_path(&device.path())).unwrap();
        let sql: (u64, Vec<u8>, Vec<u8>, String) = snapshot
            .query_row("SELECT size, root, frontier, note FROM tree", (), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })
            .unwrap();
        sql
    };
    log.append(start("a")).wait().unwrap();
    inject(&log, Fault::Fsync);
    log.append(start("b")).wait().unwrap_err();
    let other = Connection::open(schema::database_path(&device.path())).unwrap();
    other.execute("UPDATE tree SET size = ?1, root = ?2, frontier = ?3, note = ?4", old).unwrap();
    other.execute_batch("DELETE FROM leaves WHERE idx > 0").unwrap();
    drop(other);
    wait_for(&log, "failed", |health| matches!(health, Health::Failed(_)));
    let Health::Failed(what) = log.health() else { unreachable!("it was waited for") };
    assert_eq!(what, "it has 1 records, and 2 were acknowledged");
}

#[test]
fn a_vault_goes_on_with_its_keys_after_a_failed_fsync() {
    let device = Device::new();
    let roots = device.directory.path().join("roots");
    let options = LogOptions { vault: Some(roots.clone()), ..LogOptions::default() };
    let log = device.open_with(&options, Pace { recovery: Duration::from_millis(1), ..Pace::default() });
    let sealed = |text: &str| {
        end("a").seal(crate::vault::Level::Request, "p:9c", crate::vault::Content::of_input(text.as_bytes()))
    };
    let first = log.append(sealed("before")).wait().unwrap();
    inject(&log, Fault::Fsync);
    log.append(sealed("lost")).wait().unwrap_err();
    wait_for(&log, "whole", is_recording);
    let second = log.append(sealed("after")).wait().unwrap();
    for (index, text) in [(first, "before"), (second, "after")] {
        let content = crate::vault::content(&device.path(), &roots, index).unwrap();
        assert_eq!(content.input.as_deref(), Some(text.as_bytes()));
    }
    device.assert_verifies_so_far();
}

#[test]
fn nobody_is_alone_with_a_log_that_is_being_read() {
    let device = Device::new();
    let log = open(&device);
    let snapshot = reader::Snapshot::open(&device.path()).unwrap();
    assert!(reader::alone().is_none(), "its locks would be taken from the reader");
    inject(&log, Fault::Fsync);
    log.append(start("a")).wait().unwrap_err();
    drop(snapshot);
    wait_for(&log, "whole", is_recording);
}
