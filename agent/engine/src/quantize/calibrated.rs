//! Variants made with a sample text: scales that spare what matters, and formats mixed tensor by tensor.
//!
//! ```text
//! sample ──listen──► importance of every column ──┬─► scales of every block ───────────────┐
//!    └────measure──► cost of formats per matrix ──┴─► assign (bytes) ──► format per matrix ─┴─► judge ──► file
//! ```

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::assign::{Choice, assign};
use super::importance::Importance;
pub use super::sample::Sample;
use super::{Plan, Progress, Quantisation, QuantizeError, Summary, convert, formats, metadata, sensitivity, write};
use crate::backends::Backend;
use crate::evaluate::{Change, Reference};
use crate::gguf::write::{Outline, header};
use crate::gguf::{FILE_TYPES, Format, Gguf, Value, most_common};
use crate::model::{LoadOptions, Model};

/// The bytes that a mix was made for; its presence says that a file is a mix.
pub(crate) const BUDGET_KEY: &str = "outpost.mix.budget_bytes";
const SAMPLE_KEY: &str = "outpost.sample.id";
const TOKENS_KEY: &str = "outpost.sample.tokens";
const DIVERGENCE_KEY: &str = "outpost.sample.divergence";
/// All keys of ours: what is made of such a file anew does not inherit them.
pub(super) const KEYS: [&str; 4] = [BUDGET_KEY, SAMPLE_KEY, TOKENS_KEY, DIVERGENCE_KEY];

/// What to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The formats that a quantisation gives to every tensor.
    Uniform(Quantisation),
    /// The best format for each tensor.
    Mixed(Budget),
}

/// How large a mix may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// Thousandths of a bit for each weight of the model.
    BitsMilli(u64),
    /// Bytes of the file.
    FileBytes(u64),
    /// As large a file as this makes.
    Like(Quantisation),
}

/// How far the work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Passages of so many that the model has read.
    Listening(usize, usize),
    /// Matrices of so many that were measured.
    Measuring(usize, usize),
    /// Matrices of so many that the model has as the new file will have them.
    Judging(usize, usize),
    /// The file itself.
    Writing(Progress),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibrated {
    /// As without a sample.
    pub summary: Summary,
    /// Tokens that were listened to.
    pub tokens: usize,
    /// Mean divergence from the original on passages that nothing was measured on, nats per token.
    pub divergence: f64,
    /// Share of tokens there for which both choose the same next one, 0 to 1.
    pub agreement: f64,
    /// What the divergence was predicted to be on the passages that were measured on: of mixes.
    pub predicted: Option<f64>,
}

/// A model that listens.
#[derive(Debug)]
pub struct Workshop {
    gguf: Gguf,
    model: Arc<Model>,
}

