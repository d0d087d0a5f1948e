//! One whole file, read in the pieces that its manifest names: an import from a disk.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use outpost_contract::{Blake3, Chunk, Manifest};

use super::{Deliver, Source, SourceError};

/// A local file as a source.
#[derive(Debug)]
pub struct FileSource {
    path: PathBuf,
    file: Arc<File>,
    offsets: HashMap<Blake3, u64>,
}

impl FileSource {
    /// Opens the file; where each chunk lies comes from the manifest.
    ///
    /// # Errors
    /// What the system says if the file cannot be opened.
    pub fn open(path: &Path, manifest: &Manifest) -> std::io::Result<Self> {
        let mut offsets = HashMap::with_capacity(manifest.chunks.len());
        let mut at = 0u64;
        for chunk in &manifest.chunks {
            offsets.entry(chunk.id).or_insert(at);
            at = at.saturating_add(u64::from(chunk.bytes));
        }
        Ok(Self { path: path.to_owned(), file: Arc::new(File::open(path)?), offsets })
    }
}

#[async_trait]
impl Source for FileSource {
    fn name(&self) -> String {
        format!("file `{}`", self.path.display())
    }

    async fn fetch(&self, wanted: &[Chunk], deliver: Deliver) -> Result<(), SourceError> {
        let unavailable = |detail: String| SourceError::Unavailable { origin: self.name(), detail };
        let mut missing = 0;
        for chunk in wanted {
            let Some(&offset) = self.offsets.get(&chunk.id) else {
                missing += 1;
                continue;
            };
            let (file, length) = (Arc::clone(&self.file), chunk.bytes as usize);
            let read = tokio::task::spawn_blocking(move || {
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, offset).map(|()| Bytes::from(bytes))
            });
            let bytes = read.await.map_err(|stopped| unavailable(stopped.to_string()))?;
            let bytes = bytes.map_err(|error| unavailable(error.to_string()))?;
            deliver.send((chunk.id, bytes)).await.map_err(|_| SourceError::Closed)?;
        }
        if missing == 0 { Ok(()) } else { Err(SourceError::Missing { origin: self.name(), missing }) }
    }
}
