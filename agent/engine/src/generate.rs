//! One answer: what is asked for, and the loop body that turns logits into text until something ends it.

mod stop;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::sampler::Sampler;
pub use crate::sampler::Sampling;
use crate::tokenizer::{StreamDecoder, Tokenizer};
use stop::StopStrings;

/// What the engine is asked to do.
#[derive(Debug, Clone)]
pub struct Request {
    /// The prompt.
    pub tokens: Vec<u32>,
    /// Who asks. What one prompt shares with another of the same scope is computed once; nothing is shared between scopes.
    pub scope: String,
    /// How to choose tokens.
    pub sampling: Sampling,
    /// The answer ends before any of these texts, which are not handed out.
    pub stop: Vec<String>,
    /// Most tokens to generate; 0 means as many as the context holds.
    pub limit: u32,
    /// Ends the answer from outside.
    pub cancel: Cancel,
}

impl Request {
    /// A request with default settings: greedy, no stop texts, no limit but the context.
    #[must_use]
    pub fn new(tokens: Vec<u32>) -> Self {
        Self {
            tokens,
            scope: String::new(),
            sampling: Sampling::default(),
            stop: Vec::new(),
            limit: 0,
            cancel: Cancel::default(),
        }
    }
}

/// A switch that ends an answer; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks for the end. The engine notices before its next token or chunk of prompt.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether the end was asked for.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended it, or one of the stop texts came.
    Stop,
    /// The limit or the context is used up.
    Length,
    /// Someone cancelled it.
    Cancelled,
    /// The computation failed, in words for the log.
    Error(String),
}

/// What an answer took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Why it ended.
    pub reason: FinishReason,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Those of them that were computed before, for an earlier prompt.
    pub cached_tokens: u32,
    /// Tokens that were guessed ahead, and those of them that were right.
    pub drafted_tokens: [u32; 2],
    /// Tokens generated, the one that ended the answer not counted.
    pub generated_tokens: u32,
    /// From submission to the first token.
    pub time_to_first_token: Option<Duration>,
    /// From submission to the end.
    pub total_time: Duration,
}

/// The generating half of one answer, fed with logits.
#[derive(Debug)]
pub(crate) struct Answer {
    sampler: Sampler,
    decoder: StreamDecoder,
    tokenizer: Tokenizer,
    stop: StopStrings,
    limit: usize,
    /// Said whatever is chosen: how fast an answer comes can be measured with any weights.
    dictated: Vec<u32>,
    /// Prompt and answer.
    pub(crate) history: Vec<u32>,
    pub(crate) generated: u32,
}

/// What one token did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Took {
    /// The answer goes on, perhaps with text to hand out.
    More(Option<String>),
    /// The answer is over, perhaps with text to hand out first.
    Over(Option<String>, FinishReason),
}

impl Answer {
    /// `room`: tokens that fit into the context after the prompt.
    pub(crate) fn new(request: Request, tokenizer: &Tokenizer, room: usize) -> Self {
        let limit = if request.limit == 0 { room } else { room.min(request.limit as usize) };
        Self {
            sampler: Sampler::new(request.sampling),
            decoder: tokenizer.decode_stream_after(&request.tokens),
            tokenizer: tokenizer.clone(),
            stop: StopStrings::new(request.stop),
            limit,
            dictated: Vec::new(),
            history: request.tokens,
            generated: 0,
        }
    }

    /// Says these tokens from now on, whatever is chosen.
    pub(crate) fn dictate(&mut self, tokens: Vec<u32>) {
        self.dictated = tokens;
    }

    /// Tokens that may still be generated.
    pub(crate) fn room(&self) -> usize {
        self.limit.saturating_sub(self.generated as usize)
    }

    /// Chooses the next token and says what came of it.
    pub(crate) fn take(&mut self, logits: &[f32]) -> Took {
        let Some(token) = self.sampler.choose(logits, &self.history) else {
            return Took::Over(None, FinishReason::Error("the model gave no finite logits".to_owned()));
        };
        let token = self.dictated.get(self.generated as usize).copied().unwrap_or(token);
        if self.tokenizer.end_of_generation().contains(&token) {
            return self.over(FinishReason::Stop);
        }
        self.history.push(token);
        self.generated += 1;
        let text = self.decoder.push(token).unwrap_or_default();
        let (text, stopped) = self.stop.push(&text);
        if stopped {
            return Took::Over(text, FinishReason::Stop);
        }
        if self.generated as usize >= self.limit {
            let Took::Over(rest, reason) = self.over(FinishReason::Length) else { return Took::More(text) };
            return Took::Over(join(text, rest), reason);
        }
        Took::More(text)
    }

    /// Hands out what was held back.
    fn over(&mut self, reason: FinishReason) -> Took {
        let half = self.decoder.finish().unwrap_or_default();
        let (text, stopped) = self.stop.push(&half);
        if stopped {
            return Took::Over(text, FinishReason::Stop);
        }
        Took::Over(join(text, self.stop.finish()), reason)
    }
}

fn join(first: Option<String>, second: Option<String>) -> Option<String> {
    match (first, second) {
        (Some(first), Some(second)) => Some(first + &second),
        (first, second) => first.or(second),
    }
}

#[cfg(test)]
mod tests;
