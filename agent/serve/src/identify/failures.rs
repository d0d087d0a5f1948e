//! Failures to identify, counted together: at most one record per source in ten seconds, so that nobody can fill the
//! disk by knocking.

use std::collections::{BTreeMap, HashMap};
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
    /// Failures since the last record, not counting the one that it was written for, by their reason.
    unrecorded: Reasons,
    /// What the last of them was.
    code: &'static str,
}

/// Failures by their code. Codes are this program's words, so there are never many.
type Reasons = BTreeMap<&'static str, u64>;

/// Failures to be written as one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) source: String,
    /// The reason of the last of them.
    pub(crate) code: &'static str,
    reasons: Reasons,
}

impl Tally {
    /// How many failures.
    pub(crate) fn count(&self) -> u64 {
        self.reasons.values().sum()
    }

    /// Each reason and how often, if there was more than one: `token_expired 3, unknown_token_key 1`.
    pub(crate) fn reasons(&self) -> Option<String> {
        let reasons: Vec<_> = self.reasons.iter().map(|(code, count)| format!("{code} {count}")).collect();
        (reasons.len() > 1).then(|| reasons.join(", "))
    }
}

impl Failures {
    /// Counts one failure; what comes back is to be recorded now, before the refusal is sent.
    pub(crate) fn count(&self, source: &str, code: &'static str, now: Instant) -> Option<Tally> {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let source = if windows.len() < SOURCES || windows.contains_key(source) { source } else { OTHERS };
        let mut reasons = match windows.get_mut(source) {
            Some(window) if now.saturating_duration_since(window.since) < WINDOW => {
                *window.unrecorded.entry(code).or_default() += 1;
                window.code = code;
                return None;
            }
            Some(window) => std::mem::take(&mut window.unrecorded),
            None => Reasons::new(),
        };
        *reasons.entry(code).or_default() += 1;
        windows.insert(source.to_owned(), Window { since: now, unrecorded: Reasons::new(), code });
        Some(Tally { source: source.to_owned(), code, reasons })
    }

    /// What windows that are over have not recorded yet; and forgets them.
    pub(crate) fn sweep(&self, now: Instant) -> Vec<Tally> {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let over = |window: &Window| now.saturating_duration_since(window.since) >= WINDOW;
        let tallies =
            windows.iter().filter(|(_, window)| over(window)).filter_map(|(source, window)| window.tally(source));
        let tallies = tallies.collect();
        windows.retain(|_, window| !over(window));
        tallies
    }

    /// Everything not recorded yet, whatever its window: for the shutdown.
    pub(crate) fn drain(&self) -> Vec<Tally> {
        let windows = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        windows.iter().filter_map(|(source, window)| window.tally(source)).collect()
    }
}

impl Window {
    /// What is not recorded yet, if something is.
    fn tally(&self, source: &str) -> Option<Tally> {
        let (code, reasons) = (self.code, self.unrecorded.clone());
        (!reasons.is_empty()).then(|| Tally { source: source.to_owned(), code, reasons })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(source: &str, code: &'static str, reasons: &[(&'static str, u64)]) -> Tally {
        Tally { source: source.to_owned(), code, reasons: reasons.iter().copied().collect() }
    }

    #[test]
    fn one_record_per_source_and_window_carries_the_count() {
        let (failures, start) = (Failures::default(), Instant::now());
        assert_eq!(failures.count("a", "x", start), Some(tally("a", "x", &[("x", 1)])));
        assert_eq!(failures.count("a", "x", start), None);
        assert_eq!(failures.count("a", "x", start + WINDOW / 2), None);
        assert_eq!(failures.count("b", "x", start), Some(tally("b", "x", &[("x", 1)])));
        assert_eq!(failures.count("a", "x", start + WINDOW), Some(tally("a", "x", &[("x", 3)])));
    }

    #[test]
    fn what_was_counted_is_recorded_even_if_the_source_falls_silent() {
        let (failures, start) = (Failures::default(), Instant::now());
        failures.count("a", "x", start);
        failures.count("a", "y", start);
        assert_eq!(failures.sweep(start), []);
        assert_eq!(failures.sweep(start + WINDOW), [tally("a", "y", &[("y", 1)])]);
        assert_eq!(failures.sweep(start + WINDOW), []);
    }

    #[test]
    fn no_reason_is_lost_among_the_failures_of_one_source() {
        let (failures, start) = (Failures::default(), Instant::now());
        for code in ["x", "y", "x", "z"] {
            failures.count("a", code, start);
        }
        let tally = failures.count("a", "z", start + WINDOW).unwrap();
        assert_eq!((tally.code, tally.count(), tally.reasons().as_deref()), ("z", 4, Some("x 1, y 1, z 2")));
        assert_eq!(failures.count("b", "x", start).unwrap().reasons(), None);
    }

    #[test]
    fn a_crowd_of_sources_takes_bounded_memory() {
        let (failures, start) = (Failures::default(), Instant::now());
        let recorded = (0..5_000).filter(|number| failures.count(&number.to_string(), "x", start).is_some()).count();
        assert_eq!(recorded, SOURCES + 1);
        assert_eq!(failures.drain().iter().map(Tally::count).sum::<u64>() as usize, 5_000 - recorded);
    }
}
