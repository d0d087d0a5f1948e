//! Time as a weapon: frozen catalogues, clocks in 1970, clocks in the far future.

use outpost_contract::ReasonCode;
use outpost_trust::catalogue::{Lifetimes, Role};
use outpost_trust::{CatalogueError, ExpirationPolicy};

use crate::fleet::{DAY_S, Fleet, NOW_S};

const A_YEAR_MORE: ExpirationPolicy = ExpirationPolicy::AcceptStale { at_most_s: 365 * DAY_S };

#[tokio::test]
async fn an_expired_timestamp_is_refused_with_the_way_out() {
    let fleet = Fleet::new();
    let mut device = fleet.device();
    device.now_s = NOW_S + 31 * DAY_S;
    let refused = device.take(&fleet.bundle).await.unwrap_err();
    assert!(matches!(refused, CatalogueError::Expired { role: Role::Timestamp, .. }), "{refused}");
    assert_eq!(refused.reason(), ReasonCode::Expired);
    assert!(
        refused.to_string().contains("expired 86400 s ago") && refused.to_string().contains("publish"),
        "{refused}"
    );
}

#[tokio::test]
async fn each_role_expires_by_itself() {
    let mut fleet = Fleet::new();
    let later = Lifetimes::default();
    for (role, days) in
        [(Role::Snapshot, later.snapshot_s), (Role::Targets, later.targets_s), (Role::Root, later.root_s)]
    {
        // All younger roles are refreshed; for snapshot the timestamp alone is made to last.
        let mut device = fleet.device();
        device.now_s = NOW_S + days + DAY_S;
        let lifetimes = match role {
            Role::Snapshot => Lifetimes { timestamp_s: 10_000 * DAY_S, ..later },
            _ => Lifetimes { timestamp_s: 10_000 * DAY_S, snapshot_s: 10_000 * DAY_S, ..later },
        };
        let roots = crate::fleet::slices(&fleet.roots);
        let online = [&fleet.online];
        let mut bundle = outpost_trust::catalogue::refresh(&fleet.bundle, roots, &lifetimes, NOW_S, &online).unwrap();
        if matches!(role, Role::Root) {
            fleet.bundle = bundle;
            let targets = crate::fleet::targets(2, "00");
            let signers = crate::fleet::refs(&fleet.targets_keys);
            let release = outpost_trust::catalogue::Release { targets };
            let signed = release.sign(&fleet.roots[0], Some(&fleet.bundle), NOW_S + 10_000 * DAY_S, &signers).unwrap();
            let roots = crate::fleet::slices(&fleet.roots);
            bundle = signed.publish(roots, Some(&fleet.bundle), &lifetimes, NOW_S, &[&fleet.online]).unwrap();
        }
        let refused = device.take(&bundle).await.unwrap_err();
        assert!(matches!(&refused, CatalogueError::Expired { role: expired, .. } if *expired == role), "{refused}");
    }
}

#[tokio::test]
async fn what_was_accepted_before_it_expired_can_be_verified_again_under_a_named_policy() {
    let fleet = Fleet::new();
    let mut device = fleet.device();
    device.take(&fleet.bundle).await.unwrap();
    let before = device.floors.clone();
    device.now_s = NOW_S + 35 * DAY_S;
    assert!(device.take(&fleet.bundle).await.is_err());
    let stale = device.take_bytes(A_YEAR_MORE, &fleet.bundle.to_bytes()).await.unwrap();
    assert!(stale.stale);
    assert_eq!(stale.floors, before, "stale content raises no floor");
    let too_little = ExpirationPolicy::AcceptStale { at_most_s: DAY_S };
    let refused = device.take_bytes(too_little, &fleet.bundle.to_bytes()).await.unwrap_err();
    assert!(matches!(refused, CatalogueError::Expired { .. }), "{refused}");
}

#[tokio::test]
async fn stale_tolerance_lets_nothing_new_in() {
    let mut fleet = Fleet::new();
    let mut device = fleet.device();
    device.take(&fleet.bundle).await.unwrap();
    fleet.release(2);
    device.now_s = NOW_S + 35 * DAY_S;
    let refused = device.take_bytes(A_YEAR_MORE, &fleet.bundle.to_bytes()).await.unwrap_err();
    assert!(matches!(refused, CatalogueError::NotActive { .. }), "{refused}");
    // Nor does it on a device that has accepted nothing yet.
    let mut fresh = fleet.device();
    fresh.now_s = device.now_s;
    assert!(fresh.take_bytes(A_YEAR_MORE, &fleet.bundle.to_bytes()).await.is_err());
}

#[tokio::test]
async fn tolerance_for_the_stale_does_not_touch_what_is_fresh() {
    let mut fleet = Fleet::new();
    let mut device = fleet.device();
    device.take(&fleet.bundle).await.unwrap();
    fleet.release(2);
    let fresh = device.take_bytes(A_YEAR_MORE, &fleet.bundle.to_bytes()).await.unwrap();
    assert!(!fresh.stale);
}

