//! The bytes that devices fetch: whole files by BLAKE3 in one directory, found by chunk through the database.
//!
//! With a bucket, what is in that directory is what this server has made or used: everything is in the bucket, for all servers.

mod body;
mod bucket;
mod chunking;
mod range;
mod server;

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use outpost_contract::limits::{CATALOGUE_BYTES, CHUNK_BYTES};
use outpost_contract::{Blake3, BlobRef, Chunk, Manifest, Sha256};
use sha2::Digest as _;

use bucket::Bucket;

pub(crate) use body::{Downloads, Extent, stream};
pub(crate) use chunking::{Chunker, InvalidCuts};
pub(crate) use range::{Requested, requested};
pub(crate) use server::{BlobServer, Question};

use crate::config::BlobSettings;
use crate::db::{ChunkPlace, Database, DbError};
use crate::files::{self, FileError, failed};
use crate::shares::Priority;

/// Bytes cannot be kept or found.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The index cannot be used.
    #[error(transparent)]
    Index(#[from] DbError),
    /// The cut points make no sense.
    #[error("`{path}` cannot be cut into chunks: {source}")]
    Cuts {
        /// The file.
        path: PathBuf,
        /// What is wrong with them.
        source: InvalidCuts,
    },
    /// The S3-compatible store said no, or is not there.
    #[error("the blobs' store failed: {0}")]
    Store(String),
    /// What lies there is not what its name says.
    #[error("blob `{0}` in the store is not what it was; release the catalogue again")]
    Changed(Blake3),
    /// There is nothing in the file.
    #[error("`{0}` is empty; there is nothing to serve")]
    Empty(PathBuf),
}

/// What a chunk asks of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Weight {
    pub(crate) bytes: u32,
    pub(crate) priority: Priority,
}

/// A directory of blobs and the index of their chunks.
#[derive(Debug, Clone)]
pub(crate) struct Blobs {
    dir: PathBuf,
    database: Database,
    bucket: Option<Arc<Bucket>>,
}

impl Blobs {
    pub(crate) fn open(dir: &Path, database: Database, bucket: Option<&BlobSettings>) -> Result<Self, BlobError> {
        files::private_directory(dir)?;
        let bucket = bucket.map(Bucket::open).transpose()?.map(Arc::new);
        Ok(Self { dir: dir.to_owned(), database, bucket })
    }

    /// Copies a file in, cut at `cuts` (offsets where tensors begin) or, without any, every 256 KiB. Once this returns, its
    /// chunks can be asked for.
    pub(crate) fn import(&self, path: &Path, cuts: &[u64]) -> Result<Manifest, BlobError> {
        let mut source = File::open(path).map_err(failed("open", path))?;
        let length = source.metadata().map_err(failed("read", path))?.len();
        let cuts_error = |source| BlobError::Cuts { path: path.to_owned(), source };
        let chunker = Chunker::new(cuts, length).map_err(cuts_error)?;
        let beside = self.dir.join(format!("import-{}.new", std::process::id()));
        let mut copy = File::create(&beside).map_err(failed("create", &beside))?;
        let (mut whole, mut sha256) = (blake3::Hasher::new(), sha2::Sha256::new());
        let mut chunks = Vec::new();
        let mut bytes = 0_u64;
        let mut buffer = vec![0; CHUNK_BYTES];
        for length in chunker {
            let part = &mut buffer[..length];
            source.read_exact(part).map_err(failed("read", path))?;
            copy.write_all(part).map_err(failed("write", &beside))?;
            whole.update(part);
            sha256.update(&*part);
            chunks.push(chunk_of(part));
            bytes += length as u64;
        }
        if bytes == 0 {
            return Err(BlobError::Empty(path.to_owned()));
        }
        copy.sync_all().map_err(failed("write", &beside))?;
        let blake3 = Blake3(*whole.finalize().as_bytes());
        files::rename(&beside, &self.path(&blake3))?;
        self.share(&blake3)?;
        self.database.index_chunks(blake3, &chunks)?;
        let chunking = if cuts.is_empty() { "fixed" } else { "gguf-tensor" };
        Ok(Manifest {
            v: 1,
            bytes,
            blake3,
            sha256: Sha256(sha256.finalize().into()),
            chunking: chunking.to_owned(),
            chunks,
        })
    }

    /// Keeps a small blob that is in memory.
    pub(crate) fn keep(&self, bytes: &[u8]) -> Result<BlobRef, BlobError> {
        let chunks: Vec<Chunk> = bytes.chunks(CHUNK_BYTES).map(chunk_of).collect();
        let blake3 = Blake3(*blake3::hash(bytes).as_bytes());
        files::write(&self.path(&blake3), bytes)?;
        self.share(&blake3)?;
        self.database.index_chunks(blake3, &chunks)?;
        Ok(BlobRef { bytes: bytes.len() as u64, blake3, chunks })
    }

    /// A whole small blob.
    pub(crate) fn read(&self, blob: &Blake3, most: u64) -> Result<Vec<u8>, BlobError> {
        self.bring(blob)?;
        Ok(files::read(&self.path(blob), most)?)
    }

