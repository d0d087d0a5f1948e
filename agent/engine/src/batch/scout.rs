//! A smaller model that reads along and says what it would say next: guesses where the text itself has none.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::SessionId;
use super::pace::smoothed;
use crate::model::{ForwardError, Model, Part, Workspace};
use crate::session::Session;

/// The two models do not speak the same tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the draft model's token {token} is not the model's: both need the same vocabulary, as models of one family have it"
)]
pub struct DraftMismatch {
    /// The first token that differs.
    pub token: u32,
}

/// The smaller model and how far it has read each answer.
#[derive(Debug)]
pub(super) struct Scout {
    model: Arc<Model>,
    readings: HashMap<SessionId, Reading>,
    workspace: Workspace,
    /// What one guess of every answer takes together, seconds; 0 before the first.
    seconds: f64,
}

#[derive(Debug)]
struct Reading {
    session: Session,
    /// What the session has read.
    tokens: Vec<u32>,
}

/// An answer that guesses are asked for.
#[derive(Debug)]
pub(super) struct Wish<'a> {
    pub(super) id: SessionId,
    /// The text so far.
    pub(super) text: &'a [u32],
    /// How many, at the most.
    pub(super) most: usize,
}

impl Scout {
    /// A scout for a model.
    ///
    /// # Errors
    /// Fails when the two have different tokens.
    pub(super) fn new(scout: Arc<Model>, model: &Model) -> Result<Self, DraftMismatch> {
        let (own, other) = (scout.tokenizer(), model.tokenizer());
        let most = own.vocabulary().max(other.vocabulary()) as u32;
        match (0..most).find(|token| own.text(*token) != other.text(*token)) {
            Some(token) => Err(DraftMismatch { token }),
            None => Ok(Self { model: scout, readings: HashMap::new(), workspace: Workspace::default(), seconds: 0.0 }),
        }
    }

    /// What one guess takes, seconds.
    pub(super) fn seconds(&self) -> f64 {
        self.seconds
    }

    /// An answer is over.
    pub(super) fn forget(&mut self, id: SessionId) {
        self.readings.remove(&id);
    }

    /// Guesses for each wish in turn. Of texts that it has not read yet it reads at most so many tokens now, and guesses
    /// nothing before it has read all.
    pub(super) fn guess(&mut self, wishes: &[Wish<'_>], mut unread: usize) -> Vec<Vec<u32>> {
        let mut guesses = vec![Vec::new(); wishes.len()];
        let mut next: Vec<(usize, Vec<u32>)> = Vec::new();
        for (at, wish) in wishes.iter().enumerate() {
            let rest = self.catch_up(wish);
            let read = rest.len().min(unread);
            unread -= read;
            if read == rest.len() {
                next.push((at, rest.to_vec()));
            } else if read > 0 && self.read(&[(wish.id, &rest[..read])], &mut |_, _| {}).is_err() {
                return guesses;
            }
        }
        while !next.is_empty() {
            let began = Instant::now();
            let parts: Vec<(SessionId, &[u32])> =
                next.iter().map(|(at, tokens)| (wishes[*at].id, tokens.as_slice())).collect();
            let single = parts.iter().all(|(_, tokens)| tokens.len() == 1);
            let mut likeliest = vec![None; next.len()];
            // Without guesses an answer is slower, not wrong.
            if self.read(&parts, &mut |at, logits| likeliest[at] = best(logits)).is_err() {
                return guesses;
            }
            if single {
                self.seconds = smoothed(self.seconds, began.elapsed());
            }
            let ends = self.model.tokenizer().end_of_generation();
            let said = std::mem::take(&mut next).into_iter().zip(likeliest);
            for ((at, _), token) in said {
                let Some(token) = token.filter(|token| !ends.contains(token)) else { continue };
                guesses[at].push(token);
                if guesses[at].len() < wishes[at].most {
                    next.push((at, vec![token]));
                }
            }
        }
        guesses
    }

    /// Takes back what was read and never said; gives what of the text is still to read, at least its last token.
    fn catch_up<'a>(&mut self, wish: &Wish<'a>) -> &'a [u32] {
        let model = &self.model;
        let reading = self.readings.entry(wish.id).or_insert_with(|| Reading {
            session: Session::new(model, model.info().context_tokens as usize),
            tokens: Vec::new(),
        });
        let same = reading.tokens.iter().zip(wish.text).take_while(|(read, said)| read == said).count();
        let kept = same.min(wish.text.len().saturating_sub(1));
        reading.tokens.truncate(kept);
        reading.session.truncate(kept);
        &wish.text[kept..]
    }

    /// Reads on in some texts, all in one pass, and hands the logits after each out.
    fn read(&mut self, texts: &[(SessionId, &[u32])], take: &mut dyn FnMut(usize, &[f32])) -> Result<(), ForwardError> {
        let mut readings: Vec<(usize, &mut Reading)> = self
            .readings
            .iter_mut()
            .filter_map(|(id, reading)| Some((texts.iter().position(|(text, _)| text == id)?, reading)))
            .collect();
        let wanted: Vec<[usize; 1]> = readings.iter().map(|(at, _)| [texts[*at].1.len().saturating_sub(1)]).collect();
        let mut parts: Vec<Part<'_>> = readings
            .iter_mut()
            .zip(&wanted)
            .map(|((at, reading), wanted)| Part { session: &mut reading.session, tokens: texts[*at].1, wanted })
            .collect();
        self.model.forward_together(&mut parts, &mut self.workspace)?;
        let logits = self.workspace.logits.chunks_exact(self.model.figures().vocabulary);
        for ((at, reading), logits) in readings.into_iter().zip(logits) {
            reading.tokens.extend_from_slice(texts[at].1);
            take(at, logits);
        }
        Ok(())
    }
}

/// The likeliest token, the lower id of equals.
fn best(logits: &[f32]) -> Option<u32> {
    let numbers = (0..).zip(logits).filter(|(_, logit)| logit.is_finite());
    numbers.min_by(|left, right| right.1.total_cmp(left.1)).map(|(id, _)| id)
}
