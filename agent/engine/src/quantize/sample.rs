//! Texts like those that the model will read, cut in two: what is measured on, and what is judged on.

use super::QuantizeError;
use crate::evaluate::{self, Passage};
use crate::model::Model;

/// Tokens of one window of a text.
const WINDOW: usize = 128;
/// Every so many-th passage is kept for judging.
const HELD_OUT: usize = 4;
/// Scored tokens that are kept for comparison, at the most, and the logits of all of them.
const SCORED: usize = 1_024;
const LOGITS: usize = 1 << 26;
/// Passages that are listened to, at the most: enough for every column to show what it carries.
const LISTENED: usize = 512;

/// Passages of text, some of which are kept for judging.
#[derive(Debug, Clone)]
pub struct Sample {
    id: String,
    measured: Vec<Passage>,
    held_out: Vec<Passage>,
}

impl Sample {
    /// Cuts a text into windows. `special` matches special tokens in the text, as a chat template writes them. `id` names the
    /// text in the new file, best by its hash.
    ///
    /// # Errors
    /// Fails when the text is too short.
    pub fn of_text(model: &Model, text: &str, special: bool, id: impl Into<String>) -> Result<Self, QuantizeError> {
        let tokens = model.tokenizer().encode(text, special, model.tokenizer().add_bos());
        let context = WINDOW.min(model.figures().context_tokens);
        if tokens.len() < context {
            return Err(too_short(0));
        }
        Self::of_passages(evaluate::windows(model, &tokens, context)?, id)
    }

    /// Takes passages, conversations for example.
    ///
    /// # Errors
    /// Fails when there are too few.
    pub fn of_passages(passages: Vec<Passage>, id: impl Into<String>) -> Result<Self, QuantizeError> {
        if passages.len() < HELD_OUT {
            return Err(too_short(passages.len()));
        }
        let (mut measured, mut held_out) = (Vec::new(), Vec::new());
        for (index, passage) in passages.into_iter().enumerate() {
            let of_its_kind = if index % HELD_OUT == HELD_OUT - 1 { &mut held_out } else { &mut measured };
            of_its_kind.push(passage);
        }
        Ok(Self { id: id.into(), measured, held_out })
    }

    /// What names it.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// What shows which columns matter.
    pub(super) fn listened(&self) -> Vec<Passage> {
        spread(&self.measured, LISTENED)
    }

    /// What shows which tensors matter: fewer, since they are read once per tensor and more.
    pub(super) fn measured(&self, model: &Model) -> Vec<Passage> {
        bounded(&self.measured, model)
    }

    /// What nothing was measured on.
    pub(super) fn held_out(&self, model: &Model) -> Vec<Passage> {
        bounded(&self.held_out, model)
    }
}

fn too_short(found: usize) -> QuantizeError {
    QuantizeError::SampleTooShort { found, needed: HELD_OUT, tokens: HELD_OUT * WINDOW }
}

/// As many passages as have no more scored tokens than are kept, from everywhere.
fn bounded(passages: &[Passage], model: &Model) -> Vec<Passage> {
    let scored: usize =
        passages.iter().map(|passage| passage.tokens.len().saturating_sub(passage.scored_from + 1)).sum();
    let most = SCORED.min(LOGITS / model.figures().vocabulary.max(1)).max(1);
    let count = (passages.len() * most).checked_div(scored).unwrap_or(passages.len());
    spread(passages, count.max(1))
}

/// So many of the passages, at equal distances.
fn spread(passages: &[Passage], most: usize) -> Vec<Passage> {
    let count = most.min(passages.len());
    (0..count).map(|index| passages[index * passages.len() / count].clone()).collect()
}
