//! What the launcher chooses, from what is written down and what lies there.

use outpost_contract::{Blake3, Sha256};

use super::*;
use crate::build::OWN_TARGET;
use crate::record::{Before, Trial};

fn build(version: &str) -> Build {
    let byte = version.as_bytes().get(2).copied().unwrap_or_default();
    Build {
        version: version.to_owned(),
        target: OWN_TARGET.to_owned(),
        sha256: Sha256([byte; 32]),
        bytes: 7,
        blake3: Blake3([byte; 32]),
    }
}

/// 0.2.0 is confirmed, 0.3.0 was started so often on trial.
fn tried(attempts: u32) -> Record {
    let trial =
        Trial { slot: Slot::B, attempts, seconds: 60, before: Before::default(), last_words: None, lacked_link: false };
    Record {
        a: Some(build("0.2.0")),
        b: Some(build("0.3.0")),
        confirmed: Some(Slot::A),
        trial: Some(trial),
        ..Record::default()
    }
}

/// What is chosen where the packaged program has this version and these slots are damaged; and what is noted.
fn decide(record: &mut Record, packaged: &str, damaged: &[Slot]) -> (Option<Chosen>, String) {
    let mut notes = Vec::new();
    let chosen = choose(record, packaged, &mut notes, |slot, _| {
        if damaged.contains(&slot) { Err("its file is damaged".to_owned()) } else { Ok(()) }
    });
    (chosen, notes.join("\n"))
}

const ON_TRIAL: Option<Chosen> = Some(Chosen { slot: Slot::B, on_trial: true });
const CONFIRMED: Option<Chosen> = Some(Chosen { slot: Slot::A, on_trial: false });

#[test]
fn a_trial_is_started_twice_each_counted_before_and_then_rolled_back_with_its_last_words() {
    let mut record = tried(0);
    for attempt in 1..=ATTEMPTS {
        assert_eq!(decide(&mut record, "0.1.0", &[]).0, ON_TRIAL);
        assert_eq!(record.trial.as_ref().unwrap().attempts, attempt);
    }
    let last = record.trial.as_mut().unwrap();
    (last.last_words, last.lacked_link) = (Some("no model serves".to_owned()), true);
    let (chosen, notes) = decide(&mut record, "0.1.0", &[]);
    assert_eq!(chosen, CONFIRMED);
    assert!(notes.contains("version 0.3.0 is rolled back: it ended 2 times before it was healthy"), "{notes}");
    let back = record.rolled_back.last().unwrap();
    assert!(back.barred && back.lacked_link && back.reason.ends_with("it said: no model serves"), "{}", back.reason);
    assert_eq!((&record.b, &record.trial), (&None, &None));
    // That is how it stays.
    let before = record.clone();
    assert_eq!(decide(&mut record, "0.1.0", &[]).0, CONFIRMED);
    assert_eq!(record, before);
}

#[test]
fn a_damaged_build_is_passed_over_for_the_one_before_and_may_come_again() {
    let mut record = tried(0);
    assert_eq!(decide(&mut record, "0.1.0", &[Slot::B]).0, CONFIRMED);
    let back = record.rolled_back.last().unwrap();
    assert_eq!((back.version.as_str(), back.barred), ("0.3.0", false));

    let mut record = Record { trial: None, confirmed: Some(Slot::B), ..tried(0) };
    assert_eq!(decide(&mut record, "0.1.0", &[Slot::B]).0, CONFIRMED, "the one confirmed before");
    assert_eq!(record.confirmed, Some(Slot::A));

    let mut record = tried(1);
    assert_eq!(decide(&mut record, "0.1.0", &[Slot::A, Slot::B]).0, None, "the packaged program runs");
    assert_eq!((record.confirmed, record.rolled_back.len()), (None, 2));
}

#[test]
fn a_package_that_is_not_older_wins_and_says_so() {
    let mut record = Record { trial: None, ..tried(0) };
    record.b = None;
    for packaged in ["0.2.0", "0.2.1", "1.0.0"] {
        let (chosen, notes) = decide(&mut record, packaged, &[]);
        assert_eq!(chosen, None);
        assert!(notes.contains(&format!("the packaged program is {packaged}, which is not older")), "{notes}");
    }
    // Where the older package comes back, so does the slot.
    assert_eq!(decide(&mut record, "0.1.0", &[]).0, CONFIRMED);

    let mut record = tried(0);
    let (chosen, notes) = decide(&mut record, "0.3.0", &[]);
    assert_eq!(chosen, None);
    assert!(notes.contains("version 0.3.0 is rolled back: the packaged program is 0.3.0 by now"), "{notes}");
    assert!(!record.rolled_back.last().unwrap().barred);
}

#[test]
fn nothing_is_chosen_where_nothing_was_staged_or_the_record_cannot_be_read() {
    assert_eq!(decide(&mut Record::default(), "0.1.0", &[]), (None, String::new()));
    let state = tempfile::tempdir().unwrap();
    assert_eq!(launch(state.path()).unwrap(), Launched::default());
    assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 0, "nothing is made");

    let directory = state.path().join(DIRECTORY);
    std::fs::create_dir(&directory).unwrap();
    outpost_disk::atomic::write(directory.join("record.1.ledger"), "nonsense").unwrap();
    let launched = launch(state.path()).unwrap();
    assert!(launched.notes[0].starts_with("what was known of builds is given up"), "{:?}", launched.notes);
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
    assert_eq!(launch(state.path()).unwrap(), Launched::default());
}

#[test]
fn what_others_can_write_is_not_run() {
    use std::os::unix::fs::PermissionsExt as _;
    let state = tempfile::tempdir().unwrap();
    let directory = state.path().join(DIRECTORY);
    std::fs::create_dir(&directory).unwrap();
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o777)).unwrap();
    let launched = launch(state.path()).unwrap();
    assert!(launched.notes[0].contains("can be written by others"), "{:?}", launched.notes);
}

#[test]
fn a_running_agent_keeps_its_directory() {
    let state = tempfile::tempdir().unwrap();
    std::fs::create_dir(state.path().join(DIRECTORY)).unwrap();
    let _agent = StateLock::acquire(state.path()).unwrap();
    assert!(matches!(launch(state.path()), Err(LaunchError::InUse(_))));
}
