//! An old image put back, of the device's directory or of the tiles: nothing in it is wrong, so it shows only to an auditor who
//! holds something newer, a checkpoint or what a witness cosigned.

use outpost_audit::note::Note;
use outpost_audit::verify::{Options, verify_any};
use outpost_audit::{AuditError, AuditLog, BootInfo, CheckpointKey, LogIdentity};
use outpost_disk::Clock;

use crate::say;
use crate::subject::large;

#[test]
fn an_old_image_shows_to_whoever_holds_a_newer_checkpoint_or_cosignature() {
    let subject = large();
    let cosigned = subject.cosigned.clone();
    let alone = cosigned.rsplit_once("— ").map(|(note, _)| note.to_owned()).unwrap();
    assert_eq!(Note::parse(&cosigned).unwrap().unverified_text(), Note::parse(&alone).unwrap().unverified_text());
    let mut tried = 0;
    for size in &subject.images {
        for form in ["store", "tiles"] {
            let image = subject.path(&format!("old/{size}/{form}"));
            let report = verify_any(&image, &subject.options()).unwrap();
            assert_eq!(
                (report.problems.as_slice(), report.records),
                ([].as_slice(), *size),
                "the image itself is whole"
            );
            for newer in [&alone, &cosigned] {
                let options = Options { checkpoints: vec![newer.clone()], ..subject.options() };
                let report = verify_any(&image, &options).unwrap();
                let named: Vec<_> = report.problems.iter().filter_map(|problem| problem.index).collect();
                assert!(named.contains(size), "{form} of {size} records: {:?}", report.problems);
                tried += 1;
            }
        }
    }
    say(&format!("old images: {tried} tried, all seen and the first missing record named"));
}

/// The device itself sees the file beside the database, where only the database was put back.
#[test]
fn an_old_database_beside_a_newer_checkpoint_file_is_seen_and_not_written_to() {
    let subject = large();
    for size in &subject.images {
        let folder = tempfile::tempdir().unwrap();
        let copy =
            |from: &str, name: &str| std::fs::copy(subject.path(from).join(name), folder.path().join(name)).unwrap();
        copy(&format!("old/{size}/store"), "audit.db");
        copy("store", "audit.vkey");
        copy("store", "audit.checkpoint");
        let report = verify_any(folder.path(), &subject.options()).unwrap();
        assert!(report.problems.iter().any(|problem| problem.index == Some(*size)), "{:?}", report.problems);
        let identity = LogIdentity {
            origin: subject.key.name().to_owned(),
            key: CheckpointKey::from_pkcs8(subject.pkcs8.expose()).unwrap(),
        };
        let info = BootInfo { agent: "0.1.0".into(), device: "tamper".into(), clock: Clock::fixed(1_795_380_305) };
        let error = AuditLog::open(folder.path(), identity, info).unwrap_err();
        assert!(matches!(error, AuditError::RolledBack { signed: 10_000, .. }), "{error}");
    }
}
