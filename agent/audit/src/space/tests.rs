//! Levels: where they begin and end, and what each admits.

use proptest::prelude::*;

use super::gauge::next_level;
use super::*;

const WHOLE: u64 = 1_000_000;

#[test]
fn each_level_begins_where_the_table_says_and_is_left_with_a_fifth_more() {
    use SpaceLevel::{Critical, Enough, Exhausted, Low, Scarce};
    for (now, free, next) in [
        (Enough, 250_000, Enough),
        (Enough, 249_999, Low),
        (Enough, 99_999, Scarce),
        (Enough, 49_999, Critical),
        (Enough, 1, Critical),
        (Enough, 0, Exhausted),
        (Low, 299_999, Low),
        (Low, 300_000, Enough),
        (Scarce, 119_999, Scarce),
        (Scarce, 120_000, Low),
        (Critical, 59_999, Critical),
        (Critical, 60_000, Scarce),
        (Critical, 999_999, Enough),
        (Exhausted, 9_999, Exhausted),
        (Exhausted, 10_000, Critical),
        (Exhausted, 59_999, Critical),
        (Exhausted, 299_999, Low),
        (Exhausted, 1_000_000, Enough),
    ] {
        assert_eq!(next_level(now, free, WHOLE), next, "from {now} with {free} free");
    }
}

#[test]
fn what_begins_is_refused_before_what_goes_on_and_ends_are_always_written() {
    use Admission::{Counted, Leaf, Refused};
    let row = |level: SpaceLevel, mode| {
        [Kind::InferStart, Kind::AdminAct, Kind::InferEnd, Kind::AuditPrune].map(|kind| level.admits(mode, kind))
    };
    for level in [SpaceLevel::Enough, SpaceLevel::Low, SpaceLevel::Scarce] {
        assert_eq!(row(level, CapacityMode::Strict), [Leaf; 4]);
        assert_eq!(row(level, CapacityMode::Availability), [Leaf; 4]);
    }
    assert_eq!(row(SpaceLevel::Critical, CapacityMode::Strict), [Refused, Leaf, Leaf, Leaf]);
    assert_eq!(row(SpaceLevel::Critical, CapacityMode::Availability), [Counted, Leaf, Counted, Leaf]);
    for mode in [CapacityMode::Strict, CapacityMode::Availability] {
        assert_eq!(row(SpaceLevel::Exhausted, mode), [Refused, Refused, Leaf, Leaf]);
        assert_eq!(CapacityMode::from_name(mode.name()), Some(mode));
    }
    assert_eq!(CapacityMode::from_name("lax"), None);
}

proptest! {
    #[test]
    fn a_level_never_flaps(
        now in proptest::sample::select(SpaceLevel::ALL.as_slice()), free in 0_u64..=WHOLE, jitter in 0_u64..WHOLE / 1000,
    ) {
        // Once settled, a thousandth more or less changes nothing twice.
        let settled = next_level(now, free, WHOLE);
        let less = next_level(settled, free.saturating_sub(jitter), WHOLE);
        prop_assert_eq!(next_level(less, free, WHOLE), less);
        prop_assert_eq!(next_level(settled, free, WHOLE), settled);
    }

    #[test]
    fn more_room_never_makes_a_level_worse(
        now in proptest::sample::select(SpaceLevel::ALL.as_slice()), free in any::<u64>(), more in any::<u64>(), whole in 1_u64..,
    ) {
        prop_assert!(next_level(now, free.saturating_add(more), whole) <= next_level(now, free, whole));
    }
}
