//! A GGUF file (version 2 or 3), validated as hostile input before a single byte of it is used.

mod error;
mod format;
mod info;
mod map;
mod parse;
mod value;
pub mod write;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use error::GgufError;
pub use format::Format;
pub use info::ModelInfo;
pub(crate) use info::{FILE_TYPES, most_common};
pub(crate) use map::FileMap;
pub use parse::{Header, TensorEntry, parse};
pub use value::{Array, Value};

/// An open, validated GGUF file whose tensor bytes are memory-mapped.
#[derive(Debug, Clone)]
pub struct Gguf {
    path: PathBuf,
    header: Arc<Header>,
    map: Arc<FileMap>,
    length: u64,
}

impl Gguf {
    /// Opens a file and checks everything that later code relies on: counts, sizes, alignment, that every tensor lies
    /// inside the file and that no two overlap.
    ///
    /// # Errors
    /// Fails when the file cannot be read or when any of those checks fails; the error names the file and the fault.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, GgufError> {
        let path = path.as_ref();
        let at = |fault: GgufError| fault.in_file(path);
        let file = File::open(path).map_err(|source| GgufError::Open { path: path.to_owned(), source })?;
        let map = FileMap::of(&file).map_err(|source| GgufError::Open { path: path.to_owned(), source })?;
        let header = parse(map.bytes()).map_err(at)?;
        let length = map.bytes().len() as u64;
        Ok(Self { path: path.to_owned(), header: Arc::new(header), map: Arc::new(map), length })
    }

    /// Checks a file that was made in memory, likewise. `path` says where it comes from.
    ///
    /// # Errors
    /// As [`Gguf::open`].
    pub fn from_bytes(path: impl AsRef<Path>, bytes: Vec<u8>) -> Result<Self, GgufError> {
        let path = path.as_ref();
        let map = FileMap::Held(bytes);
        let header = parse(map.bytes()).map_err(|fault| fault.in_file(path))?;
        let length = map.bytes().len() as u64;
        Ok(Self { path: path.to_owned(), header: Arc::new(header), map: Arc::new(map), length })
    }

    /// The header of a file that was never written: whoever asks for a tensor's bytes gets none.
    ///
    /// # Errors
    /// As [`Gguf::open`], and when a tensor cannot have its shape in its format.
    pub fn outlined(outline: &write::Outline) -> Result<Self, GgufError> {
        let path = PathBuf::new();
        let (bytes, sizes) = write::header(outline).map_err(|source| GgufError::Open { path: path.clone(), source })?;
        let length = sizes
            .iter()
            .fold(bytes.len() as u64, |length, size| length.saturating_add(size.next_multiple_of(write::ALIGNMENT)));
        let header = parse::parse_header(&bytes, length)?;
        Ok(Self { path, header: Arc::new(header), map: Arc::new(FileMap::Held(Vec::new())), length })
    }

    /// The header of a file that has `length` bytes and of which only the beginning is here: whoever asks for a tensor's bytes
    /// gets none.
    ///
    /// # Errors
    /// As [`Gguf::open`]; [`GgufError::Truncated`] if the header goes on behind what is here.
    pub fn from_beginning(path: impl AsRef<Path>, beginning: &[u8], length: u64) -> Result<Self, GgufError> {
        let path = path.as_ref();
        let header = parse::parse_header(beginning, length).map_err(|fault| fault.in_file(path))?;
        Ok(Self { path: path.to_owned(), header: Arc::new(header), map: Arc::new(FileMap::Held(Vec::new())), length })
    }

    /// Where the file lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The GGUF version the file is written in.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.header.version
    }

    /// All metadata in file order.
    #[must_use]
    pub fn metadata(&self) -> &[(String, Value)] {
        &self.header.metadata
    }

    /// One metadata value.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.header.get(key)
    }

    /// A metadata text, if the key is there and holds text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_text)
    }

    /// A metadata count, if the key is there and holds a whole number of at least zero.
    #[must_use]
    pub fn count(&self, key: &str) -> Option<u64> {
        self.get(key).and_then(Value::as_count)
    }

    /// A metadata number, if the key is there and holds one.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<f64> {
        self.get(key).and_then(Value::as_number)
    }

    /// A metadata yes or no, if the key is there and holds one.
    #[must_use]
    pub fn flag(&self, key: &str) -> Option<bool> {
        self.get(key).and_then(Value::as_flag)
    }

    /// All tensors in file order.
    #[must_use]
    pub fn tensors(&self) -> &[TensorEntry] {
        &self.header.tensors
    }

    /// One tensor's entry.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&TensorEntry> {
        self.header.tensor(name)
    }

    /// A tensor's bytes as they lie in the file.
    #[must_use]
    pub fn bytes(&self, tensor: &TensorEntry) -> &[u8] {
        // `parse` checked that the range lies in the file, and entries are only made there.
        self.map.bytes().get(tensor.range.clone()).unwrap_or_default()
    }

    /// What multiplies every weight of a tensor: 1 except in I2_S, whose scale follows its last block.
    pub(crate) fn scale(&self, tensor: &TensorEntry) -> f32 {
        let bytes = self.bytes(tensor);
        match bytes.len().checked_sub(tensor.format.tail_bytes() as usize).and_then(|tail| bytes[tail..].first_chunk())
        {
            Some(scale) if tensor.format == Format::I2_S => f32::from_le_bytes(*scale),
            _ => 1.0,
        }
    }

    /// What the file says of its model, in the words that the catalogue and the planner use.
    #[must_use]
    pub fn info(&self) -> ModelInfo {
        info::of(self)
    }

    /// Length of the whole file, bytes.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.length
    }

    pub(crate) fn map(&self) -> &Arc<FileMap> {
        &self.map
    }
}
