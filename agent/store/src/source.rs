//! Where chunks come from: the same ids over MQTT, HTTPS, a stick or memory; whatever arrives is checked by the store.

mod chain;
mod directory;
mod file;

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use outpost_contract::{Blake3, Chunk, ChunkRun};
use tokio::sync::mpsc;

pub use chain::{Share, Sources};
pub use directory::{DirectorySource, read_plain_file};
pub use file::FileSource;

/// Where a source puts what it has. It is bounded: a slow disk slows the source down. If the receiver is gone, the pull
/// ended (a full disk, for example): return [`SourceError::Closed`].
pub type Deliver = mpsc::Sender<(Blake3, Bytes)>;

/// Something that can deliver chunks by id.
#[async_trait]
pub trait Source: Send + Sync {
    /// The source in words, for messages: `the control plane over MQTT`.
    fn name(&self) -> String;

    /// Delivers the wanted chunks in any order, each at least once if it can, and returns when it is done or cannot go on.
    ///
    /// Duplicates and chunks nobody wanted are harmless. Chunks that the store finds corrupt are asked for again by a later
    /// call. Dropping the future must stop the fetching.
    async fn fetch(&self, wanted: &[Chunk], deliver: Deliver) -> Result<(), SourceError>;

    /// As [`fetch`](Self::fetch), told where the chunks lie in their file: a source that can send a range of a file brings
    /// each run with one request.
    async fn fetch_runs(&self, runs: &[ChunkRun], deliver: Deliver) -> Result<(), SourceError> {
        let wanted: Vec<Chunk> = runs.iter().flat_map(|run| run.chunks.iter().copied()).collect();
        self.fetch(&wanted, deliver).await
    }

    /// True if nothing of a line is used: what is fetched is here already.
    fn is_here(&self) -> bool {
        false
    }

    /// Told at once of a chunk that came corrupt. True if whoever sent it is not asked again and somebody else is.
    fn refuse(&self, _corrupt: Blake3) -> bool {
        false
    }
}

/// Why a source stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Out of reach, or it stopped answering.
    #[error("{origin} cannot be reached: {detail}")]
    Unavailable {
        /// The source, in words.
        origin: String,
        /// What happened.
        detail: String,
    },
    /// It answered that it will not or cannot deliver.
    #[error("{origin} refused: {detail}")]
    Refused {
        /// The source, in words.
        origin: String,
        /// What it said.
        detail: String,
        /// Seconds to wait before asking again, if it said so.
        retry_after_s: Option<u32>,
    },
    /// It does not have some of the chunks.
    #[error("{origin} does not have {missing} of the chunks")]
    Missing {
        /// The source, in words.
        origin: String,
        /// How many it lacks.
        missing: usize,
    },
    /// It sent bytes that are not what was signed.
    #[error("{origin} sent corrupt content")]
    Corrupt {
        /// The source, in words.
        origin: String,
    },
    /// The pull ended; nobody takes the chunks any more.
    #[error("the pull ended")]
    Closed,
}

/// Chunks held in memory.
#[derive(Debug, Default)]
pub struct MemorySource {
    chunks: Mutex<HashMap<Blake3, Bytes>>,
}

impl MemorySource {
    /// Cuts `bytes` as the chunk list says and holds the pieces.
    #[must_use]
    pub fn of(bytes: &[u8], chunks: &[Chunk]) -> Self {
        let mut rest = bytes;
        let mut held = HashMap::new();
        for chunk in chunks {
            let (piece, after) = rest.split_at(rest.len().min(chunk.bytes as usize));
            held.insert(chunk.id, Bytes::copy_from_slice(piece));
            rest = after;
        }
        Self { chunks: Mutex::new(held) }
    }

    /// Puts other bytes behind an id; an honest source would never do that.
    pub fn replace(&self, id: Blake3, bytes: impl Into<Bytes>) {
        self.held().insert(id, bytes.into());
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<Blake3, Bytes>> {
        self.chunks.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[async_trait]
impl Source for MemorySource {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    async fn fetch(&self, wanted: &[Chunk], deliver: Deliver) -> Result<(), SourceError> {
        let mut missing = 0;
        for chunk in wanted {
            let bytes = self.held().get(&chunk.id).cloned();
            match bytes {
                Some(bytes) => deliver.send((chunk.id, bytes)).await.map_err(|_| SourceError::Closed)?,
                None => missing += 1,
            }
        }
        if missing == 0 { Ok(()) } else { Err(SourceError::Missing { origin: self.name(), missing }) }
    }
}
