//! What everybody is told again, while others assign and servers end.

use std::cell::Cell;

use outpost_contract::{Desired, DeviceId};

use crate::config::ModelRules;
use crate::db::Assignment;
use crate::fleet::Fleet;
use crate::models::tests::House;

fn assignment(model: &str) -> Assignment {
    Assignment { model: Some(model.parse().unwrap()), minimum_context_tokens: 512 }
}

fn told(fleet: &Fleet, device: &DeviceId) -> Desired {
    let signed = fleet.inner.database.signed_for(std::slice::from_ref(device)).unwrap();
    let envelope = outpost_trust::Envelope::parse(&signed[0].2).unwrap();
    let keys = [fleet.inner.keys.director.verifying_key()];
    let payload = envelope.verify(outpost_contract::desired::PAYLOAD_TYPE, &keys).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

#[test]
fn what_is_assigned_while_everybody_is_told_again_is_not_taken_back() {
    let house = House::new(ModelRules::default());
    let device: DeviceId = house.fleet.devices().unwrap()[0].device.clone();
    house.fleet.assign(&device, &assignment("alpha")).unwrap();
    let is_listed = Cell::new(false);
    // Between the list of all devices and the transaction that signs for them.
    let meanwhile = |_: u64, _: i64| {
        if !is_listed.replace(true) {
            house.fleet.assign(&device, &assignment("beta")).unwrap();
        }
        true
    };
    house.fleet.sign_where(meanwhile).unwrap();
    assert_eq!(told(&house.fleet, &device).model.unwrap().model.as_str(), "beta");
}

#[test]
fn one_device_that_cannot_be_told_keeps_nobody_else_from_it() {
    let house = House::new(ModelRules::default());
    let devices: Vec<DeviceId> = house.fleet.devices().unwrap().into_iter().take(2).map(|one| one.device).collect();
    let versions = ["alpha", "beta"].map(assignment);
    let [first, second] = [0, 1].map(|one| house.fleet.assign(&devices[one], &versions[one]).unwrap());
    let gone = "DELETE FROM targets WHERE name LIKE 'alpha%'";
    house.fleet.inner.database.write(|connection| Ok(connection.execute_batch(gone)?)).unwrap();
    house.fleet.sign_all().unwrap();
    assert_eq!(told(&house.fleet, &devices[0]).version, first, "it keeps what it was told");
    assert_eq!(told(&house.fleet, &devices[1]).version, second + 1);
    assert_eq!(house.fleet.owed().unwrap(), None);
}

#[test]
fn what_was_not_said_to_its_end_is_said_by_whoever_leads_then() {
    let house = House::new(ModelRules::default());
    let device: DeviceId = house.fleet.devices().unwrap()[0].device.clone();
    let version = house.fleet.assign(&device, &assignment("alpha")).unwrap();
    let database = &house.fleet.inner.database;
    // A server that ended after what it changed, before anybody was told.
    database.together(|| house.fleet.owe_everybody()).unwrap();
    assert!(!house.fleet.settle_owed().unwrap(), "it may still be at it");
    let house = house.later(61);
    assert!(house.fleet.settle_owed().unwrap());
    assert_eq!(told(&house.fleet, &device).version, version + 1);
    assert!(!house.fleet.settle_owed().unwrap(), "once is enough");
}

#[test]
fn the_end_of_one_round_is_not_the_end_of_the_next() {
    let house = House::new(ModelRules::default());
    let fleet = &house.fleet;
    let first = fleet.inner.database.together(|| fleet.owe_everybody()).unwrap();
    let second = fleet.inner.database.together(|| fleet.owe_everybody()).unwrap();
    fleet.paid(&first).unwrap();
    assert_eq!(fleet.owed().unwrap(), Some(second.clone()));
    fleet.paid(&second).unwrap();
    assert_eq!(fleet.owed().unwrap(), None);
    fleet.sign_all().unwrap();
    assert_eq!(fleet.owed().unwrap(), None, "what was begun here is crossed out here");
}
