//! Chooses the next token: the same settings, seed and logits give the same choice on every machine.

use std::cmp::Ordering;
use std::collections::HashMap;

use crate::math;

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
    /// Divides the logits of tokens seen among the last [`Sampling::penalty_window`]; 1 leaves them.
    pub repetition_penalty: f32,
    /// How far back the repetition penalty looks, tokens of prompt and answer; 0 looks at none.
    pub penalty_window: u32,
    /// Taken from the logits of tokens that the answer holds already, once for each; 0 leaves them.
    pub presence_penalty: f32,
    /// Taken from the logits of tokens that the answer holds already, as often as it holds them; 0 leaves them.
    pub frequency_penalty: f32,
    /// Added to the logits of these tokens, after all penalties.
    pub logit_bias: Vec<(u32, f32)>,
    /// Where the random numbers begin.
    pub seed: u64,
}

/// How far back the repetition penalty looks unless told otherwise, tokens.
const PENALTY_WINDOW: u32 = 64;
/// Most tokens that one request may bias, above the 1,024 that other services take.
const BIASES: usize = 4_096;

impl Default for Sampling {
    /// The likeliest token every time.
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            penalty_window: PENALTY_WINDOW,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: 0,
        }
    }
}

impl Sampling {
    /// Says which setting is out of its range, if one is.
    ///
    /// # Errors
    /// The setting, its value and its range, in words for the caller.
    pub fn check(&self) -> Result<(), String> {
        if self.logit_bias.len() > BIASES {
            return Err(format!("`logit_bias` has {} entries; at most {BIASES} are allowed", self.logit_bias.len()));
        }
        let settings = [
            ("temperature", self.temperature, 0.0, 100.0),
            ("top_p", self.top_p, 0.0, 1.0),
            ("min_p", self.min_p, 0.0, 1.0),
            ("repetition_penalty", self.repetition_penalty, 0.01, 100.0),
            ("presence_penalty", self.presence_penalty, -2.0, 2.0),
            ("frequency_penalty", self.frequency_penalty, -2.0, 2.0),
        ];
        let biases = self.logit_bias.iter().map(|(_, bias)| ("logit_bias", *bias, -100.0, 100.0));
        match settings.into_iter().chain(biases).find(|(_, value, least, most)| !(least..=most).contains(&value)) {
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
    /// How often the answer holds each of its tokens, as far as it was counted.
    counts: HashMap<u32, u32>,
    counted: usize,
    /// The tokens that the repetition penalty looks at.
    recent: Vec<u32>,
}

impl Sampler {
    /// A sampler at the beginning of its random numbers.
    #[must_use]
    pub fn new(sampling: Sampling) -> Self {
        Self {
            random: Random::new(sampling.seed),
            sampling,
            candidates: Vec::new(),
            counts: HashMap::new(),
            counted: 0,
            recent: Vec::new(),
        }
    }

    /// Whether it takes the likeliest token every time.
    #[must_use]
    pub fn is_greedy(&self) -> bool {
        self.sampling.temperature <= 0.0
    }

    /// Chooses the next token from logits, given the prompt and the answer so far; only among `allowed` if that is given, a
    /// set of bits, 32 tokens to a word. Nothing when no logit that may be chosen is a number.
    pub fn choose(&mut self, logits: &[f32], prompt: &[u32], answer: &[u32], allowed: Option<&[u32]>) -> Option<u32> {
        self.candidates.clear();
        // All at once: a list that doubles as it grows would take up to twice of it.
        self.candidates.reserve_exact(logits.len());
        let numbers = (0..).zip(logits.iter().copied()).filter(|(_, logit)| logit.is_finite());
        match allowed {
            None => self.candidates.extend(numbers),
            Some(allowed) => {
                let may = |id: u32| allowed.get(id as usize / 32).is_some_and(|word| word >> (id % 32) & 1 == 1);
                self.candidates.extend(numbers.filter(|(id, _)| may(*id)));
            }
        }
        self.adjust(prompt, answer);
        let Sampling { temperature, top_k, top_p, min_p, .. } = self.sampling;
        let candidates = &mut self.candidates;
        let likeliest = candidates.iter().copied().min_by(likelier)?;
        if temperature <= 0.0 {
            return Some(likeliest.0);
        }
        // Relative to the likeliest, which has 1.
        let weight = |logit: f32| math::exp((logit - likeliest.1) / temperature);
        if min_p > 0.0 {
            candidates.retain(|(_, logit)| weight(*logit) >= min_p);
        }
        let keep = if top_k == 0 { candidates.len() } else { candidates.len().min(top_k as usize) };
        if keep < candidates.len() {
            candidates.select_nth_unstable_by(keep, likelier);
            candidates.truncate(keep);
        }
        let mut total: f32 = candidates.iter().map(|(_, logit)| weight(*logit)).sum();
        let mut ranked = Ranked { candidates, in_order: 0 };
        if top_p < 1.0 {
            let (enough, mut sum) = (top_p * total, 0.0);
            let mut kept = 0;
            while let Some((_, logit)) = ranked.get(kept) {
                sum += weight(logit);
                kept += 1;
                if sum >= enough {
                    break;
                }
            }
            ranked.candidates.truncate(kept);
            total = sum;
        }
        let mut left = self.random.unit() * total;
        let mut drawn = likeliest.0;
        for place in 0.. {
            let Some((id, logit)) = ranked.get(place) else { break };
            drawn = id;
            left -= weight(logit);
            if left < 0.0 {
                break;
            }
        }
        Some(drawn)
    }

    /// Applies penalties and biases, which concern few tokens: the candidates lie in the order of their ids, so each is found
    /// without a look at the others.
    fn adjust(&mut self, prompt: &[u32], answer: &[u32]) {
        let Self { sampling, candidates, counts, counted, recent, .. } = self;
        let mut change = |id: u32, change: &dyn Fn(f32) -> f32| {
            if let Ok(place) = candidates.binary_search_by_key(&id, |candidate| candidate.0) {
                candidates[place].1 = change(candidates[place].1);
            }
        };
        let penalty = sampling.repetition_penalty;
        if penalty != 1.0 {
            recent.clear();
            recent.extend(answer.iter().rev().chain(prompt.iter().rev()).take(sampling.penalty_window as usize));
            recent.sort_unstable();
            recent.dedup();
            for id in recent.iter() {
                change(*id, &|logit| if logit > 0.0 { logit / penalty } else { logit * penalty });
            }
        }
        let (presence, frequency) = (sampling.presence_penalty, sampling.frequency_penalty);
        if presence != 0.0 || frequency != 0.0 {
            for token in answer.get(*counted..).unwrap_or_default() {
                *counts.entry(*token).or_default() += 1;
            }
            *counted = answer.len();
            for (id, count) in counts.iter() {
                change(*id, &|logit| logit - frequency * *count as f32 - presence);
            }
        }
        for (id, bias) in &sampling.logit_bias {
            change(*id, &|logit| logit + bias);
        }
    }
}

/// The likelier first. Ties go to the lower id, so that the order never depends on the machine.
fn likelier(left: &(u32, f32), right: &(u32, f32)) -> Ordering {
    right.1.total_cmp(&left.1).then(left.0.cmp(&right.0))
}

/// Candidates, the likelier first, put in order only as far as somebody looks: a vocabulary is large and a draw seldom deep.
struct Ranked<'a> {
    candidates: &'a mut Vec<(u32, f32)>,
    in_order: usize,
}

impl Ranked<'_> {
    fn get(&mut self, place: usize) -> Option<(u32, f32)> {
        if place >= self.in_order {
            let rest = self.candidates.get_mut(self.in_order..)?;
            let next = rest.len().min(self.in_order.max(16) * 4);
            if next < rest.len() {
                rest.select_nth_unstable_by(next, likelier);
            }
            rest[..next].sort_unstable_by(likelier);
            self.in_order += next;
        }
        self.candidates.get(place).copied()
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
