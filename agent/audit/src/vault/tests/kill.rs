//! Kills the process at each step of an erasure, and opens what it left: all of it happened, or nothing.

use std::process::{Command, Stdio};

use super::*;
use crate::vault::step::Step;

/// Names the device of the process that is to be killed, and the step.
const CHILD_DEVICE: &str = "OUTPOST_TEST_ERASE_DEVICE";
const CHILD_STEP: &str = "OUTPOST_TEST_ERASE_STEP";

const RECORDS: usize = 700;

/// Ends the process, if it is one that was told to end here: without a destructor, a flush or an answer.
pub(crate) fn reached(step: Step) {
    if std::env::var(CHILD_STEP).is_ok_and(|ordered| ordered == format!("{step:?}")) {
        let itself = std::process::id().to_string();
        Command::new("kill").args(["-KILL", &itself]).status().unwrap();
        loop {
            std::thread::park();
        }
    }
}

/// The process that is killed. In an ordinary run of the tests it has nothing to do.
#[test]
fn eraser() {
    let Some(directory) = std::env::var_os(CHILD_DEVICE) else { return };
    let log = Device::at(Path::new(&directory)).open();
    log.erase(&order(ADA)).unwrap();
}

fn killed_at(step: Step) {
    let device = Device::new();
    let log = device.open();
    let answers: Vec<_> = (0..RECORDS).map(|number| log.append(call(ADA, &format!("ADA-{number:05}")))).collect();
    let adas: Vec<u64> = answers.into_iter().map(|answer| answer.wait().unwrap()).collect();
    let bob = log.append(call(BOB, "bob")).wait().unwrap();
    let keys = key_bytes(&log, ADA);
    log.shutdown("asked").unwrap();
    drop(log);
    let old_root = device.root_bytes();

    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "vault::tests::kill::eraser", "--nocapture"])
        .env(CHILD_DEVICE, &device.path)
        .env(CHILD_STEP, format!("{step:?}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let status = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{step:?}: {status}");

    if step == Step::Overwritten {
        assert_nowhere(&device.path, std::slice::from_ref(&old_root));
    }
    device.assert_verifies();
    let log = device.open();
    let erasures = log.find(&Filter { kinds: vec![Kind::AuditErase], ..Filter::default() }).unwrap().len();
    let is_after =
        matches!(step, Step::Committed | Step::Overwritten | Step::OldRootGone | Step::Truncated | Step::Swept);
    assert_eq!(erasures, usize::from(is_after), "{step:?}");
    assert_eq!(log.content(bob).unwrap(), opened("bob"), "{step:?}");
    assert_eq!(device.root_files().len(), 1, "{step:?}: the other root key is destroyed when the log is opened");
    if is_after {
        for &ada in &adas {
            assert!(matches!(refusal(log.content(ada)), VaultError::Destroyed { .. }), "{step:?}");
        }
        assert_ne!(device.root_bytes(), old_root, "{step:?}");
        // The rest of the ciphertext goes in the background.
        assert!(log.vault().unwrap().sweep.wait().is_ok());
        assert_eq!(log.vault_status().unwrap().keys, 1);
    } else {
        for &ada in &adas {
            assert!(log.content(ada).is_ok(), "{step:?}");
        }
        assert_eq!(device.root_bytes(), old_root, "{step:?}");
        assert_eq!(log.erase(&order(ADA)).unwrap().ciphertexts, 2 * RECORDS as u64);
    }
    assert_eq!(log.sealed_extent(&log_keys(&log, ADA)).unwrap().rows, 0);
    assert!(!table::is_unswept(&reader::Snapshot::open(&device.log_directory()).unwrap().connection).unwrap());
    assert_nowhere(&device.path, &[keys[0].clone(), old_root, b"ADA-0".to_vec()]);
    device.assert_verifies();
}

fn log_keys(log: &AuditLog, subject: &str) -> Vec<String> {
    let tombstones = tombstones(log.directory(), 0).unwrap().into_iter().map(|tombstone| tombstone.key);
    let keys = log.vault().unwrap().keys();
    let living: Vec<String> = keys.iter().filter(|key| key.subject == subject).map(|key| key.id.clone()).collect();
    tombstones.chain(living).collect()
}

#[test]
fn an_erasure_killed_at_any_step_has_happened_or_has_not() {
    for step in Step::ALL {
        killed_at(step);
    }
}
