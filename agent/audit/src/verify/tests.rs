//! One story per way to tamper: each is found, and the record is named where that can be.

use std::path::PathBuf;
use std::sync::OnceLock;

use outpost_disk::{Clock, atomic};
use proptest::prelude::*;

use super::*;
use crate::{AuditLog, BootInfo, CheckpointKey, Kind, LogIdentity, Record, reader};

const NOW_S: i64 = 1_795_380_305;

/// A closed log of a few records, and what it takes to try something on it and take it back.
struct Log {
    directory: tempfile::TempDir,
    key: outpost_disk::Secret,
}

impl Log {
    /// `boot`, then `records` starts and ends in turn, then `shutdown`; checkpoints at the end only.
    fn of(records: usize) -> Self {
        let log = Self { directory: tempfile::tempdir().unwrap(), key: CheckpointKey::generate().unwrap() };
        let open = log.open();
        let answers: Vec<_> = (0..records)
            .map(|number| {
                let kind = if number % 2 == 0 { Kind::InferStart } else { Kind::InferEnd };
                open.append(Record::new(kind).request(format!("r{}", number / 2)).act("infer"))
            })
            .collect();
        for answer in answers {
            answer.wait().unwrap();
        }
        open.shutdown("asked").unwrap();
        log
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn open(&self) -> AuditLog {
        let key = CheckpointKey::from_pkcs8(self.key.expose()).unwrap();
        let identity = LogIdentity { origin: "audit.example/dev-1/1".to_owned(), key };
        let info = BootInfo { agent: "0.1.0".into(), device: "dev-1".into(), clock: Clock::fixed(NOW_S) };
        AuditLog::open(self.path(), identity, info).unwrap().0
    }

    fn connect(&self) -> Connection {
        Connection::open(schema::database_path(self.path())).unwrap()
    }

    /// What the verifier says after `change`, which is then taken back.
    fn after(&self, connection: &mut Connection, change: impl FnOnce(&Connection)) -> Vec<Problem> {
        let beside = Beside::read(self.path());
        let transaction = connection.transaction().unwrap();
        change(&transaction);
        check(&transaction, Path::new("a log"), &beside, &Options::default()).problems
    }

    fn after_sql(&self, sql: &str) -> Vec<Problem> {
        self.after(&mut self.connect(), |connection| connection.execute_batch(sql).unwrap())
    }
}

/// A log of 300 records, one full tile and a bit, shared by the tests that do not change it for good.
fn large() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| Log::of(298))
}

fn named(problems: &[Problem]) -> Vec<u64> {
    let mut named: Vec<u64> = problems.iter().filter_map(|problem| problem.index).collect();
    named.dedup();
    named
}

/// Flips the lowest bit of each byte of a cell in turn.
fn flip_every_byte(log: &Log, table: &str, row: &str, column: &str, mut judge: impl FnMut(usize, Vec<Problem>)) {
    let mut connection = log.connect();
    let query = format!("SELECT CAST({column} AS BLOB) FROM {table} WHERE {row}");
    let cell: Vec<u8> = connection.query_row(&query, (), |row| row.get(0)).unwrap();
    let value = if column == "note" || column == "value" || column == "request" { "CAST(?1 AS TEXT)" } else { "?1" };
    let update = format!("UPDATE {table} SET {column} = {value} WHERE {row}");
    for position in 0..cell.len() {
        let mut changed = cell.clone();
        changed[position] ^= 1;
        let problems = log.after(&mut connection, |connection| {
            assert_eq!(connection.execute(&update, [changed]).unwrap(), 1);
        });
        judge(position, problems);
    }
}

#[test]
fn a_good_log_has_no_problems() {
    for records in [0, 1, 253, 254, 255, 298] {
        let log = Log::of(records);
        let report = verify(log.path()).unwrap();
        assert_eq!(report.problems, [], "{records}");
        assert_eq!(report.records, records as u64 + 2);
        assert_eq!(report.checkpoint_size, Some(report.records));
        assert_eq!(report.origin, "audit.example/dev-1/1");
    }
}

