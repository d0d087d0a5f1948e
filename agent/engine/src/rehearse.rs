//! How fast a setting answers: every conversation at once, each with a prompt and an answer of its own, as on a busy box.
//!
//! ```text
//! all prompts at once, one token each          ──► time to first token of each
//! the same prompts, mostly known by now, long  ──► tokens per second of each, nothing else being read
//! ```
//! What is said is dictated, so that every variant of a model, trained or not, is asked for the same.

use std::sync::Arc;
use std::time::Duration;

use crate::batch::{Engine, EngineOptions, EventKind, SessionId};
use crate::bench::BenchError;
use crate::generate::{FinishReason, Request};
use crate::model::Model;
use crate::session::KvType;

/// What is rehearsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rehearsal {
    /// Conversations at once.
    pub slots: u32,
    /// What keys and values are kept as.
    pub kv_type: KvType,
    /// Tokens of each prompt.
    pub prompt_tokens: u32,
    /// Tokens of each answer, two or more.
    pub answer_tokens: u32,
    /// Prompt tokens that are read in one step.
    pub prefill_chunk: u32,
}

/// How one conversation went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rehearsed {
    /// From submission to the first token.
    pub first_token: Duration,
    /// Tokens per second behind the first.
    pub tokens_per_second: f64,
}

/// Makes an engine for a setting and has it answer, again and again if asked: what is made once is made outside the clock.
#[derive(Debug)]
pub struct Stage {
    model: Arc<Model>,
    engine: Engine,
    rehearsal: Rehearsal,
    /// Rehearsals so far: each has texts of its own, or what the one before has read would be known already.
    times: u32,
}

impl Stage {
    /// An engine for this setting. A prompt or an answer of too few tokens becomes the shortest that can be measured.
    #[must_use]
    pub fn new(model: Arc<Model>, rehearsal: Rehearsal) -> Self {
        let rehearsal = Rehearsal {
            slots: rehearsal.slots.max(1),
            prompt_tokens: rehearsal.prompt_tokens.max(1),
            answer_tokens: rehearsal.answer_tokens.max(2),
            ..rehearsal
        };
        let Rehearsal { slots, prompt_tokens, answer_tokens, prefill_chunk, kv_type } = rehearsal;
        let context_tokens = prompt_tokens.saturating_add(answer_tokens).saturating_add(1);
        // Guessing ahead depends on the text, and this one says nothing.
        let options = EngineOptions { context_tokens, slots, prefill_chunk, speculate: false };
        let engine = Engine::new(Arc::clone(&model), options).keeping(kv_type);
        Self { model, engine, rehearsal, times: 0 }
    }

    /// Every conversation once.
    ///
    /// # Errors
    /// If the context cannot hold prompt and answer, or the computation fails.
    pub fn rehearse(&mut self) -> Result<Vec<Rehearsed>, BenchError> {
        let (first, _) = self.round(1)?.into_iter().unzip::<Duration, f64, Vec<_>, Vec<_>>();
        let (_, speeds) =
            self.round(self.rehearsal.answer_tokens)?.into_iter().unzip::<Duration, f64, Vec<_>, Vec<_>>();
        self.times = self.times.wrapping_add(1);
        let one = |(first_token, tokens_per_second)| Rehearsed { first_token, tokens_per_second };
        Ok(first.into_iter().zip(speeds).map(one).collect())
    }

    /// All conversations at once, each with an answer of so many tokens.
    fn round(&mut self, answer_tokens: u32) -> Result<Vec<(Duration, f64)>, BenchError> {
        let mut sessions: Vec<SessionId> = Vec::new();
        for slot in 0..self.rehearsal.slots {
            let text = self.text(slot);
            let (prompt, answer) = text.split_at(self.rehearsal.prompt_tokens as usize);
            let scope = format!("{}/{slot}", self.times);
            let request = Request { limit: Some(answer_tokens), scope, ..Request::new(prompt.to_vec()) };
            let session = self.engine.submit(request)?;
            self.engine.dictate(session, answer.to_vec());
            sessions.push(session);
        }
        let mut done = vec![None; sessions.len()];
        while !self.engine.is_idle() {
            for event in self.engine.step() {
                let EventKind::Finished(finished) = event.kind else { continue };
                if finished.reason != FinishReason::Length || finished.generated_tokens != answer_tokens {
                    let reason = format!("{:?}", finished.reason);
                    return Err(BenchError::Ended { generated: finished.generated_tokens, reason });
                }
                let first = finished.time_to_first_token.unwrap_or_default();
                let took = finished.total_time.saturating_sub(first).as_secs_f64().max(1e-9);
                let speed = f64::from(answer_tokens.saturating_sub(1)) / took;
                if let Some(place) = sessions.iter().position(|session| *session == event.session) {
                    done[place] = Some((first, speed));
                }
            }
        }
        Ok(done.into_iter().flatten().collect())
    }

    /// Prompt and answer of a conversation: tokens that mean nothing and end nothing.
    fn text(&self, slot: u32) -> Vec<u32> {
        let tokenizer = self.model.tokenizer();
        let vocabulary = u64::try_from(self.model.figures().vocabulary).unwrap_or(u64::MAX).max(1);
        let count = self.rehearsal.prompt_tokens as usize + self.rehearsal.answer_tokens as usize;
        let begin = u64::from(self.times) * 7_919 + u64::from(slot) * 104_729;
        let tokens = (0..).map(|at: u64| ((begin + at) * 31 % vocabulary) as u32);
        let ends = |token: &u32| tokenizer.end_of_generation().contains(token) || tokenizer.is_special(*token);
        // A vocabulary of nothing but special tokens is none; it must not be searched for ever.
        let usual: Vec<u32> = tokens.take(count * 4 + 64).filter(|token| !ends(token)).take(count).collect();
        if usual.len() == count { usual } else { vec![0; count] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LoadOptions;

    fn stage(rehearsal: Rehearsal) -> Stage {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/golden/llama.gguf");
        Stage::new(Model::load(path, &LoadOptions::threads(1)).expect("the golden model loads"), rehearsal)
    }

    const SHORT: Rehearsal =
        Rehearsal { slots: 3, kv_type: KvType::F16, prompt_tokens: 20, answer_tokens: 4, prefill_chunk: 16 };

    #[test]
    fn every_conversation_is_measured_each_time_with_either_type_of_keys_and_values() {
        for kv_type in [KvType::F16, KvType::F32] {
            let mut stage = stage(Rehearsal { kv_type, ..SHORT });
            for _ in 0..2 {
                let all = stage.rehearse().expect("it computes");
                assert_eq!(all.len(), 3);
                let is_measured = |one: &Rehearsed| one.tokens_per_second > 1.0 && !one.first_token.is_zero();
                assert!(all.iter().all(is_measured), "{all:?}");
            }
        }
    }

    #[test]
    fn texts_of_two_conversations_and_of_two_rehearsals_differ() {
        let mut stage = stage(SHORT);
        let first = [stage.text(0), stage.text(1)];
        assert_eq!(first[0].len(), 24);
        assert_ne!(first[0], first[1]);
        stage.rehearse().expect("it computes");
        assert_ne!(first[0], stage.text(0));
    }

    #[test]
    fn what_does_not_fit_the_model_is_refused() {
        let mut stage = stage(Rehearsal { prompt_tokens: 1_000_000, ..SHORT });
        assert!(stage.rehearse().is_err());
    }
}
