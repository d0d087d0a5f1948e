//! What answers teach of predicted speed: each is held against what the planner said, and a smoothed ratio per model and format
//! is kept on disk, exported, reported, and given to the planner with the measurements it corrects.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use outpost_contract::{Correction, Learned, Measurements, ModelId, VariantFacts};
use outpost_disk::Ledger;
use outpost_engine::Backend;
use outpost_engine::generate::{FinishReason, Finished};
use outpost_planner::{Run, first_token_ns, learn, next_token_ns};

use crate::facts;
use crate::worker::Worker;

/// The ledger's name.
pub(crate) const LEDGER: &str = "corrections";

/// Variants that are kept: nobody serves more from one box.
const MOST_VARIANTS: usize = 64;

/// Answers shorter than this say little of the time between tokens, prompts shorter than this little of reading them.
const FEWEST_TOKENS: u32 = 8;

/// The first answers are kept at once, later ones every so often: a power cut costs a few of them, and a disk lasts.
const KEPT_EVERY: u64 = 32;

/// What was learned on this machine.
#[derive(Debug)]
pub(crate) struct Learning(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    ledger: Ledger<Vec<Correction>>,
    corrections: Vec<Correction>,
    /// What predictions are made from; nothing before the machine was measured.
    measurements: Option<Measurements>,
}

/// An answer that was given alone, in figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    /// Tokens that were read of the prompt, and how long that took; nothing where some were known before.
    first_token: Option<(u32, Duration)>,
    /// Tokens of the conversation in the middle of the answer, and how long one took.
    next_token: Option<(u32, Duration)>,
}

impl Learning {
    /// Begins with what earlier runs learned.
    pub(crate) fn new(ledger: Ledger<Vec<Correction>>, earlier: Option<Vec<Correction>>) -> Self {
        let mut corrections = earlier.unwrap_or_default();
        corrections.truncate(MOST_VARIANTS);
        Self(Mutex::new(Kept { ledger, corrections, measurements: None }))
    }

    /// Hears of every answer of a model from now on, its self-test included. Kernels of the main processor are what was
    /// measured: of a graphics processor nothing is learned.
    pub(crate) fn watch(self: &Arc<Self>, worker: &Worker, model: &ModelId) {
        if worker.model().backend() != Backend::Cpu {
            return;
        }
        let facts = facts::variant(model.clone(), 1, worker.model().info());
        let threads = u32::try_from(worker.model().threads()).unwrap_or(u32::MAX);
        let learning = Arc::clone(self);
        worker.observe(move |finished| learning.hear(&facts, threads, finished));
    }

    /// What was learned, for whoever plans with these measurements.
    pub(crate) fn correct(&self, measurements: Measurements) -> Measurements {
        let mut kept = self.lock();
        kept.measurements = Some(Measurements { corrections: Vec::new(), ..measurements.clone() });
        Measurements { corrections: kept.corrections.clone(), ..measurements }
    }

    /// What was learned.
    pub(crate) fn corrections(&self) -> Vec<Correction> {
        self.lock().corrections.clone()
    }

    /// Kernels were measured anew: what older predictions were off by says nothing of the next ones.
    pub(crate) fn forget(&self) {
        let mut kept = self.lock();
        if !kept.corrections.is_empty() {
            kept.corrections.clear();
            kept.keep();
        }
    }

    /// Hears of an answer of a variant on so many threads. One that ran beside others, was guessed ahead or failed teaches
    /// nothing, nor does one that is off by more than any correction: something else was measured then.
    pub(crate) fn hear(&self, facts: &VariantFacts, threads: u32, finished: &Finished) {
        let Some(sample) = sample(finished) else { return };
        let mut kept = self.lock();
        let Some(measurements) = &kept.measurements else { return };
        let next = sample.next_token.and_then(|(depth_tokens, took)| {
            Some((next_token_ns(facts, measurements, &Run { threads, depth_tokens })?, nanoseconds(took)))
        });
        let first = sample.first_token.and_then(|(prompt_tokens, took)| {
            Some((first_token_ns(facts, measurements, threads, prompt_tokens)?, nanoseconds(took)))
        });
        let (model, quantisation) = (&facts.model.model, &facts.quantisation);
        let known = kept.corrections.iter().position(|one| &one.model == model && &one.quantisation == quantisation);
        let empty = Correction {
            model: model.clone(),
            quantisation: quantisation.clone(),
            decode: Learned::default(),
            first_token: Learned::default(),
        };
        let before = known.map_or(empty, |place| kept.corrections[place].clone());
        let taught = |learned: Learned, pair: Option<(u64, u64)>| {
            pair.map_or(learned, |(predicted, measured)| learn(learned, predicted, measured))
        };
        let after = Correction {
            decode: taught(before.decode, next),
            first_token: taught(before.first_token, first),
            ..before.clone()
        };
        if after == before {
            return;
        }
        let answers = after.decode.answers.max(after.first_token.answers);
        match known {
            Some(place) => kept.corrections[place] = after,
            None => {
                kept.make_room();
                kept.corrections.push(after);
            }
        }
        if answers <= 2 || answers.is_multiple_of(KEPT_EVERY) {
            kept.keep();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn keep(&mut self) {
        if let Err(error) = self.ledger.commit(&self.corrections) {
            tracing::warn!(%error, "what answers taught is not kept");
        }
    }

    /// Forgets the variant that the fewest answers were given by, where there are many.
    fn make_room(&mut self) {
        let answers = |correction: &Correction| correction.decode.answers.max(correction.first_token.answers);
        while self.corrections.len() >= MOST_VARIANTS {
            let fewest = self.corrections.iter().enumerate().min_by_key(|(_, correction)| answers(correction));
            let Some((place, _)) = fewest else { return };
            self.corrections.remove(place);
        }
    }
}

/// What an answer says of speed, if it says something.
fn sample(finished: &Finished) -> Option<Sample> {
    let ended = matches!(finished.reason, FinishReason::Stop | FinishReason::Length);
    let first = finished.time_to_first_token.filter(|_| ended && finished.alone)?;
    let Finished { prompt_tokens, cached_tokens, drafted_tokens, generated_tokens, total_time, .. } = finished;
    let between = total_time.saturating_sub(first).checked_div(generated_tokens.saturating_sub(1))?;
    let sample = Sample {
        first_token: (*cached_tokens == 0 && *prompt_tokens >= FEWEST_TOKENS).then_some((*prompt_tokens, first)),
        // A pass that checks guesses gives several tokens, or takes longer for one.
        next_token: (drafted_tokens[0] == 0 && *generated_tokens >= FEWEST_TOKENS)
            .then_some((prompt_tokens.saturating_add(generated_tokens / 2), between)),
    };
    (sample.first_token.is_some() || sample.next_token.is_some()).then_some(sample)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
