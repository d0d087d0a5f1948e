//! Where things lie; only digests become file names, so no name from outside can leave the directory.

use std::path::{Path, PathBuf};

use outpost_contract::Blake3;
use outpost_disk::atomic;

use crate::StoreError;

/// The directories of a store.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) models: PathBuf,
    pub(crate) partial: PathBuf,
    pub(crate) index: PathBuf,
}

impl Layout {
    /// Makes the directories where they are missing.
    pub(crate) fn create(dir: &Path) -> Result<Self, StoreError> {
        let layout = Self { models: dir.join("models"), partial: dir.join("partial"), index: dir.join("store.db") };
        for path in [&layout.models, &layout.partial] {
            std::fs::create_dir_all(path).map_err(StoreError::io("create", path))?;
        }
        atomic::sync_directory(dir)?;
        Ok(layout)
    }

    pub(crate) fn model(&self, file: Blake3) -> PathBuf {
        self.models.join(format!("{file}.gguf"))
    }

    pub(crate) fn part(&self, file: Blake3) -> PathBuf {
        self.partial.join(format!("{file}.part"))
    }
}

/// The digest in `<digest>.<extension>`, if that is what the name is.
pub(crate) fn digest_of(path: &Path, extension: &str) -> Option<Blake3> {
    let name = path.file_name()?.to_str()?;
    name.strip_suffix(extension)?.strip_suffix('.')?.parse().ok()
}
