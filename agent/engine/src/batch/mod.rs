//! Many answers at once: each step reads a chunk of waiting prompts and adds tokens to every running answer.

mod draft;
mod limits;
mod pace;
mod prefix;
mod refusal;
mod scout;
mod share;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use draft::{Drafting, follow};
pub use limits::Limits;
use pace::{CHECKED_TOGETHER, Pace};
use prefix::{Node, PrefixCache};
pub use refusal::Refusal;
pub use scout::DraftMismatch;
use scout::{Scout, Wish};
use share::{Reader, share};

use crate::generate::{ALTERNATIVES, Answer, Cancel, FinishReason, Finished, Request, Said, TokenScore, Took};
use crate::model::{Model, Part, Workspace};
use crate::session::{self, KvType, PAGE_TOKENS, PASS_TOKENS, Session};
use crate::tokenizer::Tokenizer;

/// How many answers at once, and how long each may get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineOptions {
    /// Tokens that prompt and answer of one session may have together.
    pub context_tokens: u32,
    /// Sessions at once.
    pub slots: u32,
    /// Prompt tokens that are read in one step.
    pub prefill_chunk: u32,
    /// Whether next tokens are guessed from the text so far and checked in the same pass. Answers are the same; where
    /// they repeat what was said they come sooner.
    pub speculate: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { context_tokens: 4_096, slots: 4, prefill_chunk: PASS_TOKENS as u32, speculate: true }
    }
}

/// Names one answer of one engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u64);

/// Tokens of prompts to be scored that are read in one pass: each takes a row of logits as long as the vocabulary.
const SCORED_TOGETHER: usize = 16;

/// Rows of logits that a pass of an engine with so many slots computes at the most: of each answer or ended prompt one, of
/// guesses that are checked, of tokens that are scored.
#[must_use]
pub fn most_logits(slots: u32) -> u64 {
    u64::from(slots) + (CHECKED_TOGETHER + SCORED_TOGETHER) as u64
}

/// Tokens that a pass of an engine with so many slots reads at the most.
#[must_use]
pub fn most_tokens(slots: u32, prefill_chunk: u32) -> u64 {
    u64::from(prefill_chunk) + u64::from(slots).max(CHECKED_TOGETHER as u64)
}

/// Something that happened to an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Whose answer.
    pub session: SessionId,
    /// What happened.
    pub kind: EventKind,
}

/// What happened to an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum EventKind {
    /// How likely each token of the prompt was, if that was asked for: once, before any text.
    Prompt(Vec<TokenScore>),
    /// More of the answer.
    Text(Said),
    /// The answer is over; nothing follows.
    Finished(Finished),
}

/// Runs the sessions of one model. It belongs to one thread.
#[derive(Debug)]
pub struct Engine {
    model: Arc<Model>,
    options: EngineOptions,
    /// What keys and values are kept as.
    kv_type: KvType,
    running: BTreeMap<SessionId, Running>,
    prefixes: PrefixCache,
    /// Bytes that sessions and kept beginnings may have together: what all slots need at full length.
    page_bytes: u64,
    /// What holds below that for the time being.
    limits: Limits,
    workspace: Workspace,
    pace: Pace,
    scout: Option<Scout>,
    next: u64,
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
    /// Tokens of the prompt whose pages were there already.
    cached: usize,
    /// Passes since anything of the prompt was read.
    waited: usize,
    /// Guesses from the text itself, and those of the draft model.
    drafting: Drafting,
    scouting: Drafting,
    /// Whose guesses this pass checks.
    scouted: bool,
    /// What this pass reads, guesses last, and how many of these are guesses.
    reads: Vec<u32>,
    guesses: usize,
    /// The indices within `reads` after which tokens are chosen.
    wanted: Vec<usize>,
    /// The last page of this text that the prefix cache has, and how many it has.
    kept: (Node, usize),
    /// The scores of the prompt so far, if they are asked for.
    scoring: Option<Scoring>,
    /// No other answer was in the works so far.
    alone: bool,
}

