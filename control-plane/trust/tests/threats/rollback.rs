//! Someone replays what was good once: old catalogues, mixed ones, withheld roots, lower counters.

use outpost_contract::ReasonCode;
use outpost_trust::catalogue::{BundlePath, Lifetimes, Role, refresh};
use outpost_trust::{CatalogueBundle, CatalogueError};

use crate::fleet::{Fleet, forge_targets, key, name, slices, unpack};

#[tokio::test]
async fn a_rolled_back_catalogue_is_refused() {
    let mut fleet = Fleet::new();
    let mut device = fleet.device();
    let old = fleet.bundle.clone();
    fleet.release(2);
    device.take(&fleet.bundle).await.unwrap();
    let before = device.floors.clone();
    let refused = device.take(&old).await.unwrap_err();
    assert!(matches!(refused, CatalogueError::Rollback { role: Role::Timestamp, floor: 2, offered: 1 }), "{refused}");
    assert_eq!(refused.reason(), ReasonCode::Rollback);
    assert_eq!(device.floors, before);
}

#[tokio::test]
async fn a_stolen_online_key_cannot_bring_old_targets_back() {
    let mut fleet = Fleet::new();
    let mut device = fleet.device();
    let mut old = fleet.bundle.clone();
    fleet.release(2);
    device.take(&fleet.bundle).await.unwrap();
    // The thief signs the old targets again and again, until his timestamp is newer than any.
    for _ in 0..3 {
        old = refresh(&old, slices(&fleet.roots), &Lifetimes::default(), fleet.now_s, &[&fleet.online]).unwrap();
    }
    let refused = device.take(&old).await.unwrap_err();
    assert!(matches!(refused, CatalogueError::Rollback { role: Role::Targets, floor: 2, offered: 1 }), "{refused}");
}

#[tokio::test]
async fn a_mixed_snapshot_is_refused() {
    let mut fleet = Fleet::new();
    let old = unpack(&fleet.bundle);
    fleet.release(2);
    let new = unpack(&fleet.bundle);
    // Old snapshot under the new name, new timestamp; then new snapshot with old targets under the new name.
    let mut mixed = new.clone();
    mixed.insert(BundlePath::Snapshot(2), old[&BundlePath::Snapshot(1)].clone());
    let mut device = fleet.device();
    let refused = device.take(&CatalogueBundle::from_files(mixed).unwrap()).await.unwrap_err();
    assert!(matches!(refused, CatalogueError::Verification(_)), "{refused}");
    assert_eq!(refused.reason(), ReasonCode::CorruptContent);

    let mut mixed = new.clone();
    mixed.insert(BundlePath::Targets(2), old[&BundlePath::Targets(1)].clone());
    assert!(device.take(&CatalogueBundle::from_files(mixed).unwrap()).await.is_err());

    let mut mixed = new;
    mixed.insert(BundlePath::Timestamp, old[&BundlePath::Timestamp].clone());
    assert!(device.take(&CatalogueBundle::from_files(mixed).unwrap()).await.is_err());
}

#[tokio::test]
async fn a_release_counter_that_goes_down_is_refused_although_it_is_signed() {
    let mut fleet = Fleet::new();
    let mut device = fleet.device();
    fleet.release(5);
    device.take(&fleet.bundle).await.unwrap();
    fleet.release(6);
    let forged = forge_targets(&fleet, |targets| {
        targets["targets"]["policy-shop.json"]["custom"]["release"] = 4.into();
    });
    let refused = device.take(&forged).await.unwrap_err();
    assert!(
        matches!(&refused, CatalogueError::ReleaseRollback { name: n, floor: 5, offered: 4 } if *n == name("policy-shop.json")),
        "{refused}"
    );
    assert_eq!(refused.reason(), ReasonCode::Rollback);
}

#[tokio::test]
async fn a_withheld_root_is_noticed_by_a_device_that_has_seen_it() {
    let mut fleet = Fleet::new();
    let mut device = fleet.device();
    let with_old_key = fleet.bundle.clone();
    fleet.rotate(|fleet| fleet.online = key());
    fleet.refresh();
    device.take(&fleet.bundle).await.unwrap();
    assert_eq!(device.floors.root, 2);
    // A bundle that ends at root 1, signed by the key that root 2 took away.
    let refused = device.take(&with_old_key).await.unwrap_err();
    assert!(matches!(refused, CatalogueError::Rollback { role: Role::Root, floor: 2, offered: 1 }), "{refused}");
    // The same, to a device whose stored root was lost but whose floors were not.
    device.root = fleet.roots[0].clone();
    let refused = device.take(&with_old_key).await.unwrap_err();
    assert!(matches!(refused, CatalogueError::Rollback { role: Role::Root, floor: 2, offered: 1 }), "{refused}");
}

#[tokio::test]
async fn a_root_left_out_between_is_refused_not_taken_for_the_newest() {
    let mut fleet = Fleet::new();
    let mut device = fleet.device();
    fleet.rotate(|_| {});
    fleet.rotate(|_| {});
    fleet.refresh();
    let mut files = unpack(&fleet.bundle);
    files.remove(&BundlePath::Root(2));
    assert!(CatalogueBundle::from_files(files.clone()).is_err());
    files.remove(&BundlePath::Root(1));
    let refused = device.take(&CatalogueBundle::from_files(files).unwrap()).await.unwrap_err();
    assert!(refused.to_string().contains("root 2 is missing"), "{refused}");
    assert_eq!(refused.reason(), ReasonCode::BadSignature);
}

#[tokio::test]
async fn an_old_trusted_root_does_not_lower_floors_by_replaying_a_rotation() {
    let mut fleet = Fleet::new();
    let mut device = fleet.device();
    fleet.rotate(|fleet| fleet.online = key());
    fleet.refresh();
    let old = fleet.bundle.clone();
    fleet.refresh();
    device.take(&fleet.bundle).await.unwrap();
    device.root = fleet.roots[0].clone();
    let refused = device.take(&old).await.unwrap_err();
    assert!(matches!(refused, CatalogueError::Rollback { role: Role::Timestamp, .. }), "{refused}");
}