    /// One chunk; `None` if no blob holds it.
    pub(crate) fn chunk(&self, id: &Blake3) -> Result<Option<Bytes>, BlobError> {
        let Some(ChunkPlace { blob, start, bytes }) = self.database.chunk_place(id)? else { return Ok(None) };
        let path = self.path(&blob);
        if let Some(bucket) = self.bucket.as_ref().filter(|_| !path.exists()) {
            // Whoever waits for a piece does not wait for the whole.
            let part = bucket.part(&blob, start, bytes)?;
            return match part {
                Some(part) if blake3::hash(&part).as_bytes() != &id.0 => Err(BlobError::Changed(blob)),
                part => Ok(part),
            };
        }
        let mut buffer = vec![0; bytes as usize];
        let file = File::open(&path).map_err(failed("open", &path))?;
        file.read_exact_at(&mut buffer, start).map_err(failed("read", &path))?;
        Ok(Some(buffer.into()))
    }

    /// A whole file, opened, and its extent; `None` if it is not here.
    pub(crate) fn open_blob(&self, id: &Blake3) -> Result<Option<(File, Extent)>, BlobError> {
        self.bring(id)?;
        let path = self.path(id);
        let file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed("open", &path))?,
        };
        let bytes = file.metadata().map_err(failed("read", &path))?.len();
        Ok(Some((file, Extent { start: 0, bytes })))
    }

    /// The file that holds a chunk, opened, and where; `None` if no file here does.
    pub(crate) fn open_chunk(&self, id: &Blake3) -> Result<Option<(File, Extent)>, BlobError> {
        let Some(ChunkPlace { blob, start, bytes }) = self.database.chunk_place(id)? else { return Ok(None) };
        let opened = self.open_blob(&blob)?;
        Ok(opened.map(|(file, _)| (file, Extent { start, bytes: u64::from(bytes) })))
    }

    /// Size and priority of a chunk; `None` if no blob holds it.
    pub(crate) fn weight(&self, id: &Blake3) -> Result<Option<Weight>, BlobError> {
        let Some(ChunkPlace { blob, bytes, .. }) = self.database.chunk_place(id)? else { return Ok(None) };
        let path = self.path(&blob);
        let elsewhere = self.bucket.as_ref().filter(|_| !path.exists()).map(|bucket| bucket.bytes(&blob));
        let whole = match elsewhere.transpose()?.flatten() {
            Some(bytes) => bytes,
            None => std::fs::metadata(&path).map_err(failed("read", &path))?.len(),
        };
        let priority = if whole < CATALOGUE_BYTES { Priority::Small } else { Priority::Model };
        Ok(Some(Weight { bytes, priority }))
    }

    /// Puts a blob where the other servers find it.
    fn share(&self, blob: &Blake3) -> Result<(), BlobError> {
        self.bucket.as_ref().map_or(Ok(()), |bucket| bucket.put(blob, &self.path(blob)))
    }

    /// Brings a blob here, if it lies elsewhere.
    fn bring(&self, blob: &Blake3) -> Result<(), BlobError> {
        let path = self.path(blob);
        match &self.bucket {
            Some(bucket) if !path.exists() => bucket.fetch(blob, &path).map(|_| ()),
            _ => Ok(()),
        }
    }

    fn path(&self, blob: &Blake3) -> PathBuf {
        self.dir.join(blob.to_hex())
    }
}

fn chunk_of(bytes: &[u8]) -> Chunk {
    let length = u32::try_from(bytes.len()).expect("a chunk is at most 256 KiB");
    Chunk { id: Blake3(*blake3::hash(bytes).as_bytes()), bytes: length }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_imported_comes_back_chunk_by_chunk() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(Path::new(":memory:")).unwrap();
        let blobs = Blobs::open(&dir.path().join("blobs"), database, None).unwrap();
        let content: Vec<u8> = (0..700_000_u32).map(|i| (i % 251) as u8).collect();
        let path = dir.path().join("model.gguf");
        std::fs::write(&path, &content).unwrap();
        let manifest = blobs.import(&path, &[1000]).unwrap();
        assert_eq!(manifest.check(), Ok(()));
        assert_eq!(manifest.chunks[0].bytes, 1000);
        let joined: Vec<u8> =
            manifest.chunks.iter().flat_map(|chunk| blobs.chunk(&chunk.id).unwrap().unwrap().to_vec()).collect();
        assert_eq!(joined, content);
        let weight = blobs.weight(&manifest.chunks[0].id).unwrap().unwrap();
        assert_eq!(weight, Weight { bytes: 1000, priority: Priority::Small }, "any blob below 8 MiB");
        assert_eq!(blobs.weight(&Blake3([0; 32])).unwrap(), None);
        assert_eq!(manifest.blake3.0, *blake3::hash(&content).as_bytes());
        assert_eq!(blobs.chunk(&Blake3([0; 32])).unwrap(), None);
        std::fs::write(&path, []).unwrap();
        assert!(matches!(blobs.import(&path, &[]), Err(BlobError::Empty(_))));
    }
}
