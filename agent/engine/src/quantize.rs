//! Makes a smaller variant of a model: F16, Q8_0, Q6_K, Q5_1, Q4_K_M, Q4_0 or TQ2_0 from any file that is read here.

mod assign;
pub mod calibrated;
mod convert;
mod importance;
mod mix;
mod preview;
mod sample;
mod sensitivity;

pub(crate) use convert::write_atomically;
pub(crate) use mix::formats;
pub use preview::preview;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::evaluate::EvaluateError;
use crate::gguf::write::{Outline, write_in_parts};
use crate::gguf::{Format, Gguf, GgufError, Value};
use crate::model::LoadError;

/// What to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types, reason = "the names are the formats' own names")]
pub enum Quantisation {
    /// Half precision.
    F16,
    /// 8.5 bits per weight.
    Q8_0,
    /// 6.56 bits per weight.
    Q6_K,
    /// 6 bits per weight.
    Q5_1,
    /// Q4_K with Q6_K where it matters most: about 4.9 bits per weight.
    Q4_K_M,
    /// 4.5 bits per weight.
    Q4_0,
    /// 2.06 bits per weight: for models that were trained to have ternary weights.
    TQ2_0,
}

/// quantisation, name, its most common format, `general.file_type` of `llama.cpp`
const TABLE: [(Quantisation, &str, Format, u32); 7] = [
    (Quantisation::F16, "F16", Format::F16, 1),
    (Quantisation::Q8_0, "Q8_0", Format::Q8_0, 7),
    (Quantisation::Q6_K, "Q6_K", Format::Q6_K, 18),
    (Quantisation::Q5_1, "Q5_1", Format::Q5_1, 9),
    (Quantisation::Q4_K_M, "Q4_K_M", Format::Q4_K, 15),
    (Quantisation::Q4_0, "Q4_0", Format::Q4_0, 2),
    (Quantisation::TQ2_0, "TQ2_0", Format::TQ2_0, 37),
];

impl Quantisation {
    /// All of them, the largest first.
    pub const ALL: [Self; 7] = {
        let mut all = [Self::F16; 7];
        let mut at = 0;
        while at < all.len() {
            all[at] = TABLE[at].0;
            at += 1;
        }
        all
    };

    /// Its name, as in `Q4_K_M`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The one with this name, in either case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|quantisation| quantisation.name().eq_ignore_ascii_case(name))
    }

    fn format(self) -> Format {
        self.row().2
    }

    /// `general.file_type` of its files.
    pub(crate) fn file_type(self) -> u32 {
        self.row().3
    }

    fn row(self) -> &'static (Self, &'static str, Format, u32) {
        TABLE.iter().find(|row| row.0 == self).expect("every quantisation has its row in the table")
    }
}

/// How far the work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Tensors that are written.
    pub tensors_done: usize,
    /// Tensors of the file.
    pub tensors: usize,
    /// Bytes of the new file's tensors that are written.
    pub bytes_done: u64,
    /// Bytes of the new file's tensors.
    pub bytes: u64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Tensors in the file.
    pub tensors: usize,
    /// Tensors that changed their format.
    pub changed: usize,
    /// Bytes of the old file.
    pub input_bytes: u64,
    /// Bytes of the new file.
    pub output_bytes: u64,
}

