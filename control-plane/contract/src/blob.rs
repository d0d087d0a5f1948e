//! Content-addressed bytes: how a file is named, cut into chunks, asked for and sent.

use serde::{Deserialize, Serialize};

use crate::limits::{CHUNK_BYTES, CHUNKS_PER_REQUEST, MODEL_BYTES};
use crate::{Blake3, Sha256};

/// One piece of a file. Its id does not depend on its position, so equal pieces of two files are one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chunk {
    /// BLAKE3 of the chunk's bytes.
    pub id: Blake3,
    /// Bytes in the chunk, 1 to [`CHUNK_BYTES`].
    pub bytes: u32,
}

/// The small signed description of a large file: a target of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this form; 1.
    pub v: u32,
    /// Bytes in the whole file.
    pub bytes: u64,
    /// BLAKE3 of the whole file; its name in a device's store.
    pub blake3: Blake3,
    /// SHA-256 of the whole file, for readers outside this project.
    pub sha256: Sha256,
    /// `gguf-tensor` (cut where tensors begin) or `fixed`.
    pub chunking: String,
    /// The chunks, in file order.
    pub chunks: Vec<Chunk>,
}

/// Where a small blob that no manifest describes is found (the catalogue itself).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlobRef {
    /// Bytes in the blob.
    pub bytes: u64,
    /// BLAKE3 of the blob.
    pub blake3: Blake3,
    /// The chunks, in order.
    pub chunks: Vec<Chunk>,
}

/// A manifest contradicts itself or a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidManifest {
    /// The form's version is unknown here.
    #[error("manifest form {0} is unknown here (this agent reads form 1)")]
    Version(u32),
    /// The file is larger than [`MODEL_BYTES`] or the blob's own ceiling, or empty.
    #[error("manifest describes {0} bytes, outside 1 to {1}")]
    Size(u64, u64),
    /// A chunk is empty or larger than [`CHUNK_BYTES`].
    #[error("chunk {index} has {bytes} bytes, outside 1 to {CHUNK_BYTES}")]
    Chunk {
        /// Position in the list.
        index: usize,
        /// What it claims.
        bytes: u32,
    },
    /// The chunks do not add up to the file.
    #[error("chunks add up to {sum} bytes, the file has {bytes}")]
    Sum {
        /// Sum over the chunks.
        sum: u64,
        /// What the file claims.
        bytes: u64,
    },
}

fn check_chunks(bytes: u64, chunks: &[Chunk], most: u64) -> Result<(), InvalidManifest> {
    if bytes == 0 || bytes > most {
        return Err(InvalidManifest::Size(bytes, most));
    }
    for (index, chunk) in chunks.iter().enumerate() {
        if chunk.bytes == 0 || chunk.bytes as usize > CHUNK_BYTES {
            return Err(InvalidManifest::Chunk { index, bytes: chunk.bytes });
        }
    }
    let sum = chunks.iter().map(|chunk| u64::from(chunk.bytes)).sum();
    if sum == bytes { Ok(()) } else { Err(InvalidManifest::Sum { sum, bytes }) }
}

impl Manifest {
    /// Checks that the manifest is of a known form, within limits, and adds up.
    ///
    /// # Errors
    /// The first contradiction found.
    pub fn check(&self) -> Result<(), InvalidManifest> {
        if self.v != 1 {
            return Err(InvalidManifest::Version(self.v));
        }
        check_chunks(self.bytes, &self.chunks, MODEL_BYTES)
    }
}

impl BlobRef {
    /// Checks that the blob is at most `most` bytes and that its chunks add up.
    ///
    /// # Errors
    /// The first contradiction found.
    pub fn check(&self, most: u64) -> Result<(), InvalidManifest> {
        check_chunks(self.bytes, &self.chunks, most)
    }
}

/// Chunks that lie one behind the other in one blob: what a single range request can bring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkRun {
    /// The blob.
    pub blob: Blake3,
    /// Where the first chunk begins in it.
    pub start: u64,
    /// The chunks, in the blob's order.
    pub chunks: Vec<Chunk>,
}

impl ChunkRun {
    /// Cuts neighbouring `chunks` of `blob`, the first of which begins at `start`, into the runs of those that `wanted` says
    /// yes to; it is asked once per chunk, in order, with the position in the list.
    #[must_use]
    pub fn gather(
        blob: Blake3,
        start: u64,
        chunks: &[Chunk],
        mut wanted: impl FnMut(usize, &Chunk) -> bool,
    ) -> Vec<Self> {
        let mut runs: Vec<Self> = Vec::new();
        let (mut at, mut open) = (start, false);
        for (index, chunk) in chunks.iter().enumerate() {
            let take = wanted(index, chunk);
            match runs.last_mut() {
                Some(run) if take && open => run.chunks.push(*chunk),
                _ if take => runs.push(Self { blob, start: at, chunks: vec![*chunk] }),
                _ => {}
            }
            open = take;
            at = at.saturating_add(u64::from(chunk.bytes));
        }
        runs
    }

