//! The honest walk: release, verify, release again, refresh.

use outpost_contract::{PolicyFacts, TargetKind};
use outpost_trust::Floors;
use outpost_trust::catalogue::{BundleError, Lifetimes, PublishError, Release, newest_root, root_version, verify};

use crate::fleet::{DAY_S, Fleet, name, refs, slices, targets};

#[tokio::test]
async fn a_device_takes_the_first_catalogue_and_every_one_after_it() {
    let mut fleet = Fleet::new();
    let mut device = fleet.device();
    let first = device.take(&fleet.bundle).await.unwrap();
    assert_eq!(first.targets.len(), 4);
    assert!(matches!(&first.targets[&name("guide-Q4_0.json")].kind, TargetKind::Variant(facts) if facts.release == 1));
    assert_eq!((first.floors.root, first.floors.targets, first.floors.snapshot, first.floors.timestamp), (1, 1, 1, 1));
    assert_eq!(first.expires_at_s, fleet.now_s + 30 * DAY_S);

    fleet.release(2);
    let second = device.take(&fleet.bundle).await.unwrap();
    assert_eq!((second.floors.targets, second.floors.timestamp), (2, 2));
    assert_eq!(second.floors.releases[&name("authority.json")], 2);
    // Once more the same: nothing changes.
    assert_eq!(device.take(&fleet.bundle).await.unwrap().floors, second.floors);
}

#[tokio::test]
async fn the_server_refreshes_a_catalogue_without_the_offline_keys() {
    let mut fleet = Fleet::new();
    let mut device = fleet.device();
    let first = device.take(&fleet.bundle).await.unwrap();
    fleet.now_s += 29 * DAY_S;
    fleet.refresh();
    device.now_s = fleet.now_s + 29 * DAY_S;
    let refreshed = device.take(&fleet.bundle).await.unwrap();
    assert_eq!(refreshed.targets, first.targets);
    assert_eq!((refreshed.floors.targets, refreshed.floors.snapshot, refreshed.floors.timestamp), (1, 2, 2));
    assert_eq!(refreshed.expires_at_s, fleet.now_s + 30 * DAY_S);
}

#[tokio::test]
async fn a_target_that_left_the_catalogue_keeps_its_floor() {
    let mut fleet = Fleet::new();
    let mut device = fleet.device();
    device.take(&fleet.bundle).await.unwrap();
    fleet.release_targets(targets(2, "00").into_iter().skip(1).collect());
    let second = device.take(&fleet.bundle).await.unwrap();
    assert!(!second.targets.contains_key(&name("guide-Q8_0.json")));
    assert_eq!(second.floors.releases[&name("guide-Q8_0.json")], 1);
}

#[test]
fn changed_bytes_under_the_same_release_counter_are_not_signed() {
    let fleet = Fleet::new();
    let mut changed = targets(1, "00");
    changed[2].1 = b"changed".to_vec();
    let refused = Release { targets: changed }
        .sign(&fleet.roots[0], Some(&fleet.bundle), fleet.now_s, &refs(&fleet.targets_keys))
        .unwrap_err();
    assert!(matches!(refused, PublishError::Target { .. }));
    assert!(refused.to_string().contains("give it release 2 or higher"), "{refused}");
}

#[test]
fn a_target_listed_twice_or_too_large_is_not_signed() {
    let fleet = Fleet::new();
    let sign = |targets| Release { targets }.sign(&fleet.roots[0], None, fleet.now_s, &refs(&fleet.targets_keys));
    let mut twice = targets(1, "00");
    twice.push(twice[0].clone());
    assert!(sign(twice).unwrap_err().to_string().contains("listed twice"));
    let mut large = targets(1, "00");
    large[2].1 = vec![b' '; 2 << 20];
    assert!(sign(large).unwrap_err().to_string().contains("larger than a policy bundle may be"));
}

#[test]
fn the_newer_of_the_shipped_and_the_stored_root_is_trusted() {
    let mut fleet = Fleet::new();
    fleet.rotate(|_| {});
    let [old, new] = [&fleet.roots[0][..], &fleet.roots[1][..]];
    assert_eq!((root_version(old).unwrap(), root_version(new).unwrap()), (1, 2));
    assert_eq!(newest_root(old, Some(new)).unwrap(), new);
    assert_eq!(newest_root(new, Some(old)).unwrap(), new);
    assert_eq!(newest_root(old, None).unwrap(), old);
    assert_eq!(newest_root(old, Some(b"half a fi")).unwrap(), old);
    assert!(newest_root(b"", Some(b"")).is_err());
}

#[test]
fn a_catalogue_that_no_device_would_fetch_is_not_published() {
    let fleet = Fleet::new();
    let targets = (0..8)
        .map(|index| {
            let kind = TargetKind::Policy(PolicyFacts { release: 1, version: 1 });
            (name(&format!("policy-{index}.json")), vec![index; 1 << 20], kind)
        })
        .collect();
    let signers = refs(&fleet.targets_keys);
    let signed = Release { targets }.sign(&fleet.roots[0], None, fleet.now_s + DAY_S, &signers).unwrap();
    let refused = signed.publish(slices(&fleet.roots), None, &Lifetimes::default(), fleet.now_s, &[&fleet.online]);
    assert!(matches!(refused, Err(PublishError::Bundle(BundleError::TooLarge(_)))));
}

#[tokio::test]
async fn a_catalogue_can_be_verified_on_any_thread_of_a_runtime() {
    fn needs_send<T: Send>(value: T) -> T {
        value
    }
    let fleet = Fleet::new();
    let scratch = tempfile::tempdir().unwrap();
    let (bytes, floors) = (fleet.bundle.to_bytes(), Floors::default());
    needs_send(verify(&bytes, &fleet.roots[0], &floors, fleet.now_s, scratch.path())).await.unwrap();
    // Without a scratch directory nothing is verified, and the message names the way out.
    let gone = scratch.path().join("gone");
    let refused = verify(&bytes, &fleet.roots[0], &floors, fleet.now_s, &gone).await.unwrap_err();
    assert!(refused.to_string().contains("free some space or make it writable"), "{refused}");
}
