//! Failures to identify, counted together: at most one record per source in ten seconds, so that nobody can fill the
//! disk by knocking.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long failures of one source are counted together.
pub(crate) const WINDOW: Duration = Duration::from_secs(10);

/// Sources that are told apart; what comes beyond is counted as one.
const SOURCES: usize = 1024;

/// Stands for all sources beyond [`SOURCES`].
const OTHERS: &str = "others";

/// Counts by source.
#[derive(Debug, Default)]
pub(crate) struct Failures(Mutex<HashMap<String, Window>>);

#[derive(Debug)]
struct Window {
    since: Instant,
    /// Failures since the last record, not counting the one that it was written for.
    unrecorded: u64,
    /// What the last of them was.
    code: &'static str,
}

/// Failures to be written as one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) source: String,
    pub(crate) code: &'static str,
    pub(crate) count: u64,
}

impl Failures {
    /// Counts one failure; what comes back is to be recorded now, before the refusal is sent.
    pub(crate) fn count(&self, source: &str, code: &'static str, now: Instant) -> Option<Tally> {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let source = if windows.len() < SOURCES || windows.contains_key(source) { source } else { OTHERS };
        let window = windows.get_mut(source);
        if let Some(window) = window {
            if now.saturating_duration_since(window.since) < WINDOW {
                window.unrecorded += 1;
                window.code = code;
                return None;
            }
            let count = window.unrecorded + 1;
            *window = Window { since: now, unrecorded: 0, code };
            return Some(Tally { source: source.to_owned(), code, count });
        }
        windows.insert(source.to_owned(), Window { since: now, unrecorded: 0, code });
        Some(Tally { source: source.to_owned(), code, count: 1 })
    }

    /// What windows that are over have not recorded yet; and forgets them.
    pub(crate) fn sweep(&self, now: Instant) -> Vec<Tally> {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let over = |window: &Window| now.saturating_duration_since(window.since) >= WINDOW;
        let tallies = windows
            .iter()
            .filter(|(_, window)| over(window) && window.unrecorded > 0)
            .map(|(source, window)| Tally { source: source.clone(), code: window.code, count: window.unrecorded })
            .collect();
        windows.retain(|_, window| !over(window));
        tallies
    }

    /// Everything not recorded yet, whatever its window: for the shutdown.
    pub(crate) fn drain(&self) -> Vec<Tally> {
        let windows = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        windows
            .into_iter()
            .filter(|(_, window)| window.unrecorded > 0)
            .map(|(source, window)| Tally { source, code: window.code, count: window.unrecorded })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_record_per_source_and_window_carries_the_count() {
        let (failures, start) = (Failures::default(), Instant::now());
        let tally = |source: &str, count| Tally { source: source.to_owned(), code: "x", count };
        assert_eq!(failures.count("a", "x", start), Some(tally("a", 1)));
        assert_eq!(failures.count("a", "x", start), None);
        assert_eq!(failures.count("a", "x", start + WINDOW / 2), None);
        assert_eq!(failures.count("b", "x", start), Some(tally("b", 1)));
        assert_eq!(failures.count("a", "x", start + WINDOW), Some(tally("a", 3)));
    }

    #[test]
    fn what_was_counted_is_recorded_even_if_the_source_falls_silent() {
        let (failures, start) = (Failures::default(), Instant::now());
        failures.count("a", "x", start);
        failures.count("a", "y", start);
        assert_eq!(failures.sweep(start), []);
        assert_eq!(failures.sweep(start + WINDOW), [Tally { source: "a".to_owned(), code: "y", count: 1 }]);
        assert_eq!(failures.sweep(start + WINDOW), []);
    }

    #[test]
    fn a_crowd_of_sources_takes_bounded_memory() {
        let (failures, start) = (Failures::default(), Instant::now());
        let recorded = (0..5_000).filter(|number| failures.count(&number.to_string(), "x", start).is_some()).count();
        assert_eq!(recorded, SOURCES + 1);
        assert_eq!(failures.drain().iter().map(|tally| tally.count).sum::<u64>() as usize, 5_000 - recorded);
    }
}
