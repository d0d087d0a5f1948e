//! A directory with one file per chunk, named by the chunk's id: what a stick carries.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use outpost_contract::Chunk;

use super::{Deliver, Source, SourceError};

/// Chunks in `<dir>/<64 hexadecimal digits>`.
#[derive(Debug, Clone)]
pub struct DirectorySource {
    dir: PathBuf,
}

impl DirectorySource {
    /// Reads from `dir`; it need not exist until something is fetched.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }
}

#[async_trait]
impl Source for DirectorySource {
    fn name(&self) -> String {
        format!("directory `{}`", self.dir.display())
    }

    async fn fetch(&self, wanted: &[Chunk], deliver: Deliver) -> Result<(), SourceError> {
        let mut missing = 0;
        for chunk in wanted {
            let (path, most) = (self.dir.join(chunk.id.to_hex()), chunk.bytes);
            let read = tokio::task::spawn_blocking(move || read_at_most(&path, most)).await;
            let unavailable = |detail: String| SourceError::Unavailable { origin: self.name(), detail };
            match read.map_err(|stopped| unavailable(stopped.to_string()))? {
                Ok(bytes) => deliver.send((chunk.id, bytes)).await.map_err(|_| SourceError::Closed)?,
                Err(error) if error.kind() == ErrorKind::NotFound => missing += 1,
                Err(error) => return Err(unavailable(error.to_string())),
            }
        }
        if missing == 0 { Ok(()) } else { Err(SourceError::Missing { origin: self.name(), missing }) }
    }
}

/// One byte more than wanted is enough to see that a file is too long; an endless one costs no memory.
fn read_at_most(path: &Path, most: u32) -> std::io::Result<Bytes> {
    let mut bytes = Vec::with_capacity(most as usize + 1);
    File::open(path)?.take(u64::from(most) + 1).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}
