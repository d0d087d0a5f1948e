//! How well a model predicts a text, and how far two variants of one model disagree about it.
//!
//! A text is cut into windows of equal length; each is read from an empty cache and scored on its second half, so that
//! every scored token has at least half a window before it. That is how `llama-perplexity` does it, so the figures of both
//! can stand side by side. Conversations are passages of their own, scored on what the model should have said.

mod reference;

pub(crate) use reference::{Change, Reference, observed};
use serde::Serialize;

use crate::math;
use crate::model::{ForwardError, Model, Workspace};
use crate::session::{KvType, Session};

/// Tokens that are read in one pass.
const CHUNK: usize = 32;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// The exponential of the mean negative log-likelihood of a scored token; the vocabulary's size would be guessing.
    pub perplexity: f64,
    /// One standard error of the perplexity, from the spread between tokens.
    pub standard_error: f64,
    /// Windows or conversations read.
    pub passages: usize,
    /// Tokens scored.
    pub scored_tokens: usize,
    /// How far the model is from the one it was compared with.
    pub against: Option<Disagreement>,
}

/// How far a model is from a reference, over the scored tokens.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Disagreement {
    /// The reference's perplexity.
    pub perplexity: f64,
    /// Mean Kullback–Leibler divergence of the model from the reference, nats per token.
    pub mean_divergence: f64,
    /// Share of tokens for which both would choose the same next one, 0 to 1.
    pub top1_agreement: f64,
}

/// Why a text could not be scored.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// A window that scores nothing.
    #[error("a window of {context} tokens is too short to score; use at least 4")]
    Window {
        /// What was asked for.
        context: usize,
    },
    /// No passage predicts a token.
    #[error("there is no token to score; give a longer text")]
    Nothing,
    /// The model has never seen so long a context.
    #[error("a passage of {context} tokens is longer than the {trained} that the model was trained for")]
    TooLong {
        /// What was asked for.
        context: usize,
        /// What there is.
        trained: usize,
    },
    /// Not one window fits in the text.
    #[error("the text has {tokens} tokens, less than one window of {context}; use a longer text or a smaller context")]
    TooShort {
        /// Tokens of the text.
        tokens: usize,
        /// Tokens of a window.
        context: usize,
    },
    /// The two models do not speak of the same tokens.
    #[error("the vocabularies differ ({left} and {right} tokens): only variants of one model can be compared")]
    Vocabulary {
        /// Tokens of the model.
        left: usize,
        /// Tokens of the reference.
        right: usize,
    },
    /// A pass failed.
    #[error(transparent)]
    Forward(#[from] ForwardError),
}

/// Tokens that are read from an empty cache, and where scoring begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// The tokens.
    pub tokens: Vec<u32>,
    /// The first position whose prediction of the next token counts.
    pub scored_from: usize,
}

/// Cuts a tokenised text into windows of `context` tokens that are scored on their second half. Where the model's tokenizer
/// begins every text with BOS, every window's first token is replaced by it. Tokens after the last whole window are left
/// out.
///
/// # Errors
/// Fails when the text is shorter than a window, or the window shorter than four tokens or longer than the model's context.
pub fn windows(model: &Model, tokens: &[u32], context: usize) -> Result<Vec<Passage>, EvaluateError> {
    if context < 4 {
        return Err(EvaluateError::Window { context });
    }
    let trained = model.figures().context_tokens;
    if context > trained {
        return Err(EvaluateError::TooLong { context, trained });
    }
    if tokens.len() < context {
        return Err(EvaluateError::TooShort { tokens: tokens.len(), context });
    }
    let bos = model.tokenizer().bos().filter(|_| model.tokenizer().add_bos());
    let window = |tokens: &[u32]| {
        let mut tokens = tokens.to_vec();
        tokens[0] = bos.unwrap_or(tokens[0]);
        Passage { tokens, scored_from: context / 2 }
    };
    Ok(tokens.chunks_exact(context).map(window).collect())
}

