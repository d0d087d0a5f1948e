//! Tables, lists and stretches that stay small however long the log is: what does not fit is folded, and said to be.

use std::collections::{BTreeMap, VecDeque};

/// Something that can be added up.
pub(super) trait Fold: Default {
    /// Adds another one.
    fn fold(&mut self, other: &Self);
}

/// Rows by key. The first so many keys have a row of their own; records of later keys are added up in one.
#[derive(Debug)]
pub(super) struct Bounded<K, V> {
    rows: BTreeMap<K, V>,
    limit: usize,
    later: Option<V>,
}

/// The largest rows, and all others as one with a name that says what is in it.
type Ranked<'a, K, V> = (Vec<(&'a K, &'a V)>, Option<(String, V)>);

impl<K: Ord, V: Fold> Bounded<K, V> {
    pub(super) fn new(limit: usize) -> Self {
        Self { rows: BTreeMap::new(), limit, later: None }
    }

    /// The row of this key, or the one of all that came too late.
    pub(super) fn of(&mut self, key: K) -> &mut V {
        if self.rows.len() < self.limit || self.rows.contains_key(&key) {
            self.rows.entry(key).or_default()
        } else {
            self.later.get_or_insert_with(V::default)
        }
    }

    /// The row of this key, if it has one.
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key)
    }

    /// Whether there is nothing at all.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether keys came for which there was no row left.
    pub(super) fn has_later(&self) -> bool {
        self.later.is_some()
    }

    /// How many, in words: the true number, or that it is larger than what was counted.
    pub(super) fn how_many(&self) -> String {
        match self.later {
            None => super::page::grouped(self.rows.len() as u64),
            Some(_) => format!("more than {}", super::page::grouped(self.limit as u64)),
        }
    }

    /// Every key that has a row.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.rows.iter()
    }

    /// The largest so many by `size`, and the rest as one row with a name that says what is in it.
    pub(super) fn ranked(&self, shown: usize, size: impl Fn(&V) -> u64) -> Ranked<'_, K, V> {
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by_key(|(_, value)| std::cmp::Reverse(size(value)));
        let rest = rows.split_off(shown.min(rows.len()));
        if rest.is_empty() && self.later.is_none() {
            return (rows, None);
        }
        let mut folded = V::default();
        for (_, value) in &rest {
            folded.fold(value);
        }
        let mut name = format!("{} others", rest.len());
        if let Some(later) = &self.later {
            folded.fold(later);
            name.push_str(&format!(", and all first seen after the first {}", self.limit));
        }
        (rows, Some((name, folded)))
    }
}

/// The newest so many of a list, and how many there were.
#[derive(Debug)]
pub(super) struct Newest<T> {
    kept: VecDeque<T>,
    limit: usize,
    total: u64,
}

impl<T> Newest<T> {
    pub(super) fn new(limit: usize) -> Self {
        Self { kept: VecDeque::new(), limit, total: 0 }
    }

    pub(super) fn push(&mut self, item: T) {
        if self.kept.len() == self.limit {
            self.kept.pop_front();
        }
        self.kept.push_back(item);
        self.total += 1;
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.kept.iter()
    }

    /// What a caption says of what is left out; nothing if nothing is.
    pub(super) fn left_out(&self) -> String {
        match self.total - self.kept.len() as u64 {
            0 => String::new(),
            older => format!(" (the newest {}; {older} older ones are counted, not listed)", self.kept.len()),
        }
    }
}

/// A stretch of time, milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) from: i64,
    pub(super) to: i64,
}

/// Stretches in the order in which they began. When there are too many, neighbours that lie close are joined.
#[derive(Debug, Default)]
pub(super) struct Stretches {
    kept: Vec<Stretch>,
    joined_ms: i64,
}

/// More stretches than this cannot be told apart in a picture.
const MAX_STRETCHES: usize = 1_024;

impl Stretches {
    pub(super) fn push(&mut self, from: i64, to: i64) {
        let next = Stretch { from, to: to.max(from) };
        match self.kept.last_mut() {
            Some(last) if next.from.saturating_sub(last.to) < self.joined_ms => last.to = last.to.max(next.to),
            _ => self.kept.push(next),
        }
        while self.kept.len() > MAX_STRETCHES {
            self.joined_ms = (self.joined_ms * 2).max(60_000);
            let mut joined: Vec<Stretch> = Vec::with_capacity(self.kept.len());
            for next in self.kept.drain(..) {
                match joined.last_mut() {
                    Some(last) if next.from.saturating_sub(last.to) < self.joined_ms => last.to = last.to.max(next.to),
                    _ => joined.push(next),
                }
            }
            self.kept = joined;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Stretch> {
        self.kept.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Fold for u64 {
        fn fold(&mut self, other: &Self) {
            *self += other;
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_by_folding(keys in proptest::collection::vec(0_u16..300, 0..600), limit in 1_usize..40, shown in 0_usize..40) {
            let mut table = Bounded::<u16, u64>::new(limit);
            for key in &keys {
                *table.of(*key) += 1;
            }
            prop_assert!(table.rows.len() <= limit);
            let (rows, rest) = table.ranked(shown, |count| *count);
            prop_assert!(rows.len() <= shown);
            let sum: u64 = rows.iter().map(|(_, count)| **count).sum();
            prop_assert_eq!(sum + rest.map_or(0, |(_, count)| count), keys.len() as u64);
        }

        #[test]
        fn joined_stretches_cover_what_was_pushed(gaps in proptest::collection::vec((0_i64..100_000, 1_i64..100_000), 0..3_000)) {
            let (mut stretches, mut now, mut all) = (Stretches::default(), 0, Vec::new());
            for (gap, length) in gaps {
                all.push((now + gap, now + gap + length));
                now += gap + length;
            }
            for (from, to) in &all {
                stretches.push(*from, *to);
            }
            prop_assert!(stretches.kept.len() <= MAX_STRETCHES);
            for (from, to) in all {
                prop_assert!(stretches.iter().any(|kept| kept.from <= from && to <= kept.to));
            }
        }
    }

    #[test]
    fn a_list_keeps_the_newest_and_counts_the_others() {
        let mut list = Newest::new(3);
        (0..10).for_each(|number| list.push(number));
        assert_eq!(list.iter().copied().collect::<Vec<_>>(), [7, 8, 9]);
        assert_eq!((list.total(), list.left_out().contains("7 older")), (10, true));
    }
}