/// Why a variant could not be made.
#[derive(Debug, thiserror::Error)]
pub enum QuantizeError {
    /// The old file is sound, and cannot be run to see what matters in it.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The sample cannot be read by the model.
    #[error("the sample cannot be used: {0}")]
    Sample(#[from] EvaluateError),
    /// There is too little text to measure on and to judge on.
    #[error(
        "the sample gives {found} passages and {needed} are needed: take a longer text, of {tokens} tokens or more"
    )]
    SampleTooShort {
        /// Passages of the sample.
        found: usize,
        /// The least.
        needed: usize,
        /// Tokens of a text that is just long enough.
        tokens: usize,
    },
    /// No mix is so small.
    #[error("{budget} bytes are too few: the smallest mix of this model has {smallest} bytes, {bits} bits per weight")]
    TooSmall {
        /// What was asked for.
        budget: u64,
        /// The least.
        smallest: u64,
        /// The same as bits per weight, as in `4.53`.
        bits: String,
    },
    /// The model, or what it is given, is so broken that nothing can be measured.
    #[error("{what} is no finite number: the model cannot be measured on this sample")]
    NotFinite {
        /// What was measured.
        what: String,
    },
    /// The system has no memory for one more matrix.
    #[error("cannot hold tensor `{tensor}` a second time: {source}")]
    Memory {
        /// The tensor.
        tensor: String,
        /// What the system said.
        source: io::Error,
    },
    /// The old file is not sound.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The new file could not be written.
    #[error("cannot write `{}`: {source}", path.display())]
    Write {
        /// The new file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// As [`quantize_with_progress`], for who does not wait.
///
/// # Errors
/// As [`quantize_with_progress`].
pub fn quantize(input: impl AsRef<Path>, output: impl AsRef<Path>, to: Quantisation) -> Result<Summary, QuantizeError> {
    quantize_with_progress(input, output, to, &mut |_| {})
}

/// Reads one file and writes the other, and tells after every few MiB how far it is. The new file appears whole or not at
/// all; an old one of the same name is replaced. No tensor is ever in memory as a whole, every core helps, and the bytes are
/// the same whatever the number of cores.
///
/// # Errors
/// Fails when the input is not a sound GGUF, when a weight is no number, or when the output cannot be written.
pub fn quantize_with_progress(
    input: impl AsRef<Path>,
    output: impl AsRef<Path>,
    to: Quantisation,
    progress: &mut dyn FnMut(Progress),
) -> Result<Summary, QuantizeError> {
    let gguf = Gguf::open(input)?;
    let named: Vec<_> = gguf.tensors().iter().map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice())).collect();
    let file = Plan { metadata: metadata(&gguf, Some(to.file_type())), formats: formats(&named, to) };
    write(&gguf, output.as_ref(), file, &|_| None, progress)
}

/// What a new file is to be.
struct Plan {
    metadata: Vec<(String, Value)>,
    /// Of every tensor, in the order of the old file.
    formats: Vec<Format>,
}

/// Writes the new file; `importance` says what errors in each of a tensor's columns cost, where that is known.
fn write<'importance>(
    gguf: &Gguf,
    output: &Path,
    plan: Plan,
    importance: &dyn Fn(&str) -> Option<&'importance [f32]>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Summary, QuantizeError> {
    let failed = |source| QuantizeError::Write { path: output.to_owned(), source };
    let formats = plan.formats;
    let tensors = gguf.tensors().iter().zip(&formats);
    let outline = Outline {
        metadata: plan.metadata,
        tensors: tensors.clone().map(|(tensor, format)| (tensor.name.clone(), tensor.shape.clone(), *format)).collect(),
    };
    let bytes = tensors.clone().filter_map(|(tensor, format)| format.bytes_for(tensor.weights())).sum();
    let changed = tensors.filter(|(tensor, format)| tensor.format != **format).count();
    let mut at = Progress { tensors_done: 0, tensors: formats.len(), bytes_done: 0, bytes };
    convert::write_atomically(output, |file| {
        write_in_parts(file, &outline, |index, out| {
            let tensor = &gguf.tensors()[index];
            convert::tensor(gguf, tensor, formats[index], importance(&tensor.name), out, &mut |written| {
                at.bytes_done += written;
                progress(at);
            })?;
            at.tensors_done = index + 1;
            progress(at);
            Ok(())
        })
    })
    .map_err(failed)?;
    let output_bytes = fs::metadata(output).map_err(failed)?.len();
    Ok(Summary { tensors: formats.len(), changed, input_bytes: gguf.file_bytes(), output_bytes })
}

/// What is kept of a file's metadata, with another file type, where there is a name for what it will be.
fn metadata(gguf: &Gguf, file_type: Option<u32>) -> Vec<(String, Value)> {
    let replaced = ["general.file_type", "general.quantization_version"];
    let is_replaced = |key: &str| replaced.contains(&key) || calibrated::KEYS.contains(&key);
    let kept = gguf.metadata().iter().filter(|(key, _)| !is_replaced(key)).cloned();
    let file_type = file_type.map(|id| ("general.file_type".to_owned(), Value::U32(id)));
    kept.chain(file_type).chain([("general.quantization_version".to_owned(), Value::U32(2))]).collect()
}

#[cfg(test)]
mod tests;