#[tokio::test]
async fn a_clock_before_the_floor_does_not_make_an_expired_catalogue_young_again() {
    let mut fleet = Fleet::new();
    let mut device = fleet.device();
    let frozen = fleet.bundle.clone();
    fleet.now_s = NOW_S + 40 * DAY_S;
    fleet.refresh();
    let mut stopped = fleet.device();
    stopped.now_s = fleet.now_s;
    stopped.take(&fleet.bundle).await.unwrap();
    // Its battery dies; someone offers what was current long ago. The floors stop it before the date even matters …
    stopped.now_s = 0;
    assert!(stopped.take(&frozen).await.is_err());
    // … and the date alone would.
    device.floors.clock_s = fleet.now_s;
    device.now_s = 0;
    let refused = device.take(&frozen).await.unwrap_err();
    assert!(matches!(refused, CatalogueError::Expired { now_s, .. } if now_s == fleet.now_s), "{refused}");
    // What is current is taken, battery or not, as often as it takes.
    for now_s in [0, -1, i64::MIN, 5] {
        stopped.now_s = now_s;
        stopped.take(&fleet.bundle).await.unwrap();
    }
}

#[tokio::test]
async fn a_clock_in_the_far_future_accepts_nothing_and_spoils_nothing() {
    let fleet = Fleet::new();
    let mut device = fleet.device();
    device.take(&fleet.bundle).await.unwrap();
    for now_s in [NOW_S + 3650 * DAY_S, i64::MAX] {
        device.now_s = now_s;
        assert!(matches!(device.take(&fleet.bundle).await, Err(CatalogueError::Expired { .. })));
    }
    device.now_s = NOW_S + DAY_S;
    device.take(&fleet.bundle).await.unwrap();
}

#[tokio::test]
async fn each_role_that_expires_narrows_what_arrives_and_not_what_runs() {
    // For ever is for ever: a clock that leapt ten years makes no difference to what is in force.
    let for_ever = ExpirationPolicy::AcceptStale { at_most_s: i64::MAX };
    let long = Lifetimes {
        root_s: 9000 * DAY_S,
        targets_s: 9000 * DAY_S,
        snapshot_s: 9000 * DAY_S,
        timestamp_s: 9000 * DAY_S,
    };
    for (role, lifetimes) in [
        (Role::Root, Lifetimes { root_s: DAY_S, ..long }),
        (Role::Targets, Lifetimes { targets_s: DAY_S, ..long }),
        (Role::Snapshot, Lifetimes { snapshot_s: DAY_S, ..long }),
        (Role::Timestamp, Lifetimes { timestamp_s: DAY_S, ..long }),
    ] {
        let fleet = Fleet::with_lifetimes(&lifetimes);
        let mut device = fleet.device();
        let before = device.take(&fleet.bundle).await.unwrap();
        for now_s in [NOW_S + 2 * DAY_S, NOW_S + 10 * 365 * DAY_S, i64::MAX] {
            device.now_s = now_s;
            // In service: a device that meets it for the first time does not take it, nor does one that has it.
            let mut fresh = fleet.device();
            fresh.now_s = now_s;
            assert!(matches!(fresh.take(&fleet.bundle).await, Err(CatalogueError::Expired { .. })), "{role}");
            let refused = device.take(&fleet.bundle).await.unwrap_err();
            assert_eq!(refused.reason(), ReasonCode::Expired, "{role}: {refused}");
            if now_s == NOW_S + 2 * DAY_S {
                assert!(matches!(&refused, CatalogueError::Expired { role: first, .. } if *first == role), "{refused}");
            }
            // At a start: what is in force is read again, in full, and raises nothing.
            let again = device.take_bytes(for_ever, &fleet.bundle.to_bytes()).await.unwrap();
            assert!(again.stale, "{role}");
            assert_eq!((&again.targets, &again.floors), (&before.targets, &before.floors), "{role}");
        }
    }
}

#[tokio::test]
async fn an_expired_desired_state_narrows_what_arrives_and_not_what_runs() {
    let fleet = Fleet::new();
    let mut device = fleet.device();
    let catalogue = device.take(&fleet.bundle).await.unwrap();
    let bytes = fleet.sign_desired(&fleet.desired(3, 1));
    let accepted = device.accept(&fleet, &bytes, None).unwrap();
    let newer = fleet.sign_desired(&fleet.desired(4, 1));
    for now_s in [NOW_S + 8 * DAY_S, NOW_S + 10 * 365 * DAY_S, i64::MAX] {
        device.now_s = now_s;
        // In service: the retained one comes again and is known; a newer one that is too old is not taken.
        assert!(device.accept(&fleet, &bytes, Some(&accepted)).unwrap().repeated);
        assert_eq!(device.accept(&fleet, &newer, Some(&accepted)).unwrap_err().code, ReasonCode::Expired);
        // At a start: what is in force still agrees with the catalogue that is in force.
        let again = device.accept(&fleet, &bytes, Some(&accepted)).unwrap();
        assert_eq!(outpost_trust::desired::agree(&again, &catalogue).unwrap().variants.len(), 2);
    }
}
