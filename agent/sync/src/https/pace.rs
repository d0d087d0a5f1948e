//! How much one request asks for: twice as much each time until an answer comes late, then a little more or a quarter less.
//!
//! What was asked for cannot be overtaken: it stands in the queue of the narrowest line, however deep that queue is. A policy
//! that is told while models are fetched waits as long as what was asked for before it. The wait as it is counts, not what it
//! grew by: everybody on a line sees the same one, so that they come to share it.

use std::time::Duration;

/// An answer that takes longer, to its last byte, has waited behind others.
const LATE: Duration = Duration::from_millis(400);

/// Bytes of the first request, of the steps upwards, and of every request on the slowest line.
const STEP_BYTES: u64 = 64 * 1024;

/// What one lane asks for at a time.
#[derive(Debug)]
pub(super) struct Pace {
    bytes: u64,
    most: u64,
    /// Nothing came late yet.
    is_starting: bool,
    /// The shortest wait for a first byte: on a line that is longer than [`LATE`] that is nobody's queue.
    nearest: Option<Duration>,
}

impl Pace {
    /// Begins with little, never asks for more than `most`.
    pub(super) fn new(most: u64) -> Self {
        Self { bytes: STEP_BYTES.min(most), most, is_starting: true, nearest: None }
    }

    /// Bytes that the next request asks for.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// An answer came whole: its first byte after so long, its last after so long.
    pub(super) fn came(&mut self, first: Duration, last: Duration) {
        // The first answer of all came over a connection that was made for it.
        let Some(nearest) = self.nearest.replace(self.nearest.map_or(first, |nearest| nearest.min(first))) else {
            return;
        };
        let late = if nearest > LATE { nearest * 2 } else { LATE };
        if last > late {
            self.shrink();
        } else if self.is_starting {
            self.bytes = self.bytes.saturating_mul(2).min(self.most);
        } else {
            self.bytes = (self.bytes + STEP_BYTES).min(self.most);
        }
    }

    /// A request broke off.
    pub(super) fn broke_off(&mut self) {
        self.shrink();
    }

    fn shrink(&mut self) {
        self.is_starting = false;
        self.bytes = (self.bytes / 4 * 3).max(STEP_BYTES.min(self.most));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MOST: u64 = 16 * 1024 * 1024;

    /// How long the longest of the last requests took on a line of so many bytes per second, and what was asked for at last.
    fn settled(bytes_per_s: u64, round_trip: Duration) -> (u64, Duration) {
        let mut pace = Pace::new(MOST);
        let mut longest = Duration::ZERO;
        for request in 0..400 {
            let last = round_trip + Duration::from_secs_f64(pace.bytes() as f64 / bytes_per_s as f64);
            if request >= 200 {
                longest = longest.max(last);
            }
            pace.came(round_trip, last);
        }
        (pace.bytes(), longest)
    }

    #[test]
    fn on_any_line_an_answer_comes_soon_and_a_fast_one_is_asked_for_all_it_may_be() {
        let near = Duration::from_millis(20);
        for bytes_per_s in [300 * 1024, 1024 * 1024, 2 * 1024 * 1024, 20_000_000] {
            let (bytes, longest) = settled(bytes_per_s, near);
            let step = Duration::from_secs_f64(STEP_BYTES as f64 / bytes_per_s as f64);
            assert!(longest <= LATE + step, "{bytes_per_s}: {longest:?}");
            assert!(bytes as f64 >= bytes_per_s as f64 * 0.2, "{bytes_per_s}: {bytes}");
        }
        assert_eq!(settled(1_000_000_000, near).0, MOST);
        assert_eq!(settled(10_000, near).0, STEP_BYTES);
    }

    #[test]
    fn a_long_line_is_not_taken_for_a_full_one() {
        let (bytes, _) = settled(2_000_000, Duration::from_millis(700));
        assert!(bytes >= 1_000_000, "{bytes}");
    }

    #[test]
    fn two_on_one_line_come_to_share_it_whoever_was_first() {
        let (mut early, mut late) = (Pace::new(MOST), Pace::new(MOST));
        let took = |bytes: u64| Duration::from_secs_f64(bytes as f64 / 2e6);
        for _ in 0..50 {
            early.came(took(0), took(early.bytes()));
        }
        assert!(early.bytes() > 8 * late.bytes());
        let (mut ours, mut theirs) = (0, 0);
        for round in 0..200 {
            // Each finds what the other asked for before it.
            let all = took(early.bytes() + late.bytes());
            if round >= 50 {
                (ours, theirs) = (ours + early.bytes(), theirs + late.bytes());
            }
            let (before_early, before_late) = (took(late.bytes()), took(early.bytes()));
            early.came(before_early, all);
            late.came(before_late, all);
        }
        assert!(ours < theirs * 5 / 4 && theirs < ours * 5 / 4, "{ours} {theirs}");
    }

    #[test]
    fn a_line_that_becomes_narrow_and_a_cut_ask_for_less() {
        let mut pace = Pace::new(MOST);
        for _ in 0..20 {
            pace.came(Duration::ZERO, Duration::from_millis(1));
        }
        assert_eq!(pace.bytes(), MOST);
        pace.came(Duration::ZERO, Duration::from_secs(60));
        assert_eq!(pace.bytes(), MOST / 4 * 3);
        pace.broke_off();
        assert_eq!(pace.bytes(), MOST / 16 * 9);
    }

    proptest! {
        #[test]
        fn whatever_came_the_next_request_is_within_its_limits(
            answers in prop::collection::vec((any::<u32>(), any::<u32>()), 0..50), most in 1u64..=MOST
        ) {
            let mut pace = Pace::new(most);
            for (first, last) in answers {
                pace.came(Duration::from_micros(u64::from(first)), Duration::from_micros(u64::from(last)));
                prop_assert!(pace.bytes() >= 1 && pace.bytes() <= most);
            }
        }
    }
}
