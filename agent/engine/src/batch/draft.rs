//! Guesses at the next tokens: when they pay, and what followed the last time the text went as it goes now.
//!
//! A pass that checks a few tokens takes hardly longer than one that computes a single token, since both read every weight
//! once. Guesses are taken only as far as the sampler would have chosen the same tokens, so answers do not change.

use super::pace::Pace;

/// Longest and shortest ending of the text that is looked for.
const ENDINGS: std::ops::RangeInclusive<usize> = 2..=4;
/// Passes without guesses after one that failed; doubled with each failure.
const REST: u32 = 4;
const LONGEST_REST: u32 = 128;

/// What a new answer's guesses are taken to be worth.
const FIRST_RATE: f64 = 0.7;
/// The share of one checked guess in what is kept of all.
const NEW: f64 = 0.1;

/// Decides when guessing pays for one answer.
#[derive(Debug)]
pub(super) struct Drafting {
    /// The share of guesses that are right, if all before them are.
    rate: f64,
    failures: u32,
    rest: u32,
    /// Tokens guessed, and those of them that were right.
    pub(super) drafted: u32,
    pub(super) accepted: u32,
}

impl Default for Drafting {
    fn default() -> Self {
        Self { rate: FIRST_RATE, failures: 0, rest: 0, drafted: 0, accepted: 0 }
    }
}

impl Drafting {
    /// How many tokens to guess, at most so many, for each of some answers, if making each guess takes so many seconds.
    pub(super) fn count(&mut self, most: usize, pace: &Pace, answers: usize, each: f64) -> usize {
        if most == 0 {
            return 0;
        }
        if self.rest > 0 {
            self.rest -= 1;
            return 0;
        }
        // One is tried after every rest: the text may have come to a place where guesses are right.
        pace.guesses(self.rate, most, answers, each).max(1)
    }

    /// Hears how many of the guessed tokens were right, and whether the pass was worth its time.
    pub(super) fn heard(&mut self, drafted: usize, accepted: usize, paid: bool) {
        if drafted == 0 {
            return;
        }
        self.drafted += drafted as u32;
        self.accepted += accepted as u32;
        for right in (0..drafted.min(accepted + 1)).map(|guess| guess < accepted) {
            self.rate += (f64::from(u8::from(right)) - self.rate) * NEW;
        }
        if paid {
            self.failures = 0;
        } else {
            self.rest = LONGEST_REST.min(REST << self.failures.min(16));
            self.failures += 1;
        }
    }
}

/// What followed the last earlier place where the text ended as it ends now, the longest ending first.
pub(super) fn follow(text: &[u32], most: usize) -> &[u32] {
    for length in ENDINGS.rev() {
        if text.len() <= length {
            continue;
        }
        let ending = &text[text.len() - length..];
        // The ending itself does not count, though an earlier place may overlap it.
        let places = text[..text.len() - 1].windows(length).rposition(|place| place == ending);
        if let Some(place) = places {
            let from = place + length;
            return &text[from..text.len().min(from + most)];
        }
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_followed_the_longest_ending_last_is_guessed() {
        assert_eq!(follow(&[1, 2, 3, 9, 1, 2, 3], 2), [9, 1]);
        assert_eq!(follow(&[5, 1, 2, 7, 5, 1, 2, 8, 1, 2], 1), [8]);
        assert_eq!(follow(&[5, 1, 2, 7, 9, 9, 1, 2, 8, 5, 1, 2], 1), [7]);
        assert!(follow(&[1, 2, 3, 4], 3).is_empty() && follow(&[1], 3).is_empty() && follow(&[], 3).is_empty());
        // A repetition goes on.
        assert_eq!(follow(&[4, 4, 4], 5), [4]);
    }

    #[test]
    fn guessing_rests_longer_the_more_often_it_fails_and_no_more_once_it_was_right() {
        let mut drafting = Drafting::default();
        let pace = Pace::default();
        let mut rests = Vec::new();
        for _ in 0..3 {
            assert_eq!(drafting.count(4, &pace, 1, 0.0), 4);
            drafting.heard(3, 0, false);
            rests.push((0..).take_while(|_| drafting.count(4, &pace, 1, 0.0) == 0).count());
        }
        assert_eq!(rests, [4, 8, 16]);
        drafting.heard(3, 3, true);
        drafting.heard(3, 0, false);
        assert_eq!((0..).take_while(|_| drafting.count(4, &pace, 1, 0.0) == 0).count(), 4);
        assert_eq!((drafting.drafted, drafting.accepted), (15, 3));
    }

    #[test]
    fn the_rate_of_right_guesses_counts_none_behind_the_first_wrong_one() {
        let mut drafting = Drafting { rate: 0.5, ..Drafting::default() };
        drafting.heard(7, 0, false);
        assert!((drafting.rate - 0.45).abs() < 1e-9);
        drafting.heard(2, 2, true);
        assert!((drafting.rate - 0.5545).abs() < 1e-9);
    }
}
