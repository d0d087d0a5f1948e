//! Keys made, shown, revoked and guessed.

use proptest::prelude::*;

use super::*;

const NOW_S: i64 = 1_796_083_200;

fn new_key(expires_s: Option<i64>) -> NewApiKey {
    NewApiKey { name: "till".to_owned(), roles: vec!["operator".to_owned()], expires_s }
}

fn identify(keys: &ApiKeys, text: &str, now_s: i64) -> Result<Caller, &'static str> {
    keys.identify(text, now_s, Network::Loopback).map_err(|error| error.code)
}

#[test]
fn a_new_key_identifies_its_holder_with_its_roles() {
    let directory = tempfile::tempdir().unwrap();
    let keys = ApiKeys::open(directory.path()).unwrap();
    let (key, text) = keys.create(&new_key(None), NOW_S).unwrap();
    let caller = identify(&keys, &text, NOW_S).unwrap();
    assert_eq!(caller.principal.id, format!("key:{}", key.id));
    assert_eq!(caller.principal.roles, ["operator"]);
    assert_eq!(keys.list().unwrap(), [ApiKey { used_s: Some(NOW_S), ..key }]);
}

#[test]
fn a_key_survives_a_restart_and_its_text_is_nowhere_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let (key, text) = ApiKeys::open(directory.path()).unwrap().create(&new_key(None), NOW_S).unwrap();
    assert!(identify(&ApiKeys::open(directory.path()).unwrap(), &text, NOW_S).is_ok());
    let secret = text.rsplit('_').next().unwrap().as_bytes();
    let raw = hex::decode(secret).unwrap();
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret));
        assert!(!bytes.windows(raw.len()).any(|window| window == raw));
    }
    assert!(!format!("{key:?}").contains(&text));
}

#[test]
fn a_revoked_key_and_an_expired_key_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let keys = ApiKeys::open(directory.path()).unwrap();
    let (key, text) = keys.create(&new_key(None), NOW_S).unwrap();
    // Another process revokes it.
    let revoked = ApiKeys::open(directory.path()).unwrap().revoke(&key.id, NOW_S + 1).unwrap();
    assert_eq!(revoked.revoked_s, Some(NOW_S + 1));
    assert_eq!(identify(&keys, &text, NOW_S + 1), Err("api_key_revoked"));
    let (_, text) = keys.create(&new_key(Some(NOW_S + 10)), NOW_S).unwrap();
    assert!(identify(&keys, &text, NOW_S + 9).is_ok());
    assert_eq!(identify(&keys, &text, NOW_S + 10), Err("api_key_expired"));
    assert_eq!(identify(&keys, &text, i64::MAX), Err("api_key_expired"));
}

#[test]
fn revoking_a_key_that_is_not_there_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let error = ApiKeys::open(directory.path()).unwrap().revoke("deadbeef", NOW_S).unwrap_err();
    assert!(error.to_string().contains("`deadbeef`"), "{error}");
}

#[test]
fn a_changed_key_or_another_devices_key_is_refused() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let keys = ApiKeys::open(here.path()).unwrap();
    let (_, text) = keys.create(&new_key(None), NOW_S).unwrap();
    let (_, foreign) = ApiKeys::open(there.path()).unwrap().create(&new_key(None), NOW_S).unwrap();
    assert_eq!(identify(&keys, &foreign, NOW_S), Err("invalid_api_key"));
    let last = if text.ends_with('0') { "1" } else { "0" };
    let changed = format!("{}{last}", &text[..text.len() - 1]);
    assert_eq!(identify(&keys, &changed, NOW_S), Err("invalid_api_key"));
    assert_eq!(identify(&keys, &text[..text.len() - 1], NOW_S), Err("invalid_api_key"));
}

#[test]
fn a_secret_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    ApiKeys::open(directory.path()).unwrap();
    let path = directory.path().join("keys.pepper");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = ApiKeys::open(directory.path()).unwrap_err().to_string();
    assert!(error.contains("keys.pepper") && error.contains("644"), "{error}");
}

#[test]
fn a_key_without_a_name_or_a_role_is_not_made() {
    let directory = tempfile::tempdir().unwrap();
    let keys = ApiKeys::open(directory.path()).unwrap();
    assert!(keys.create(&NewApiKey { name: String::new(), ..new_key(None) }, NOW_S).is_err());
    assert!(keys.create(&NewApiKey { roles: vec![], ..new_key(None) }, NOW_S).is_err());
    assert!(keys.list().unwrap().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_text_is_refused_without_panic(text in "opk_[0-9a-f_]{0,90}|\\PC{0,60}") {
        let directory = tempfile::tempdir().unwrap();
        let keys = ApiKeys::open(directory.path()).unwrap();
        prop_assert!(identify(&keys, &text, NOW_S).is_err());
    }
}

#[test]
fn a_rotated_key_goes_on_for_its_grace_and_two_are_the_most() {
    let directory = tempfile::tempdir().unwrap();
    let keys = ApiKeys::open(directory.path()).unwrap();
    let scope = Scope { models: vec!["demo".to_owned()], ..Scope::default() };
    let (old, old_text) = keys.create_scoped(&new_key(Some(NOW_S + 1_000)), &scope, NOW_S).unwrap();
    let (new, new_text) = keys.rotate(&old.id, 60, NOW_S + 100).unwrap();
    assert_eq!((new.replaces.as_deref(), &new.scope, new.expires_s), (Some(&*old.id), &scope, Some(NOW_S + 1_100)));
    assert!(identify(&keys, &old_text, NOW_S + 159).is_ok() && identify(&keys, &new_text, NOW_S + 159).is_ok());
    assert!(keys.rotate(&old.id, 60, NOW_S + 120).unwrap_err().to_string().contains("is being replaced"));
    assert_eq!(identify(&keys, &old_text, NOW_S + 160).unwrap_err(), "api_key_expired");
    assert!(keys.rotate(&old.id, 60, NOW_S + 160).unwrap_err().to_string().contains("no longer opens"));
    assert!(matches!(keys.rotate("00000000", 60, NOW_S).unwrap_err(), ApiKeyError::Unknown(_)));
}

#[test]
fn the_last_use_of_a_key_is_kept_to_the_hour() {
    let directory = tempfile::tempdir().unwrap();
    let keys = ApiKeys::open(directory.path()).unwrap();
    let (_, text) = keys.create(&new_key(None), NOW_S).unwrap();
    let used = |now_s| {
        identify(&keys, &text, now_s).unwrap();
        keys.list().unwrap()[0].used_s
    };
    assert_eq!(keys.list().unwrap()[0].used_s, None);
    assert_eq!(
        (used(NOW_S), used(NOW_S + 3_599), used(NOW_S + 3_600)),
        (Some(NOW_S), Some(NOW_S), Some(NOW_S + 3_600))
    );
}

#[test]
fn keys_made_before_there_were_scopes_still_open() {
    let directory = tempfile::tempdir().unwrap();
    let connection = Connection::open(directory.path().join("keys.db")).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE keys (id TEXT PRIMARY KEY NOT NULL, mac BLOB NOT NULL, name TEXT NOT NULL, roles TEXT NOT NULL,
             created_s INTEGER NOT NULL, expires_s INTEGER, revoked_s INTEGER) STRICT;
             INSERT INTO keys VALUES ('0a', x'00', 'till', '[\"operator\"]', 5, NULL, NULL);",
        )
        .unwrap();
    let listed = ApiKeys::open(directory.path()).unwrap().list().unwrap();
    assert!(listed[0].scope.is_everything() && listed[0].roles == ["operator"]);
}
