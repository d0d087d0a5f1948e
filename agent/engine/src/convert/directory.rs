//! The files of a directory: opened by plain names only, of bounded size, and nothing but ordinary files.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::ConvertError;

/// Largest JSON or text file; the tokenizers of the largest vocabularies have about 40 MB.
const TEXT_BYTES: u64 = 256 << 20;

/// A directory with a model.
#[derive(Debug, Clone)]
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The directory's own name, which stands for the model's.
    pub(super) fn name(&self) -> Option<String> {
        let whole = self.0.canonicalize().ok()?;
        whole.file_name().and_then(|name| name.to_str()).map(str::to_owned)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Opens a file. Links are followed, since the hub's own cache is made of them; a pipe or a device is refused before
    /// it is opened, since opening one may wait for ever.
    pub(super) fn open(&self, name: &str) -> Result<File, ConvertError> {
        let path = self.path(name);
        let failed = |source| ConvertError::Read { path: path.clone(), source };
        if !fs::metadata(&path).map_err(failed)?.is_file() {
            return Err(ConvertError::File { path, why: "it is not a file".to_owned() });
        }
        File::open(&path).map_err(failed)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// A whole file of bounded size.
    pub(super) fn bytes(&self, name: &str) -> Result<Vec<u8>, ConvertError> {
        let file = self.open(name)?;
        let failed = |source| ConvertError::Read { path: self.path(name), source };
        let bytes = file.metadata().map_err(failed)?.len();
        let mut content = Vec::new();
        // One byte more than allowed, should the file have grown meanwhile.
        file.take(TEXT_BYTES + 1).read_to_end(&mut content).map_err(failed)?;
        if content.len() as u64 > TEXT_BYTES {
            return Err(ConvertError::TooLarge { path: self.path(name), bytes, limit: TEXT_BYTES });
        }
        Ok(content)
    }

    pub(super) fn optional_bytes(&self, name: &str) -> Result<Option<Vec<u8>>, ConvertError> {
        if self.has(name) { self.bytes(name).map(Some) } else { Ok(None) }
    }

    pub(super) fn optional_text(&self, name: &str) -> Result<Option<String>, ConvertError> {
        let Some(bytes) = self.optional_bytes(name)? else { return Ok(None) };
        let why = || ConvertError::File { path: self.path(name), why: "it is not UTF-8 text".to_owned() };
        String::from_utf8(bytes).map(Some).map_err(|_| why())
    }

    pub(super) fn json(&self, name: &str) -> Result<Value, ConvertError> {
        let bytes = self.bytes(name)?;
        serde_json::from_slice(&bytes)
            .map_err(|error| ConvertError::File { path: self.path(name), why: format!("it is no JSON: {error}") })
    }

    /// A JSON file whose whole is one object.
    pub(super) fn json_object(&self, name: &str) -> Result<Map<String, Value>, ConvertError> {
        match self.json(name)? {
            Value::Object(object) => Ok(object),
            _ => Err(ConvertError::File { path: self.path(name), why: "it is no JSON object".to_owned() }),
        }
    }
}
