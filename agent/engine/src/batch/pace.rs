//! What a pass takes by how many tokens it computes, measured while answers are given: says how many guesses pay.

use std::time::Duration;

/// Tokens that a pass may check beside those it must compute: what costs hardly more than a single one.
pub(super) const CHECKED_TOGETHER: usize = 8;

/// The share of a new measurement in what is kept: a few passes outweigh one that something held up.
const NEW: f64 = 0.2;

/// Measured passes that computed one token, two … up to [`CHECKED_TOGETHER`].
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Seconds; 0 where nothing was measured.
    seconds: [f64; CHECKED_TOGETHER + 1],
}

impl Pace {
    /// Hears how long a pass took that computed so many tokens and read no prompt.
    pub(super) fn heard(&mut self, tokens: usize, took: Duration) {
        if let Some(seconds) = self.seconds.get_mut(tokens) {
            *seconds = smoothed(*seconds, took);
        }
    }

    /// The number of guesses, up to so many, with which each of some answers comes soonest if guesses are right at this
    /// rate and making each takes so many seconds.
    pub(super) fn guesses(&self, rate: f64, most: usize, answers: usize, each: f64) -> usize {
        let speed = |guesses: usize| {
            let tokens: f64 = (0..=guesses).map(|right| rate.powi(right as i32)).sum();
            tokens / (self.seconds(answers * (1 + guesses)) + guesses as f64 * each)
        };
        (1..=most).fold(0, |best, guesses| if speed(guesses) > speed(best) { guesses } else { best })
    }

    /// Whether a pass in which each answer checked so many guesses, and this one found so many right, was worth its time.
    pub(super) fn paid(&self, guesses: usize, right: usize, answers: usize, each: f64) -> bool {
        let took = self.seconds(answers * (1 + guesses)) + guesses as f64 * each;
        (1 + right) as f64 * self.seconds(answers) >= took
    }

    /// What a pass takes. What was never measured is taken to be as fast as the next smaller that was, so that it is tried.
    fn seconds(&self, tokens: usize) -> f64 {
        let smaller = self.seconds[..=tokens.min(CHECKED_TOGETHER)].iter().rev();
        smaller.copied().find(|seconds| *seconds > 0.0).unwrap_or(1.0)
    }
}

/// What is kept of several measurements, 0 standing for none yet.
pub(super) fn smoothed(seconds: f64, took: Duration) -> f64 {
    let took = took.as_secs_f64();
    if seconds == 0.0 { took } else { seconds + (took - seconds) * NEW }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(seconds: impl Fn(usize) -> f64) -> Pace {
        let mut pace = Pace::default();
        (1..=CHECKED_TOGETHER).for_each(|tokens| pace.heard(tokens, Duration::from_secs_f64(seconds(tokens))));
        pace
    }

    #[test]
    fn guessing_goes_as_far_as_it_pays() {
        // Every token more costs a tenth of a pass.
        let pace = pace(|tokens| 1.0 + 0.1 * (tokens - 1) as f64);
        assert_eq!(pace.guesses(0.95, 7, 1, 0.0), 7);
        assert_eq!(pace.guesses(0.5, 7, 1, 0.0), 2);
        assert_eq!(pace.guesses(0.05, 7, 1, 0.0), 0);
        assert_eq!(pace.guesses(0.95, 3, 1, 0.0), 3);
        assert!(pace.paid(7, 1, 1, 0.0) && pace.paid(4, 1, 1, 0.0) && !pace.paid(4, 0, 1, 0.0));
        // Guesses that take half a pass each pay only where nearly all are right.
        assert_eq!(pace.guesses(0.5, 7, 1, 0.5), 0);
        assert!(pace.guesses(0.95, 7, 1, 0.5) > 0);
        assert!(!pace.paid(4, 1, 1, 0.5) && pace.paid(4, 4, 1, 0.5));
    }

    #[test]
    fn where_more_tokens_take_as_much_longer_nothing_is_guessed() {
        let pace = pace(|tokens| tokens as f64);
        assert_eq!(pace.guesses(0.9, 7, 1, 0.0), 0);
        assert_eq!(pace.guesses(0.9, 3, 2, 0.0), 0);
        assert!(!pace.paid(1, 0, 1, 0.0) && pace.paid(1, 1, 1, 0.0));
    }

    #[test]
    fn what_was_never_measured_is_tried() {
        let mut pace = Pace::default();
        assert_eq!(pace.guesses(0.5, 7, 1, 0.0), 7);
        pace.heard(1, Duration::from_millis(10));
        assert_eq!(pace.guesses(0.5, 7, 1, 0.0), 7);
        pace.heard(8, Duration::from_millis(80));
        assert!(pace.guesses(0.5, 7, 1, 0.0) < 7);
        pace.heard(99, Duration::from_millis(80));
    }
}
