//! What leaves a log is checked whole, and anything that is done to it on the way is found.

#![allow(clippy::disallowed_methods, reason = "thousands of spoilt files need not survive a power cut")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

use outpost_disk::Clock;
use proptest::prelude::*;

use super::*;
use crate::verify::{self, Problem, Subject, verify_any};
use crate::{AuditLog, BootInfo, Kind, LogIdentity, Record, schema};

/// A log of exactly so many records, and what it takes to export it.
struct Log {
    directory: tempfile::TempDir,
    key: CheckpointKey,
}

impl Log {
    fn of(records: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let pkcs8 = CheckpointKey::generate().unwrap();
        let key = || CheckpointKey::from_pkcs8(pkcs8.expose()).unwrap();
        let log = Self { directory, key: key() };
        let identity = LogIdentity { origin: "audit.example/dev-1/1".to_owned(), key: key() };
        AuditLog::create(&log.path(), &identity).unwrap();
        if records > 0 {
            let info = BootInfo { agent: "0.1.0".into(), device: "dev-1".into(), clock: Clock::fixed(1_795_380_305) };
            let open = AuditLog::open(&log.path(), identity, info).unwrap().0;
            let kinds = [Kind::InferStart, Kind::InferEnd, Kind::AuthFail];
            let answers: Vec<_> = (1..records)
                .map(|number| open.append(Record::new(kinds[number % 3]).act("infer").detail("number", number as u64)))
                .collect();
            for answer in answers {
                answer.wait().unwrap();
            }
        }
        log
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("audit")
    }

    /// A fresh path beside the log.
    fn target(&self) -> PathBuf {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.directory.path().join(format!("export-{number}"))
    }

    fn export(&self, format: Format, range: Option<(u64, u64)>) -> PathBuf {
        let (target, (from, to)) = (self.target(), range.unzip());
        let options = Options { from, to, key: Some(&self.key), tool: "outpost test".into() };
        let exported = export(&self.path(), format, &target, &options).unwrap();
        assert_eq!((exported.from, exported.to), range.unwrap_or((0, exported.size)));
        target
    }
}

fn large() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| Log::of(600))
}

fn problems(path: &Path) -> Vec<Problem> {
    verify_any(path, &verify::Options::default()).unwrap().problems
}

fn named(problems: &[Problem]) -> Vec<u64> {
    problems.iter().filter_map(|problem| problem.index).collect()
}

/// Every file below a folder, by its path.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let (name, path) = entry.map(|entry| (entry.file_name().into_string().unwrap(), entry.path())).unwrap();
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|(below, bytes)| (format!("{name}/{below}"), bytes)));
        } else {
            found.insert(name, std::fs::read(&path).unwrap());
        }
    }
    found
}

