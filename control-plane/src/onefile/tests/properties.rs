//! Any fleet survives the way through a file.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_map, btree_set};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::super::form::{Device, Grouping, Listed, Rights, Token, Work};
use super::super::write::write;
use super::*;
use crate::db::{Entered, Redeemed};

fn work() -> impl Strategy<Value = Work> {
    let model = (select(vec!["demo", "second"]), any::<u32>()).prop_map(|(model, minimum_context_tokens)| {
        Work::Model { model: model.parse().unwrap(), minimum_context_tokens }
    });
    prop_oneof![Just(Work::Idle), model]
}

fn device() -> impl Strategy<Value = Device> {
    let labels = btree_map("[a-z][a-z0-9._-]{0,8}", "[A-Za-z0-9][A-Za-z0-9._-]{0,8}", 0..4);
    (any::<bool>(), option::of("[a-z0-9][a-z0-9-]{0,8}"), labels, option::of(work())).prop_map(
        |(has_key, site, labels, work)| Device { key: has_key.then_some(Fingerprint([0; 32])), site, labels, work },
    )
}

fn group() -> impl Strategy<Value = (String, Option<String>, Vec<Index>)> {
    let selector =
        select(vec!["all", "site=store-* and not online", "label.a=\"x y\" or memory>=8GiB", "name in (a, b)"]);
    let selector = selector.prop_map(|text| text.parse::<outpost_selector::Selector>().unwrap().to_string());
    let description = "[^\\p{Cc}]{0,20}";
    (description, option::of(selector), proptest::collection::vec(any::<Index>(), 0..4))
}

fn roles() -> impl Strategy<Value = BTreeSet<String>> {
    btree_set("[a-z0-9-]{1,12}", 1..4)
}

/// A fleet, and which of its devices are enrolled.
fn fleet() -> impl Strategy<Value = (Listed, Vec<bool>)> {
    let devices = btree_map("[a-z0-9][a-z0-9-]{0,9}", device(), 0..8);
    let groups = btree_map("[a-z0-9][a-z0-9-]{0,6}", group(), 0..4);
    let person = (roles(), any::<bool>()).prop_map(|(roles, disabled)| Rights { roles, disabled });
    let people = btree_map("[a-z0-9@._-]{1,9}", person, 0..4);
    let scope = btree_set(select(vec!["see", "assign", "enrol"]).prop_map(str::to_owned), 0..3);
    let token = (roles(), scope).prop_map(|(roles, scope)| Token { roles, scope });
    let tokens = btree_map("[a-z0-9@._-]{1,9}", token, 0..4);
    let enrolled = proptest::collection::vec(any::<bool>(), 8);
    (devices, groups, people, tokens, enrolled).prop_map(|(devices, groups, people, tokens, enrolled)| {
        let keyed = devices.into_iter().enumerate().map(|(number, (name, mut device))| {
            // A key is one device's alone.
            let key = u8::try_from(number).unwrap();
            device.key = device.key.map(|_| Fingerprint([key; 32]));
            (id(&name), device)
        });
        let devices: BTreeMap<_, _> = keyed.collect();
        let names: Vec<_> = devices.keys().cloned().collect();
        let groups = groups.into_iter().map(|(name, (description, selector, members))| {
            let members = members.iter().filter(|_| selector.is_none() && !names.is_empty());
            let members = members.map(|member| member.get(&names).clone()).collect();
            (name, Grouping { description, selector, members })
        });
        (Listed { groups: groups.collect(), devices, people, tokens }, enrolled)
    })
}

fn description_fits(listed: &Listed) -> bool {
    listed.groups.values().all(|group| group.description.len() <= crate::inventory::DESCRIPTION_BYTES)
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_it_was((listed, _) in fleet(), with_people: bool) {
        prop_assume!(description_fits(&listed));
        let text = write(&listed, "default", with_people);
        let file = FleetFile::read(&text);
        prop_assert!(file.is_ok(), "{text}\n{file:?}");
        let mut read = file.unwrap().listed;
        prop_assert_eq!(&write(&read, "default", with_people), &text);
        if !with_people {
            (read.people, read.tokens) = (listed.people.clone(), listed.tokens.clone());
        }
        prop_assert_eq!(read, listed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn any_fleet_is_rebuilt_byte_for_byte_and_a_second_time_nothing_changes((listed, enrolled) in fleet()) {
        prop_assume!(description_fits(&listed));
        let old = House::new();
        old.list(&["demo", "second"]);
        old.apply(&write(&listed, "default", true));
        // Some of them enrol.
        for ((name, device), _) in listed.devices.iter().zip(enrolled).filter(|(_, enrolled)| *enrolled) {
            let database = &old.fleet.inner.database;
            let (key_sha256, serial) = (device.key.map_or([200; 32], |key| key.0), name.as_str());
            let entered = Entered { key_sha256, serial, not_after_s: NOW_S, audit_key: "", agent: "" };
            let hash: [u8; 32] = sha2::Sha256::digest(serial).into();
            database.add_codes(&[(hash, name)], NOW_S, NOW_S + 60).unwrap();
            database.redeem(&Redeemed { hash, entered }, NOW_S).unwrap().unwrap();
            old.fleet.settle_awaited(Some(name));
            if device.key.is_none() {
                break; // of those without a key, one: theirs would be the same
            }
        }
        let file = old.export();
        prop_assert_eq!(old.plan(&file, true).unwrap().changes, Vec::<Change>::new());
        let signed = old.signed();
        let told = listed.devices.iter().filter(|(name, device)| {
            device.work.is_some() && old.fleet.inner.database.is_admitted(name).unwrap()
        });
        prop_assert_eq!(signed.len(), told.count());

        let new = House::new();
        new.apply(&file);
        prop_assert_eq!(new.export(), file.clone());
        let beside = new.beside();
        let moment = beside.foreign_changes().unwrap();
        prop_assert_eq!(new.apply_with(&file, true).changes, Vec::<Change>::new());
        prop_assert_eq!(beside.foreign_changes().unwrap(), moment);
        prop_assert_eq!(new.export(), file);
        old.apply_with(&old.export(), true);
        prop_assert_eq!(old.signed(), signed);
    }
}
