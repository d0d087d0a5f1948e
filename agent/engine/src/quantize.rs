//! Makes a smaller variant of a model: F16, Q8_0, Q6_K, Q5_1, Q4_K_M, Q4_0 or TQ2_0 from any file that is read here.

mod convert;
mod mix;
mod preview;

pub(crate) use convert::write_atomically;
pub(crate) use mix::formats;
pub use preview::preview;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::gguf::write::{Outline, write_in_parts};
use crate::gguf::{Format, Gguf, GgufError, Value};

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
    let output = output.as_ref();
    let failed = |source| QuantizeError::Write { path: output.to_owned(), source };
    let named: Vec<_> = gguf.tensors().iter().map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice())).collect();
    let formats = formats(&named, to);
    let tensors = gguf.tensors().iter().zip(&formats);
    let outline = Outline {
        metadata: metadata(&gguf, to),
        tensors: tensors.clone().map(|(tensor, format)| (tensor.name.clone(), tensor.shape.clone(), *format)).collect(),
    };
    let bytes = tensors.clone().filter_map(|(tensor, format)| format.bytes_for(tensor.weights())).sum();
    let changed = tensors.filter(|(tensor, format)| tensor.format != **format).count();
    let mut at = Progress { tensors_done: 0, tensors: formats.len(), bytes_done: 0, bytes };
    convert::write_atomically(output, |file| {
        write_in_parts(file, &outline, |index, out| {
            convert::tensor(&gguf, &gguf.tensors()[index], formats[index], out, &mut |written| {
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

fn metadata(gguf: &Gguf, to: Quantisation) -> Vec<(String, Value)> {
    let replaced = ["general.file_type", "general.quantization_version"];
    let kept = gguf.metadata().iter().filter(|(key, _)| !replaced.contains(&key.as_str())).cloned();
    kept.chain([
        ("general.file_type".to_owned(), Value::U32(to.file_type())),
        ("general.quantization_version".to_owned(), Value::U32(2)),
    ])
    .collect()
}

#[cfg(test)]
mod tests;
