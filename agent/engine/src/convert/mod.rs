//! A Hugging Face directory (`config.json`, safetensors, `tokenizer.json`) becomes a GGUF that this engine and llama.cpp load.
//!
//! ```text
//! config ──► family (names, figures) ──┐
//! shards (safetensors, mapped) ────────┴─► plan ──► rows, one at a time ──► file
//! tokenizer.json ──► vocabulary ───────────┘
//! ```
//!
//! Directories are hostile input: headers, shapes, names and figures are checked before anything relies on them, a tensor
//! or setting that would change what is computed is refused by name, and memory stays bounded however large the model.
//! Names and keys are those of the GGUF format; what is computed (paired rows, divisors of rotary speeds, scales) follows
//! the models' own published code.

mod config;
mod directory;
mod error;
mod families;
mod general;
mod plan;
mod rope;
mod rows;
mod shards;
#[cfg(test)]
mod tests;
mod vocabulary;

use std::io::{self, Write};
use std::path::Path;

pub use error::ConvertError;

use crate::gguf::write::{Outline, write_in_parts};
use crate::gguf::{Format, Value};
use crate::quantize::{Progress, write_atomically};
use config::Config;
use directory::Directory;
use plan::{Content, Planned};
use rows::encode;
use shards::Shards;

/// Largest model that is held in memory, bytes.
const MEMORY_BYTES: u64 = 1 << 30;

/// What matrices are written in; norms and biases are always F32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Single precision: nothing is lost.
    F32,
    /// Half precision: what every reader has, and what to quantise from.
    #[default]
    F16,
    /// The upper half of single precision: nothing is lost of models that were published so.
    BF16,
}

impl Precision {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::BF16];

    /// Its name, as in `BF16`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.format().name()
    }

    /// The one with this name, in either case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|precision| precision.name().eq_ignore_ascii_case(name))
    }

    fn format(self) -> Format {
        match self {
            Self::F32 => Format::F32,
            Self::F16 => Format::F16,
            Self::BF16 => Format::BF16,
        }
    }

    /// `general.file_type` of the format.
    fn file_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::BF16 => 32,
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// `general.architecture` of the file.
    pub architecture: &'static str,
    /// Tensors in the file.
    pub tensors: usize,
    /// Weights in the file.
    pub weights: u64,
    /// Bytes of all tensors.
    pub tensor_bytes: u64,
    /// What an operator should know of the result.
    pub notes: Vec<String>,
}

/// Reads a directory and writes a file. The file appears whole or not at all; an old one of the same name is replaced.
/// `progress` is told of every row that is written.
///
/// # Errors
/// Fails when something of the directory is missing, damaged, or of a model that no graph here computes; the error names it.
pub fn convert(
    directory: impl AsRef<Path>,
    output: impl AsRef<Path>,
    to: Precision,
    progress: &mut dyn FnMut(Progress),
) -> Result<Summary, ConvertError> {
    let (directory, output) = (Directory::new(directory.as_ref()), output.as_ref());
    let shards = Shards::open(&directory)?;
    let model = read(&directory, &shards, to)?;
    let failed = |source| ConvertError::Write { path: output.to_owned(), source };
    write_atomically(output, |file| model.write(file, progress)).map_err(failed)?;
    Ok(model.summary())
}

/// Reads a directory and makes the bytes of an F32 file, for models of at most 1 GiB that are opened without a file between.
///
/// # Errors
/// As [`convert`], and when the model is larger.
pub fn to_memory(directory: impl AsRef<Path>) -> Result<Vec<u8>, ConvertError> {
    let path = directory.as_ref();
    let directory = Directory::new(path);
    let shards = Shards::open(&directory)?;
    let model = read(&directory, &shards, Precision::F32)?;
    let bytes = model.summary().tensor_bytes;
    if bytes > MEMORY_BYTES {
        return Err(ConvertError::Memory { bytes, limit: MEMORY_BYTES });
    }
    let mut file = Vec::new();
    let failed = |source| ConvertError::Write { path: path.to_owned(), source };
    model.write(&mut file, &mut |_| {}).map_err(failed)?;
    Ok(file)
}

