//! Documents that are not for this device, not by its director, or not the newest.

use outpost_contract::desired::PAYLOAD_TYPE;
use outpost_contract::limits::DOCUMENT_BYTES;
use outpost_contract::{Desired, ReasonCode};
use outpost_trust::desired::MOST_STEP;
use outpost_trust::{Acceptance, Envelope, MOST_VERSION, SigningKey};

use crate::fleet::{DAY_S, Fleet, key, tenant, till};

#[test]
fn a_desired_state_for_this_device_is_accepted_once_and_recognised_when_it_comes_again() {
    let fleet = Fleet::new();
    let mut device = fleet.device();
    let bytes = fleet.sign_desired(&fleet.desired(3, 1));
    let first = device.accept(&fleet, &bytes, None).unwrap();
    assert!(!first.repeated);
    assert_eq!(first.desired, fleet.desired(3, 1));
    // A retained message comes again after its date: it was accepted in time.
    device.now_s += 30 * DAY_S;
    assert!(device.accept(&fleet, &bytes, Some(&first)).unwrap().repeated);
}

#[test]
fn a_replayed_older_desired_state_is_refused() {
    let fleet = Fleet::new();
    let device = fleet.device();
    let newest = device.accept(&fleet, &fleet.sign_desired(&fleet.desired(8, 1)), None).unwrap();
    let refused = device.accept(&fleet, &fleet.sign_desired(&fleet.desired(7, 1)), Some(&newest)).unwrap_err();
    assert_eq!(refused.code, ReasonCode::Rollback);
    assert!(refused.detail.contains("version 7") && refused.detail.contains("version 8"), "{refused}");
}

#[test]
fn a_thief_of_the_director_key_cannot_leap_to_where_the_director_could_not_follow() {
    let fleet = Fleet::new();
    let device = fleet.device();
    let newest = device.accept(&fleet, &fleet.sign_desired(&fleet.desired(8, 1)), None).unwrap();
    for far in [8 + MOST_STEP + 1, MOST_VERSION] {
        let leap = fleet.sign_desired(&fleet.desired(far, 1));
        assert_eq!(device.accept(&fleet, &leap, Some(&newest)).unwrap_err().code, ReasonCode::Unloadable);
    }
    let furthest = fleet.sign_desired(&fleet.desired(8 + MOST_STEP, 1));
    let stolen = device.accept(&fleet, &furthest, Some(&newest)).unwrap();
    // The director goes one further, and the device is his again.
    device.accept(&fleet, &fleet.sign_desired(&fleet.desired(9 + MOST_STEP, 1)), Some(&stolen)).unwrap();
}

#[test]
fn a_second_document_of_the_same_version_is_refused() {
    let fleet = Fleet::new();
    let device = fleet.device();
    let first = device.accept(&fleet, &fleet.sign_desired(&fleet.desired(8, 1)), None).unwrap();
    let other = Desired { model: None, ..fleet.desired(8, 1) };
    let refused = device.accept(&fleet, &fleet.sign_desired(&other), Some(&first)).unwrap_err();
    assert_eq!(refused.code, ReasonCode::Rollback);
    assert!(refused.detail.contains("a second, different desired state of version 8"), "{refused}");
}

#[test]
fn a_desired_state_for_another_device_or_tenant_is_refused() {
    let fleet = Fleet::new();
    let device = fleet.device();
    for other in [
        Desired { device: "till-8".parse().unwrap(), ..fleet.desired(1, 1) },
        Desired { tenant: "apex".parse().unwrap(), ..fleet.desired(1, 1) },
    ] {
        let refused = device.accept(&fleet, &fleet.sign_desired(&other), None).unwrap_err();
        assert_eq!(refused.code, ReasonCode::WrongDevice, "{refused}");
    }
}

#[test]
fn a_desired_state_with_a_bad_signature_is_refused() {
    let fleet = Fleet::new();
    let device = fleet.device();
    let thief = key();
    let desired = fleet.desired(1, 1);
    let by_a_thief = outpost_trust::desired::sign(&desired, &[&thief]).unwrap().to_bytes();
    let payload = serde_json::to_vec(&desired).unwrap();
    let of_another_kind = Envelope::sign("application/json", &payload, &[&fleet.director]).unwrap().to_bytes();
    let unsigned = payload.clone();
    let mut flipped = fleet.sign_desired(&desired);
    flipped[200] ^= 1;
    for bytes in [by_a_thief, of_another_kind, unsigned, flipped, Vec::new(), vec![b'{'; DOCUMENT_BYTES + 1]] {
        assert_eq!(device.accept(&fleet, &bytes, None).unwrap_err().code, ReasonCode::BadSignature);
    }
    // No known director: nothing is accepted.
    let bytes = fleet.sign_desired(&desired);
    let acceptance = Acceptance {
        tenant: &tenant(),
        device: &till(),
        floor_version: 0,
        floor_payload: None,
        director_keys: &[],
        now_s: fleet.now_s,
    };
    let refused = outpost_trust::desired::accept(&bytes, &acceptance).unwrap_err();
    assert_eq!(refused.code, ReasonCode::BadSignature);
}

#[test]
fn an_expired_desired_state_is_refused() {
    let fleet = Fleet::new();
    let mut device = fleet.device();
    device.now_s += 8 * DAY_S;
    let refused = device.accept(&fleet, &fleet.sign_desired(&fleet.desired(1, 1)), None).unwrap_err();
    assert_eq!(refused.code, ReasonCode::Expired);
    assert!(refused.detail.contains("sign it again"), "{refused}");
}

#[test]
fn a_signed_document_that_is_not_understood_is_refused() {
    let fleet = Fleet::new();
    let device = fleet.device();
    let good = serde_json::to_value(fleet.desired(1, 1)).unwrap();
    let with = |field: &str, value: serde_json::Value| {
        let mut document = good.clone();
        document[field] = value;
        document
    };
    for bad in [
        with("colour", "green".into()),
        with("v", 2.into()),
        with("version", 0.into()),
        with("version", (MOST_VERSION + 1).into()),
        with("version", (-1).into()),
        with("device", "../../till".into()),
        with("catalogue", serde_json::json!({"bytes": 1u64 << 40, "blake3": "00".repeat(32), "chunks": []})),
        serde_json::json!([]),
        serde_json::json!("JSON that is not a document"),
    ] {
        let bytes = sign_raw(&bad.to_string(), &fleet.director);
        assert_eq!(device.accept(&fleet, &bytes, None).unwrap_err().code, ReasonCode::Unloadable, "{bad}");
    }
    let not_json = sign_raw("{", &fleet.director);
    assert_eq!(device.accept(&fleet, &not_json, None).unwrap_err().code, ReasonCode::Unloadable);
}

fn sign_raw(payload: &str, key: &SigningKey) -> Vec<u8> {
    Envelope::sign(PAYLOAD_TYPE, payload.as_bytes(), &[key]).unwrap().to_bytes()
}
