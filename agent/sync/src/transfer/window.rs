//! How much to ask for and when: a byte window that grows by one chunk per window received as long as chunks come soon after
//! they are asked for, shrinks when they come late, and halves on a loss.
//!
//! Late, because what was asked for waits in the queue of the narrowest line, however deep that is, and whatever is told to this
//! device or to others on that line waits behind it. The wait as it is counts, not what it grew by: everybody on a line sees
//! the same one, and who came first has no better or worse idea of the empty line.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use outpost_contract::limits::{CHUNK_BYTES, CHUNKS_PER_REQUEST};
use outpost_contract::{Blake3, Chunk};
use tokio::time::Instant;

/// Bytes on their way at first.
const FIRST_BYTES: usize = 2 * CHUNK_BYTES;

/// Bytes on their way at most.
const MOST_BYTES: usize = CHUNKS_PER_REQUEST * CHUNK_BYTES;

/// A chunk that takes longer to come has waited behind others.
const LATE: Duration = Duration::from_millis(400);

/// Shortest and longest silence that counts as a loss.
const SILENCE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));

/// What became of an arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It was wanted.
    Wanted,
    /// It came before, or nobody asked for it.
    Unwanted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Queued,
    Asked,
}

#[derive(Debug, Clone, Copy)]
struct Missing {
    chunk: Chunk,
    place: usize,
    stage: Stage,
    /// When it was asked for last.
    asked_at: Instant,
}

/// The chunks of one fetch, and the window over them.
#[derive(Debug)]
pub(super) struct Window {
    /// Not asked for, in order; may hold ids that have arrived late since, which are skipped.
    queue: VecDeque<Chunk>,
    /// All chunks still missing, with their place in the order asked for.
    missing: HashMap<Blake3, Missing>,
    asked_bytes: usize,
    allowed_bytes: usize,
    /// Bytes received since the window last grew.
    grown_bytes: usize,
    /// The longest that a chunk took to come since then.
    slowest: Duration,
    /// Smoothed time between two arrivals.
    gap: Option<Duration>,
    /// The last arrival, or the last question if nothing was on its way before.
    quiet_since: Instant,
}