    /// Bytes of all its chunks.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.bytes)).sum()
    }
}

/// Device to control plane: send me these chunks (`up/blob/req`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkRequest {
    /// Number that the device chose for this transfer; answers go to `down/blob/<transfer>`.
    pub transfer: u32,
    /// At most [`CHUNKS_PER_REQUEST`] ids; answered in this order.
    pub chunks: Vec<Blake3>,
    /// On a line that breaks: the chunks in messages of [`PIECE_BYTES`], the first chunk from this byte on. None for whole
    /// chunks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pieces_from: Option<u32>,
}

impl ChunkRequest {
    /// True if the request asks for at least one chunk and at most the window.
    #[must_use]
    pub fn is_within_limits(&self) -> bool {
        (1..=CHUNKS_PER_REQUEST).contains(&self.chunks.len())
    }
}

/// What stands in the correlation data of a chunk's message: 36 bytes, transfer (big-endian) then chunk id; for a piece of it 40,
/// then where in the chunk the payload begins (big-endian).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkHeader {
    /// The transfer of the request.
    pub transfer: u32,
    /// The chunk that the payload claims to be.
    pub chunk: Blake3,
    /// Of a piece: the byte of the chunk that it begins with.
    pub at: Option<u32>,
}

impl ChunkHeader {
    /// The bytes on the wire.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.transfer.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.chunk.0);
        bytes.extend(self.at.into_iter().flat_map(u32::to_be_bytes));
        bytes
    }

    /// Reads 36 or 40 bytes; `None` for any other length.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (transfer, rest) = bytes.split_first_chunk()?;
        let (chunk, rest) = rest.split_first_chunk()?;
        let at = if rest.is_empty() { None } else { Some(u32::from_be_bytes(rest.try_into().ok()?)) };
        Some(Self { transfer: u32::from_be_bytes(*transfer), chunk: Blake3(*chunk), at })
    }
}

/// Control plane to device, instead of chunks (JSON payload, no correlation data).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkRefusal {
    /// The transfer refused.
    pub transfer: u32,
    /// `not_found`, `not_authorised` or `rate_limited`.
    pub code: String,
    /// What it was about, in words.
    pub detail: String,
    /// Seconds to wait before asking again.
    pub retry_after_s: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(bytes: u64, chunks: Vec<Chunk>) -> Manifest {
        Manifest { v: 1, bytes, blake3: Blake3([0; 32]), sha256: Sha256([0; 32]), chunking: "fixed".into(), chunks }
    }

    #[test]
    fn a_manifest_whose_chunks_do_not_add_up_is_refused() {
        let chunk = |bytes| Chunk { id: Blake3([1; 32]), bytes };
        assert_eq!(manifest(3, vec![chunk(1), chunk(2)]).check(), Ok(()));
        assert!(matches!(
            manifest(4, vec![chunk(1), chunk(2)]).check(),
            Err(InvalidManifest::Sum { sum: 3, bytes: 4 })
        ));
        assert!(matches!(manifest(0, vec![]).check(), Err(InvalidManifest::Size(0, _))));
        assert!(matches!(manifest(1, vec![chunk(0), chunk(1)]).check(), Err(InvalidManifest::Chunk { index: 0, .. })));
        assert!(manifest(u64::MAX, vec![]).check().is_err());
    }

    #[test]
    fn wanted_neighbours_become_one_run_and_a_gap_begins_another() {
        let chunks: Vec<_> = (0..5).map(|number| Chunk { id: Blake3([number; 32]), bytes: 10 }).collect();
        let runs = ChunkRun::gather(Blake3([9; 32]), 100, &chunks, |index, _| index != 2);
        let shape: Vec<_> = runs.iter().map(|run| (run.start, run.chunks.len(), run.bytes())).collect();
        assert_eq!(shape, [(100, 2, 20), (130, 2, 20)]);
        assert!(ChunkRun::gather(Blake3([9; 32]), 0, &chunks, |_, _| false).is_empty());
    }

    #[test]
    fn a_chunk_header_survives_the_wire() {
        for (at, bytes) in [(None, 36), (Some(65_536), 40)] {
            let header = ChunkHeader { transfer: 7, chunk: Blake3([9; 32]), at };
            assert_eq!(header.to_bytes().len(), bytes);
            assert_eq!(ChunkHeader::from_bytes(&header.to_bytes()), Some(header));
        }
        for bytes in [0, 3, 35, 37, 39, 41] {
            assert_eq!(ChunkHeader::from_bytes(&vec![0; bytes]), None);
        }
    }
}