impl Workshop {
    /// Loads a model onto so many threads; 0 means one per core.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn open(input: impl AsRef<Path>, threads: usize) -> Result<Self, QuantizeError> {
        let gguf = Gguf::open(input)?;
        let options = LoadOptions { threads, backend: Some(Backend::Cpu), ..LoadOptions::default() };
        let model = Model::from_gguf(&gguf, &options)?;
        Ok(Self { gguf, model })
    }

    /// The model, to make a sample for.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Measures, chooses, judges and writes. The new file appears whole or not at all, and is the same whatever the machine.
    ///
    /// # Errors
    /// Fails when the model cannot read the sample, when anything is no number, when no mix is small enough, when memory runs
    /// out, and when the file cannot be written.
    pub fn write(
        mut self,
        output: impl AsRef<Path>,
        target: Target,
        sample: &Sample,
        progress: &mut dyn FnMut(Stage),
    ) -> Result<Calibrated, QuantizeError> {
        let held_out = sample.held_out(&self.model);
        let expected = Reference::of(&self.model, &held_out)?;
        let listening = &mut |done, all| progress(Stage::Listening(done, all));
        let importance = Importance::of(&self.model, sample, listening)?;
        let (formats, file_type, budget, predicted) = match target {
            Target::Uniform(to) => (self.uniform(to), Some(to.file_type()), None, None),
            Target::Mixed(budget) => {
                let measuring = &mut |done, all| progress(Stage::Measuring(done, all));
                let options = sensitivity::measure(&self.gguf, &mut self.model, &importance, sample, measuring)?;
                let keys = keys(sample, &importance, 0.0, Some(0));
                let budget_bytes = self.budget_bytes(budget, &keys)?;
                let (formats, predicted) = self.mix(&options, budget_bytes, &keys)?;
                let most = most_common(
                    self.gguf
                        .tensors()
                        .iter()
                        .zip(&formats)
                        .map(|(tensor, format)| (*format, format.bytes_for(tensor.weights()).unwrap_or(0))),
                );
                (formats, most.and_then(file_type_of), Some(budget_bytes), Some(predicted))
            }
        };
        let judging = &mut |done, all| progress(Stage::Judging(done, all));
        self.become_what_is_written(&formats, &importance, judging)?;
        let Change { divergence, agreement } = expected.change(&self.model, &held_out)?;
        if !divergence.is_finite() {
            return Err(QuantizeError::NotFinite { what: "the divergence from the original".to_owned() });
        }
        let mut metadata = metadata(&self.gguf, file_type);
        metadata.extend(keys(sample, &importance, divergence, budget));
        let plan = Plan { metadata, formats };
        let columns = |tensor: &str| importance.columns(tensor);
        let writing = &mut |at| progress(Stage::Writing(at));
        let summary = write(&self.gguf, output.as_ref(), plan, &columns, writing)?;
        Ok(Calibrated { summary, tokens: importance.tokens, divergence, agreement, predicted })
    }

    fn uniform(&self, to: Quantisation) -> Vec<Format> {
        let tensors = self.gguf.tensors().iter();
        formats(&tensors.map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice())).collect::<Vec<_>>(), to)
    }

    /// Bytes that the new file may have.
    fn budget_bytes(&self, budget: Budget, keys: &[(String, Value)]) -> Result<u64, QuantizeError> {
        match budget {
            Budget::FileBytes(bytes) => Ok(bytes),
            Budget::BitsMilli(bits) => {
                let weights: u64 = self.gguf.tensors().iter().map(crate::gguf::TensorEntry::weights).sum();
                let bytes = u128::from(weights) * u128::from(bits) / 8_000;
                Ok(u64::try_from(bytes).unwrap_or(u64::MAX).saturating_add(self.header_bytes(keys)?))
            }
            Budget::Like(to) => {
                let tensors = self.gguf.tensors().iter().zip(self.uniform(to));
                Ok(tensors.map(|(tensor, format)| sensitivity::padded(tensor, format)).sum::<u64>()
                    + self.header_bytes(&[])?)
            }
        }
    }

    /// Bytes in front of the tensors; the same whatever formats they have.
    fn header_bytes(&self, keys: &[(String, Value)]) -> Result<u64, QuantizeError> {
        let mut metadata = metadata(&self.gguf, Some(0));
        metadata.extend_from_slice(keys);
        let tensors = self.gguf.tensors().iter().map(|tensor| (tensor.name.clone(), tensor.shape.clone(), Format::F32));
        let (header, _) = header(&Outline { metadata, tensors: tensors.collect() })
            .map_err(|source| QuantizeError::Write { path: self.gguf.path().to_owned(), source })?;
        Ok(header.len() as u64)
    }

    /// The format of every tensor, and what the mix is predicted to cost.
    fn mix(
        &self,
        options: &[sensitivity::Options],
        budget_bytes: u64,
        keys: &[(String, Value)],
    ) -> Result<(Vec<Format>, f64), QuantizeError> {
        // What is no matrix stays as Q8_0 would have it, which is F32.
        let mut formats = self.uniform(Quantisation::Q8_0);
        let tensors = self.gguf.tensors();
        let others = tensors.iter().zip(&formats).filter(|(tensor, _)| !sensitivity::is_chosen(tensor));
        let fixed = others.map(|(tensor, format)| sensitivity::padded(tensor, *format)).sum::<u64>();
        let fixed = fixed + self.header_bytes(keys)?;
        let choices: Vec<Vec<Choice>> = options.iter().map(|options| options.choices.clone()).collect();
        let room = budget_bytes.checked_sub(fixed);
        let answer = room.and_then(|room| assign(&choices, room)).ok_or_else(|| {
            let least = choices.iter().filter_map(|choices| choices.iter().map(|choice| choice.bytes).min());
            let least = least.sum::<u64>() + fixed;
            let weights = tensors.iter().map(crate::gguf::TensorEntry::weights).sum::<u64>().max(1);
            let bits = format!("{:.2}", least as f64 * 8.0 / weights as f64);
            QuantizeError::TooSmall { budget: budget_bytes, smallest: least, bits }
        })?;
        let mut predicted = 0.0;
        for (options, chosen) in options.iter().zip(answer) {
            formats[options.tensor] = options.formats[chosen];
            predicted += options.choices[chosen].loss;
        }
        Ok((formats, predicted))
    }

    /// Makes the model compute with the weights of the new file.
    fn become_what_is_written(
        &mut self,
        formats: &[Format],
        importance: &Importance,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(), QuantizeError> {
        let tensors = self.gguf.tensors().iter().zip(formats);
        let changed = || tensors.clone().filter(|(tensor, to)| sensitivity::is_chosen(tensor) && tensor.format != **to);
        let count = changed().count();
        for (done, (tensor, to)) in changed().enumerate() {
            progress(done, count);
            let (blocks, _) = convert::encoded(&self.gguf, tensor, *to, importance.columns(&tensor.name))
                .map_err(|source| QuantizeError::Memory { tensor: tensor.name.clone(), source })?;
            sensitivity::replace(&mut self.model, tensor, *to, &blocks)?;
        }
        progress(count, count);
        Ok(())
    }
}

