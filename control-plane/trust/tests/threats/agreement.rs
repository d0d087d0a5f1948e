//! A stolen director key: it can only choose among what the offline keys released, and only forwards.

use outpost_contract::{Authority, Desired, ReasonCode, Sha256, TargetKind, TargetPin};
use outpost_trust::desired::agree;
use outpost_trust::{Acceptance, Catalogue};

use crate::fleet::{Fleet, key, name, targets, tenant, till};

async fn released() -> (Fleet, Catalogue) {
    let mut fleet = Fleet::new();
    fleet.release(2);
    let catalogue = fleet.device().take(&fleet.bundle).await.unwrap();
    (fleet, catalogue)
}

/// The refusal that a desired state, changed like this, meets.
fn refused(fleet: &Fleet, catalogue: &Catalogue, change: impl FnOnce(&mut Desired)) -> (ReasonCode, String) {
    let mut desired = fleet.desired(1, 2);
    change(&mut desired);
    let accepted = fleet.device().accept(fleet, &fleet.sign_desired(&desired), None).unwrap();
    let refusal = agree(&accepted, catalogue).unwrap_err();
    (refusal.code, refusal.detail)
}

fn first_variant(desired: &mut Desired) -> &mut TargetPin {
    &mut desired.model.as_mut().unwrap().variants[0]
}

#[tokio::test]
async fn what_both_sides_say_is_agreed() {
    let (fleet, catalogue) = released().await;
    let accepted = fleet.device().accept(&fleet, &fleet.sign_desired(&fleet.desired(1, 2)), None).unwrap();
    let agreed = agree(&accepted, &catalogue).unwrap();
    let names: Vec<_> = agreed.variants.iter().map(|(pin, _, _)| pin.name.as_str()).collect();
    assert_eq!(names, ["guide-Q8_0.json", "guide-Q4_0.json"]);
    assert_eq!(agreed.variants[1].2.bytes, 1_002);
    assert_eq!(agreed.policy.unwrap().bytes, b"{\"v\":1,\"version\":2}");
    assert_eq!(agreed.director_keys, [fleet.director.verifying_key()]);
    // Nothing wanted is also something to agree on.
    let nothing = Desired { model: None, policy: None, ..fleet.desired(2, 2) };
    let accepted = fleet.device().accept(&fleet, &fleet.sign_desired(&nothing), None).unwrap();
    let agreed = agree(&accepted, &catalogue).unwrap();
    assert!(agreed.variants.is_empty() && agreed.policy.is_none());
}

#[tokio::test]
async fn a_pin_that_differs_from_the_catalogue_in_anything_is_refused() {
    let (fleet, catalogue) = released().await;
    type Change = fn(&mut Desired);
    let changes: [(Change, &str); 6] = [
        (|desired| first_variant(desired).name = name("guide-Q2_0.json"), "it is not listed"),
        (|desired| first_variant(desired).length += 1, "bytes are listed"),
        (|desired| first_variant(desired).sha256 = Sha256([0; 32]), "another digest is listed"),
        (|desired| first_variant(desired).release += 1, "release 2 is listed, 3 is wanted"),
        (|desired| desired.model.as_mut().unwrap().model = "other".parse().unwrap(), "it is of model `guide`"),
        (|desired| *first_variant(desired) = desired.policy.clone().unwrap(), "it is no variant of a model"),
    ];
    for (change, why) in changes {
        let (code, detail) = refused(&fleet, &catalogue, change);
        assert_eq!(code, ReasonCode::NotInCatalogue, "{detail}");
        assert!(detail.contains(why), "{detail}");
    }
}

#[tokio::test]
async fn a_swapped_policy_is_refused() {
    let (fleet, catalogue) = released().await;
    let (code, detail) = refused(&fleet, &catalogue, |desired| desired.policy = Some(first_variant(desired).clone()));
    assert_eq!(code, ReasonCode::NotInCatalogue);
    assert!(detail.contains("it is no policy bundle"), "{detail}");
}

#[tokio::test]
async fn a_pin_of_an_older_release_is_refused() {
    let (fleet, catalogue) = released().await;
    let old = fleet.desired(1, 1);
    let (code, _) = refused(&fleet, &catalogue, |desired| *desired = old);
    assert_eq!(code, ReasonCode::Rollback);
}

#[tokio::test]
async fn a_choice_among_nothing_or_the_same_twice_is_refused() {
    let (fleet, catalogue) = released().await;
    let (code, _) = refused(&fleet, &catalogue, |desired| desired.model.as_mut().unwrap().variants.clear());
    assert_eq!(code, ReasonCode::Unloadable);
    let (code, _) = refused(&fleet, &catalogue, |desired| {
        let again = first_variant(desired).clone();
        desired.model.as_mut().unwrap().variants.push(again);
    });
    assert_eq!(code, ReasonCode::Unloadable);
}

#[tokio::test]
async fn a_director_that_the_offline_keys_no_longer_name_is_refused() {
    let mut fleet = Fleet::new();
    fleet.release_targets(targets(2, &key().verifying_key().to_hex()));
    let catalogue = fleet.device().take(&fleet.bundle).await.unwrap();
    let (code, detail) = refused(&fleet, &catalogue, |_| {});
    assert_eq!(code, ReasonCode::BadSignature);
    assert!(detail.contains("authority does not know the director"), "{detail}");
}

