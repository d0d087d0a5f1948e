//! Lists of locks: what they hold, and what is no list.

use proptest::prelude::*;

use super::*;

fn lock(kind: LockKind, id: &str) -> Lock {
    Lock { kind, id: id.to_owned(), from_s: 100, until_s: Some(200), reason: "left the house".to_owned() }
}

fn locks(strictness: Strictness, locks: Vec<Lock>) -> Locks {
    Locks::new(LockList { seq: 7, issued_s: 100, strictness, locks }).unwrap()
}

fn ada(roles: &[&str]) -> Principal {
    let roles = roles.iter().map(|&role| role.to_owned()).collect();
    Principal { kind: PrincipalKind::User, id: "ada".to_owned(), roles }
}

#[test]
fn each_kind_of_lock_holds_from_its_first_second_until_its_last() {
    let device = Principal { kind: PrincipalKind::Device, id: "till-7".to_owned(), roles: Vec::new() };
    let by_key = Credential { key: Some("12ab"), ..Credential::default() };
    let by_token = Credential { token: Some("jti-1"), ..Credential::default() };
    let through = Credential { device: Some("till-7"), ..Credential::default() };
    let none = Credential::default();
    for (kind, id, principal, credential) in [
        (LockKind::User, "ada", ada(&[]), none),
        (LockKind::Role, "operator", ada(&["auditor", "operator"]), none),
        (LockKind::Device, "till-7", device, none),
        (LockKind::Device, "till-7", ada(&[]), through),
        (LockKind::Key, "12ab", ada(&[]), by_key),
        (LockKind::Token, "jti-1", ada(&[]), by_token),
    ] {
        let list = locks(Strictness::BestEffort, vec![lock(kind, id)]);
        for (now_s, holds) in [(99, false), (100, true), (199, true), (200, false)] {
            assert_eq!(list.check(&principal, credential, now_s, 0).is_err(), holds, "{kind:?} at {now_s}");
        }
        assert!(list.check(&ada(&[]), none, 150, 0).is_ok() || kind == LockKind::User);
    }
}

#[test]
fn a_strict_list_refuses_everybody_once_it_is_old_and_a_lock_is_named_first() {
    let list = locks(Strictness::Strict { max_age_s: 60 }, vec![lock(LockKind::User, "eve")]);
    assert!(list.check(&ada(&[]), Credential::default(), 150, 60).is_ok());
    let stale = list.check(&ada(&[]), Credential::default(), 150, 61).unwrap_err();
    assert!(stale.to_string().contains("bring it a newer list"), "{stale}");
    let eve = Principal { id: "eve".to_owned(), ..ada(&[]) };
    let locked = list.check(&eve, Credential::default(), 150, 61).unwrap_err();
    assert_eq!(locked.to_string(), "the user is locked until 1970-01-01T00:03:20Z: left the house");
    assert!(locks(Strictness::BestEffort, Vec::new()).check(&ada(&[]), Credential::default(), 150, u64::MAX).is_ok());
}

#[test]
fn an_older_list_never_replaces_a_newer_one() {
    let mut held = Locks::default();
    held.replace(locks(Strictness::BestEffort, vec![lock(LockKind::User, "ada")])).unwrap();
    let same =
        Locks::new(LockList { seq: 7, issued_s: 100, strictness: Strictness::BestEffort, locks: Vec::new() }).unwrap();
    assert!(matches!(held.replace(same), Err(LockError::NotNewer { found: 7, held: 7 })));
    assert_eq!((held.seq(), held.len()), (7, 1));
}

#[test]
fn locks_that_say_nothing_and_unknown_keys_are_refused() {
    let mut empty = lock(LockKind::Key, "");
    assert!(
        Locks::new(LockList { seq: 1, issued_s: 100, strictness: Strictness::BestEffort, locks: vec![empty.clone()] })
            .is_err()
    );
    empty.id = "x".to_owned();
    empty.until_s = Some(100);
    let list = LockList { seq: 1, issued_s: 100, strictness: Strictness::BestEffort, locks: vec![empty] };
    assert!(Locks::new(list).unwrap_err().to_string().contains("lock 1 on a key: it ends before it begins"));
    for text in [
        r#"{"seq":1,"strictness":"lax","locks":[]}"#,
        r#"{"seq":1,"strictness":{"strict":{"max_age_s":1,"more":2}},"locks":[]}"#,
        r#"{"seq":1,"strictness":"best_effort","locks":[{"kind":"user","id":"a","reason":"r","extra":1}]}"#,
        r#"{"seq":1,"strictness":"best_effort","locks":[],"seq":2}"#,
    ] {
        assert!(Locks::parse(text.as_bytes()).is_err(), "{text}");
    }
    assert!(matches!(Locks::parse(&vec![b' '; LOCKS_BYTES + 1]), Err(LockError::TooLarge { .. })));
}

proptest! {
    #[test]
    fn any_bytes_are_a_list_or_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Locks::parse(&bytes);
    }

    #[test]
    fn whoever_is_locked_is_refused_whatever_else_is_in_the_list(
        others in proptest::collection::vec("[a-z]{1,6}", 0..20), now_s in 100_i64..200, age_s: u64
    ) {
        let mut all: Vec<Lock> = others.iter().map(|other| lock(LockKind::User, other)).collect();
        all.push(lock(LockKind::User, "ada"));
        let list = locks(Strictness::BestEffort, all);
        let result = list.check(&ada(&[]), Credential::default(), now_s, age_s);
        prop_assert!(result.is_err());
    }
}
