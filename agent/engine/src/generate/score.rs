//! How likely a token was: the logarithm of the softmax of the model's own logits, before penalties, biases, temperature and
//! grammar, as the OpenAI API means it.

use std::collections::VecDeque;

use crate::math;
use crate::tokenizer::Tokenizer;

/// Most alternatives that are told beside a token.
pub const ALTERNATIVES: u8 = 20;

/// What stands for a probability of 0, whose logarithm JSON cannot write.
const NEVER: f32 = -9_999.0;

/// A token and how likely it was.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenScore {
    /// The token.
    pub token: u32,
    /// What it writes, perhaps a part of a character; its spelling where it is a special token.
    pub bytes: Vec<u8>,
    /// The natural logarithm of its probability; nothing for the first token of a prompt, which follows nothing.
    pub logprob: Option<f32>,
    /// The likeliest tokens of its place, the likeliest first, with their bytes and logarithms.
    pub top: Vec<(u32, Vec<u8>, f32)>,
}

impl TokenScore {
    /// A token that was not chosen among others.
    pub(crate) fn first(token: u32, tokenizer: &Tokenizer) -> Self {
        Self { token, bytes: tokenizer.bytes(token).to_vec(), logprob: None, top: Vec::new() }
    }

    /// Scores a token by the logits it was chosen from, with so many alternatives.
    pub(crate) fn new(token: u32, logits: &[f32], alternatives: u8, tokenizer: &Tokenizer) -> Self {
        let numbers = || (0..).zip(logits.iter().copied()).filter(|(_, logit)| logit.is_finite());
        let most = numbers().map(|(_, logit)| logit).fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = numbers().map(|(_, logit)| f64::from(math::exp(logit - most))).sum();
        let log = |logit: f32| {
            let log = (f64::from(logit) - f64::from(most) - math::ln_f64(sum)) as f32;
            if log.is_finite() { log.min(0.0) } else { NEVER }
        };
        let written = |id: u32| tokenizer.bytes(id).to_vec();
        let likeliest = likeliest(numbers(), usize::from(alternatives));
        Self {
            token,
            bytes: written(token),
            logprob: Some(logits.get(token as usize).map_or(NEVER, |logit| log(*logit))),
            top: likeliest.into_iter().map(|(id, logit)| (id, written(id), log(logit))).collect(),
        }
    }
}

/// The so many likeliest, the lower id of equals first. They are few, so that each newcomer is put in its place.
fn likeliest(candidates: impl Iterator<Item = (u32, f32)>, count: usize) -> Vec<(u32, f32)> {
    let mut best: Vec<(u32, f32)> = Vec::with_capacity(count + 1);
    for (id, logit) in candidates {
        if best.len() < count || best.last().is_some_and(|last| logit > last.1) {
            let place = best.partition_point(|other| other.1 >= logit);
            best.insert(place, (id, logit));
            best.truncate(count);
        }
    }
    best
}

/// Scores on their way out: a token's is handed out with the last of its text.
#[derive(Debug, Default)]
pub(super) struct Scores {
    /// Each with the length that the text has with its token.
    waiting: VecDeque<(usize, TokenScore)>,
    /// Bytes of text that the tokens so far have written, and those of them that were handed out.
    written: usize,
    handed: usize,
}

impl Scores {
    /// Takes the score of a token, if scores are asked for, and the bytes of text that came with it.
    pub(super) fn push(&mut self, score: Option<TokenScore>, text: usize) {
        self.written += text;
        self.waiting.extend(score.map(|score| (self.written, score)));
    }

    /// Gives the scores of tokens whose text is handed out whole with so many bytes more.
    pub(super) fn pop(&mut self, text: usize) -> Vec<TokenScore> {
        self.handed += text;
        let ready = self.waiting.partition_point(|(end, _)| *end <= self.handed);
        self.waiting.drain(..ready).map(|(_, score)| score).collect()
    }

    /// Gives those that are left.
    pub(super) fn rest(&mut self) -> Vec<TokenScore> {
        self.waiting.drain(..).map(|(_, score)| score).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_come_in_order_and_the_lower_id_of_equals_first() {
        let logits = [0.0, 3.0, 1.0, 3.0, -2.0, 2.5];
        let best = |count| likeliest((0..).zip(logits), count).iter().map(|best| best.0).collect::<Vec<u32>>();
        assert_eq!(best(4), [1, 3, 5, 2]);
        assert_eq!(best(9), [1, 3, 5, 2, 0, 4]);
        assert!(best(0).is_empty());
    }

    #[test]
    fn a_score_waits_for_the_text_of_its_token() {
        let score = |token| TokenScore { token, bytes: Vec::new(), logprob: None, top: Vec::new() };
        let tokens = |scores: Vec<TokenScore>| scores.iter().map(|score| score.token).collect::<Vec<u32>>();
        let mut scores = Scores::default();
        scores.push(Some(score(1)), 3);
        scores.push(Some(score(2)), 2);
        assert_eq!(tokens(scores.pop(2)), [0u32; 0]);
        assert_eq!(tokens(scores.pop(2)), [1]);
        scores.push(Some(score(3)), 0);
        scores.push(None, 4);
        assert_eq!(tokens(scores.pop(1)), [2, 3]);
        scores.push(Some(score(4)), 4);
        assert_eq!(tokens(scores.rest()), [4]);
    }
}