impl Window {
    pub(super) fn new(wanted: &[Chunk], now: Instant) -> Self {
        let mut missing = HashMap::with_capacity(wanted.len());
        let mut queue = VecDeque::with_capacity(wanted.len());
        for (place, chunk) in wanted.iter().enumerate() {
            let entry = Missing { chunk: *chunk, place, stage: Stage::Queued, asked_at: now };
            if missing.insert(chunk.id, entry).is_none() {
                queue.push_back(*chunk);
            }
        }
        Self {
            queue,
            missing,
            asked_bytes: 0,
            allowed_bytes: FIRST_BYTES,
            grown_bytes: 0,
            slowest: Duration::ZERO,
            gap: None,
            quiet_since: now,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.missing.is_empty()
    }

    /// Distinct chunks that have not arrived.
    pub(super) fn missing(&self) -> usize {
        self.missing.len()
    }

    /// Size of a chunk that has not arrived.
    pub(super) fn bytes_of(&self, id: Blake3) -> Option<usize> {
        self.missing.get(&id).map(|missing| missing.chunk.bytes as usize)
    }

    /// True while something asked for has not arrived.
    pub(super) fn is_waiting(&self) -> bool {
        self.asked_bytes > 0
    }

    /// The ids to ask for now, if any: once half of what was asked for has arrived, so that the pipe stays full.
    pub(super) fn next_request(&mut self, now: Instant) -> Option<Vec<Blake3>> {
        if self.asked_bytes > self.allowed_bytes / 2 {
            return None;
        }
        let was_idle = self.asked_bytes == 0;
        let mut ids = Vec::new();
        while ids.len() < CHUNKS_PER_REQUEST {
            let Some(chunk) = self.queue.front().copied() else { break };
            let queued = self.missing.get_mut(&chunk.id).filter(|missing| missing.stage == Stage::Queued);
            let fits = self.asked_bytes + chunk.bytes as usize <= self.allowed_bytes || self.asked_bytes == 0;
            if queued.is_some() && !fits {
                break;
            }
            self.queue.pop_front();
            if let Some(missing) = queued {
                missing.stage = Stage::Asked;
                missing.asked_at = now;
                self.asked_bytes += chunk.bytes as usize;
                ids.push(chunk.id);
            }
        }
        if was_idle {
            self.quiet_since = now;
        }
        if ids.is_empty() { None } else { Some(ids) }
    }

    /// A chunk arrived. Whether its bytes are right is for the receiver to judge.
    pub(super) fn arrived(&mut self, id: Blake3, now: Instant) -> Arrival {
        let Some(Missing { chunk, stage, asked_at, .. }) = self.missing.remove(&id) else { return Arrival::Unwanted };
        let bytes = chunk.bytes as usize;
        if stage == Stage::Asked {
            self.asked_bytes -= bytes;
            self.slowest = self.slowest.max(now.saturating_duration_since(asked_at));
        }
        let gap = now.saturating_duration_since(self.quiet_since);
        // An eighth of each new gap, as TCP smooths its round trip.
        self.gap = Some(self.gap.map_or(gap, |smooth| smooth * 7 / 8 + gap / 8));
        self.quiet_since = now;
        self.grown_bytes += bytes;
        if self.grown_bytes >= self.allowed_bytes {
            let slowest = std::mem::take(&mut self.slowest);
            self.grown_bytes = 0;
            self.allowed_bytes = if slowest > LATE {
                (self.allowed_bytes / 4 * 3).max(CHUNK_BYTES)
            } else {
                (self.allowed_bytes + CHUNK_BYTES).min(MOST_BYTES)
            };
        }
        Arrival::Wanted
    }

    /// Time spent handing a chunk on is not the sender's silence.
    pub(super) fn handed_on(&mut self, now: Instant) {
        self.quiet_since = now;
    }

    /// When silence becomes a loss; meaningful while [`Window::is_waiting`].
    pub(super) fn deadline(&self) -> Instant {
        let (shortest, longest) = SILENCE;
        self.quiet_since + self.gap.unwrap_or(shortest).saturating_mul(4).clamp(shortest, longest)
    }

    /// What was asked for did not come: ask again, for less at a time.
    pub(super) fn lost(&mut self, now: Instant) {
        self.allowed_bytes = (self.allowed_bytes / 2).max(CHUNK_BYTES);
        self.ask_all_again(now);
    }

    /// A new connection: what was on its way over the old one will not come.
    pub(super) fn ask_all_again(&mut self, now: Instant) {
        let mut again = Vec::new();
        for missing in self.missing.values_mut().filter(|missing| missing.stage == Stage::Asked) {
            missing.stage = Stage::Queued;
            again.push(*missing);
        }
        // In order, so that the disk is written from front to back.
        again.sort_unstable_by_key(|missing| std::cmp::Reverse(missing.place));
        again.into_iter().for_each(|missing| self.queue.push_front(missing.chunk));
        self.asked_bytes = 0;
        self.grown_bytes = 0;
        self.slowest = Duration::ZERO;
        self.quiet_since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chunks(sizes: &[u32]) -> Vec<Chunk> {
        let id = |index: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&(index as u64).to_le_bytes());
            Blake3(id)
        };
        sizes.iter().enumerate().map(|(index, &bytes)| Chunk { id: id(index), bytes }).collect()
    }

    fn full(count: usize) -> Vec<Chunk> {
        chunks(&vec![CHUNK_BYTES as u32; count])
    }

