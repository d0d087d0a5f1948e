//! Many answers at once: each step reads one chunk of one waiting prompt and adds one token to every running answer.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::generate::{Answer, Cancel, FinishReason, Finished, Request, Took};
use crate::model::{Model, Part, Workspace};
use crate::session::{PASS_TOKENS, Session};

/// How many answers at once, and how long each may get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineOptions {
    /// Tokens that prompt and answer of one session may have together.
    pub context_tokens: u32,
    /// Sessions at once.
    pub slots: u32,
    /// Prompt tokens that are read in one step.
    pub prefill_chunk: u32,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { context_tokens: 4_096, slots: 4, prefill_chunk: PASS_TOKENS as u32 }
    }
}

/// Names one answer of one engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u64);

/// Something that happened to an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Whose answer.
    pub session: SessionId,
    /// What happened.
    pub kind: EventKind,
}

/// What happened to an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// More text; never half a character, never a part of a stop text.
    Text(String),
    /// The answer is over; nothing follows.
    Finished(Finished),
}

/// Why a request was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Every slot is in use.
    #[error("all {slots} slots are in use; try again when an answer has ended")]
    Busy {
        /// Slots of this engine.
        slots: u32,
    },
    /// The prompt has no tokens.
    #[error("the prompt is empty")]
    Empty,
    /// The prompt leaves no room for an answer.
    #[error("the prompt has {tokens} tokens and the context holds {context_tokens}; shorten the conversation")]
    TooLong {
        /// Tokens of the prompt.
        tokens: u64,
        /// Tokens that prompt and answer may have together.
        context_tokens: u32,
    },
    /// The prompt names a token that the model does not have.
    #[error("token {token} is not in the model's vocabulary")]
    UnknownToken {
        /// The token.
        token: u32,
    },
    /// A sampling setting is out of range.
    #[error("{0}")]
    Sampling(String),
}

/// Runs the sessions of one model. It belongs to one thread.
#[derive(Debug)]
pub struct Engine {
    model: Arc<Model>,
    options: EngineOptions,
    running: BTreeMap<SessionId, Running>,
    /// Caches of ended sessions, for the next ones.
    idle: Vec<Session>,
    workspace: Workspace,
    next: u64,
    /// The session whose prompt was read last, so that the next step takes the next one.
    last_read: SessionId,
}

#[derive(Debug)]
struct Running {
    session: Session,
    answer: Answer,
    cancel: Cancel,
    /// Tokens of the prompt; `answer.history` begins with them.
    prompt: usize,
    began: Instant,
    first_token: Option<Instant>,
    /// The index, within the tokens of this pass, after which the next token is chosen.
    wanted: Option<usize>,
}

impl Running {
    fn is_reading(&self) -> bool {
        self.session.length() < self.prompt
    }

    /// What the next pass reads of this session, `chunk` tokens of its prompt or its newest token, and whether a token is
    /// to be taken from what comes of it.
    fn part(&mut self, chunk: usize) -> (bool, Part<'_>) {
        let from = self.session.length();
        let to = match self.is_reading() {
            true => self.prompt.min(from + chunk),
            false => self.answer.history.len(),
        };
        let tokens = &self.answer.history[from..to];
        let answers = to >= self.prompt;
        self.wanted = answers.then(|| tokens.len() - 1);
        (answers, Part { session: &mut self.session, tokens, wanted: self.wanted.as_slice() })
    }
}

