//! What a backup holds, what it refuses, and what is true after it was restored.

use super::*;
use crate::clock::Clock;

fn fleet(state: &Path) -> Fleet {
    let mut config = Config::new(state.to_owned());
    config.tenant = "acme".parse().unwrap();
    std::fs::create_dir_all(state).unwrap();
    std::fs::write(state.join(crate::config::CONFIG_FILE), "tenant = \"acme\"\n").unwrap();
    Fleet::init(config, Clock::fixed(1_800_000_000)).unwrap().fleet
}

fn open(state: &Path) -> Fleet {
    Fleet::open(Config::load(state.to_owned()).unwrap(), Clock::fixed(1_800_000_100)).unwrap()
}

#[test]
fn what_is_restored_is_what_was_there_but_for_open_invitations() {
    let dir = tempfile::tempdir().unwrap();
    let (state, backup) = (dir.path().join("state"), dir.path().join("backup"));
    let fleet = fleet(&state);
    fleet.create_code(&"till-7".parse().unwrap(), 3600).unwrap();
    fleet.inner.database.set("kept", b"yes").unwrap();
    std::fs::write(state.join("blobs/b"), b"a model").unwrap();
    let index = fleet.back_up(&backup).unwrap();
    assert!(index.files.contains_key("control.db") && index.files.contains_key("tls/ca.pem"), "{:?}", index.files);
    assert!(index.files.keys().all(|name| !name.ends_with("-wal") && !name.ends_with(".lock")), "{:?}", index.files);
    fleet.inner.database.set("kept", b"no longer").unwrap();

    let again = dir.path().join("again");
    let restored = restore(&backup, &again).unwrap();
    assert_eq!((restored.files, restored.voided), (index.files.len(), 1));
    let other = open(&again);
    assert_eq!(other.authority_pem(), fleet.authority_pem());
    assert_eq!(other.inner.database.setting("kept").unwrap().unwrap(), b"yes");
    assert_eq!(std::fs::read(again.join("blobs/b")).unwrap(), b"a model");
    for name in index.files.keys() {
        use std::os::unix::fs::PermissionsExt;
        let mode = |root: &Path| std::fs::metadata(root.join(name)).unwrap().permissions().mode() & 0o077;
        assert!(mode(&again) & !mode(&state) == 0, "{name} is readable by more than before");
    }
}

#[test]
fn what_comes_while_a_backup_is_made_is_in_it_if_its_databases_may_name_it() {
    let dir = tempfile::tempdir().unwrap();
    let (state, backup) = (dir.path().join("state"), dir.path().join("backup"));
    let fleet = fleet(&state);
    let taking = copy::Taking::begin(&state, &backup, &backup.join("files")).unwrap();
    std::fs::write(state.join("blobs/late"), b"a catalogue").unwrap();
    fleet.inner.database.set("catalogue", b"late").unwrap();
    let taken = taking.take().unwrap();
    assert!(taken.contains_key("blobs/late"), "{taken:?}");
    assert_eq!(std::fs::read(backup.join("files/blobs/late")).unwrap(), b"a catalogue");
}

#[test]
fn nothing_is_overwritten_and_a_backup_does_not_hold_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (state, backup) = (dir.path().join("state"), dir.path().join("backup"));
    let fleet = fleet(&state);
    assert!(matches!(fleet.back_up(&state.join("backup")), Err(BackupError::Within(_))));
    fleet.back_up(&backup).unwrap();
    assert!(matches!(fleet.back_up(&backup), Err(BackupError::NotEmpty(_))));
    assert!(matches!(restore(&backup, &state), Err(BackupError::NotEmpty(_))));
    assert!(matches!(verify_backup(&dir.path().join("none")), Err(BackupError::NotFinished(_))));
}

#[test]
fn a_damaged_missing_or_foreign_file_is_named_and_nothing_is_restored() {
    let dir = tempfile::tempdir().unwrap();
    let (state, backup) = (dir.path().join("state"), dir.path().join("backup"));
    let index = fleet(&state).back_up(&backup).unwrap();
    let refused = |name: &str| {
        let error = restore(&backup, &dir.path().join("again")).unwrap_err();
        assert!(matches!(&error, BackupError::Damaged(file) if file == name), "{error}");
        assert!(!dir.path().join("again").exists());
    };
    for name in index.files.keys() {
        let path = backup.join("state").join(name);
        let bytes = std::fs::read(&path).unwrap();
        if bytes.is_empty() {
            continue;
        }
        let mut edited = bytes.clone();
        edited[bytes.len() / 2] ^= 1;
        std::fs::write(&path, &edited).unwrap();
        refused(name);
        std::fs::write(&path, &bytes[1..]).unwrap();
        refused(name);
        std::fs::remove_file(&path).unwrap();
        refused(name);
        std::fs::write(&path, &bytes).unwrap();
    }
    std::fs::write(backup.join("state/keys/stranger.pem"), "put there later").unwrap();
    refused("keys/stranger.pem");
}

#[test]
fn no_name_in_a_table_leads_out_of_the_directory() {
    for name in ["", "/etc/passwd", "../up", "keys/../../up", "./x/../y", "."] {
        assert!(matches!(copy::checked(name), Err(BackupError::Name(_))), "{name}");
    }
    assert!(copy::checked("audit/till-7/1/audit.db").is_ok());
}