    #[tokio::test(start_paused = true)]
    async fn the_window_opens_chunk_by_chunk_and_halves_on_a_loss() {
        let mut window = Window::new(&full(200), Instant::now());
        let mut largest = 0;
        for _ in 0..120 {
            let mut on_the_way = Vec::new();
            while let Some(ids) = window.next_request(Instant::now()) {
                on_the_way.extend(ids);
            }
            largest = largest.max(window.asked_bytes);
            for id in on_the_way {
                assert_eq!(window.arrived(id, Instant::now()), Arrival::Wanted);
            }
        }
        assert!(window.is_done());
        assert_eq!(largest, MOST_BYTES);

        let mut window = Window::new(&full(8), Instant::now());
        assert_eq!(window.next_request(Instant::now()).unwrap().len(), 2);
        window.lost(Instant::now());
        assert_eq!(window.next_request(Instant::now()).unwrap().len(), 1);
        window.lost(Instant::now());
        assert_eq!(window.next_request(Instant::now()).unwrap().len(), 1, "never less than a chunk");
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_request_goes_out_when_half_of_the_window_has_arrived() {
        let mut window = Window::new(&full(8), Instant::now());
        let first = window.next_request(Instant::now()).unwrap();
        assert_eq!(window.next_request(Instant::now()), None);
        window.arrived(first[0], Instant::now());
        assert_eq!(window.next_request(Instant::now()).unwrap().len(), 1);
    }

    /// Bytes on the way, and how long the last chunk took, once a window is settled on a line that brings a chunk in so long.
    async fn settled(per_chunk: Duration) -> (usize, Duration) {
        let mut window = Window::new(&full(400), Instant::now());
        let (mut on_the_way, mut took) = (VecDeque::new(), Duration::ZERO);
        for _ in 0..300 {
            while let Some(ids) = window.next_request(Instant::now()) {
                on_the_way.extend(ids.into_iter().map(|id| (id, Instant::now())));
            }
            tokio::time::advance(per_chunk).await;
            let (id, asked_at) = on_the_way.pop_front().unwrap();
            took = asked_at.elapsed();
            window.arrived(id, Instant::now());
        }
        (window.allowed_bytes, took)
    }

    #[tokio::test(start_paused = true)]
    async fn no_line_however_deep_its_queue_holds_much_more_than_what_comes_soon() {
        for per_chunk in [20, 60, 125, 250] {
            let (_, took) = settled(Duration::from_millis(per_chunk)).await;
            assert!(took <= LATE + Duration::from_millis(2 * per_chunk), "{per_chunk} ms: {took:?}");
        }
        let slow = settled(Duration::from_secs(4)).await;
        assert_eq!(slow, (CHUNK_BYTES, Duration::from_secs(4)), "one at a time");
        assert_eq!(settled(Duration::from_millis(1)).await.0, MOST_BYTES, "a fast line is not held back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_chunk_that_comes_late_or_twice_counts_once() {
        let mut window = Window::new(&full(3), Instant::now());
        let ids = window.next_request(Instant::now()).unwrap();
        window.lost(Instant::now());
        assert_eq!(window.arrived(ids[1], Instant::now()), Arrival::Wanted, "late, but wanted");
        assert_eq!(window.arrived(ids[1], Instant::now()), Arrival::Unwanted);
        assert_eq!(window.arrived(Blake3([255; 32]), Instant::now()), Arrival::Unwanted);
        assert_eq!(window.missing(), 2);
        let again = window.next_request(Instant::now()).unwrap();
        assert_eq!(again[0], ids[0]);
        assert!(!again.contains(&ids[1]));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_judged_by_the_pace_of_arrivals() {
        let mut window = Window::new(&full(100), Instant::now());
        for _ in 0..30 {
            let ids = window.next_request(Instant::now()).unwrap_or_default();
            for id in ids {
                tokio::time::advance(Duration::from_secs(3)).await;
                window.arrived(id, Instant::now());
            }
        }
        let patience = window.deadline() - Instant::now();
        assert!(patience > Duration::from_secs(11) && patience <= Duration::from_secs(12), "{patience:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_chunk_is_asked_for_until_it_came_and_no_request_breaks_a_limit(
            sizes in prop::collection::vec(1u32..=CHUNK_BYTES as u32, 0..120), losses in prop::collection::vec(any::<bool>(), 40)
        ) {
            let now = Instant::now();
            let wanted = chunks(&sizes);
            let mut window = Window::new(&wanted, now);
            let mut came = std::collections::HashSet::new();
            for lose in losses.into_iter().chain(std::iter::repeat(false)) {
                if window.is_done() {
                    break;
                }
                let ids = window.next_request(now).unwrap_or_default();
                prop_assert!(ids.len() <= CHUNKS_PER_REQUEST);
                prop_assert!(!ids.is_empty());
                prop_assert!(window.asked_bytes <= MOST_BYTES);
                if lose {
                    window.lost(now);
                    continue;
                }
                for id in ids {
                    prop_assert_eq!(window.arrived(id, now), Arrival::Wanted);
                    prop_assert!(came.insert(id));
                }
                prop_assert_eq!(window.asked_bytes, 0);
            }
            prop_assert_eq!(came.len(), wanted.len());
        }
    }
}
