//! Chooses the next token: the same settings, seed and logits give the same choice on every machine.

use std::collections::HashSet;

/// How to choose tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0 takes the likeliest token; 1 follows the model; above flattens.
    pub temperature: f32,
    /// Only the so many likeliest tokens; 0 means all.
    pub top_k: u32,
    /// Only the likeliest tokens that together hold this share of the probability; 1 means all.
    pub top_p: f32,
    /// Only tokens at least this fraction as likely as the likeliest; 0 means all.
    pub min_p: f32,
    /// Divides the logits of tokens seen among the last 64; 1 leaves them.
    pub repetition_penalty: f32,
    /// Where the random numbers begin.
    pub seed: u64,
}

/// How far back the repetition penalty looks, tokens.
const PENALTY_WINDOW: usize = 64;

impl Default for Sampling {
    /// The likeliest token every time.
    fn default() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0, seed: 0 }
    }
}

impl Sampling {
    /// Says which setting is out of its range, if one is.
    ///
    /// # Errors
    /// The setting, its value and its range, in words for the caller.
    pub fn check(&self) -> Result<(), String> {
        let rows = [
            ("temperature", self.temperature, 0.0, 100.0),
            ("top_p", self.top_p, 0.0, 1.0),
            ("min_p", self.min_p, 0.0, 1.0),
            ("repetition_penalty", self.repetition_penalty, 0.01, 100.0),
        ];
        match rows.iter().find(|(_, value, least, most)| !(least..=most).contains(&value)) {
            None => Ok(()),
            Some((name, value, least, most)) => Err(format!("`{name}` is {value}; it must be from {least} to {most}")),
        }
    }
}

/// Draws tokens for one answer.
#[derive(Debug)]
pub struct Sampler {
    sampling: Sampling,
    random: Random,
    candidates: Vec<(u32, f32)>,
}

impl Sampler {
    /// A sampler at the beginning of its random numbers.
    #[must_use]
    pub fn new(sampling: Sampling) -> Self {
        Self { random: Random::new(sampling.seed), sampling, candidates: Vec::new() }
    }

    /// Chooses the next token from logits, given the tokens so far. Nothing when no logit is a number.
    pub fn choose(&mut self, logits: &[f32], history: &[u32]) -> Option<u32> {
        let Sampling { temperature, top_k, top_p, min_p, repetition_penalty, .. } = self.sampling;
        let candidates = &mut self.candidates;
        candidates.clear();
        candidates.extend((0..).zip(logits.iter().copied()).filter(|(_, logit)| logit.is_finite()));
        if repetition_penalty != 1.0 {
            let recent: HashSet<u32> = history.iter().rev().take(PENALTY_WINDOW).copied().collect();
            for (id, logit) in candidates.iter_mut().filter(|(id, _)| recent.contains(id)) {
                *logit = if *logit > 0.0 { *logit / repetition_penalty } else { *logit * repetition_penalty };
                debug_assert!(recent.contains(id));
            }
        }
        // Ties go to the lower id, so that the order never depends on the machine.
        let likelier = |left: &(u32, f32), right: &(u32, f32)| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0));
        if temperature <= 0.0 {
            return candidates.iter().min_by(|left, right| likelier(left, right)).map(|best| best.0);
        }
        let keep = if top_k == 0 { candidates.len() } else { candidates.len().min(top_k as usize) };
        if keep == 0 {
            return None;
        }
        if keep < candidates.len() {
            candidates.select_nth_unstable_by(keep - 1, likelier);
            candidates.truncate(keep);
        }
        candidates.sort_unstable_by(likelier);

        // Logits become weights relative to the likeliest, which has 1.
        let most = candidates[0].1;
        candidates.iter_mut().for_each(|(_, logit)| *logit = ((*logit - most) / temperature).exp());
        if min_p > 0.0 {
            candidates.retain(|(_, weight)| *weight >= min_p);
        }
        if top_p < 1.0 {
            let enough = top_p * candidates.iter().map(|(_, weight)| weight).sum::<f32>();
            let mut sum = 0.0;
            let keep = candidates.iter().position(|(_, weight)| {
                sum += weight;
                sum >= enough
            });
            candidates.truncate(keep.map_or(candidates.len(), |index| index + 1));
        }
        let total: f32 = candidates.iter().map(|(_, weight)| weight).sum();
        let mut left = self.random.unit() * total;
        let drawn = candidates.iter().find(|(_, weight)| {
            left -= weight;
            left < 0.0
        });
        drawn.or_else(|| candidates.last()).map(|(id, _)| *id)
    }
}

/// SplitMix64: small, seedable with any number, the same everywhere.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to but not including 1, in steps of 2^-24: every one exact in f32.
    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u32 << 24) as f32
    }
}

#[cfg(test)]
mod tests;
