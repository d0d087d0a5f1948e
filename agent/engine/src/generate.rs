//! One answer: what is asked for, and the loop body that turns logits into text until something ends it.

mod score;
mod stop;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::grammar::{Constraint, Grammar, Next};
use crate::sampler::Sampler;
pub use crate::sampler::Sampling;
use crate::tokenizer::{StreamDecoder, Tokenizer};
use score::Scores;
pub use score::{ALTERNATIVES, TokenScore};
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
    /// Most tokens to generate; nothing means as many as the context holds. With 0 only the prompt is read.
    pub limit: Option<u32>,
    /// Ends the answer from outside.
    pub cancel: Cancel,
    /// What the answer has to be, made from the vocabulary of the model that is asked.
    pub grammar: Option<Grammar>,
    /// Whether to say how likely each token of the answer was, and with how many alternatives, at most [`ALTERNATIVES`].
    pub logprobs: Option<u8>,
    /// Whether to say how likely each token of the prompt was, with as many alternatives. Such a prompt is read from its
    /// beginning, whatever was read before.
    pub prompt_logprobs: bool,
    /// Special tokens that the answer's text spells out; others write nothing.
    pub spelled: Vec<u32>,
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
            limit: None,
            cancel: Cancel::default(),
            grammar: None,
            logprobs: None,
            prompt_logprobs: false,
            spelled: Vec::new(),
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
    /// The model ended it, one of the stop texts came, or its grammar is complete.
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
    /// The stop text that ended it, if one did.
    pub stop_text: Option<String>,
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
    /// Whether no other answer was in the works meanwhile: its times are those of the machine, not of the company.
    pub alone: bool,
}

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Said {
    /// Text; never half a character, never a part of a stop text. Empty where only scores are new.
    pub text: String,
    /// The tokens whose text is out with this piece; empty unless scores were asked for.
    pub tokens: Vec<TokenScore>,
}

/// The generating half of one answer, fed with logits.
#[derive(Debug)]
pub(crate) struct Answer {
    sampler: Sampler,
    decoder: StreamDecoder,
    tokenizer: Tokenizer,
    stop: StopStrings,
    constraint: Option<Constraint>,
    /// Alternatives to tell with each token, if scores are asked for.
    alternatives: Option<u8>,
    scores: Scores,
    limit: usize,
    /// Said whatever is chosen: how fast an answer comes can be measured with any weights.
    dictated: Vec<u32>,
    /// Prompt and answer.
    pub(crate) history: Vec<u32>,
    /// Tokens of the prompt.
    prompt: usize,
    pub(crate) generated: u32,
}

/// What one token did.
#[derive(Debug, PartialEq)]
pub(crate) enum Took {
    /// The answer goes on, perhaps with something to hand out.
    More(Option<Said>),
    /// The answer is over, perhaps with something to hand out first.
    Over(Option<Said>, FinishReason),
}

/// What is chosen to come next.
enum Choice {
    Token(u32),
    /// Nothing: the answer is over.
    End(FinishReason),
}

impl Answer {
    /// `room`: tokens that fit into the context after the prompt.
    pub(crate) fn new(request: Request, tokenizer: &Tokenizer, room: usize) -> Self {
        let decoder = tokenizer.decode_stream_after(&request.tokens).spelling_out(request.spelled);
        // What a grammar asks for is what is handed out, a space at its beginning included.
        let exact = request.grammar.as_ref().is_some_and(Grammar::is_exact);
        Self {
            sampler: Sampler::new(request.sampling),
            decoder: if exact { decoder.exact() } else { decoder },
            tokenizer: tokenizer.clone(),
            stop: StopStrings::new(request.stop),
            constraint: request.grammar.as_ref().map(Grammar::constraint),
            alternatives: request.logprobs,
            scores: Scores::default(),
            limit: request.limit.map_or(room, |limit| room.min(limit as usize)),
            dictated: Vec::new(),
            prompt: request.tokens.len(),
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

    /// The stop text that ended it, if one did.
    pub(crate) fn stop_text(&self) -> Option<&str> {
        self.stop.came()
    }

    /// Chooses the next token and says what came of it.
    pub(crate) fn take(&mut self, logits: &[f32]) -> Took {
        if self.room() == 0 {
            return self.over(None, FinishReason::Length);
        }
        let chosen = match self.choose(logits) {
            Choice::Token(token) => token,
            Choice::End(reason) => return self.over(None, reason),
        };
        let token = self.dictated.get(self.generated as usize).copied().unwrap_or(chosen);
        if self.tokenizer.end_of_generation().contains(&token) {
            return self.over(None, FinishReason::Stop);
        }
        let score = self.alternatives.map(|count| TokenScore::new(token, logits, count, &self.tokenizer));
        self.history.push(token);
        self.generated += 1;
        let text = self.decoder.push(token).unwrap_or_default();
        self.scores.push(score, text.len());
        let (text, stopped) = self.stop.push(&text);
        if stopped {
            return Took::Over(self.said(text), FinishReason::Stop);
        }
        match self.constraint.as_mut().map(|constraint| constraint.consume(token)) {
            Some(Err(reason)) => return self.over(text, FinishReason::Error(reason)),
            Some(Ok(true)) => return self.over(text, FinishReason::Stop),
            Some(Ok(false)) | None => {}
        }
        if self.room() == 0 {
            return self.over(text, FinishReason::Length);
        }
        Took::More(self.said(text))
    }

    /// Chooses among what may follow.
    fn choose(&mut self, logits: &[f32]) -> Choice {
        let none = || FinishReason::Error("the model gave no finite logits".to_owned());
        let (prompt, answer) = self.history.split_at(self.prompt);
        let Some(constraint) = &mut self.constraint else {
            return self
                .sampler
                .choose(logits, prompt, answer, None)
                .map_or_else(|| Choice::End(none()), Choice::Token);
        };
        // Where the likeliest of all may follow, it is the likeliest of those that may: no need to find the others.
        if self.sampler.is_greedy()
            && let Some(token) = self.sampler.choose(logits, prompt, answer, None)
        {
            match constraint.allows(token) {
                Ok(true) => return Choice::Token(token),
                Ok(false) => {}
                Err(reason) => return Choice::End(FinishReason::Error(reason)),
            }
        }
        match constraint.next() {
            Ok(Next::Among(allowed)) => self
                .sampler
                .choose(logits, prompt, answer, Some(&allowed))
                .map_or_else(|| Choice::End(none()), Choice::Token),
            Ok(Next::Nothing) => Choice::End(FinishReason::Stop),
            Err(reason) => Choice::End(FinishReason::Error(reason)),
        }
    }

    /// Hands out what was held back, behind this text.
    fn over(&mut self, text: Option<String>, reason: FinishReason) -> Took {
        let half = self.decoder.finish().unwrap_or_default();
        let (rest, stopped) = self.stop.push(&half);
        let text = join(text, rest);
        if stopped {
            return Took::Over(self.said(text), FinishReason::Stop);
        }
        let text = join(text, self.stop.finish());
        let mut said = self.said(text).unwrap_or_default();
        said.tokens.append(&mut self.scores.rest());
        let empty = said.text.is_empty() && said.tokens.is_empty();
        Took::Over((!empty).then_some(said), reason)
    }

    /// Text with the scores that go with it, if there is anything to hand out.
    fn said(&mut self, text: Option<String>) -> Option<Said> {
        let text = text.unwrap_or_default();
        let tokens = self.scores.pop(text.len());
        (!text.is_empty() || !tokens.is_empty()).then_some(Said { text, tokens })
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