impl Engine {
    /// An engine with no sessions. A context longer than the model was trained for is cut to what it was, and sizes of 0
    /// become 1.
    #[must_use]
    pub fn new(model: Arc<Model>, options: EngineOptions) -> Self {
        let trained = model.info().context_tokens;
        let options = EngineOptions {
            context_tokens: options.context_tokens.clamp(1, trained.max(1)),
            slots: options.slots.max(1),
            prefill_chunk: options.prefill_chunk.max(1),
        };
        Self {
            model,
            options,
            running: BTreeMap::new(),
            idle: Vec::new(),
            workspace: Workspace::default(),
            next: 0,
            last_read: SessionId(0),
        }
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The options as they are in force.
    #[must_use]
    pub fn options(&self) -> EngineOptions {
        self.options
    }

    /// Takes a request into a free slot. Nothing is computed before the next [`Engine::step`].
    ///
    /// # Errors
    /// Says why the request cannot be served.
    pub fn submit(&mut self, request: Request) -> Result<SessionId, Refusal> {
        request.sampling.check().map_err(Refusal::Sampling)?;
        let (tokens, context_tokens) = (request.tokens.len(), self.options.context_tokens);
        if tokens == 0 {
            return Err(Refusal::Empty);
        }
        if tokens >= context_tokens as usize {
            return Err(Refusal::TooLong { tokens: tokens as u64, context_tokens });
        }
        let vocabulary = self.model.figures().vocabulary;
        if let Some(token) = request.tokens.iter().find(|token| **token as usize >= vocabulary) {
            return Err(Refusal::UnknownToken { token: *token });
        }
        if self.running.len() >= self.options.slots as usize {
            return Err(Refusal::Busy { slots: self.options.slots });
        }
        let mut session = self.idle.pop().unwrap_or_else(|| Session::new(&self.model, self.options.context_tokens as usize));
        session.clear();
        let cancel = request.cancel.clone();
        let answer = Answer::new(request, self.model.tokenizer(), context_tokens as usize - tokens);
        let running =
            Running { session, answer, cancel, prompt: tokens, began: Instant::now(), first_token: None, wanted: None };
        self.next += 1;
        self.running.insert(SessionId(self.next), running);
        Ok(SessionId(self.next))
    }

    /// Ends an answer; its `Finished` event comes with the next step.
    pub fn cancel(&mut self, session: SessionId) {
        if let Some(running) = self.running.get(&session) {
            running.cancel.cancel();
        }
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Answers in the works.
    #[must_use]
    pub fn active(&self) -> usize {
        self.running.len()
    }

    /// Reads one chunk of one waiting prompt and adds one token to every running answer, all in one pass over the weights.
    pub fn step(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let cancelled: Vec<SessionId> =
            self.running.iter().filter(|(_, running)| running.cancel.is_cancelled()).map(|(id, _)| *id).collect();
        for id in cancelled {
            self.finish(id, FinishReason::Cancelled, &mut events);
        }
        let reader = self.next_reader();
        self.last_read = reader.unwrap_or(self.last_read);
        let chunk = self.options.prefill_chunk as usize;
        let turns = |(id, running): &(&SessionId, &mut Running)| !running.is_reading() || reader == Some(**id);
        let (mut read, mut parts) = (Vec::new(), Vec::new());
        for (id, running) in self.running.iter_mut().filter(turns) {
            let (answers, part) = running.part(chunk);
            read.push((*id, answers));
            parts.push(part);
        }
        let outcome = self.model.forward_together(&mut parts, &mut self.workspace);
        drop(parts);
        if let Err(error) = outcome {
            // Requests were checked when they were taken, so the fault is the computation's and all of this pass share it.
            for (id, _) in read {
                self.finish(id, FinishReason::Error(error.to_string()), &mut events);
            }
            return events;
        }
        let logits = std::mem::take(&mut self.workspace.logits);
        let answering = read.into_iter().filter_map(|(id, answers)| answers.then_some(id));
        for (id, logits) in answering.zip(logits.chunks_exact(self.model.figures().vocabulary)) {
            self.take(id, logits, &mut events);
        }
        self.workspace.logits = logits;
        events
    }

    /// The first reading session after the one that read last, around the circle.
    fn next_reader(&self) -> Option<SessionId> {
        let reading = || self.running.iter().filter(|(_, running)| running.is_reading()).map(|(id, _)| *id);
        reading().find(|id| *id > self.last_read).or_else(|| reading().next())
    }

    /// Takes the next token of an answer from its logits.
    fn take(&mut self, id: SessionId, logits: &[f32], events: &mut Vec<Event>) {
        let Some(running) = self.running.get_mut(&id) else { return };
        running.first_token.get_or_insert_with(Instant::now);
        let (text, over) = match running.answer.take(logits) {
            Took::More(text) => (text, None),
            Took::Over(text, reason) => (text, Some(reason)),
        };
        if let Some(text) = text {
            events.push(Event { session: id, kind: EventKind::Text(text) });
        }
        if let Some(reason) = over {
            self.finish(id, reason, events);
        }
    }

    fn finish(&mut self, id: SessionId, reason: FinishReason, events: &mut Vec<Event>) {
        let Some(running) = self.running.remove(&id) else { return };
        let finished = Finished {
            reason,
            // Both are below `context_tokens`, which is a u32.
            prompt_tokens: running.prompt as u32,
            generated_tokens: running.answer.generated,
            time_to_first_token: running.first_token.map(|first| first - running.began),
            total_time: running.began.elapsed(),
        };
        events.push(Event { session: id, kind: EventKind::Finished(finished) });
        self.idle.push(running.session);
    }
}