#[test]
fn every_flipped_byte_of_every_leaf_is_found_and_names_its_record() {
    let log = Log::of(3);
    for index in 0..5 {
        flip_every_byte(&log, "leaves", &format!("idx = {index}"), "bytes", |position, problems| {
            assert_eq!(named(&problems), [index], "byte {position}: {problems:?}");
        });
    }
}

#[test]
fn every_flipped_byte_of_every_leaf_hash_names_its_record() {
    let log = Log::of(3);
    for index in 0..5 {
        flip_every_byte(&log, "leaves", &format!("idx = {index}"), "hash", |position, problems| {
            assert_eq!(named(&problems), [index], "byte {position}: {problems:?}");
        });
    }
}

#[test]
fn every_flipped_byte_of_the_head_the_checkpoints_and_the_identity_is_found() {
    let log = Log::of(3);
    let cells = [
        ("tree", "one = 1", "root"),
        ("tree", "one = 1", "frontier"),
        ("tree", "one = 1", "note"),
        ("checkpoints", "size = 5", "note"),
        ("meta", "key = 'vkey'", "value"),
        ("meta", "key = 'origin'", "value"),
        ("open_requests", "idx = 3", "request"),
    ];
    for (table, row, column) in cells {
        flip_every_byte(&log, table, row, column, |position, problems| {
            assert!(!problems.is_empty(), "{table}.{column} byte {position}");
        });
    }
}

#[test]
fn every_flipped_byte_of_a_stored_node_is_found() {
    flip_every_byte(large(), "nodes", "level = 1 AND idx = 0", "hash", |position, problems| {
        assert_eq!(named(&problems), [0], "byte {position}: {problems:?}");
    });
}

#[test]
fn every_flipped_byte_of_the_files_beside_is_found() {
    let log = Log::of(1);
    for file in ["audit.vkey", "audit.checkpoint"] {
        let path = log.path().join(file);
        let good = std::fs::read(&path).unwrap();
        // The last byte of each is the newline, without which a key is still the same key.
        for position in 0..good.len() - 1 {
            let mut changed = good.clone();
            changed[position] ^= 1;
            atomic::write(&path, &changed).unwrap();
            assert!(!verify(log.path()).unwrap().is_ok(), "{file} byte {position}");
        }
        atomic::write(&path, good).unwrap();
    }
    assert!(verify(log.path()).unwrap().is_ok());
}

#[test]
fn any_deleted_record_is_named() {
    let log = Log::of(6);
    for index in 0..8 {
        let problems = log.after_sql(&format!("DELETE FROM leaves WHERE idx = {index}"));
        assert_eq!(named(&problems)[0], index, "{problems:?}");
    }
}

#[test]
fn records_deleted_in_the_middle_and_at_the_end_are_named_and_no_others() {
    let log = Log::of(6);
    let problems = log.after_sql("DELETE FROM leaves WHERE idx IN (2, 6, 7); DELETE FROM open_requests");
    assert_eq!(named(&problems), [2, 6], "{problems:?}");
    assert!(problems.iter().any(|problem| problem.what.contains("6–7 are missing")), "{problems:?}");
}

#[test]
fn a_tree_has_one_head_in_row_one() {
    // As a flipped bit in a page makes it; SQL alone must not.
    let without_check = "PRAGMA ignore_check_constraints = ON;";
    let log = Log::of(6);
    for change in ["UPDATE tree SET one = 17", "INSERT INTO tree SELECT 17, size, root, frontier, note FROM tree"] {
        let problems = log.after_sql(&format!("{without_check} {change}"));
        assert!(problems[0].what.contains("the head of the tree"), "{change}: {problems:?}");
    }
}

#[test]
fn a_deleted_record_shows_even_when_the_others_move_up() {
    let log = Log::of(6);
    let problems = log.after_sql(
        "DELETE FROM leaves WHERE idx = 3;
         UPDATE leaves SET idx = -idx WHERE idx > 3; UPDATE leaves SET idx = -idx - 1 WHERE idx < 0;",
    );
    assert_eq!(named(&problems)[0], 3, "{problems:?}");
}