/// Scores passages, and compares with `reference` if there is one. `progress` hears the passages done and those in all.
///
/// # Errors
/// Fails when no passage has a token to score, when one is longer than the context, when the vocabularies differ, or when a
/// token is not in the vocabulary.
pub fn evaluate(
    model: &Model,
    reference: Option<&Model>,
    passages: &[Passage],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Evaluation, EvaluateError> {
    evaluate_keeping(KvType::F32, model, reference, passages, progress)
}

/// As [`evaluate`], the model keeping keys and values as this type; the reference keeps its own in single precision.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_keeping(
    kv_type: KvType,
    model: &Model,
    reference: Option<&Model>,
    passages: &[Passage],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Evaluation, EvaluateError> {
    let longest = check(model, reference, passages)?;
    let mut reader = Reader::new(model, longest, kv_type);
    let mut reference = reference.map(|reference| Reader::new(reference, longest, KvType::F32));
    let mut tally = Tally::default();
    for (index, passage) in passages.iter().enumerate() {
        reader.session.clear();
        reference.iter_mut().for_each(|reference| reference.session.clear());
        for (part, first) in passage.tokens.chunks(CHUNK).zip((0..).step_by(CHUNK)) {
            // The last position predicts a token that is not in the passage.
            let scored = passage.scored_from..passage.tokens.len() - 1;
            let wanted: Vec<usize> = (0..part.len()).filter(|index| scored.contains(&(first + index))).collect();
            reader.read(part, &wanted)?;
            if let Some(reference) = &mut reference {
                reference.read(part, &wanted)?;
            }
            for (row, index) in wanted.iter().enumerate() {
                let next = passage.tokens[first + index + 1] as usize;
                let theirs = reference.as_ref().map(|reference| Prediction::of(reference.row(row)));
                tally.add(next, &Prediction::of(reader.row(row)), theirs.as_ref());
            }
        }
        progress(index + 1, passages.len());
    }
    Ok(tally.evaluation(passages.len(), reference.is_some()))
}

/// The longest passage's length.
fn check(model: &Model, reference: Option<&Model>, passages: &[Passage]) -> Result<usize, EvaluateError> {
    let longest = passages.iter().map(|passage| passage.tokens.len()).max().unwrap_or(0);
    if !passages.iter().any(|passage| passage.scored_from + 1 < passage.tokens.len()) {
        return Err(EvaluateError::Nothing);
    }
    let models = [Some(model), reference];
    for trained in models.into_iter().flatten().map(|model| model.figures().context_tokens) {
        if longest > trained {
            return Err(EvaluateError::TooLong { context: longest, trained });
        }
    }
    let [left, right] = models.map(|model| model.map(|model| model.figures().vocabulary));
    match (left, right) {
        (Some(left), Some(right)) if left != right => Err(EvaluateError::Vocabulary { left, right }),
        _ => Ok(longest),
    }
}

/// What has been scored so far.
#[derive(Default)]
struct Tally {
    losses: Moments,
    reference_losses: Moments,
    divergence: f64,
    agreements: usize,
}

impl Tally {
    fn add(&mut self, next: usize, ours: &Prediction<'_>, theirs: Option<&Prediction<'_>>) {
        self.losses.add(-ours.log_probability(next));
        if let Some(theirs) = theirs {
            self.reference_losses.add(-theirs.log_probability(next));
            self.divergence += ours.divergence_from(theirs);
            self.agreements += usize::from(ours.likeliest() == theirs.likeliest());
        }
    }

    fn evaluation(&self, passages: usize, was_compared: bool) -> Evaluation {
        let perplexity = math::exp_f64(self.losses.mean());
        let count = self.losses.count as f64;
        Evaluation {
            perplexity,
            standard_error: perplexity * self.losses.standard_error(),
            passages,
            scored_tokens: self.losses.count,
            against: was_compared.then(|| Disagreement {
                perplexity: math::exp_f64(self.reference_losses.mean()),
                mean_divergence: self.divergence / count,
                top1_agreement: self.agreements as f64 / count,
            }),
        }
    }
}

/// A model with a cache and buffers of its own.
struct Reader<'model> {
    model: &'model Model,
    session: Session,
    workspace: Workspace,
}

impl<'model> Reader<'model> {
    fn new(model: &'model Model, context: usize, kv_type: KvType) -> Self {
        Self { model, session: Session::of(model, context, kv_type), workspace: Workspace::default() }
    }

    fn read(&mut self, tokens: &[u32], wanted: &[usize]) -> Result<(), ForwardError> {
        self.model.forward(&mut self.session, tokens, wanted, &mut self.workspace)
    }

    /// The logits at the `index`-th wanted position of the last pass.
    fn row(&self, index: usize) -> &[f32] {
        let vocabulary = self.model.figures().vocabulary;
        &self.workspace.logits[index * vocabulary..(index + 1) * vocabulary]
    }
}

/// What a model expects next: logits, and the logarithm of the sum of their exponentials.
struct Prediction<'row> {
    logits: &'row [f32],
    log_sum: f64,
}

impl<'row> Prediction<'row> {
    fn of(logits: &'row [f32]) -> Self {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|logit| f64::from(math::exp(logit - largest))).sum();
        Self { logits, log_sum: f64::from(largest) + math::ln_f64(sum) }
    }

    fn log_probability(&self, token: usize) -> f64 {
        f64::from(self.logits[token]) - self.log_sum
    }

    /// The first of the largest logits.
    fn likeliest(&self) -> usize {
        let best = self.logits.iter().enumerate().rev().max_by(|left, right| left.1.total_cmp(right.1));
        best.map_or(0, |(token, _)| token)
    }

    /// Σ p·(log p − log q) with p the other's probabilities and q these, nats.
    fn divergence_from(&self, other: &Self) -> f64 {
        (0..self.logits.len())
            .map(|token| {
                let expected = other.log_probability(token);
                math::exp_f64(expected) * (expected - self.log_probability(token))
            })
            .sum()
    }
}

/// Count, sum and sum of squares.
#[derive(Default)]
struct Moments {
    count: usize,
    sum: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
        self.squares += value * value;
    }

    fn mean(&self) -> f64 {
        self.sum / self.count as f64
    }

    /// Of the mean.
    fn standard_error(&self) -> f64 {
        if self.count < 2 {
            return 0.0;
        }
        let variance = (self.squares / self.count as f64 - self.mean().powi(2)).max(0.0);
        (variance / (self.count - 1) as f64).sqrt()
    }
}

#[cfg(test)]
mod tests;
