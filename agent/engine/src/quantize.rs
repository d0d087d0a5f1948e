//! Makes a smaller variant of a model: F16, Q8_0, Q5_1 or Q4_0 from a larger one.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};

use crate::blocks;
use crate::gguf::write::{Outline, write};
use crate::gguf::{Format, Gguf, GgufError, TensorEntry, Value};

/// What to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantisation {
    /// Half precision.
    F16,
    /// 8.5 bits per weight.
    Q8_0,
    /// 6 bits per weight.
    Q5_1,
    /// 4.5 bits per weight.
    Q4_0,
}

impl Quantisation {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::F16, Self::Q8_0, Self::Q5_1, Self::Q4_0];

    /// Its name, as in `Q4_0`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.format().name()
    }

    /// The one with this name, in either case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|quantisation| quantisation.name().eq_ignore_ascii_case(name))
    }

    fn format(self) -> Format {
        match self {
            Self::F16 => Format::F16,
            Self::Q8_0 => Format::Q8_0,
            Self::Q5_1 => Format::Q5_1,
            Self::Q4_0 => Format::Q4_0,
        }
    }

    /// Embedding and output stay at 8 bits in the small variants: every token passes through them, and they suffer most.
    fn format_of(self, tensor: &TensorEntry) -> Format {
        let is_matrix = tensor.shape.len() == 2 && tensor.name.ends_with(".weight");
        let is_table = matches!(tensor.name.as_str(), "token_embd.weight" | "output.weight");
        let wanted = match self {
            Self::Q5_1 | Self::Q4_0 if is_table => Format::Q8_0,
            _ => self.format(),
        };
        if !is_matrix {
            // Norms are a thousandth of the bytes and steer everything.
            return Format::F32;
        }
        if tensor.shape[0].is_multiple_of(wanted.block_weights()) { wanted } else { Format::F16 }
    }

    /// `general.file_type` of `llama.cpp`.
    fn file_type(self) -> u32 {
        match self {
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q8_0 => 7,
            Self::Q5_1 => 9,
        }
    }
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

/// Reads one file and writes the other. The new file appears whole or not at all; an old one of the same name is
/// replaced.
///
/// # Errors
/// Fails when the input is not a sound GGUF or the output cannot be written.
pub fn quantize(input: impl AsRef<Path>, output: impl AsRef<Path>, to: Quantisation) -> Result<Summary, QuantizeError> {
    let gguf = Gguf::open(input)?;
    let output = output.as_ref();
    let failed = |source| QuantizeError::Write { path: output.to_owned(), source };
    let formats: Vec<Format> = gguf.tensors().iter().map(|tensor| to.format_of(tensor)).collect();
    let tensors = gguf.tensors().iter().zip(&formats);
    let outline = Outline {
        metadata: metadata(&gguf, to),
        tensors: tensors.clone().map(|(tensor, format)| (tensor.name.clone(), tensor.shape.clone(), *format)).collect(),
    };
    let changed = tensors.filter(|(tensor, format)| tensor.format != **format).count();
    write_atomically(output, |file| {
        write(file, &outline, |index, bytes| convert(&gguf, &gguf.tensors()[index], formats[index], bytes))
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

fn convert(gguf: &Gguf, tensor: &TensorEntry, to: Format, bytes: &mut Vec<u8>) -> io::Result<()> {
    let stored = gguf.bytes(tensor);
    if tensor.format == to {
        bytes.extend_from_slice(stored);
        return Ok(());
    }
    // The validator bounds a tensor's weights, so they fit usize on every machine that can map the file.
    let mut wide = vec![0.0; tensor.weights() as usize];
    blocks::widen(tensor.format, &stored[..stored.len() - tensor.format.tail_bytes() as usize], &mut wide);
    let scale = gguf.scale(tensor);
    wide.iter_mut().for_each(|weight| *weight *= scale);
    *bytes = encode(to, &wide).map_err(|error| io::Error::other(format!("tensor `{}`: {error}", tensor.name)))?;
    Ok(())
}

/// Weights as blocks.
pub(crate) fn encode(format: Format, wide: &[f32]) -> Result<Vec<u8>, candle_core::Error> {
    let kind = match format {
        Format::F32 => GgmlDType::F32,
        Format::F16 => GgmlDType::F16,
        Format::Q8_0 => GgmlDType::Q8_0,
        Format::Q5_1 => GgmlDType::Q5_1,
        Format::Q4_0 => GgmlDType::Q4_0,
        Format::Q4_K => GgmlDType::Q4K,
        other => return Err(candle_core::Error::Msg(format!("{} is not written here", other.name()))),
    };
    let wide = Tensor::from_slice(wide, wide.len(), &Device::Cpu)?;
    Ok(QTensor::quantize(&wide, kind)?.data()?.into_owned())
}

/// Writes beside, flushes to the disk, renames, flushes the directory.
fn write_atomically(path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::other("it has no file name"))?.to_string_lossy();
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let beside = directory.join(format!(".{name}.{}.tmp", std::process::id()));
    let written = (|| {
        let mut file = BufWriter::new(File::create(&beside)?);
        fill(&mut file)?;
        file.flush()?;
        file.get_ref().sync_all()?;
        fs::rename(&beside, path)?;
        File::open(directory)?.sync_all()
    })();
    if written.is_err() {
        // What is left of it is of no use; that removing may fail too changes nothing.
        let _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests;
