//! Bytes that are not what was signed: flipped, missing, added, too many.

use outpost_contract::limits::CATALOGUE_BYTES;
use outpost_contract::{ReasonCode, Sha256};
use outpost_trust::catalogue::{BundleError, BundlePath};
use outpost_trust::{CatalogueBundle, CatalogueError};

use crate::fleet::{Fleet, forge_targets, name, unpack};

#[tokio::test]
async fn a_flipped_byte_in_any_file_of_the_bundle_is_refused() {
    let fleet = Fleet::new();
    let files = unpack(&fleet.bundle);
    let mut device = fleet.device();
    for (path, bytes) in &files {
        // Every eleventh byte, and the last: a coprime step meets every kind of field.
        for index in (0..bytes.len()).step_by(11).chain([bytes.len() - 1]) {
            let mut files = files.clone();
            files.get_mut(path).unwrap()[index] ^= 1;
            let bundle = CatalogueBundle::from_files(files).unwrap();
            assert!(device.take(&bundle).await.is_err(), "byte {index} of {path}");
        }
    }
    device.take(&fleet.bundle).await.unwrap();
}

#[tokio::test]
async fn a_missing_file_is_refused() {
    let fleet = Fleet::new();
    for path in unpack(&fleet.bundle).keys() {
        let mut files = unpack(&fleet.bundle);
        files.remove(path);
        let Ok(bundle) = CatalogueBundle::from_files(files) else { continue };
        let refused = fleet.device().take(&bundle).await.unwrap_err();
        assert!(matches!(refused, CatalogueError::Target { .. }), "{path}: {refused}");
    }
}

#[tokio::test]
async fn a_file_that_nothing_signed_names_is_refused() {
    let fleet = Fleet::new();
    for stowaway in [
        BundlePath::Target(Sha256([9; 32]), name("extra.json")),
        BundlePath::Target(Sha256([9; 32]), name("policy-shop.json")),
    ] {
        let mut files = unpack(&fleet.bundle);
        files.insert(stowaway, b"{}".to_vec());
        let refused = fleet.device().take(&CatalogueBundle::from_files(files).unwrap()).await.unwrap_err();
        assert!(refused.to_string().contains("nothing that is signed names it"), "{refused}");
    }
}

#[tokio::test]
async fn an_oversized_bundle_is_refused_before_it_is_read() {
    let fleet = Fleet::new();
    let mut bytes = fleet.bundle.to_bytes();
    bytes.resize(usize::try_from(CATALOGUE_BYTES).unwrap() + 1, b' ');
    let refused = fleet.device().take_bytes(Default::default(), &bytes).await.unwrap_err();
    assert!(matches!(refused, CatalogueError::Bundle(BundleError::TooLarge(_))), "{refused}");
    assert_eq!(refused.reason(), ReasonCode::CorruptContent);
}

#[tokio::test]
async fn a_swapped_target_is_refused() {
    let fleet = Fleet::new();
    let mut files = unpack(&fleet.bundle);
    let path = |wanted: &str| {
        let is = |path: &&BundlePath| matches!(path, BundlePath::Target(_, found) if found.as_str() == wanted);
        files.keys().find(is).unwrap().clone()
    };
    let (policy, authority) = (path("policy-shop.json"), path("authority.json"));
    let swapped = files[&policy].clone();
    files.insert(authority, swapped);
    let refused = fleet.device().take(&CatalogueBundle::from_files(files).unwrap()).await.unwrap_err();
    assert!(matches!(refused, CatalogueError::Target { .. }), "{refused}");
}

#[tokio::test]
async fn a_length_that_is_not_the_target_s_is_refused() {
    let fleet = Fleet::new();
    for length in [0, 1, 10_000, u64::MAX] {
        let forged = forge_targets(&fleet, |targets| {
            targets["targets"]["policy-shop.json"]["length"] = length.into();
        });
        let refused = fleet.device().take(&forged).await.unwrap_err();
        assert!(matches!(refused, CatalogueError::Target { .. }), "{length}: {refused}");
    }
}

#[tokio::test]
async fn signed_facts_that_are_not_those_of_their_kind_are_refused() {
    let fleet = Fleet::new();
    for custom in [
        serde_json::json!({}),
        serde_json::json!({"release": 1}),
        serde_json::json!({"kind": 7, "release": 1}),
        serde_json::json!({"kind": "authority", "release": -1}),
        serde_json::json!({"kind": "authority", "release": 1, "more": 1}),
        serde_json::json!({"kind": "authority", "release": u64::MAX}),
    ] {
        let forged = forge_targets(&fleet, |targets| {
            targets["targets"]["authority.json"]["custom"] = custom.clone();
        });
        let refused = fleet.device().take(&forged).await.unwrap_err();
        assert_eq!(refused.reason(), ReasonCode::Unloadable, "{custom}: {refused}");
    }
}

#[tokio::test]
async fn a_catalogue_that_delegates_is_refused() {
    let fleet = Fleet::new();
    let forged = forge_targets(&fleet, |targets| {
        targets["delegations"] = serde_json::json!({"keys": {}, "roles": []});
    });
    let refused = fleet.device().take(&forged).await.unwrap_err();
    assert!(matches!(refused, CatalogueError::Unsupported(_)), "{refused}");
}
