//! The decision by itself: candidates and numbers in, what leaves out.

use outpost_contract::Blake3;

use super::{Collection, Removed, Room};

/// A file, whole or partial.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) file: Blake3,
    pub(super) bytes: u64,
    pub(super) partial: bool,
    pub(super) used_s: i64,
    pub(super) stays: bool,
}

/// The disk, and what is asked of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shortage {
    pub(super) free_bytes: u64,
    pub(super) reserve_bytes: u64,
    pub(super) room: Room,
}

impl Shortage {
    /// Bytes that are missing below the budget and on the disk, once so many are free again of so many taken.
    fn missing(self, taken_bytes: u64, freed_bytes: u64) -> (u64, u64) {
        let Room { budget_bytes, incoming_bytes } = self.room;
        let left_bytes = taken_bytes.saturating_sub(freed_bytes).saturating_add(incoming_bytes);
        let budget = if budget_bytes == 0 { 0 } else { left_bytes.saturating_sub(budget_bytes) };
        let wanted_bytes = self.reserve_bytes.saturating_add(incoming_bytes);
        (budget, wanted_bytes.saturating_sub(self.free_bytes.saturating_add(freed_bytes)))
    }
}

pub(super) fn choose(candidates: Vec<Candidate>, shortage: Shortage, now_s: i64, stale_s: i64) -> Collection {
    let taken_bytes = candidates.iter().map(|one| one.bytes).sum();
    let mut loose: Vec<_> = candidates.into_iter().filter(|one| !one.stays).collect();
    // Partial files first: what is whole can be used.
    loose.sort_by_key(|one| (!one.partial, one.used_s, one.file));
    let removed =
        |one: &Candidate, because| Removed { file: one.file, bytes: one.bytes, partial: one.partial, because };
    let is_stale = |one: &Candidate| one.partial && now_s.saturating_sub(one.used_s) >= stale_s;
    let stale: Vec<_> = loose.iter().filter(|one| is_stale(one)).map(|one| removed(one, "stale")).collect();
    let mut freed_bytes: u64 = stale.iter().map(|one| one.bytes).sum();
    let mut leaving = stale.clone();
    for one in loose.iter().filter(|one| !is_stale(one)) {
        match shortage.missing(taken_bytes, freed_bytes) {
            (0, 0) => break,
            (budget, _) => leaving.push(removed(one, if budget > 0 { "budget" } else { "room" })),
        }
        freed_bytes = freed_bytes.saturating_add(one.bytes);
    }
    let (budget, room) = shortage.missing(taken_bytes, freed_bytes);
    let missing_bytes = budget.max(room);
    if missing_bytes > 0 && shortage.room.incoming_bytes > 0 {
        leaving = stale;
    }
    Collection { leaving, missing_bytes }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY_S: i64 = 24 * 3600;

    fn candidate(number: u8, bytes: u64, used_s: i64, partial: bool, stays: bool) -> Candidate {
        Candidate { file: Blake3([number; 32]), bytes, partial, used_s, stays }
    }

    fn shortage(free_bytes: u64, budget_bytes: u64, incoming_bytes: u64) -> Shortage {
        Shortage { free_bytes, reserve_bytes: 10, room: Room { budget_bytes, incoming_bytes } }
    }

    fn numbers(collection: &Collection) -> Vec<(u8, &'static str)> {
        collection.leaving.iter().map(|one| (one.file.0[0], one.because)).collect()
    }

    fn shelf() -> Vec<Candidate> {
        vec![
            candidate(1, 100, 50 * DAY_S, false, false),
            candidate(2, 100, 40 * DAY_S, false, false),
            candidate(3, 100, 30 * DAY_S, false, true),
            candidate(4, 20, 59 * DAY_S, true, false),
        ]
    }

    #[test]
    fn with_room_nothing_leaves_but_a_partial_file_that_nobody_wanted_for_a_week() {
        let at = |now_s| choose(shelf(), shortage(1000, 0, 100), now_s, 7 * DAY_S);
        assert_eq!(numbers(&at(60 * DAY_S)), []);
        assert_eq!(numbers(&at(66 * DAY_S)), [(4, "stale")]);
        assert_eq!(numbers(&at(-60 * DAY_S)), [], "a clock that went back makes nothing old");
    }

    #[test]
    fn for_room_partial_files_leave_first_then_what_was_used_longest_ago_and_nothing_in_vain() {
        let needing = |incoming| choose(shelf(), shortage(10, 0, incoming), 60 * DAY_S, 7 * DAY_S);
        assert_eq!(numbers(&needing(20)), [(4, "room")]);
        assert_eq!(numbers(&needing(21)), [(4, "room"), (2, "room")]);
        assert_eq!(numbers(&needing(220)), [(4, "room"), (2, "room"), (1, "room")]);
        let vain = needing(221);
        assert_eq!((numbers(&vain), vain.missing_bytes), (vec![], 1));
    }

    #[test]
    fn a_budget_holds_for_what_comes_and_what_is_there() {
        let within = |budget, incoming| choose(shelf(), shortage(1000, budget, incoming), 60 * DAY_S, 7 * DAY_S);
        assert_eq!(numbers(&within(320, 0)), []);
        assert_eq!(numbers(&within(319, 0)), [(4, "budget")]);
        assert_eq!(numbers(&within(320, 100)), [(4, "budget"), (2, "budget")]);
        let (small, none) = (within(50, 0), within(50, 1));
        assert_eq!((numbers(&small).len(), small.missing_bytes), (3, 50), "as much as may leave does");
        assert_eq!((numbers(&none).len(), none.missing_bytes), (0, 51));
    }

    proptest! {
        #[test]
        fn what_stays_stays_and_what_leaves_is_enough_or_leaves_for_its_age(
            files in prop::collection::vec((1u64..100, 0i64..90, any::<bool>(), any::<bool>()), 0..12),
            free in 0u64..200, budget in 0u64..500, incoming in 0u64..300,
        ) {
            let all: Vec<_> = (0..).zip(&files)
                .map(|(number, &(bytes, day, partial, stays))| candidate(number, bytes, day * DAY_S, partial, stays))
                .collect();
            let short = shortage(free, budget, incoming);
            let chosen = choose(all.clone(), short, 90 * DAY_S, 7 * DAY_S);
            let of = |file: Blake3| all.iter().find(|one| one.file == file).unwrap();
            prop_assert!(chosen.leaving.iter().all(|one| !of(one.file).stays));
            let taken: u64 = all.iter().map(|one| one.bytes).sum();
            let freed: u64 = chosen.leaving.iter().map(|one| one.bytes).sum();
            if chosen.missing_bytes == 0 {
                prop_assert_eq!(short.missing(taken, freed), (0, 0));
                // One fewer would not have been enough.
                if let Some(last) = chosen.leaving.last().filter(|last| last.because != "stale") {
                    prop_assert_ne!(short.missing(taken, freed - last.bytes), (0, 0));
                }
            } else if incoming > 0 {
                prop_assert!(chosen.leaving.iter().all(|one| one.because == "stale"));
            }
        }
    }
}