#[test]
fn two_records_that_changed_places_are_both_named() {
    let log = Log::of(6);
    let problems = log.after_sql(
        "UPDATE leaves SET idx = -1 WHERE idx = 2; UPDATE leaves SET idx = 2 WHERE idx = 5;
         UPDATE leaves SET idx = 5 WHERE idx = -1;",
    );
    assert_eq!(named(&problems), [2, 5], "{problems:?}");
}

#[test]
fn a_duplicated_record_is_named() {
    let log = Log::of(6);
    let problems = log.after_sql("INSERT INTO leaves SELECT 8, hash, bytes FROM leaves WHERE idx = 4");
    assert_eq!(named(&problems), [8], "{problems:?}");
}

#[test]
fn a_tail_that_was_cut_off_is_counted() {
    let log = Log::of(6);
    let problems = log.after_sql("DELETE FROM leaves WHERE idx >= 5");
    assert!(
        problems.iter().any(|problem| problem.index == Some(5) && problem.what.contains("5–7 are missing")),
        "{problems:?}"
    );
}

#[test]
fn a_tail_cut_off_with_its_head_and_checkpoints_shows_against_the_checkpoint_file() {
    let log = Log::of(6);
    let problems =
        log.after_sql("DELETE FROM leaves WHERE idx >= 5; DELETE FROM checkpoints; UPDATE tree SET size = 5");
    assert!(problems.iter().any(|problem| problem.index == Some(5)), "{problems:?}");
}

#[test]
fn a_record_rewritten_together_with_its_hash_is_found_in_its_tile() {
    let log = large();
    let mut connection = log.connect();
    for index in [0_u64, 100, 255] {
        let problems = log.after(&mut connection, |connection| rewrite(connection, index));
        assert_eq!(named(&problems), [0], "records 0–255 are named: {problems:?}");
        assert!(problems.iter().any(|problem| problem.what.contains("signed")), "{problems:?}");
    }
    // Beyond the last full tile, the signed root is what shows it.
    let problems = log.after(&mut connection, |connection| rewrite(connection, 280));
    assert!(problems.iter().any(|problem| problem.what.contains("signed head")), "{problems:?}");
}

/// Changes a record as somebody would who knows the tables and has no key.
fn rewrite(connection: &Connection, index: u64) {
    let bytes: Vec<u8> =
        connection.query_row("SELECT bytes FROM leaves WHERE idx = ?1", [index], |row| row.get(0)).unwrap();
    let forged = String::from_utf8(bytes).unwrap().replace("\"dev\":\"dev-1\"", "\"dev\":\"dev-2\"").into_bytes();
    let hash = crate::tree::leaf_hash(&forged);
    connection.execute("UPDATE leaves SET bytes = ?1, hash = ?2 WHERE idx = ?3", (forged, hash, index)).unwrap();
}

#[test]
fn a_log_written_anew_with_another_key_does_not_pass_for_the_auditors() {
    let (ours, forged) = (Log::of(3), Log::of(3));
    assert!(verify(forged.path()).unwrap().is_ok());
    let key = verify(ours.path()).unwrap().verifier_key.parse().unwrap();
    let report = verify_with(forged.path(), &Options { verifier_key: Some(key), ..Options::default() }).unwrap();
    assert!(report.problems.iter().any(|problem| problem.what.contains("nothing vouches")), "{:?}", report.problems);
}

#[test]
fn an_old_copy_of_the_whole_directory_shows_against_a_checkpoint_from_elsewhere() {
    let log = Log::of(3);
    let copy = copied(log.path());
    let open = log.open();
    let checkpoint = open.checkpoint();
    drop(open);
    assert!(verify(copy.path()).unwrap().is_ok(), "alone, an old copy is a good log");
    let options = Options { checkpoints: vec![checkpoint], ..Options::default() };
    let report = verify_with(copy.path(), &options).unwrap();
    assert_eq!(named(&report.problems), [5], "{:?}", report.problems);
    assert!(verify_with(log.path(), &options).unwrap().is_ok());
}

