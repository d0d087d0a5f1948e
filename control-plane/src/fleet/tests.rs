//! One more server of a fleet in a PostgreSQL: what it needs of the first one's files.

use super::*;
use crate::config::DatabaseSettings;
use crate::db::testing::settings;

fn config(state: &Path, database: &DatabaseSettings) -> Config {
    let mut config = Config::new(state.to_owned());
    config.database = Some(database.clone());
    config
}

/// What the README says to copy, but for the settings, which `config` makes.
fn copy(from: &Path, to: &Path) {
    for name in ["tls", "keys"] {
        std::fs::create_dir_all(to.join(name)).unwrap();
        for entry in std::fs::read_dir(from.join(name)).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, to.join(name).join(path.file_name().unwrap())).unwrap();
        }
    }
}

#[test]
fn one_more_server_needs_authority_and_keys_of_the_first_and_nothing_else() {
    let [first, second, keys] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let database = settings();
    let open = |state: &Path| Fleet::open(config(state, &database), Clock::system());
    let made = Fleet::init(config(first.path(), &database), Clock::system()).unwrap().fleet;
    let again = Fleet::init(config(second.path(), &database), Clock::system()).unwrap_err();
    assert!(again.to_string().contains("copy `tls`, `keys` and `outpost-control.toml`"), "{again}");
    assert!(matches!(open(second.path()), Err(FleetError::NotInitialised(_))));

    copy(first.path(), second.path());
    let other = open(second.path()).unwrap();
    other.create_offline_keys(&keys.path().join("offline")).unwrap();
    assert_eq!(made.roots().unwrap().len(), 1, "what one of them signs, the other has");
    assert_eq!(made.roots().unwrap(), other.roots().unwrap());
}

#[test]
fn a_server_with_the_authority_of_another_fleet_is_refused() {
    let [first, stranger] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let database = settings();
    Fleet::init(config(first.path(), &database), Clock::system()).unwrap();
    Fleet::init(config(stranger.path(), &settings()), Clock::system()).unwrap();
    let refused = Fleet::open(config(stranger.path(), &database), Clock::system());
    assert!(matches!(refused, Err(FleetError::OtherFleet(_))), "{refused:?}");
}
