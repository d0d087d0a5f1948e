//! What can be wrong with a GGUF file, said so that an operator knows what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Why a GGUF file was refused.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The file could not be read at all.
    #[error("cannot open model file `{}`: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The same fault, with the file it was found in.
    #[error("model file `{}` is refused: {fault}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: Box<GgufError>,
    },
    /// The first four bytes are not `GGUF`.
    #[error("it does not begin with `GGUF`; is it a model file?")]
    Magic,
    /// A version that this program does not read.
    #[error("GGUF version {version} is not read here (2 and 3 are); convert the model again with a current converter")]
    Version {
        /// The version as it stands in the file.
        version: u32,
    },
    /// The file ends before what its header promises.
    #[error("it ends too early: {what} needs {needed} bytes at offset {offset}, the file has {length}; fetch it again")]
    Truncated {
        /// What was being read.
        what: String,
        /// Where it begins.
        offset: u64,
        /// How many bytes it takes.
        needed: u64,
        /// Length of the file.
        length: u64,
    },
    /// A count or size above what any real model has.
    #[error("{what} is {value}, more than the limit of {limit}; the file is damaged or hostile")]
    TooLarge {
        /// What was counted.
        what: String,
        /// The figure in the file.
        value: u64,
        /// The most that is accepted.
        limit: u64,
    },
    /// The alignment is zero, not a power of two, or absurd.
    #[error("`general.alignment` is {alignment}; it must be a power of two from 8 to 65536")]
    Alignment {
        /// The figure in the file.
        alignment: u64,
    },
    /// A value's type number is unknown or not allowed there.
    #[error("value type {type_id} of `{key}` is unknown or not allowed there")]
    ValueType {
        /// The metadata key.
        key: String,
        /// The type number in the file.
        type_id: u32,
    },
    /// A tensor's block format is unknown.
    #[error("tensor `{tensor}` has block format {type_id}{}, which this engine does not read; choose another variant",
        Format::foreign_name(*type_id).map(|name| format!(" ({name})")).unwrap_or_default())]
    TensorFormat {
        /// The tensor.
        tensor: String,
        /// The type number in the file.
        type_id: u32,
    },
    /// A tensor's shape is impossible.
    #[error("tensor `{tensor}` has an impossible shape {shape:?}: {why}")]
    Shape {
        /// The tensor.
        tensor: String,
        /// The dimensions as read.
        shape: Vec<u64>,
        /// What is wrong with them.
        why: &'static str,
    },
    /// A tensor does not begin where alignment demands.
    #[error("tensor `{tensor}` begins at {offset}, which is not a multiple of the alignment {alignment}")]
    Misaligned {
        /// The tensor.
        tensor: String,
        /// Its offset within the tensor data.
        offset: u64,
        /// The file's alignment.
        alignment: u64,
    },
    /// Two tensors share bytes.
    #[error("tensors `{first}` and `{second}` overlap in the file")]
    Overlap {
        /// The tensor that begins first.
        first: String,
        /// The tensor that begins inside it.
        second: String,
    },
    /// A key or tensor name occurs twice.
    #[error("{what} `{name}` occurs twice")]
    Duplicate {
        /// `metadata key` or `tensor`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A text is not UTF-8.
    #[error("{what} is not UTF-8 text")]
    Text {
        /// What was being read.
        what: String,
    },
}

use super::Format;

impl GgufError {
    pub(crate) fn in_file(self, path: &Path) -> Self {
        Self::InFile { path: path.to_owned(), fault: Box::new(self) }
    }

    /// The fault itself, without the file's name around it.
    #[must_use]
    pub fn fault(&self) -> &Self {
        match self {
            Self::InFile { fault, .. } => fault.fault(),
            other => other,
        }
    }
}
