//! How numbers are spread: percentiles from counts, without keeping the numbers.
//!
//! Below 64 each number is counted by itself; above, each power of two is cut in 32, so that a percentile is at most 1/32
//! (3.2 %) above the number that it stands for, and never below it.

use std::collections::BTreeMap;

use super::bounded::Fold;

const EXACT: u64 = 64;
const EXACT_BITS: u32 = EXACT.ilog2();
/// Parts of a power of two, as bits.
const PART_BITS: u32 = 5;

/// Numbers, by rough size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Spread {
    counts: BTreeMap<u64, u64>,
    total: u64,
}

impl Spread {
    pub(super) fn add(&mut self, value: u64) {
        *self.counts.entry(largest_alike(value)).or_default() += 1;
        self.total += 1;
    }

    /// The number that so many per cent do not exceed; none if there are no numbers.
    pub(super) fn percentile(&self, percent: u64) -> Option<u64> {
        let rank = (self.total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        self.counts.iter().find_map(|(largest, count)| {
            seen += count;
            (seen >= rank).then_some(*largest)
        })
    }
}

impl Fold for Spread {
    fn fold(&mut self, other: &Self) {
        for (largest, count) in &other.counts {
            *self.counts.entry(*largest).or_default() += count;
        }
        self.total += other.total;
    }
}

/// The largest number that is counted together with this one.
fn largest_alike(value: u64) -> u64 {
    if value < EXACT {
        return value;
    }
    let dropped = value.ilog2().max(EXACT_BITS) - PART_BITS;
    value | ((1 << dropped) - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_percentile_is_never_below_the_true_one_and_hardly_above(
            mut values in proptest::collection::vec(prop_oneof![0_u64..200, 0_u64..1_000_000, any::<u64>()], 1..200), percent in 1_u64..=100,
        ) {
            let (mut whole, mut left, mut right) = (Spread::default(), Spread::default(), Spread::default());
            for (number, value) in values.iter().enumerate() {
                whole.add(*value);
                if number % 3 == 0 { left.add(*value) } else { right.add(*value) }
            }
            left.fold(&right);
            prop_assert_eq!(&left, &whole);
            values.sort_unstable();
            let rank = (values.len() as u64 * percent).div_ceil(100).max(1);
            let truth = values[usize::try_from(rank - 1).unwrap()];
            let said = whole.percentile(percent).unwrap();
            prop_assert!(said >= truth && said - truth <= truth / 32, "{said} for {truth}");
        }
    }

    #[test]
    fn no_numbers_have_no_percentile() {
        assert_eq!(Spread::default().percentile(50), None);
    }
}