/// What the verifier says with these bytes in the place of the file's.
fn with(folder: &Path, name: &str, bytes: &[u8]) -> Vec<Problem> {
    let path = folder.join(name);
    let good = std::fs::read(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let problems = problems(folder);
    std::fs::write(&path, good).unwrap();
    problems
}

/// Flips one bit in every `step`th byte of every file.
fn flip(folder: &Path, step: usize, mut judge: impl FnMut(&str, usize, Vec<Problem>)) {
    for (name, good) in files(folder) {
        for position in (0..good.len()).step_by(step) {
            // A key without its newline is the same key.
            if name == VERIFIER_KEY && position + 1 == good.len() {
                continue;
            }
            let mut changed = good.clone();
            changed[position] ^= 1;
            judge(&name, position, with(folder, &name, &changed));
        }
    }
}

#[test]
fn tiles_of_every_shape_verify() {
    for size in [0, 1, 2, 255, 256, 257, 600] {
        let log = Log::of(size);
        let folder = log.export(Format::Tiles, None);
        let report = verify_any(&folder, &verify::Options::default()).unwrap();
        assert_eq!(report.problems, [], "{size}");
        assert_eq!((report.subject, report.records), (Subject::Tiles, size as u64));
        let stored = verify::verify(&log.path()).unwrap();
        assert_eq!((stored.problems, stored.root_hex), (vec![], report.root_hex), "{size}");
    }
    let names: Vec<_> = files(&large().export(Format::Tiles, None)).into_keys().collect();
    let expected = [
        "audit.vkey",
        "checkpoint",
        "tile/0/000",
        "tile/0/001",
        "tile/0/002.p/88",
        "tile/1/000.p/2",
        "tile/entries/000",
        "tile/entries/001",
        "tile/entries/002.p/88",
    ];
    assert_eq!(names, expected);
}

#[test]
fn every_flipped_byte_of_tiles_is_found_and_the_record_is_named() {
    let log = Log::of(4);
    let folder = log.export(Format::Tiles, None);
    flip(&folder, 1, |name, position, problems| {
        assert!(!problems.is_empty(), "{name} {position}");
        if name.starts_with("tile/") {
            assert!(!named(&problems).is_empty(), "{name} {position}: {problems:?}");
        }
    });
    let (name, good) = files(&folder).into_iter().find(|(name, _)| name.starts_with("tile/entries")).unwrap();
    let first = usize::from(u16::from_be_bytes([good[0], good[1]]));
    let mut changed = good;
    changed[2 + first + 2 + 10] ^= 1;
    assert_eq!(named(&with(&folder, &name, &changed))[0], 1);
}

#[test]
fn files_that_are_missing_added_or_of_another_place_are_named() {
    let folder = large().export(Format::Tiles, None);
    let found = files(&folder);
    for name in found.keys().filter(|name| name.starts_with("tile/")) {
        std::fs::rename(folder.join(name), folder.join("away")).unwrap();
        let problems = problems(&folder);
        assert!(problems.iter().any(|problem| problem.what.contains(name)), "{name}: {problems:?}");
        std::fs::rename(folder.join("away"), folder.join(name)).unwrap();
    }
    assert_eq!(named(&with(&folder, "tile/0/001", &found["tile/0/000"]))[0], 256);
    assert_eq!(named(&with(&folder, "tile/entries/001", &found["tile/entries/000"]))[0], 256);
    std::fs::write(folder.join("tile/0/003"), b"").unwrap();
    assert!(problems(&folder)[0].what.contains("`tile/0/003` is not a part"));
}

#[test]
fn records_deleted_moved_doubled_or_cut_off_in_tiles_are_named() {
    let folder = large().export(Format::Tiles, None);
    let name = "tile/entries/001";
    let good = files(&folder).remove(name).unwrap();
    let mut entries = Vec::new();
    let mut rest = good.as_slice();
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (entry, after) = after.split_at(u16::from_be_bytes(*length).into());
        entries.push([length.as_slice(), entry].concat());
        rest = after;
    }
    let tampered = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut entries = entries.clone();
        change(&mut entries);
        named(&with(&folder, name, &entries.concat()))
    };
    assert_eq!(tampered(&|entries| drop(entries.remove(10)))[0], 266);
    assert_eq!(tampered(&|entries| entries.swap(10, 20))[..2], [266, 266]);
    assert_eq!(tampered(&|entries| entries.insert(10, entries[9].clone()))[0], 266);
    assert!(!problems_of_cut_tail(&folder).is_empty());
}

/// The last bundle and its tile go, as somebody would shorten a log without the key.
fn problems_of_cut_tail(folder: &Path) -> Vec<Problem> {
    for name in ["tile/entries/002.p/88", "tile/0/002.p/88"] {
        std::fs::remove_file(folder.join(name)).unwrap();
    }
    let problems = problems(folder);
    assert!(
        problems.iter().any(|problem| problem.index == Some(512) && problem.what.contains("up to 599")),
        "{problems:?}"
    );
    problems
}

#[test]
fn tiles_show_an_old_copy_against_a_checkpoint_from_elsewhere() {
    let (old, new) = (Log::of(3), Log::of(3));
    let folder = old.export(Format::Tiles, None);
    let newer = crate::Checkpoint { origin: "audit.example/dev-1/1".into(), size: 5, root: [7; 32] };
    let options = verify::Options { checkpoints: vec![old.key.sign(&newer)], ..verify::Options::default() };
    assert_eq!(named(&verify_any(&folder, &options).unwrap().problems), [3]);
    let key = verify::verify(&new.path()).unwrap().verifier_key.parse().unwrap();
    let options = verify::Options { verifier_key: Some(key), ..verify::Options::default() };
    assert!(!verify_any(&folder, &options).unwrap().is_ok(), "the auditor's key is another");
}