/// A prompt whose tokens are scored while it is read.
#[derive(Debug)]
struct Scoring {
    alternatives: u8,
    scores: Vec<TokenScore>,
}

impl Running {
    fn is_reading(&self) -> bool {
        self.session.length() < self.prompt
    }

    /// Makes up what the next pass reads of this session: so many tokens of its prompt, or its newest token.
    fn plan(&mut self, chunk: usize) {
        let from = self.session.length();
        self.reads.clear();
        self.wanted.clear();
        self.guesses = 0;
        if self.is_reading() {
            let to = self.prompt.min(from + chunk);
            self.reads.extend_from_slice(&self.answer.history[from..to]);
            self.waited = 0;
            match self.scoring {
                Some(_) => self.wanted.extend(0..to - from),
                None => self.wanted.extend((to == self.prompt).then(|| to - from - 1)),
            }
            return;
        }
        self.reads.extend_from_slice(&self.answer.history[from..]);
        self.wanted.push(self.reads.len() - 1);
    }

    /// Scores the tokens of the prompt that follow those just read. Gives what is left: the logits after the last one, if it
    /// was read, and with them all scores.
    fn score<'a>(
        &mut self,
        logits: &'a [&'a [f32]],
        tokenizer: &Tokenizer,
    ) -> (&'a [&'a [f32]], Option<Vec<TokenScore>>) {
        let Some(scoring) = &mut self.scoring else { return (logits, None) };
        let prompt = &self.answer.history[..self.prompt];
        let from = self.session.length() - self.reads.len();
        if from == 0 {
            scoring.scores.extend(prompt.first().map(|token| TokenScore::first(*token, tokenizer)));
        }
        for (logits, token) in logits.iter().zip(&prompt[from + 1..]) {
            scoring.scores.push(TokenScore::new(*token, logits, scoring.alternatives, tokenizer));
        }
        if self.session.length() < self.prompt {
            return (&[], None);
        }
        let scores = self.scoring.take().map(|scoring| scoring.scores);
        (&logits[logits.len().saturating_sub(1)..], scores)
    }

    /// Guesses that there is still room for.
    fn room(&self) -> usize {
        let room = self.answer.room().min(self.session.capacity().saturating_sub(self.answer.history.len()));
        room.saturating_sub(1)
    }

    /// Has the next pass check guesses at what follows.
    fn check(&mut self, guesses: &[u32], scouted: bool) {
        self.guesses = guesses.len();
        self.scouted = scouted;
        self.wanted.extend(self.reads.len()..self.reads.len() + guesses.len());
        self.reads.extend_from_slice(guesses);
    }

    /// Hears how many of the guesses were right, and whether the pass was worth its time.
    fn heard(&mut self, right: usize, paid: bool) {
        let source = if self.scouted { &mut self.scouting } else { &mut self.drafting };
        source.heard(self.guesses, right, paid);
    }

    /// Tokens guessed, and those of them that were right.
    fn drafted(&self) -> [u32; 2] {
        let Self { drafting, scouting, .. } = self;
        [drafting.drafted + scouting.drafted, drafting.accepted + scouting.accepted]
    }

    fn part(&mut self) -> Part<'_> {
        Part { session: &mut self.session, tokens: &self.reads, wanted: &self.wanted }
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
            speculate: options.speculate,
        };
        let room = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let tokens = room(most_tokens(options.slots, options.prefill_chunk));
        Self {
            page_bytes: u64::from(options.slots) * model.session_bytes(options.context_tokens),
            workspace: model.workspace(tokens, room(most_logits(options.slots))),
            model,
            options,
            limits: Limits::default(),
            kv_type: KvType::default(),
            running: BTreeMap::new(),
            prefixes: PrefixCache::default(),
            pace: Pace::default(),
            scout: None,
            next: 0,
        }
    }

    /// As [`Engine::new`], with a smaller model that guesses ahead where the text itself says nothing. Answers are the same.
    ///
    /// # Errors
    /// Fails when the two have different tokens.
    pub fn with_draft(model: Arc<Model>, draft: Arc<Model>, options: EngineOptions) -> Result<Self, DraftMismatch> {
        let scout = Scout::new(draft, &model)?;
        let mut engine = Self::new(model, options);
        engine.scout = Some(scout);
        Ok(engine)
    }

    /// The same, keeping keys and values as this type: to be called before the first request.
    #[must_use]
    pub fn keeping(mut self, kv_type: KvType) -> Self {
        let one = session::bytes(&self.model, self.options.context_tokens as usize, kv_type);
        self.page_bytes = u64::from(self.options.slots).saturating_mul(one);
        self.kv_type = kv_type;
        self
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
        if let Some(asked) = request.logprobs.filter(|asked| *asked > ALTERNATIVES) {
            return Err(Refusal::Alternatives { asked });
        }
        if request.grammar.as_ref().is_some_and(|grammar| !self.model.speaks(grammar)) {
            return Err(Refusal::Grammar);
        }
        let (tokens, context_tokens) = (request.tokens.len(), self.context_tokens());
        if tokens == 0 {
            return Err(Refusal::Empty);
        }
        let answer = usize::from(request.limit != Some(0));
        if tokens + answer > context_tokens as usize {
            return Err(Refusal::TooLong { tokens: tokens as u64, context_tokens });
        }
        let vocabulary = self.model.figures().vocabulary;
        let biased = request.sampling.logit_bias.iter().map(|(token, _)| token);
        if let Some(token) = request.tokens.iter().chain(biased).find(|token| **token as usize >= vocabulary) {
            return Err(Refusal::UnknownToken { token: *token });
        }
        if self.running.len() >= self.slots() as usize {
            return Err(Refusal::Busy { slots: self.slots() });
        }
        let mut session = Session::of(&self.model, context_tokens as usize, self.kv_type);
        // The last token is always computed: what follows is chosen from its logits. What is to be scored is computed too.
        let known = if request.prompt_logprobs { 0 } else { tokens - 1 };
        let (last, pages) = self.prefixes.find(&request.scope, &request.tokens[..known]);
        let kept = (last, pages.len());
        session.adopt(pages);
        let cancel = request.cancel.clone();
        let alternatives = request.logprobs.unwrap_or(0);
        let scoring = request.prompt_logprobs.then_some(Scoring { alternatives, scores: Vec::new() });
        let answer = Answer::new(request, self.model.tokenizer(), context_tokens as usize - tokens);
        let running = Running {
            cached: session.length(),
            session,
            answer,
            cancel,
            prompt: tokens,
            began: Instant::now(),
            first_token: None,
            waited: 0,
            drafting: Drafting::default(),
            scouting: Drafting::default(),
            scouted: false,
            reads: Vec::new(),
            guesses: 0,
            wanted: Vec::new(),
            kept,
            scoring,
            alone: self.running.is_empty(),
        };
        self.running.values_mut().for_each(|other| other.alone = false);
        self.next += 1;
        self.running.insert(SessionId(self.next), running);
        Ok(SessionId(self.next))
    }

    /// Has an answer that was just taken say these tokens, whatever is chosen.
    pub(crate) fn dictate(&mut self, session: SessionId, tokens: Vec<u32>) {
        if let Some(running) = self.running.get_mut(&session) {
            running.answer.dictate(tokens);
        }
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

    /// Reads a chunk of waiting prompts and adds at least one token to every running answer, all in one pass over the
    /// weights.
    pub fn step(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let cancelled: Vec<SessionId> =
            self.running.iter().filter(|(_, running)| running.cancel.is_cancelled()).map(|(id, _)| *id).collect();
        for id in cancelled {
            self.finish(id, FinishReason::Cancelled, &mut events);
        }
        let ids = self.plan();
        self.make_room();
        let began = Instant::now();
        let answering = |engine: &Self, id: &SessionId| engine.running.get(id).is_some_and(|one| !one.is_reading());
        let (answers, only_answers) =
            (ids.iter().filter(|id| answering(self, id)).count(), ids.iter().all(|id| answering(self, id)));
        let mut parts: Vec<Part<'_>> =
            self.running.iter_mut().filter(|(id, _)| ids.contains(id)).map(|(_, running)| running.part()).collect();
        let tokens: usize = parts.iter().map(|part| part.tokens.len()).sum();
        let outcome = self.model.forward_together(&mut parts, &mut self.workspace);
        drop(parts);
        if let Err(error) = outcome {
            // Requests were checked when they were taken, so the fault is the computation's and all of this pass share it.
            for id in ids {
                self.finish(id, FinishReason::Error(error.to_string()), &mut events);
            }
            return events;
        }
        let logits = std::mem::take(&mut self.workspace.logits);
        let mut rest = logits.chunks_exact(self.model.figures().vocabulary);
        for id in ids {
            let wanted = self.running.get(&id).map_or(0, |running| running.wanted.len());
            let logits: Vec<&[f32]> = rest.by_ref().take(wanted).collect();
            self.take(id, &logits, answers, &mut events);
        }
        if only_answers {
            self.pace.heard(tokens, began.elapsed());
        }
        self.workspace.logits = logits;
        if self.running.is_empty() {
            self.prefixes.shrink(self.kept_bytes(0));
        }
        events
    }

    /// Forgets as many kept beginnings as leaves room for what the pass that was planned will hold: before it, since memory
    /// that is too much for a moment is too much.
    fn make_room(&mut self) {
        let held = |running: &mut Running| {
            // What only a kept beginning holds from now on counts there.
            running.session.forget();
            running.session.bytes_with(running.reads.len())
        };
        let held: u64 = self.running.values_mut().map(held).sum();
        let left = self.kept_bytes(held);
        // Shrinking forgets scopes that nothing was kept of yet, which the texts that are being read begin behind.
        if self.prefixes.alone_bytes() > left {
            self.prefixes.shrink(left);
        }
    }

    /// Decides what the next pass reads; gives the sessions that take part, in their order.
    fn plan(&mut self) -> Vec<SessionId> {
        let chunk = self.options.prefill_chunk as usize;
        let readers = self.running.iter().filter(|(_, running)| running.is_reading()).map(|(id, running)| Reader {
            id: *id,
            left: running.prompt - running.session.length(),
            waited: running.waited,
        });
        let shares: HashMap<SessionId, usize> = share(readers.collect(), chunk).into_iter().collect();
        let answering = self.running.len() - self.running.values().filter(|running| running.is_reading()).count();
        let guesses = match self.options.speculate {
            true => (CHECKED_TOGETHER / answering.max(1)).saturating_sub(1),
            false => 0,
        };
        let mut ids = Vec::new();
        let mut scored = SCORED_TOGETHER;
        for (id, running) in &mut self.running {
            let mut share = shares.get(id).copied().unwrap_or(0);
            if running.scoring.is_some() && running.is_reading() {
                share = share.min(scored);
                scored -= share;
            }
            if running.is_reading() && share == 0 {
                running.waited += 1;
                running.reads.clear();
                continue;
            }
            running.plan(share);
            if !running.is_reading() {
                let count = running.drafting.count(guesses.min(running.room()), &self.pace, answering, 0.0);
                let found = follow(&running.answer.history, count).to_vec();
                running.check(&found, false);
            }
            ids.push(*id);
        }
        self.ask_scout(guesses, answering);
        ids
    }

    /// Has the draft model guess for the answers whose own text gives no guess, at most so many each.
    fn ask_scout(&mut self, most: usize, answering: usize) {
        let Some(scout) = &mut self.scout else { return };
        let (pace, each) = (&self.pace, scout.seconds());
        let asking = self.running.iter_mut().filter(|(_, running)| !running.is_reading() && running.guesses == 0);
        let counts: Vec<(SessionId, usize)> = asking
            .map(|(id, running)| (*id, running.scouting.count(most.min(running.room()), pace, answering, each)))
            .filter(|(_, count)| *count > 0)
            .collect();
        let wishes: Vec<Wish<'_>> = counts
            .iter()
            .filter_map(|(id, most)| Some(Wish { id: *id, text: &self.running.get(id)?.answer.history, most: *most }))
            .collect();
        let guesses = scout.guess(&wishes, self.options.prefill_chunk as usize);
        for ((id, _), guesses) in counts.iter().zip(guesses) {
            if let Some(running) = self.running.get_mut(id) {
                running.check(&guesses, true);
            }
        }
    }

    /// Takes the next tokens of an answer, one of so many, from their logits: guesses count as far as they are what is
    /// chosen.
    fn take(&mut self, id: SessionId, logits: &[&[f32]], answers: usize, events: &mut Vec<Event>) {
        let Some(running) = self.running.get_mut(&id) else { return };
        let (logits, scores) = running.score(logits, self.model.tokenizer());
        events.extend(scores.map(|scores| Event { session: id, kind: EventKind::Prompt(scores) }));
        let mut over = None;
        for (index, logits) in logits.iter().enumerate() {
            if running.answer.room() > 0 {
                running.first_token.get_or_insert_with(Instant::now);
            }
            let (said, ended) = match running.answer.take(logits) {
                Took::More(said) => (said, None),
                Took::Over(said, reason) => (said, Some(reason)),
            };
            events.extend(said.map(|said| Event { session: id, kind: EventKind::Text(said) }));
            over = ended;
            let guess = running.reads.get(running.reads.len() - running.guesses + index);
            if over.is_some() || guess.is_none_or(|guess| running.answer.history.last() != Some(guess)) {
                let each = if running.scouted { self.scout.as_ref().map_or(0.0, Scout::seconds) } else { 0.0 };
                running.heard(index, self.pace.paid(running.guesses, index, answers, each));
                break;
            }
        }
        // Wrong guesses were never said. The newest token is read in the next pass.
        let history = running.answer.history.len();
        let said = if running.is_reading() { running.session.length() } else { history - 1 };
        running.session.truncate(said.max(running.prompt.min(running.session.length())));
        self.keep_pages(id);
        if let Some(reason) = over {
            self.finish(id, reason, events);
        }
    }

    /// Keeps the pages of an answer that have become full, for texts that begin like it.
    fn keep_pages(&mut self, id: SessionId) {
        let Some(running) = self.running.get_mut(&id) else { return };
        let (mut last, mut count) = running.kept;
        while (count + 1) * PAGE_TOKENS <= running.session.length() {
            let tokens = running.answer.history[count * PAGE_TOKENS..].first_chunk();
            let (Some(tokens), Some(pages)) = (tokens, running.session.page(count)) else { break };
            last = self.prefixes.keep(last, *tokens, pages);
            count += 1;
        }
        running.kept = (last, count);
    }

    fn finish(&mut self, id: SessionId, reason: FinishReason, events: &mut Vec<Event>) {
        let Some(running) = self.running.remove(&id) else { return };
        if let Some(scout) = &mut self.scout {
            scout.forget(id);
        }
        let finished = Finished {
            reason,
            stop_text: running.answer.stop_text().map(str::to_owned),
            // All are below `context_tokens`, which is a u32.
            prompt_tokens: running.prompt as u32,
            cached_tokens: running.cached as u32,
            drafted_tokens: running.drafted(),
            generated_tokens: running.answer.generated,
            time_to_first_token: running.first_token.map(|first| first - running.began),
            total_time: running.began.elapsed(),
            alone: running.alone,
        };
        events.push(Event { session: id, kind: EventKind::Finished(finished) });
    }
}
