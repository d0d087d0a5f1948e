//! Why a directory could not become a file, said so that an operator knows what to do.

use std::io;
use std::path::PathBuf;

use crate::tokenizer::TokenizerError;

/// Why a Hugging Face directory was refused, or the new file not written.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// A file of the directory could not be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is larger than any of its kind.
    #[error("`{}` has {bytes} bytes, more than the limit of {limit}; it is damaged or hostile", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The most that is accepted.
        limit: u64,
    },
    /// A file does not say what one of its kind says.
    #[error("`{}` is refused: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A name in the index of shards is more than a file name.
    #[error("the index names the shard `{name}`; a shard is a file of the same directory, without any path")]
    ShardName {
        /// The name.
        name: String,
    },
    /// No family of this name is converted here.
    #[error("model family `{found}` is not converted here; these are: {known}")]
    Family {
        /// What `config.json` says.
        found: String,
        /// What can be converted.
        known: String,
    },
    /// A figure is missing.
    #[error("`config.json` does not say `{key}`; fetch the model's own file")]
    MissingKey {
        /// The key.
        key: String,
    },
    /// A figure is not of its kind or absurd.
    #[error("`{key}` in `config.json` is {value}; expected {expected}")]
    BadKey {
        /// The key.
        key: String,
        /// What it says.
        value: String,
        /// What was expected.
        expected: String,
    },
    /// A setting changes what the model computes, and no graph here computes that.
    #[error("`{key}` is {value} in this model: {why}; choose another model or variant")]
    Unsupported {
        /// The setting.
        key: String,
        /// What it says.
        value: String,
        /// Why it cannot be.
        why: &'static str,
    },
    /// A tensor that the family has is not there.
    #[error("tensor `{tensor}` is missing; fetch all shards of the model")]
    MissingTensor {
        /// The tensor's name in the directory.
        tensor: String,
    },
    /// A tensor that the family does not have: the result would be silently wrong.
    #[error("tensor `{tensor}` has no place in family `{family}`; this may be another model than `config.json` says")]
    UnknownTensor {
        /// The tensor's name in the directory.
        tensor: String,
        /// The family.
        family: &'static str,
    },
    /// A tensor's shape or type does not fit.
    #[error("tensor `{tensor}` is {found}; expected {expected}")]
    Tensor {
        /// The tensor's name in the directory.
        tensor: String,
        /// What it is.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// The tokenizer cannot be carried over.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The vocabulary and the table of embeddings do not belong together.
    #[error("the tokenizer has {tokens} tokens and the table of embeddings {rows} rows; they are of different models")]
    Vocabulary {
        /// Tokens in `tokenizer.json`.
        tokens: usize,
        /// Rows of the table.
        rows: usize,
    },
    /// The whole would not fit in memory.
    #[error("the model takes {bytes} bytes, more than the {limit} that are held in memory; convert it to a file")]
    Memory {
        /// What it takes.
        bytes: u64,
        /// The most that is accepted.
        limit: u64,
    },
    /// The new file could not be written.
    #[error("cannot write `{}`: {source}", path.display())]
    Write {
        /// The new file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