/// A model ready to be written.
#[derive(Debug)]
struct Model<'shards> {
    architecture: &'static str,
    metadata: Vec<(String, Value)>,
    tensors: Vec<Planned<'shards>>,
    notes: Vec<String>,
}

fn read<'shards>(
    directory: &Directory,
    shards: &'shards Shards,
    to: Precision,
) -> Result<Model<'shards>, ConvertError> {
    let config = Config::read(directory)?;
    let family = families::find(&config)?;
    let architecture = family.architecture;
    let mut description = (family.describe)(&config, directory)?;
    let tensors = plan::tensors(shards, &config, family, &mut description, to)?;

    let rows = table_rows(&tensors, &description.keys)?;
    let mut metadata = general::keys(directory, architecture, to)?;
    metadata.extend(description.keys.into_iter().map(|(key, value)| (format!("{architecture}.{key}"), value)));
    metadata.push((format!("{architecture}.vocab_size"), Value::U32(rows)));
    metadata.extend(vocabulary::keys(directory, &config, rows as usize)?);
    // The same key twice would be a file that nobody reads.
    let mut seen = std::collections::HashSet::new();
    metadata.retain(|(key, _)| seen.insert(key.clone()));
    Ok(Model { architecture, metadata, tensors, notes: description.notes })
}

/// Rows of the table of embeddings, whose width must be the model's.
fn table_rows(tensors: &[Planned<'_>], keys: &[(&str, Value)]) -> Result<u32, ConvertError> {
    const TABLE: &str = "token_embd.weight";
    const WIDTH: &str = "embedding_length";
    let shape = tensors.iter().find(|tensor| tensor.name == TABLE).map(|tensor| tensor.shape.as_slice());
    let width = keys.iter().find(|(key, _)| *key == WIDTH).and_then(|(_, value)| value.as_count());
    match (shape, width) {
        (Some([columns, rows]), Some(width)) if *columns == width && *rows <= 1 << 24 => Ok(*rows as u32),
        (shape, width) => Err(ConvertError::Tensor {
            tensor: "the table of embeddings".to_owned(),
            found: format!("of shape {:?}, the fastest-running first", shape.unwrap_or_default()),
            expected: format!("rows of {} weights, as `hidden_size` says", width.unwrap_or_default()),
        }),
    }
}

impl Model<'_> {
    fn summary(&self) -> Summary {
        let weights = |tensor: &Planned<'_>| tensor.shape.iter().product::<u64>();
        let bytes = |tensor: &Planned<'_>| weights(tensor) * tensor.format.block_bytes();
        Summary {
            architecture: self.architecture,
            tensors: self.tensors.len(),
            weights: self.tensors.iter().map(weights).sum(),
            tensor_bytes: self.tensors.iter().map(bytes).sum(),
            notes: self.notes.clone(),
        }
    }

    fn write(&self, file: &mut impl Write, progress: &mut dyn FnMut(Progress)) -> io::Result<()> {
        let outline = Outline {
            metadata: self.metadata.clone(),
            tensors: self.tensors.iter().map(|made| (made.name.clone(), made.shape.clone(), made.format)).collect(),
        };
        let (tensors, bytes) = (self.tensors.len(), self.summary().tensor_bytes);
        let mut at = Progress { tensors_done: 0, tensors, bytes_done: 0, bytes };
        write_in_parts(file, &outline, |index, file| {
            let tensor = &self.tensors[index];
            at.tensors_done = index;
            let within = |error: io::Error| io::Error::new(error.kind(), format!("tensor `{}`: {error}", tensor.name));
            let mut bytes = Vec::new();
            let mut put = |row: &[f32]| {
                bytes.clear();
                encode(tensor.format, row, &mut bytes).map_err(within)?;
                file.write_all(&bytes)?;
                at.bytes_done += bytes.len() as u64;
                progress(at);
                Ok::<(), io::Error>(())
            };
            match &tensor.content {
                Content::Computed(numbers) => put(numbers),
                Content::Rows(rows) => {
                    let mut row = vec![0.0; rows.columns];
                    (0..rows.rows).try_for_each(|index| {
                        rows.read(index, &mut row);
                        put(&row)
                    })
                }
            }
        })
    }
}
