//! Use over time: counts in slots of equal length, which widen as the log gets longer.

use std::collections::BTreeMap;

use super::bounded::Fold;

pub(super) const HOUR_MS: i64 = 3_600_000;
pub(super) const DAY_MS: i64 = 24 * HOUR_MS;

/// 1970-01-05: weeks begin on Mondays.
const MONDAY_MS: i64 = 4 * DAY_MS;

/// More slots than this are not kept while counting.
const MAX_SLOTS: usize = 4_096;

/// What happened in one slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) answered: u64,
    pub(super) refused: u64,
    pub(super) aborted: u64,
    pub(super) tokens_in: u64,
    pub(super) tokens_out: u64,
}

impl Fold for Slot {
    fn fold(&mut self, other: &Self) {
        self.answered += other.answered;
        self.refused += other.refused;
        self.aborted += other.aborted;
        self.tokens_in += other.tokens_in;
        self.tokens_out += other.tokens_out;
    }
}

/// Slots by when they begin.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) width_ms: i64,
    slots: BTreeMap<i64, Slot>,
}

impl Default for Series {
    fn default() -> Self {
        Self { width_ms: HOUR_MS, slots: BTreeMap::new() }
    }
}

impl Series {
    pub(super) fn at(&mut self, wall_ms: i64) -> &mut Slot {
        while self.slots.len() >= MAX_SLOTS && !self.slots.contains_key(&begin(wall_ms, self.width_ms)) {
            self.widen();
        }
        self.slots.entry(begin(wall_ms, self.width_ms)).or_default()
    }

    fn widen(&mut self) {
        self.width_ms = match self.width_ms {
            HOUR_MS => DAY_MS,
            DAY_MS => 7 * DAY_MS,
            width if width == 7 * DAY_MS => 28 * DAY_MS,
            width => width.saturating_mul(13),
        };
        for (at, slot) in std::mem::take(&mut self.slots) {
            self.slots.entry(begin(at, self.width_ms)).or_default().fold(&slot);
        }
    }

    /// At most `limit` slots without a gap between the first and the last that hold anything.
    pub(super) fn drawn(&self, limit: i64) -> (i64, Vec<(i64, Slot)>) {
        let mut series = self.clone();
        let count = |series: &Self| match (series.slots.first_key_value(), series.slots.last_key_value()) {
            (Some((first, _)), Some((last, _))) => last.saturating_sub(*first) / series.width_ms + 1,
            _ => 0,
        };
        while count(&series) > limit {
            series.widen();
        }
        let first = series.slots.first_key_value().map_or(0, |(first, _)| *first);
        let width = series.width_ms;
        let slots = (0..count(&series)).map(|number| {
            let at = first + number * width;
            (at, series.slots.get(&at).copied().unwrap_or_default())
        });
        (width, slots.collect())
    }
}

/// When the slot with this moment in it begins.
fn begin(wall_ms: i64, width_ms: i64) -> i64 {
    let origin = if width_ms > DAY_MS { MONDAY_MS } else { 0 };
    // Where the calendar ends, the first slot is cut short.
    wall_ms.saturating_sub(wall_ms.saturating_sub(origin).rem_euclid(width_ms))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_moment_is_counted_once_however_far_apart(
            moments in proptest::collection::vec(prop_oneof![0_i64..1_000 * DAY_MS, -(1_i64 << 53)..(1_i64 << 53)], 0..300),
        ) {
            let mut series = Series::default();
            for moment in &moments {
                series.at(*moment).answered += 1;
            }
            let (width, slots) = series.drawn(92);
            prop_assert!(slots.len() <= 92);
            prop_assert_eq!(slots.iter().map(|(_, slot)| slot.answered).sum::<u64>(), moments.len() as u64);
            for moment in moments {
                let holds = |(at, slot): &(i64, Slot)| (*at..at + width).contains(&moment) && slot.answered > 0;
                prop_assert!(slots.iter().any(holds), "{} in slots of {}", moment, width);
            }
        }
    }

    #[test]
    fn many_slots_are_widened_while_counting() {
        let mut series = Series::default();
        (0..3 * MAX_SLOTS as i64).for_each(|hour| series.at(hour * HOUR_MS).refused += 1);
        assert_eq!(series.width_ms, DAY_MS);
        assert!(series.slots.len() <= MAX_SLOTS);
        assert_eq!(series.slots.values().map(|slot| slot.refused).sum::<u64>(), 3 * MAX_SLOTS as u64);
    }

    #[test]
    fn weeks_begin_on_mondays() {
        // 2026-11-26 is a Thursday.
        let monday: crate::leaf::Time = "2026-11-23".parse().unwrap();
        let thursday: crate::leaf::Time = "2026-11-26T12:00:00Z".parse().unwrap();
        assert_eq!(begin(thursday.0, 7 * DAY_MS), monday.0);
    }
}