#[test]
fn a_log_in_use_verifies_again_and_again() {
    let log = Log::of(0);
    let open = log.open();
    let writer = std::thread::spawn(move || {
        (0..400).for_each(|number| {
            open.append(Record::new(Kind::InferStart).request(number.to_string())).wait().unwrap();
        });
    });
    while !writer.is_finished() {
        assert_eq!(verify(log.path()).unwrap().problems, []);
    }
    writer.join().unwrap();
    assert_eq!(verify(log.path()).unwrap().records, 403);
}

#[test]
fn a_copy_taken_with_its_write_ahead_log_is_read_whole() {
    let log = Log::of(3);
    let open = log.open();
    open.append(Record::new(Kind::AdminAct)).wait().unwrap();
    let copy = copied(log.path());
    assert!(copy.path().join("audit.db-wal").metadata().unwrap().len() > 0);
    let report = verify(copy.path()).unwrap();
    assert_eq!((report.problems, report.records), (vec![], 8));
    // On a medium where nothing can be made beside the database, it is read through a copy.
    let copy = copied(log.path());
    std::fs::create_dir(copy.path().join("audit.db-shm")).unwrap();
    let report = verify(copy.path()).unwrap();
    assert_eq!((report.problems, report.records), (vec![], 8));
}

#[test]
fn verifying_a_closed_log_leaves_no_trace_beside_it() {
    let log = Log::of(1);
    let names = || {
        let mut names: Vec<_> =
            std::fs::read_dir(log.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let (before, bytes) = (names(), std::fs::read(schema::database_path(log.path())).unwrap());
    assert!(verify(log.path()).unwrap().is_ok());
    assert_eq!(names(), before);
    assert_eq!(std::fs::read(schema::database_path(log.path())).unwrap(), bytes);
}

#[test]
fn a_directory_without_a_log_is_told_apart_from_a_bad_log() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(verify(directory.path()), Err(AuditError::Missing { .. })));
}

/// The files of a log, as somebody would copy them to a stick: without the index that SQLite makes again.
fn copied(from: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in ["audit.db", "audit.db-wal", "audit.vkey", "audit.checkpoint"] {
        if from.join(name).exists() {
            std::fs::copy(from.join(name), copy.path().join(name)).unwrap();
        }
    }
    copy
}

fn shared() -> &'static (PathBuf, Vec<u8>, Vec<reader::Entry>) {
    static FILE: OnceLock<(PathBuf, Vec<u8>, Vec<reader::Entry>)> = OnceLock::new();
    FILE.get_or_init(|| {
        let log = large();
        let database = schema::database_path(log.path());
        let entries = reader::list(log.path(), &reader::Filter::default()).unwrap();
        (log.path().to_owned(), std::fs::read(database).unwrap(), entries)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_byte_flipped_in_the_file_itself_names_the_record(
        record in any::<prop::sample::Index>(),
        byte in any::<prop::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let (path, database, entries) = shared();
        let entry = record.get(entries);
        let mut changed = database.clone();
        let offset = byte.index(entry.bytes.len());
        let copy = copied(path);
        // Every place: pages that were split keep dead copies, and those are nobody's record.
        for start in (0..=database.len() - entry.bytes.len()).filter(|&start| database[start..].starts_with(&entry.bytes)) {
            changed[start + offset] ^= 1 << bit;
        }
        atomic::write(schema::database_path(copy.path()), changed).unwrap();
        let report = verify(copy.path()).unwrap();
        prop_assert_eq!(named(&report.problems), vec![entry.index], "{:?}", report.problems);
    }

    #[test]
    fn a_database_with_any_page_destroyed_never_panics_the_verifier(
        position in any::<prop::sample::Index>(),
        noise in proptest::collection::vec(any::<u8>(), 1..64),
    ) {
        let (path, database, _) = shared();
        let copy = copied(path);
        let mut changed = database.clone();
        let start = position.index(changed.len() - noise.len());
        changed[start..start + noise.len()].copy_from_slice(&noise);
        atomic::write(schema::database_path(copy.path()), changed).unwrap();
        let _ = verify(copy.path());
    }
}
