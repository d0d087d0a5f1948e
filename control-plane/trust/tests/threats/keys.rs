//! Keys: wrong ones, too few, rotated ones, stolen ones.

use outpost_contract::ReasonCode;
use outpost_trust::catalogue::{BundlePath, Lifetimes, PublishError, Release, RootPlan};
use outpost_trust::{CatalogueBundle, CatalogueError, MOST_VERSION};
use tough::schema::{Root, Snapshot, Timestamp};

use crate::fleet::{DAY_S, Fleet, NOW_S, forge, key, plan, refs, slices, targets, unpack};

#[tokio::test]
async fn a_catalogue_of_another_authority_is_refused() {
    let (ours, theirs) = (Fleet::new(), Fleet::new());
    let refused = ours.device().take(&theirs.bundle).await.unwrap_err();
    assert_eq!(refused.reason(), ReasonCode::BadSignature, "{refused}");
    // With our root in front of their metadata it does not help either.
    let mut files = unpack(&theirs.bundle);
    files.insert(BundlePath::Root(1), ours.roots[0].clone());
    let refused = ours.device().take(&CatalogueBundle::from_files(files).unwrap()).await.unwrap_err();
    assert_eq!(refused.reason(), ReasonCode::BadSignature, "{refused}");
}

#[tokio::test]
async fn metadata_signed_with_the_wrong_role_s_key_is_refused() {
    let fleet = Fleet::new();
    for (path, wrong) in [
        (BundlePath::Timestamp, &fleet.targets_keys[0]),
        (BundlePath::Snapshot(1), &fleet.root_keys[0]),
        (BundlePath::Targets(1), &fleet.online),
    ] {
        let mut files = unpack(&fleet.bundle);
        let forged = match path {
            BundlePath::Timestamp => forge::<Timestamp>(&files[&path], &[wrong], |_| {}),
            BundlePath::Snapshot(_) => forge::<Snapshot>(&files[&path], &[wrong], |_| {}),
            _ => forge::<tough::schema::Targets>(&files[&path], &[wrong], |_| {}),
        };
        files.insert(path.clone(), forged);
        assert!(fleet.device().take(&CatalogueBundle::from_files(files).unwrap()).await.is_err(), "{path}");
    }
}

#[test]
fn an_online_key_that_is_also_an_offline_key_makes_no_root() {
    let (root, targets) = (key(), key());
    let plan = RootPlan::single(root.verifying_key(), targets.verifying_key(), targets.verifying_key());
    assert!(matches!(plan.sign(None, NOW_S, &[&root]), Err(PublishError::Keys { role: "online", .. })));
}

#[test]
fn a_threshold_that_cannot_be_met_makes_no_root() {
    let keys: Vec<_> = (0..3).map(|_| key()).collect();
    let online = key();
    for threshold in [0, 4, u64::MAX] {
        let refused = plan(&keys, &keys, &online, threshold).sign(None, NOW_S, &refs(&keys)).unwrap_err();
        assert!(matches!(refused, PublishError::Keys { role: "root", .. }), "{refused}");
    }
    let mut twice = plan(&keys, &keys, &online, 2);
    twice.root.keys[1] = twice.root.keys[0];
    assert!(matches!(twice.sign(None, NOW_S, &refs(&keys)), Err(PublishError::Keys { role: "root", .. })));
}

#[tokio::test]
async fn two_of_three_offline_keys_are_enough_and_one_is_not() {
    let fleet = Fleet::with_keys(2, 3);
    let mut device = fleet.device();
    device.take(&fleet.bundle).await.unwrap();
    let root = &fleet.roots[0];
    let sign = |signers: &[usize]| {
        let signers: Vec<_> = signers.iter().map(|index| &fleet.targets_keys[*index]).collect();
        Release { targets: targets(2, "00") }.sign(root, Some(&fleet.bundle), NOW_S + DAY_S, &signers)
    };
    for enough in [[0, 1], [2, 0], [1, 2]] {
        let online = [&fleet.online];
        let signed = sign(&enough).unwrap();
        let roots = slices(&fleet.roots);
        let bundle = signed.publish(roots, Some(&fleet.bundle), &Lifetimes::default(), NOW_S, &online).unwrap();
        fleet.device().take(&bundle).await.unwrap();
    }
    for too_few in [&[0][..], &[1, 1], &[]] {
        let refused = sign(too_few).unwrap_err();
        assert!(matches!(refused, PublishError::NotEnoughSignatures { .. }), "{refused}");
    }
    // The publisher's own check aside: a device refuses one signature, and one key signing twice.
    for thieves in [vec![&fleet.targets_keys[0]], vec![&fleet.targets_keys[0], &fleet.targets_keys[0]]] {
        let mut files = unpack(&fleet.bundle);
        let forged = forge::<tough::schema::Targets>(&files[&BundlePath::Targets(1)], &thieves, |_| {});
        let length = forged.len();
        let digest = crate::fleet::sha256(&forged).to_hex();
        files.insert(BundlePath::Targets(1), forged);
        let snapshot = forge::<Snapshot>(&files[&BundlePath::Snapshot(1)], &[&fleet.online], |snapshot| {
            snapshot["meta"]["targets.json"]["length"] = length.into();
            snapshot["meta"]["targets.json"]["hashes"]["sha256"] = digest.into();
        });
        let length = snapshot.len();
        let digest = crate::fleet::sha256(&snapshot).to_hex();
        files.insert(BundlePath::Snapshot(1), snapshot);
        let timestamp = forge::<Timestamp>(&files[&BundlePath::Timestamp], &[&fleet.online], |timestamp| {
            timestamp["meta"]["snapshot.json"]["length"] = length.into();
            timestamp["meta"]["snapshot.json"]["hashes"]["sha256"] = digest.into();
        });
        files.insert(BundlePath::Timestamp, timestamp);
        let refused = fleet.device().take(&CatalogueBundle::from_files(files).unwrap()).await.unwrap_err();
        assert_eq!(refused.reason(), ReasonCode::BadSignature, "{refused}");
    }
}