#[test]
fn every_form_of_every_range_verifies() {
    let log = large();
    for form in Form::ALL {
        for (from, to) in
            [(0, 600), (0, 0), (600, 600), (0, 1), (599, 600), (1, 599), (255, 257), (256, 512), (77, 400)]
        {
            let folder = log.export(Format::Records(form), Some((from, to)));
            let report = verify_any(&folder, &verify::Options::default()).unwrap();
            assert_eq!(report.problems, [], "{form:?} {from} {to}");
            assert_eq!((report.subject, report.first, report.records), (Subject::Export, from, to - from));
        }
    }
}

#[test]
fn every_flipped_byte_of_an_export_of_records_is_found() {
    for form in Form::ALL {
        let log = Log::of(4);
        let folder = log.export(Format::Records(form), Some((1, 3)));
        // Every byte of the leaves themselves; the other forms carry the same leaves.
        let step = if form == Form::Jsonl { 1 } else { 5 };
        flip(&folder, step, |name, position, problems| {
            assert!(!problems.is_empty(), "{name} {position}");
            if name.starts_with("records") && form == Form::Jsonl {
                assert!(!named(&problems).is_empty(), "{name} {position}: {problems:?}");
            }
        });
    }
}

#[test]
fn lines_deleted_moved_doubled_or_cut_off_are_named() {
    for form in Form::ALL {
        let folder = large().export(Format::Records(form), Some((100, 130)));
        let good = files(&folder).remove(form.file_name()).unwrap();
        let lines: Vec<&[u8]> = good.split_inclusive(|byte| *byte == b'\n').collect();
        let heading = usize::from(form == Form::Csv);
        let tampered = |change: &dyn Fn(&mut Vec<&[u8]>)| {
            let mut lines = lines.clone();
            change(&mut lines);
            named(&with(&folder, form.file_name(), &lines.concat()))
        };
        assert_eq!(
            tampered(&|lines| {
                lines.remove(heading + 7);
            }),
            [107],
            "{form:?}"
        );
        assert_eq!(tampered(&|lines| lines.swap(heading + 7, heading + 8))[0], 107, "{form:?}");
        assert_eq!(tampered(&|lines| lines.insert(heading + 9, lines[heading + 7]))[0], 107, "{form:?}");
        assert_eq!(tampered(&|lines| lines.truncate(heading + 20)), [120], "{form:?}");
    }
}

#[test]
fn an_export_from_a_copy_says_that_nobody_signed_its_manifest() {
    let log = Log::of(3);
    let target = log.target();
    export(&log.path(), Format::Records(Form::Jsonl), &target, &Options::default()).unwrap();
    let problems = problems(&target);
    assert!(problems.len() == 1 && problems[0].what.contains("not signed"), "{problems:?}");
}

#[test]
fn a_refused_export_leaves_nothing_behind() {
    let (log, other) = (Log::of(3), Log::of(1));
    let target = log.target();
    let refused = |format, options: &Options<'_>| export(&log.path(), format, &target, options).unwrap_err();
    let jsonl = Format::Records(Form::Jsonl);
    for (from, to) in [(0, 4), (3, 2), (u64::MAX, u64::MAX)] {
        let error = refused(jsonl, &Options { from: Some(from), to: Some(to), ..Options::default() });
        assert!(matches!(error, AuditError::OutOfRange { size: 3, .. }), "{error}");
    }
    let error = refused(Format::Tiles, &Options { from: Some(0), ..Options::default() });
    assert!(matches!(error, AuditError::TilesAreWhole), "{error}");
    let error = refused(jsonl, &Options { key: Some(&other.key), ..Options::default() });
    assert!(matches!(error, AuditError::OtherKey { .. }), "{error}");
    let flip = "UPDATE leaves SET bytes = CAST(replace(CAST(bytes AS TEXT), 'infer', 'knife') AS BLOB) WHERE idx = 1";
    rusqlite::Connection::open(schema::database_path(&log.path())).unwrap().execute_batch(flip).unwrap();
    for format in Format::ALL {
        let error = refused(format, &Options::default());
        assert!(matches!(error, AuditError::Damaged { .. }), "{error}");
    }
    assert_eq!(files(log.directory.path()).into_keys().filter(|name| name.contains("export")).count(), 0);
    std::fs::create_dir(&target).unwrap();
    assert!(refused(jsonl, &Options::default()).to_string().contains("exists already"));
}