#[tokio::test]
async fn a_document_signed_with_the_old_and_the_new_director_key_carries_a_device_over_the_change() {
    let mut fleet = Fleet::new();
    let new = key();
    fleet.release_targets(targets(2, &new.verifying_key().to_hex()));
    let catalogue = fleet.device().take(&fleet.bundle).await.unwrap();
    let desired = Desired { model: None, policy: None, ..fleet.desired(1, 2) };
    let bytes = outpost_trust::desired::sign(&desired, &[&fleet.director, &new]).unwrap().to_bytes();
    let accepted = fleet.device().accept(&fleet, &bytes, None).unwrap();
    let agreed = agree(&accepted, &catalogue).unwrap();
    assert_eq!(agreed.director_keys, [new.verifying_key()]);
    // From then on the old key alone is nobody's.
    let by_the_old_key = fleet.sign_desired(&fleet.desired(2, 2));
    let acceptance = Acceptance {
        tenant: &tenant(),
        device: &till(),
        floor_version: 1,
        floor_payload: Some(accepted.payload_sha256),
        director_keys: &agreed.director_keys,
        now_s: fleet.now_s,
    };
    let refusal = outpost_trust::desired::accept(&by_the_old_key, &acceptance).unwrap_err();
    assert_eq!(refusal.code, ReasonCode::BadSignature);
}

#[tokio::test]
async fn a_released_manifest_or_authority_that_contradicts_itself_is_refused() {
    let mut broken_manifest = targets(2, "");
    broken_manifest[0].1 = br#"{"v":1}"#.to_vec();
    let mut wrong_size = targets(2, "");
    if let TargetKind::Variant(facts) = &mut wrong_size[0].2 {
        facts.file_bytes += 1;
    }
    let mut empty_chunk = targets(2, "");
    empty_chunk[0].1 = String::from_utf8(empty_chunk[0].1.clone()).unwrap().replace(":2002}", ":0}").into_bytes();
    for (mut broken, why) in
        [(broken_manifest, "missing field"), (wrong_size, "the catalogue says 2003"), (empty_chunk, "chunk 0 has 0")]
    {
        let mut fleet = Fleet::new();
        let director = fleet.director.verifying_key().to_hex();
        broken[3].1 = targets(2, &director)[3].1.clone();
        let first = &broken[0];
        let pin = TargetPin {
            name: first.0.clone(),
            length: first.1.len() as u64,
            sha256: crate::fleet::sha256(&first.1),
            release: 2,
        };
        fleet.release_targets(broken);
        let catalogue = fleet.device().take(&fleet.bundle).await.unwrap();
        let (code, detail) = refused(&fleet, &catalogue, |desired| *first_variant(desired) = pin);
        assert_eq!(code, ReasonCode::Unloadable, "{detail}");
        assert!(detail.contains(why), "{detail}");
    }
}

#[tokio::test]
async fn no_authority_document_or_two_are_refused() {
    let director_of = |fleet: &Fleet| fleet.director.verifying_key().to_hex();
    let mut fleet = Fleet::new();
    let mut without = targets(2, &director_of(&fleet));
    without.pop();
    fleet.release_targets(without);
    let catalogue = fleet.device().take(&fleet.bundle).await.unwrap();
    assert_eq!(refused(&fleet, &catalogue, |_| {}).0, ReasonCode::NotInCatalogue);

    let mut fleet = Fleet::new();
    let mut two = targets(2, &director_of(&fleet));
    let thief =
        Authority { v: 1, director_keys: vec![director_of(&fleet)], token_issuers: Vec::new(), signers: Vec::new() };
    let kind = TargetKind::Authority { release: 2 };
    two.push((name("authority-2.json"), serde_json::to_vec(&thief).unwrap(), kind));
    fleet.release_targets(two);
    let catalogue = fleet.device().take(&fleet.bundle).await.unwrap();
    assert_eq!(refused(&fleet, &catalogue, |_| {}).0, ReasonCode::NotInCatalogue);

    let mut fleet = Fleet::new();
    let mut newer = targets(2, "");
    newer[3].1 = br#"{"v":2,"director_keys":[],"token_issuers":[]}"#.to_vec();
    fleet.release_targets(newer);
    let catalogue = fleet.device().take(&fleet.bundle).await.unwrap();
    assert_eq!(refused(&fleet, &catalogue, |_| {}).0, ReasonCode::Unloadable);
}

#[tokio::test]
async fn a_stolen_director_key_chooses_among_what_is_released_and_changes_no_fact_of_it() {
    let (fleet, catalogue) = released().await;
    // The thief turns everything that a document lets him turn.
    let mut desired = fleet.desired(1, 2);
    let model = desired.model.as_mut().unwrap();
    model.variants.reverse();
    model.variants.truncate(1);
    model.minimum_context_tokens = u32::MAX;
    desired.policy = None;
    let accepted = fleet.device().accept(&fleet, &fleet.sign_desired(&desired), None).unwrap();
    let agreed = agree(&accepted, &catalogue).unwrap();
    let [(pin, facts, manifest)] = agreed.variants.as_slice() else { panic!("one was chosen") };
    // What a planner judges the fit by is what the offline keys signed.
    let TargetKind::Variant(released) = &catalogue.targets[&pin.name].kind else { panic!("a variant") };
    assert_eq!(facts, released);
    assert_eq!(manifest.bytes, released.file_bytes);
    // Leaving the policy out keeps the one in force; who is believed is not his to say.
    assert!(agreed.policy.is_none());
    assert_eq!(agreed.director_keys, [fleet.director.verifying_key()]);
}
