//! The rows in memory against the database itself, over random histories of writes by this process and another one.

use std::collections::BTreeMap;

use outpost_contract::DeviceId;
use proptest::prelude::*;

use super::*;
use crate::clock::Clock;
use crate::config::Config;
use crate::db::{Assignment, DbError};

const NOW_S: i64 = 1_800_000_000;

fn id(number: u8) -> DeviceId {
    format!("box-{:05}", number % 8).parse().unwrap()
}

/// What is asked is what the database holds, read anew.
fn holds(fleet: &Fleet) {
    let desk = fleet.desk().unwrap();
    let known = fleet.known(&desk).unwrap();
    assert_eq!(*known, read_all(&fleet.inner.database, &desk).unwrap());
}

/// One write; a second connection stands for another process.
#[derive(Debug, Clone)]
enum Act {
    Label(u8, u8),
    Unlabel(u8),
    Site(u8, Option<u8>),
    Assign(u8),
    Revoke(u8),
    Group(u8, u8),
    Forget,
    Report(u8, u64),
    Presence(u8, bool),
    Failed(u8),
    AllOffline,
    Minutes(u8),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (any::<u8>(), 0..3_u8).prop_map(|(device, value)| Act::Label(device, value)),
        any::<u8>().prop_map(Act::Unlabel),
        (any::<u8>(), proptest::option::of(0..3_u8)).prop_map(|(device, site)| Act::Site(device, site)),
        any::<u8>().prop_map(Act::Assign),
        any::<u8>().prop_map(Act::Revoke),
        (any::<u8>(), any::<u8>()).prop_map(|(one, other)| Act::Group(one, other)),
        Just(Act::Forget),
        (any::<u8>(), 1..6_u64).prop_map(|(device, sequence)| Act::Report(device, sequence)),
        (any::<u8>(), any::<bool>()).prop_map(|(device, online)| Act::Presence(device, online)),
        any::<u8>().prop_map(Act::Failed),
        Just(Act::AllOffline),
        (1..90_u8).prop_map(Act::Minutes),
    ]
}

/// Acts of another process may come too late or be refused, as here: what counts is that the rows show it.
fn carry_out(fleet: &Fleet, clock: &Clock, act: &Act) {
    let database = &fleet.inner.database;
    let label = |value: u8| BTreeMap::from([("stage".to_owned(), format!("v{value}"))]);
    match act {
        Act::Label(device, value) => database.set_labels(&id(*device), &label(*value), &[]).unwrap(),
        Act::Unlabel(device) => {
            database.set_labels(&id(*device), &BTreeMap::new(), &["stage".to_owned()]).unwrap();
        }
        Act::Site(device, site) => {
            let site = site.map(|number| format!("store-{number}"));
            database.set_site(&id(*device), site.as_deref()).unwrap();
        }
        Act::Assign(device) => {
            let assignment = Assignment { model: None, minimum_context_tokens: 512 };
            database.assign(&id(*device), &assignment).unwrap();
        }
        Act::Revoke(device) => {
            database.revoke(&id(*device), NOW_S).unwrap();
        }
        Act::Group(one, other) => {
            let group = crate::db::StoredGroup { name: "lab".into(), description: String::new(), selector: None };
            database.keep_group(&group, &[id(*one), id(*other)]).unwrap();
        }
        Act::Forget => drop(database.remove_group("lab").unwrap()),
        Act::Report(device, sequence) => {
            if let Some(mut reported) = fleet.device(&id(*device)).unwrap().reported {
                reported.sequence = *sequence;
                reported.agent = format!("0.9.{sequence}");
                reported.measurements = reported.measurements.filter(|_| !sequence.is_multiple_of(2));
                database.keep_report(&reported, NOW_S + 1).unwrap();
            }
        }
        Act::Presence(device, online) => {
            let contact = crate::db::Contact { boot: "b1".parse().unwrap(), connection: 2, online: *online };
            database.note_presence(&id(*device), &contact, NOW_S + 2).unwrap();
        }
        Act::Failed(device) => {
            let failed: Result<(), DbError> = database.together(|| {
                database.set_labels(&id(*device), &label(9), &[])?;
                holds(fleet);
                Err(crate::db::SqlError::NoRow.into())
            });
            assert!(failed.is_err());
        }
        Act::AllOffline => database.all_offline().unwrap(),
        Act::Minutes(minutes) => clock.advance(i64::from(*minutes) * 60),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_rows_are_what_the_database_holds_whoever_wrote(
        history in proptest::collection::vec((any::<bool>(), act(), any::<bool>()), 1..40),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::fixed(NOW_S);
        let config = Config::new(directory.path().join("state"));
        let fleet = Fleet::init(config.clone(), clock.clone()).unwrap().fleet;
        fleet.add_crowd(8).unwrap();
        let other = Fleet::open(config, clock.clone()).unwrap();
        holds(&fleet);
        for (by_other, act, asked) in history {
            carry_out(if by_other { &other } else { &fleet }, &clock, &act);
            if asked {
                holds(&fleet);
            }
        }
        holds(&fleet);
        holds(&other);
    }
}

#[test]
fn who_still_looks_at_rows_sees_them_as_they_were() {
    let directory = tempfile::tempdir().unwrap();
    let fleet = Fleet::init(Config::new(directory.path().join("state")), Clock::fixed(NOW_S)).unwrap().fleet;
    fleet.add_crowd(3).unwrap();
    let desk = fleet.desk().unwrap();
    let before = fleet.known(&desk).unwrap();
    fleet.revoke(&id(1)).unwrap();
    let after = fleet.known(&desk).unwrap();
    assert!(before[1].row.revoked_s.is_none() && after[1].row.revoked_s.is_some());
    assert!(Arc::ptr_eq(&before[0], &after[0]), "what nobody touched was not read again");
}

#[test]
fn what_a_device_measured_takes_no_more_room_than_plans_need() {
    let directory = tempfile::tempdir().unwrap();
    let fleet = Fleet::init(Config::new(directory.path().join("state")), Clock::fixed(NOW_S)).unwrap().fleet;
    fleet.add_crowd(2).unwrap();
    let mut reported = fleet.device(&id(1)).unwrap().reported.unwrap();
    let measured = reported.measurements.as_mut().unwrap();
    measured.features = vec!["x".repeat(1000); 50];
    measured.kernels = vec![measured.kernels[0].clone(); 500];
    measured.machine = Some(Box::default());
    reported.sequence = 2;
    fleet.inner.database.keep_report(&reported, NOW_S).unwrap();
    let known = fleet.known(&fleet.desk().unwrap()).unwrap();
    let kept = known[1].measured.as_ref().unwrap();
    assert_eq!((kept.features.len(), kept.kernels.len(), kept.cpu.len()), (0, KERNELS, 0));
    assert_eq!(kept.machine, None);
}