#[test]
fn every_record_of_logs_of_many_sizes_can_be_proven() {
    for size in [1, 2, 3, 7, 8, 9, 600] {
        let log = Log::of(size);
        let key = verify::verify(&log.path()).unwrap().verifier_key.parse().unwrap();
        let options = verify::Options { verifier_key: Some(key), ..verify::Options::default() };
        let step = if size > 100 { 37 } else { 1 };
        for index in (0..size as u64).step_by(step) {
            let path = log.target().with_extension("tlog-proof");
            prove(&log.path(), index, &path).unwrap();
            let report = verify_any(&path, &options).unwrap();
            assert_eq!(report.problems, [], "{index} of {size}");
            assert_eq!(
                (report.subject, report.first, report.checkpoint_size),
                (Subject::Proof, index, Some(size as u64))
            );
        }
        let error = prove(&log.path(), size as u64, &log.target()).unwrap_err();
        assert!(matches!(error, AuditError::OutOfRange { .. }), "{error}");
    }
}

#[test]
fn every_flipped_byte_of_a_proof_or_its_record_is_found() {
    let log = Log::of(7);
    let folder = log.directory.path().join("handed-over");
    std::fs::create_dir(&folder).unwrap();
    prove(&log.path(), 4, &folder.join("4.tlog-proof")).unwrap();
    std::fs::copy(log.path().join(VERIFIER_KEY), folder.join(VERIFIER_KEY)).unwrap();
    let check = || verify_any(&folder.join("4.tlog-proof"), &verify::Options::default()).unwrap().problems;
    assert_eq!(check(), []);
    for name in ["4.tlog-proof", "4.json"] {
        let good = std::fs::read(folder.join(name)).unwrap();
        for position in 0..good.len() {
            let mut changed = good.clone();
            changed[position] ^= 1;
            std::fs::write(folder.join(name), changed).unwrap();
            assert!(!check().is_empty(), "{name} {position}");
        }
        std::fs::write(folder.join(name), good).unwrap();
    }
    prove(&log.path(), 5, &folder.join("5.tlog-proof")).unwrap();
    let options = verify::Options { record: Some(folder.join("5.json")), ..verify::Options::default() };
    assert_eq!(verify_any(&folder.join("4.tlog-proof"), &options).unwrap().problems[0].index, Some(4));
}

#[test]
fn what_is_nothing_that_the_verifier_knows_is_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let error = verify_any(directory.path(), &verify::Options::default()).unwrap_err();
    assert!(matches!(error, AuditError::Unknown { .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn tiles_with_any_file_destroyed_never_panic_the_verifier_and_never_pass(
        file in any::<prop::sample::Index>(),
        position in any::<prop::sample::Index>(),
        noise in proptest::collection::vec(any::<u8>(), 0..64),
        keeps_length: bool,
    ) {
        static FOLDER: OnceLock<PathBuf> = OnceLock::new();
        let folder = FOLDER.get_or_init(|| large().export(Format::Tiles, None));
        // Each case on a copy: proptest may run them in any order, and a failure must not spoil the next.
        let copy = tempfile::tempdir().unwrap();
        let good = files(folder);
        for (name, bytes) in &good {
            std::fs::create_dir_all(copy.path().join(name).parent().unwrap()).unwrap();
            std::fs::write(copy.path().join(name), bytes).unwrap();
        }
        let (name, bytes) = file.get(&good.iter().filter(|(name, _)| *name != VERIFIER_KEY).collect::<Vec<_>>()).to_owned();
        let start = position.index(bytes.len());
        let mut changed = bytes[..start].to_vec();
        changed.extend_from_slice(&noise);
        if keeps_length {
            changed.truncate(bytes.len());
            changed.extend_from_slice(&bytes[changed.len()..]);
        }
        prop_assume!(changed != *bytes);
        std::fs::write(copy.path().join(name), changed).unwrap();
        prop_assert!(!problems(copy.path()).is_empty());
    }
}
