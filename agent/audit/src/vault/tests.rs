//! The vault as its users meet it: what is sealed opens, what is erased is nowhere, and nothing is lost in silence.

pub(crate) mod kill;
mod search;
mod waiting;

use std::time::Duration;

use outpost_disk::{Clock, Secret, atomic};
use rusqlite::Connection;

use super::*;
use crate::log::tests::inject;
use crate::mirror::{self, Cut, Mirror, Taken};
use crate::verify::verify;
use crate::writer::tests::Fault;
use crate::{
    AuditError, AuditLog, BootInfo, CheckpointKey, Filter, Io, Kind, LogIdentity, LogOptions, Record, SpaceOptions,
    VerifierKey, Who, export, reader,
};
use search::{assert_nowhere, count_found, is_somewhere};

/// 2026-11-22.
const NOW_S: i64 = 1_795_380_305;
const DAY: Duration = Duration::from_secs(86_400);
const ADA: &str = "p:0ada";
const BOB: &str = "p:0b0b";

struct Device {
    path: PathBuf,
    clock: Clock,
    _kept: Option<tempfile::TempDir>,
}

impl Device {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { path: directory.path().to_owned(), clock: Clock::fixed(NOW_S), _kept: Some(directory) }
    }

    fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), clock: Clock::fixed(NOW_S), _kept: None }
    }

    fn log_directory(&self) -> PathBuf {
        self.path.join("audit")
    }

    fn roots(&self) -> PathBuf {
        self.path.join("roots")
    }

    fn ended(&self) -> EndedLogs {
        EndedLogs { logs: self.path.join("ended"), vaults: self.path.join("ended-roots") }
    }

    fn identity(&self) -> LogIdentity {
        let key = CheckpointKey::read_or_create(self.path.join("audit.key")).unwrap();
        LogIdentity { origin: "audit.example/dev-1/1".to_owned(), key }
    }

    fn info(&self) -> BootInfo {
        BootInfo { agent: "0.1.0".to_owned(), device: "dev-1".to_owned(), clock: self.clock.clone() }
    }

    fn open(&self) -> AuditLog {
        self.try_open().unwrap()
    }

    fn try_open(&self) -> Result<AuditLog, AuditError> {
        // Without a reserve: there is nothing in it to look for, and looking takes its time.
        let space = SpaceOptions { reserve_bytes: 0, ..SpaceOptions::default() };
        let options = LogOptions { space, vault: Some(self.roots()), ended: Some(self.ended()) };
        AuditLog::open_with(&self.log_directory(), self.identity(), self.info(), &options).map(|(log, _)| log)
    }

    fn sql(&self, statement: &str) {
        let connection = Connection::open(self.log_directory().join("audit.db")).unwrap();
        assert!(connection.execute(statement, ()).unwrap() > 0, "{statement} changed nothing");
    }

    fn root_files(&self) -> Vec<PathBuf> {
        std::fs::read_dir(self.roots()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    fn root_file(&self) -> PathBuf {
        let files = self.root_files();
        assert_eq!(files.len(), 1, "{files:?}");
        files.into_iter().next().unwrap()
    }

    fn root_bytes(&self) -> Vec<u8> {
        Secret::read(self.root_file()).unwrap().expose().to_vec()
    }

    fn assert_verifies(&self) {
        assert_eq!(verify(&self.log_directory()).unwrap().problems, []);
    }
}

fn call(subject: &str, text: &str) -> Record {
    let content =
        Content { input: Some(format!("{text} asks").into()), output: Some(format!("{text} is answered").into()) };
    Record::new(Kind::InferEnd).io(Io { input_tokens: Some(3), output_tokens: Some(5), ..Io::default() }).seal(
        Level::RequestAndResponse,
        subject,
        content,
    )
}

fn opened(text: &str) -> Content {
    Content { input: Some(format!("{text} asks").into()), output: Some(format!("{text} is answered").into()) }
}

fn order(subject: &str) -> EraseOrder {
    EraseOrder {
        subject: subject.to_owned(),
        basis: "case 118".to_owned(),
        approver: Who { kind: "user".into(), id: "p:0d90".into(), ..Who::default() },
    }
}

fn key_bytes(log: &AuditLog, subject: &str) -> Vec<Vec<u8>> {
    let keys = log.vault().unwrap().keys();
    let of_subject = keys.iter().filter(|key| key.subject == subject);
    of_subject.map(|key| key.key.as_ref().unwrap().expose().to_vec()).collect()
}

fn refusal(answer: Result<Content, AuditError>) -> VaultError {
    match answer {
        Err(AuditError::Vault(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_sealed_opens_by_its_index_now_after_a_restart_and_on_a_copy() {
    let device = Device::new();
    let log = device.open();
    let index = log.append(call(ADA, "ada")).wait().unwrap();
    let start = Record::new(Kind::InferStart).request("r").seal(Level::Request, BOB, opened("bob"));
    let start = log.append(start).wait().unwrap();
    assert_eq!(log.content(index).unwrap(), opened("ada"));
    assert_eq!(log.content(start).unwrap(), Content::of_input("bob asks"));
    drop(log);
    assert_eq!(device.open().content(index).unwrap(), opened("ada"));
    assert_eq!(content(&device.log_directory(), &device.roots(), index).unwrap(), opened("ada"));
    device.assert_verifies();

    let leaf = &reader::list(&device.log_directory(), &Filter::default()).unwrap()[1];
    let leaf = leaf.leaf().unwrap();
    assert_eq!((leaf.integer("io.in.tok"), leaf.integer("io.out.tok")), (Some(3), Some(5)));
    assert!(leaf.text("io.in.ct").unwrap().starts_with("sha256:"));
    assert_eq!(leaf.integer("io.in.len"), Some(8 + 29));
    assert_eq!(leaf.text("io.in.key"), leaf.text("io.out.key"));
    assert!(leaf.text("io.in.key").unwrap().starts_with("k:2026-11:"));
}

#[test]
fn nothing_is_sealed_unless_it_was_asked_for() {
    let device = Device::new();
    let log = device.open();
    let record = Record::new(Kind::InferEnd).seal(Level::Metadata, ADA, opened("ada"));
    let index = log.append(record).wait().unwrap();
    assert_eq!(refusal(log.content(index)), VaultError::NothingSealed { index });
    assert_eq!(refusal(log.content(99)), VaultError::NothingSealed { index: 99 });
    assert_eq!(log.vault_status().unwrap().keys, 0);
}

#[test]
fn a_log_without_a_vault_refuses_content_and_records_the_rest() {
    let device = Device::new();
    let (log, _) = AuditLog::open(&device.log_directory(), device.identity(), device.info()).unwrap();
    let refused = log.append(call(ADA, "ada")).wait().unwrap_err();
    assert!(matches!(refused, AuditError::Vault(VaultError::Closed)), "{refused}");
    assert!(matches!(log.erase(&order(ADA)).unwrap_err(), AuditError::Vault(VaultError::Closed)));
    let metadata = Record::new(Kind::InferEnd).seal(Level::Metadata, ADA, opened("ada"));
    assert_eq!(log.append(metadata).wait().unwrap(), 1);
}

#[test]
fn erasing_one_subject_leaves_the_others_a_record_and_tombstones_that_do_not_say_whose() {
    let device = Device::new();
    let log = device.open();
    let ada = log.append(call(ADA, "ada")).wait().unwrap();
    let bob = log.append(call(BOB, "bob")).wait().unwrap();
    let old_root = device.root_bytes();
    let ada_keys = key_bytes(&log, ADA);
    let erased = log.erase(&order(ADA)).unwrap();
    assert_eq!((erased.index, erased.ciphertexts, erased.keys.len(), erased.journal_truncated), (3, 2, 1, true));
    let key = erased.keys[0].clone();
    assert_eq!(refusal(log.content(ada)), VaultError::Destroyed { index: ada, key: key.clone(), by: 3 });
    assert_eq!(log.content(bob).unwrap(), opened("bob"));
    assert_eq!(tombstones(&device.log_directory(), 0).unwrap(), [Tombstone { key: key.clone(), index: 3 }]);
    assert_eq!(tombstones(&device.log_directory(), 4).unwrap(), []);

    let leaf = log.list(3..4).unwrap()[0].leaf().unwrap();
    assert_eq!(
        (leaf.kind(), leaf.who(), leaf.texts("keys")),
        (Some("audit.erase"), Some("p:0d90"), vec![key.as_str()])
    );
    assert_eq!((leaf.text("detail.basis"), leaf.integer("detail.keys")), (Some("case 118"), Some(1)));
    assert!(!String::from_utf8(log.list(3..4).unwrap()[0].bytes.clone()).unwrap().contains(ADA));

    // A later record of the same subject in the same month has another key.
    let later = log.append(call(ADA, "ada again")).wait().unwrap();
    assert_eq!(log.content(later).unwrap(), opened("ada again"));
    let leaf = log.list(later..later + 1).unwrap()[0].leaf().unwrap();
    assert_ne!(leaf.text("io.in.key"), Some(key.as_str()));
    assert_ne!(device.root_bytes(), old_root);
    device.assert_verifies();
    log.shutdown("asked").unwrap();
    drop(log);
    assert_nowhere(&device.path, &[ada_keys[0].clone(), old_root, b"ada asks".to_vec()]);
    let log = device.open();
    assert_eq!(log.content(bob).unwrap(), opened("bob"));
    assert_eq!(log.content(later).unwrap(), opened("ada again"));
    assert!(matches!(refusal(log.content(ada)), VaultError::Destroyed { by: 3, .. }));
}

/// Sets the log aside, as a log that must not go on is.
fn set_aside(device: &Device) {
    let EndedLogs { logs, vaults } = device.ended();
    for (from, below) in [(device.log_directory(), logs), (device.roots(), vaults)] {
        std::fs::create_dir(&below).unwrap();
        std::fs::rename(from, below.join("1")).unwrap();
    }
}

#[test]
fn what_was_sealed_beside_a_log_that_was_set_aside_is_erased_with_the_rest_and_that_log_stays_as_it_was() {
    let device = Device::new();
    let log = device.open();
    let ada = log.append(call(ADA, "ada")).wait().unwrap();
    let bob = log.append(call(BOB, "bob")).wait().unwrap();
    let ada_keys = key_bytes(&log, ADA);
    let old_root = device.root_bytes();
    log.shutdown("it must not go on").unwrap();
    drop(log);
    set_aside(&device);
    let (ended, roots) = (device.ended().logs.join("1"), device.ended().vaults.join("1"));
    let before = verify(&ended).unwrap();

    let log = device.open();
    log.append(call(ADA, "ada again")).wait().unwrap();
    let erased = log.erase(&order(ADA)).unwrap();
    assert_eq!((erased.index, erased.keys.len(), erased.ciphertexts), (3, 2, 4));
    let leaf = log.list(3..4).unwrap()[0].leaf().unwrap();
    assert_eq!((leaf.text("detail.log"), leaf.integer("detail.keys")), (Some("audit.example/dev-1/1"), Some(1)));
    assert!(matches!(refusal(content(&ended, &roots, ada)), VaultError::Destroyed { .. }));
    assert_eq!(content(&ended, &roots, bob).unwrap(), opened("bob"));
    let after = verify(&ended).unwrap();
    assert_eq!((after.problems, after.root_hex), (vec![], before.root_hex.clone()));
    assert_nowhere(&device.path, &[ada_keys[0].clone(), old_root, b"ada asks".to_vec()]);

    // What is left of it runs out of time like everything else.
    assert_eq!(log.prune_ended(Retention { content_days: 30 }, &Who::default()).unwrap(), None);
    device.clock.advance(DAY * 60);
    let (keys, record) = log.prune_ended(Retention { content_days: 30 }, &Who::default()).unwrap().unwrap();
    assert_eq!(keys, 1);
    let leaf = log.list(record..record + 1).unwrap()[0].leaf().unwrap();
    assert_eq!((leaf.kind(), leaf.text("detail.months")), (Some("audit.prune"), Some("2026-11")));
    assert!(matches!(refusal(content(&ended, &roots, bob)), VaultError::Destroyed { .. }));
    assert_eq!(verify(&ended).unwrap().root_hex, before.root_hex);
    device.assert_verifies();
}

#[test]
fn an_erasure_that_finds_nothing_is_on_record_too() {
    let device = Device::new();
    let log = device.open();
    let before = device.root_bytes();
    let erased = log.erase(&order(ADA)).unwrap();
    assert_eq!((erased.index, erased.keys.len(), erased.ciphertexts), (1, 0, 0));
    let leaf = log.list(1..2).unwrap()[0].leaf().unwrap();
    assert_eq!((leaf.kind(), leaf.integer("detail.keys")), (Some("audit.erase"), Some(0)));
    assert_eq!(device.root_bytes(), before);
}

#[test]
fn content_that_waits_while_its_subject_is_erased_goes_with_the_rest() {
    let device = Device::new();
    let log = device.open();
    log.append(call(ADA, "first")).wait().unwrap();
    let key = log.vault().unwrap().keys().iter().next().unwrap().clone();
    log.erase(&order(ADA)).unwrap();
    // As a thread would that had taken the key before it was destroyed, and appends after.
    log.vault().unwrap().keys().add(key.clone());
    let late = log.append(call(ADA, "late")).wait().unwrap();
    assert_eq!(refusal(log.content(late)), VaultError::Destroyed { index: late, key: key.id.clone(), by: 2 });
    assert!(!is_somewhere(&device.path, key.key.as_ref().unwrap().expose()));
    device.assert_verifies();
}

#[test]
fn threads_that_record_while_others_erase_lose_nothing_but_what_was_erased() {
    let device = Device::new();
    let log = device.open();
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let log = &log;
            scope.spawn(move || {
                for number in 0..60 {
                    let text = format!("bob {thread} {number}");
                    let index = log.append(call(BOB, &text)).wait().unwrap();
                    assert_eq!(log.content(index).unwrap(), opened(&text));
                    log.append(call(ADA, "ada")).wait().unwrap();
                }
            });
        }
        for _ in 0..5 {
            log.erase(&order(ADA)).unwrap();
        }
    });
    log.erase(&order(ADA)).unwrap();
    let (mut bobs, mut adas) = (0, 0);
    for entry in log.list(0..log.size()).unwrap() {
        if entry.leaf().unwrap().text("io.in.key").is_none() {
            continue;
        }
        match log.content(entry.index) {
            Ok(content) if content.input.as_ref().unwrap().starts_with(b"bob") => bobs += 1,
            Err(AuditError::Vault(VaultError::Destroyed { .. })) => adas += 1,
            other => panic!("record {}: {other:?}", entry.index),
        }
    }
    assert_eq!((bobs, adas), (180, 180));
    device.assert_verifies();
}

#[test]
fn months_that_are_over_are_pruned_after_a_dry_run_that_says_so() {
    let device = Device::new();
    let log = device.open();
    let november = log.append(call(ADA, "november")).wait().unwrap();
    log.append(call(BOB, "november")).wait().unwrap();
    device.clock.advance(15 * DAY);
    let december = log.append(call(ADA, "december")).wait().unwrap();
    let retention = Retention::default();
    assert_eq!(log.prune_plan(retention).unwrap().keys, Vec::<String>::new());
    assert_eq!(log.prune(retention, Who::default()).unwrap().index, None);
    // 2027-01-01: November is over since 31 days.
    device.clock.advance(25 * DAY);
    let plan = log.prune_plan(retention).unwrap();
    assert_eq!((plan.months.clone(), plan.keys.len(), plan.ciphertexts), (vec!["2026-11".to_owned()], 2, 4));
    assert_eq!(log.content(november).unwrap(), opened("november"), "a dry run changes nothing");
    assert_eq!(log.prune_plan(Retention { content_days: 0 }).unwrap().months.len(), 2);
    let pruned = log.prune(retention, Who::default()).unwrap();
    assert_eq!(pruned.plan, plan);
    let by = pruned.index.unwrap();
    assert!(matches!(refusal(log.content(november)), VaultError::Destroyed { by: record, .. } if record == by));
    assert_eq!(log.content(december).unwrap(), opened("december"));
    let leaf = log.list(by..by + 1).unwrap()[0].leaf().unwrap();
    assert_eq!((leaf.kind(), leaf.text("detail.months")), (Some("audit.prune"), Some("2026-11")));
    assert_eq!((leaf.integer("detail.content_days"), leaf.texts("keys").len()), (Some(30), 2));
    assert_eq!(log.prune(retention, Who::default()).unwrap().index, None);
    device.assert_verifies();
}

#[test]
fn more_keys_than_a_leaf_holds_are_destroyed_under_more_records() {
    let device = Device::new();
    let log = device.open();
    let answers: Vec<_> = (0..300).map(|subject| log.append(call(&format!("p:{subject:x}"), "text"))).collect();
    answers.into_iter().for_each(|answer| assert!(answer.wait().is_ok()));
    device.clock.advance(70 * DAY);
    let pruned = log.prune(Retention::default(), Who::default()).unwrap();
    assert_eq!((pruned.plan.keys.len(), pruned.plan.ciphertexts), (300, 600));
    let leaves = log.find(&Filter { kinds: vec![Kind::AuditPrune], ..Filter::default() }).unwrap();
    let named: Vec<usize> = leaves.iter().map(|entry| entry.leaf().unwrap().texts("keys").len()).collect();
    assert_eq!(named, [256, 44]);
    assert_eq!(tombstones(&device.log_directory(), 0).unwrap().len(), 300);
    assert_eq!(log.vault_status().unwrap(), VaultStatus { keys: 0, damaged: vec![], sweeping: false });
    device.assert_verifies();
}

#[test]
fn a_missing_a_wrong_and_an_exposed_root_key_are_named_and_nothing_is_destroyed_for_them() {
    let device = Device::new();
    let log = device.open();
    let index = log.append(call(ADA, "ada")).wait().unwrap();
    drop(log);
    let (path, right) = (device.root_file(), Secret::new(device.root_bytes()));
    let fails = |expected: &str| {
        let text = device.try_open().unwrap_err().to_string();
        assert!(text.contains(expected) && text.contains(&path.display().to_string()), "{text}");
        let text = content(&device.log_directory(), &device.roots(), index).unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    };
    std::fs::remove_file(&path).unwrap();
    fails("is missing");
    Secret::new([7; 32]).write(&path).unwrap();
    fails("is not the root key");
    Secret::new([7; 31]).write(&path).unwrap();
    fails("is not the root key");
    atomic::write(&path, right.expose()).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    fails("chmod 600");
    right.write(&path).unwrap();
    assert_eq!(device.open().content(index).unwrap(), opened("ada"));
}

#[test]
fn an_old_image_of_the_database_finds_its_root_key_destroyed_and_destroys_nothing_itself() {
    let device = Device::new();
    let log = device.open();
    let ada = log.append(call(ADA, "ada")).wait().unwrap();
    let bob = log.append(call(BOB, "bob")).wait().unwrap();
    log.shutdown("asked").unwrap();
    drop(log);
    let (database, image) = (device.log_directory().join("audit.db"), device.path.join("image"));
    std::fs::copy(&database, &image).unwrap();
    let log = device.open();
    log.erase(&order(ADA)).unwrap();
    log.shutdown("asked").unwrap();
    drop(log);
    let newest = device.path.join("newest");
    std::fs::copy(&database, &newest).unwrap();

    std::fs::copy(&image, &database).unwrap();
    std::fs::remove_file(device.log_directory().join("audit.checkpoint")).unwrap();
    assert!(matches!(device.try_open().unwrap_err(), AuditError::Vault(VaultError::RootMissing { .. })));
    let read = refusal(content(&device.log_directory(), &device.roots(), ada));
    assert!(matches!(read, VaultError::RootMissing { .. }), "{read}");

    for journal in ["audit.db-wal", "audit.db-shm"] {
        atomic::remove(device.log_directory().join(journal)).unwrap();
    }
    std::fs::copy(&newest, &database).unwrap();
    assert_eq!(device.open().content(bob).unwrap(), opened("bob"));
}

#[test]
fn a_damaged_key_is_named_does_not_stop_the_log_and_can_be_erased() {
    let device = Device::new();
    let log = device.open();
    let ada = log.append(call(ADA, "ada")).wait().unwrap();
    let bob = log.append(call(BOB, "bob")).wait().unwrap();
    drop(log);
    device.sql("UPDATE vault_keys SET wrapped = CAST(x'00' || substr(wrapped, 2) AS BLOB) WHERE subject = 'p:0ada'");
    let log = device.open();
    let damaged = log.vault_status().unwrap().damaged;
    assert_eq!(damaged.len(), 1);
    assert_eq!(refusal(log.content(ada)), VaultError::DamagedKey { key: damaged[0].clone() });
    // The month goes on under another key, and the erasure of somebody else does not lose this one.
    let later = log.append(call(ADA, "later")).wait().unwrap();
    assert_eq!(log.content(later).unwrap(), opened("later"));
    log.erase(&order(BOB)).unwrap();
    assert!(matches!(refusal(log.content(bob)), VaultError::Destroyed { .. }));
    assert_eq!(log.content(later).unwrap(), opened("later"));
    assert_eq!(refusal(log.content(ada)), VaultError::DamagedKey { key: damaged[0].clone() });
    assert_eq!(log.erase(&order(ADA)).unwrap().keys.len(), 2);
    assert!(matches!(refusal(log.content(ada)), VaultError::Destroyed { .. }));
    device.assert_verifies();
}

#[test]
fn whatever_is_taken_away_or_changed_is_named() {
    let check = |statement: &str, expected: fn(u64, &VaultError) -> bool| {
        let device = Device::new();
        let log = device.open();
        let index = log.append(call(ADA, "ada")).wait().unwrap();
        log.append(call(ADA, "other")).wait().unwrap();
        drop(log);
        device.sql(statement);
        let error = refusal(device.open().content(index));
        assert!(expected(index, &error), "{statement}: {error}");
    };
    check("DELETE FROM vault_keys", |_, error| matches!(error, VaultError::LostKey { .. }));
    check("DELETE FROM sealed", |index, error| *error == VaultError::LostContent { index });
    check("UPDATE vault_keys SET subject = 'p:0b0b'", |_, error| matches!(error, VaultError::DamagedKey { .. }));
    check("UPDATE vault_keys SET month = '2027'", |_, error| matches!(error, VaultError::DamagedKey { .. }));
    let digest = |_, error: &VaultError| matches!(error, VaultError::Altered { what: "its digest is another", .. });
    check("UPDATE sealed SET bytes = x'01' WHERE slot = 2", digest);
    check("UPDATE sealed SET bytes = (SELECT bytes FROM sealed WHERE slot = 4) WHERE slot = 2", digest);
}

#[test]
fn a_name_of_the_root_key_that_cannot_be_read_is_said() {
    let device = Device::new();
    drop(device.open());
    device.sql("UPDATE meta SET value = '../../somewhere 1 0' WHERE key = 'vault'");
    let error = device.try_open().unwrap_err();
    assert!(matches!(error, AuditError::Vault(VaultError::BadName { .. })), "{error}");
}

#[test]
fn an_erasure_that_a_full_disk_refuses_destroys_nothing_and_works_once_there_is_space() {
    let device = Device::new();
    let log = device.open();
    let ada = log.append(call(ADA, "ada")).wait().unwrap();
    let root = device.root_bytes();
    inject(&log, Fault::Full);
    while log.append(Record::new(Kind::AdminAct).act("fill")).wait().is_ok() {}
    let error = log.erase(&order(ADA)).unwrap_err();
    assert!(error.is_full(), "{error}");
    assert_eq!(log.content(ada).unwrap(), opened("ada"));
    assert_eq!(device.root_bytes(), root, "the root key that was to follow is gone again");
    inject(&log, Fault::SpaceAgain);
    assert_eq!(log.erase(&order(ADA)).unwrap().ciphertexts, 2);
    assert!(matches!(refusal(log.content(ada)), VaultError::Destroyed { .. }));
    assert_nowhere(&device.path, &[root]);
    device.assert_verifies();
}

#[test]
fn a_reader_in_the_way_keeps_the_journal_long_and_nothing_else() {
    let device = Device::new();
    let log = device.open();
    let ada = log.append(call(ADA, "ada")).wait().unwrap();
    let snapshot = reader::Snapshot::open(&device.log_directory()).unwrap();
    let erased = log.erase(&order(ADA)).unwrap();
    assert_eq!((erased.ciphertexts, erased.journal_truncated), (2, false));
    drop(snapshot);
    assert!(matches!(refusal(log.content(ada)), VaultError::Destroyed { .. }));
    assert!(log.erase(&order(ADA)).unwrap().keys.is_empty());
    device.assert_verifies();
}

#[test]
#[expect(clippy::print_stdout, reason = "the time is a figure to read, and no test of this machine")]
fn a_subject_with_ten_thousand_records_is_erased_and_nowhere_to_be_found() {
    const RECORDS: u64 = 10_000;
    let device = Device::new();
    let log = device.open();
    let answers: Vec<_> = (0..RECORDS)
        .map(|number| {
            let words = "how do I replace the valve of line 4 ".repeat(16);
            let record = call(ADA, &format!("ADA-{number:05} {words}"));
            if number % 100 == 0 {
                (Some(log.append(call(BOB, "bob"))), log.append(record))
            } else {
                (None, log.append(record))
            }
        })
        .collect();
    let mut bobs = Vec::new();
    let mut adas = Vec::new();
    for (bob, ada) in answers {
        bobs.extend(bob.map(|answer| answer.wait().unwrap()));
        adas.push(ada.wait().unwrap());
    }
    assert_eq!((adas.len(), bobs.len()), (10_000, 100));
    let (keys, old_root) = (key_bytes(&log, ADA), device.root_bytes());
    let ciphertexts: Vec<Vec<u8>> = {
        let snapshot = reader::Snapshot::open(&device.log_directory()).unwrap();
        let sealed = |index| table::sealed(&snapshot.connection, index, content::Side::Input).unwrap().unwrap();
        adas.iter().step_by(100).map(|&index| sealed(index)[20..60].to_vec()).collect()
    };
    // What left the log before the erasure: exports and a mirror, searched with the rest.
    let options = || export::Options { from: None, to: None, key: None, tool: "test".into() };
    for format in export::Format::ALL {
        export::export(&device.log_directory(), format, &device.path.join(format.name()), &options()).unwrap();
    }
    let key: VerifierKey = std::fs::read_to_string(device.log_directory().join("audit.vkey")).unwrap().parse().unwrap();
    let mut mirror = Mirror::open(&device.path.join("mirror"), &key).unwrap();
    while let Some(Cut { package, .. }) = mirror::next_package(&device.log_directory(), mirror.next().unwrap()).unwrap()
    {
        assert!(matches!(mirror.take(&package).unwrap(), Taken::Kept { .. } | Taken::Waiting { .. }));
    }
    assert_eq!(mirror.size().unwrap(), log.size());
    // What is looked for later can be found at all.
    assert!(is_somewhere(&device.path, &old_root));
    assert_eq!(count_found(&device.path, &ciphertexts), 100);

    let began = std::time::Instant::now();
    let erased = log.erase(&order(ADA)).unwrap();
    let took = began.elapsed();
    println!(
        "erased a subject with {RECORDS} records ({} ciphertexts, {} bytes) in {} ms, ciphertext removed and journal cut",
        erased.ciphertexts,
        erased.bytes,
        took.as_millis()
    );
    assert_eq!((erased.ciphertexts, erased.journal_truncated), (20_000, true));
    let needles = [keys[0].clone(), old_root, b"ADA-0".to_vec(), b"replace the valve".to_vec()];
    // While the log is open, so with its write-ahead log and the index of that, and after.
    assert_nowhere(&device.path, &needles);
    assert_eq!(count_found(&device.path, &ciphertexts), 0);
    for &bob in &bobs {
        assert_eq!(log.content(bob).unwrap(), opened("bob"));
    }
    for ada in [adas[0], adas[9_999]] {
        assert!(matches!(refusal(log.content(ada)), VaultError::Destroyed { .. }));
    }
    device.assert_verifies();
    log.shutdown("asked").unwrap();
    drop(log);
    assert_nowhere(&device.path, &needles);
    device.assert_verifies();
}
