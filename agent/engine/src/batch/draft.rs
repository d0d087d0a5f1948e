//! Guesses at the next tokens: what followed the last time the text went as it goes now.
//!
//! A pass that checks a few tokens takes hardly longer than one that computes a single token, since both read every weight
//! once. Guesses are taken only as far as the sampler would have chosen the same tokens, so answers do not change.

/// Longest and shortest ending of the text that is looked for.
const ENDINGS: std::ops::RangeInclusive<usize> = 2..=4;
/// Passes without guesses after one that failed; doubled with each failure.
const REST: u32 = 4;
const LONGEST_REST: u32 = 128;

/// Decides when guessing pays for one answer.
#[derive(Debug, Default)]
pub(super) struct Drafting {
    failures: u32,
    rest: u32,
    /// Tokens guessed, and those of them that were right.
    pub(super) drafted: u32,
    pub(super) accepted: u32,
}

impl Drafting {
    /// At most so many tokens that may follow a text.
    pub(super) fn guess(&mut self, text: &[u32], most: usize) -> Vec<u32> {
        if most == 0 {
            return Vec::new();
        }
        if self.rest > 0 {
            self.rest -= 1;
            return Vec::new();
        }
        follow(text, most).to_vec()
    }

    /// Hears how many of the guessed tokens were right.
    pub(super) fn heard(&mut self, drafted: usize, accepted: usize) {
        if drafted == 0 {
            return;
        }
        self.drafted += drafted as u32;
        self.accepted += accepted as u32;
        if 4 * accepted >= drafted {
            self.failures = 0;
        } else {
            self.rest = LONGEST_REST.min(REST << self.failures.min(16));
            self.failures += 1;
        }
    }
}

/// What followed the last earlier place where the text ended as it ends now, the longest ending first.
fn follow(text: &[u32], most: usize) -> &[u32] {
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
        let text = [1, 2, 3, 1, 2];
        let mut rests = Vec::new();
        for _ in 0..3 {
            assert_eq!(drafting.guess(&text, 4), [3, 1, 2]);
            drafting.heard(3, 0);
            rests.push((0..).take_while(|_| drafting.guess(&text, 4).is_empty()).count());
        }
        assert_eq!(rests, [4, 8, 16]);
        drafting.heard(3, 3);
        drafting.heard(3, 0);
        assert_eq!((0..).take_while(|_| drafting.guess(&text, 4).is_empty()).count(), 4);
        assert_eq!((drafting.drafted, drafting.accepted), (15, 3));
    }
}