/// What the new file says of the sample; equally long whatever was measured.
fn keys(sample: &Sample, importance: &Importance, divergence: f64, budget: Option<u64>) -> Vec<(String, Value)> {
    let mut keys = vec![
        (SAMPLE_KEY.to_owned(), Value::Text(sample.id().to_owned())),
        (TOKENS_KEY.to_owned(), Value::U64(importance.tokens as u64)),
        (DIVERGENCE_KEY.to_owned(), Value::F32(divergence as f32)),
    ];
    keys.extend(budget.map(|bytes| (BUDGET_KEY.to_owned(), Value::U64(bytes))));
    keys
}

/// What a file says of the sample that it was made with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Provenance {
    /// What names the sample: whatever the file says.
    pub sample: String,
    /// Tokens that were listened to.
    pub tokens: u64,
    /// Mean divergence from the original, nats per token.
    pub divergence: f64,
    /// The bytes that it was mixed for, if it is a mix.
    pub budget_bytes: Option<u64>,
}

/// Reads it, where it is there.
#[must_use]
pub fn provenance(gguf: &Gguf) -> Option<Provenance> {
    Some(Provenance {
        sample: gguf.text(SAMPLE_KEY)?.to_owned(),
        tokens: gguf.count(TOKENS_KEY)?,
        divergence: gguf.number(DIVERGENCE_KEY)?,
        budget_bytes: gguf.count(BUDGET_KEY),
    })
}

/// Bytes of the tensors in each format, the most first.
#[must_use]
pub fn bytes_by_format(gguf: &Gguf) -> Vec<(Format, u64)> {
    let mut bytes: HashMap<Format, u64> = HashMap::new();
    for tensor in gguf.tensors() {
        *bytes.entry(tensor.format).or_default() += tensor.range.len() as u64;
    }
    let mut bytes: Vec<_> = bytes.into_iter().collect();
    bytes.sort_by_key(|(format, bytes)| (std::cmp::Reverse(*bytes), format.id()));
    bytes
}

/// `general.file_type` of files that are mostly of a format; of several, that which mixes.
fn file_type_of(format: Format) -> Option<u32> {
    let mixed = format!("{}_M", format.name());
    let named = |name: &str| FILE_TYPES.iter().find(|row| row.1 == name);
    let (id, _) = named(format.name()).or_else(|| named(&mixed))?;
    u32::try_from(*id).ok()
}

#[cfg(test)]
mod tests;