#[tokio::test]
async fn a_device_follows_any_number_of_root_rotations_in_one_bundle() {
    let mut fleet = Fleet::new();
    let mut device = fleet.device();
    device.take(&fleet.bundle).await.unwrap();
    fleet.rotate(|fleet| fleet.root_keys = vec![key(), key()]);
    fleet.rotate(|fleet| fleet.targets_keys = vec![key()]);
    fleet.rotate(|fleet| fleet.online = key());
    let targets = targets(2, &fleet.director.verifying_key().to_hex());
    fleet.release_targets(targets);
    let catalogue = device.take(&fleet.bundle).await.unwrap();
    assert_eq!(catalogue.floors.root, 4);
    assert_eq!(&catalogue.root, fleet.roots.last().unwrap());
    // A device that ships with the newest root needs no older one to be right.
    fleet.device().take(&fleet.bundle).await.unwrap();
}

#[test]
fn after_the_targets_keys_changed_the_server_alone_cannot_publish_the_old_targets() {
    let mut fleet = Fleet::new();
    fleet.rotate(|fleet| fleet.targets_keys = vec![key()]);
    let refused = outpost_trust::catalogue::refresh(
        &fleet.bundle,
        slices(&fleet.roots),
        &Lifetimes::default(),
        NOW_S,
        &[&fleet.online],
    );
    assert!(matches!(refused, Err(PublishError::NotEnoughSignatures { .. })));
}

#[tokio::test]
async fn a_root_that_the_old_keys_did_not_sign_is_refused() {
    let mut fleet = Fleet::new();
    let mut device = fleet.device();
    fleet.rotate(|_| {});
    let thief = key();
    let forged = forge::<Root>(&fleet.roots[1], &[&thief], |_| {});
    let mut files = unpack(&fleet.bundle);
    files.insert(BundlePath::Root(2), forged);
    let refused = device.take(&CatalogueBundle::from_files(files).unwrap()).await.unwrap_err();
    assert!(matches!(refused, CatalogueError::RootChain { version: 2, .. }), "{refused}");
    assert_eq!(refused.reason(), ReasonCode::BadSignature);
}

#[tokio::test]
async fn a_second_root_of_the_trusted_version_is_refused() {
    let fleet = Fleet::new();
    let forked = forge::<Root>(&fleet.roots[0], &refs(&fleet.root_keys), |root| {
        root["expires"] = "2099-01-01T00:00:00Z".into();
    });
    let mut files = unpack(&fleet.bundle);
    files.insert(BundlePath::Root(1), forked);
    let refused = fleet.device().take(&CatalogueBundle::from_files(files).unwrap()).await.unwrap_err();
    assert!(refused.to_string().contains("differs from the trusted root"), "{refused}");
}

#[tokio::test]
async fn a_thief_of_the_online_key_who_counts_to_the_end_is_undone_by_a_rotation() {
    let mut fleet = Fleet::new();
    let mut device = fleet.device();
    let far = |version: u64| {
        let mut files = unpack(&fleet.bundle);
        let timestamp = forge::<Timestamp>(&files[&BundlePath::Timestamp], &[&fleet.online], |timestamp| {
            timestamp["version"] = version.into();
        });
        files.insert(BundlePath::Timestamp, timestamp);
        CatalogueBundle::from_files(files).unwrap()
    };
    // Beyond what a database can hold: refused. Just below: accepted, it is signed.
    let refused = device.take(&far(MOST_VERSION + 1)).await.unwrap_err();
    assert!(matches!(refused, CatalogueError::Version { .. }), "{refused}");
    device.take(&far(MOST_VERSION)).await.unwrap();
    assert!(device.take(&fleet.bundle).await.is_err());
    // The offline keys take the online key away; versions start again, and the thief's count for nothing.
    fleet.rotate(|fleet| fleet.online = key());
    fleet.refresh();
    let catalogue = device.take(&fleet.bundle).await.unwrap();
    assert_eq!((catalogue.floors.root, catalogue.floors.timestamp), (2, 2));
}
