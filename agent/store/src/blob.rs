//! Small blobs that no manifest describes, fetched into memory: the catalogue.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use outpost_contract::{Blake3, BlobRef, Chunk, ChunkRun};
use tokio::sync::mpsc;

use crate::manifest::digest;
use crate::{Source, Store, StoreError};

/// Rounds over the source before a corrupt or missing chunk is final.
const ROUNDS: u32 = 3;

impl Store {
    /// Fetches a blob of at most `most` bytes into memory and checks every chunk and the whole. Nothing is written.
    ///
    /// # Errors
    /// [`StoreError::Manifest`] if the reference contradicts itself or the limit, [`StoreError::CorruptChunk`],
    /// [`StoreError::Incomplete`], or [`StoreError::WrongDigest`].
    pub async fn fetch_blob(&self, blob: &BlobRef, most: u64, source: &dyn Source) -> Result<Vec<u8>, StoreError> {
        fetch(blob, most, source).await
    }
}

pub(crate) async fn fetch(blob: &BlobRef, most: u64, source: &dyn Source) -> Result<Vec<u8>, StoreError> {
    blob.check(most)?;
    let file = blob.blake3;
    let mut held: HashMap<Blake3, Bytes> = HashMap::new();
    let mut last_corrupt = None;
    let mut failure = None;
    for _ in 0..ROUNDS {
        let wanted = wanted(blob, &held);
        if wanted.is_empty() {
            break;
        }
        let mut seen = HashSet::new();
        let runs =
            ChunkRun::gather(file, 0, &blob.chunks, |_, chunk| !held.contains_key(&chunk.id) && seen.insert(chunk.id));
        let mut set_aside = false;
        let (deliver, mut arrivals) = mpsc::channel::<(Blake3, Bytes)>(8);
        let take = async {
            while let Some((id, bytes)) = arrivals.recv().await {
                match wanted.iter().find(|chunk| chunk.id == id) {
                    Some(chunk) if bytes.len() == chunk.bytes as usize && digest(&bytes) == id => {
                        held.insert(id, bytes);
                    }
                    Some(_) => {
                        set_aside |= source.refuse(id);
                        last_corrupt = Some(id);
                    }
                    None => {}
                }
            }
        };
        let (fetched, ()) = tokio::join!(source.fetch_runs(&runs, deliver), take);
        failure = fetched.err();
        if failure.is_some() && !set_aside {
            break;
        }
    }
    let missing = wanted(blob, &held).len();
    if missing > 0 {
        let origin = source.name();
        let corrupt = last_corrupt.filter(|id| !held.contains_key(id));
        let index = corrupt.and_then(|id| blob.chunks.iter().position(|chunk| chunk.id == id));
        return Err(match (failure, index) {
            (Some(source), _) => StoreError::Incomplete { file, missing, source },
            (None, Some(index)) => StoreError::CorruptChunk { index, file, attempts: ROUNDS, origin },
            (None, None) => {
                StoreError::Incomplete { file, missing, source: crate::SourceError::Missing { origin, missing } }
            }
        });
    }
    let mut whole = Vec::with_capacity(usize::try_from(blob.bytes).unwrap_or(0));
    for chunk in &blob.chunks {
        whole.extend_from_slice(&held[&chunk.id]);
    }
    let got = digest(&whole);
    if got != file {
        let (expected, got) = (file.to_hex(), got.to_hex());
        return Err(StoreError::WrongDigest { file, what: "BLAKE3", expected, got });
    }
    Ok(whole)
}

/// The distinct chunks not held yet.
fn wanted(blob: &BlobRef, held: &HashMap<Blake3, Bytes>) -> Vec<Chunk> {
    let mut wanted: Vec<Chunk> = Vec::new();
    let mut seen = HashSet::new();
    for chunk in &blob.chunks {
        if !held.contains_key(&chunk.id) && seen.insert(chunk.id) {
            wanted.push(*chunk);
        }
    }
    wanted
}
