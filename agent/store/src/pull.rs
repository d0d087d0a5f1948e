//! One file on its way in: reserved, resumed, checked chunk by chunk, committed in small steps.
//!
//! [`Pull`] is the synchronous heart; [`crate::Store::pull`] drives it from a source.

mod bitmap;
mod commit;
mod local;

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use outpost_contract::{Blake3, Chunk, ChunkRun, Manifest};
use outpost_disk::atomic;

use crate::manifest::digest;
use crate::store::{Claim, digests};
use crate::{Store, StoreError, StoredFile};

pub(crate) use bitmap::Bitmap;
use commit::Commit;

/// Chunks that are worth a commit.
const CHUNKS_PER_COMMIT: usize = 16;

/// With so many chunks (128 MiB) uncommitted, the writing waits for the disk.
const MOST_UNCOMMITTED: usize = 512;

/// Shortest time between commits of fewer chunks than that: a power cut costs half a second of a fast link, and a slow disk
/// is not made to wait for itself all the time.
const COMMIT_PACE: Duration = Duration::from_millis(500);

/// A commit is due after this long even on a slow link.
const COMMIT_EVERY: Duration = Duration::from_secs(5);

/// Bytes of a chunk that tell whether it may have been written before a kill.
const PROBE_BYTES: usize = 4096;

/// How often one chunk may arrive corrupt before the pull gives up.
const CORRUPT_ATTEMPTS: u32 = 3;

/// How far a pull is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The file.
    pub file: Blake3,
    /// Bytes of the file.
    pub total_bytes: u64,
    /// Verified bytes here, however they came.
    pub present_bytes: u64,
    /// Of these, copied from other files of this store by this pull.
    pub copied_bytes: u64,
    /// Bytes that this pull received from sources, useful or not.
    pub received_bytes: u64,
}

/// What became of a chunk that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Verified and written.
    Written,
    /// It was here already.
    Duplicate,
    /// No part of this file.
    Unwanted,
    /// Wrong length or digest; nothing was written, it is still wanted.
    Corrupt,
}

/// A running pull of one file. Dropping it keeps what arrived.
#[derive(Debug)]
pub struct Pull {
    store: Store,
    manifest: Manifest,
    /// Where each chunk begins in the file.
    offsets: Vec<u64>,
    /// Every place of a chunk: one id may stand at several.
    places: HashMap<Blake3, Vec<usize>>,
    present: Bitmap,
    part: PathBuf,
    file: File,
    uncommitted: usize,
    committed_at: Instant,
    commit: Commit,
    corrupt: HashMap<Blake3, u32>,
    progress: Progress,
    _claim: Claim,
}

impl Pull {
    /// Begins or resumes: checks the manifest, reserves all space, copies what other files here hold.
    ///
    /// # Errors
    /// [`StoreError::Manifest`] or [`StoreError::Contradiction`] for a bad manifest, [`StoreError::NotEnoughSpace`] before
    /// anything is written, [`StoreError::Busy`] if a pull of this file runs.
    pub fn begin(store: &Store, manifest: &Manifest) -> Result<Self, StoreError> {
        manifest.check()?;
        let (offsets, places) = places(manifest)?;
        let claim = store.claim(manifest.blake3)?;
        let part = store.inner.layout.part(manifest.blake3);
        let earlier = store.inner.index.partial(manifest.blake3)?;
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&part)
            .map_err(StoreError::io("create", &part))?;
        let found_bytes = file.metadata().map_err(StoreError::io("examine", &part))?.len();
        let count = manifest.chunks.len();
        let mut pull = Self {
            store: store.clone(),
            manifest: manifest.clone(),
            offsets,
            places,
            present: Bitmap::empty(count),
            part,
            file,
            uncommitted: 0,
            committed_at: Instant::now(),
            commit: Commit::default(),
            corrupt: HashMap::new(),
            progress: Progress {
                file: manifest.blake3,
                total_bytes: manifest.bytes,
                present_bytes: 0,
                copied_bytes: 0,
                received_bytes: 0,
            },
            _claim: claim,
        };
        pull.reserve(found_bytes, earlier.is_some())?;
        let resumable = earlier.filter(|earlier| earlier.manifest.chunks == manifest.chunks);
        match resumable {
            Some(earlier) if found_bytes == manifest.bytes => {
                pull.present = Bitmap::from_bytes(&earlier.present, count);
                pull.find_uncommitted()?;
                pull.recount();
            }
            // The file was shortened behind our back, or cut otherwise before: only its bytes can tell what is usable.
            _ if found_bytes > 0 => pull.rescan()?,
            _ => {}
        }
        if pull.uncommitted > 0 {
            pull.file.sync_data().map_err(StoreError::io("make durable", &pull.part))?;
            pull.uncommitted = 0;
        }
        pull.store.inner.index.put_partial(manifest, pull.present.as_bytes())?;
        atomic::sync_directory(&pull.store.inner.layout.partial)?;
        pull.copy_local_chunks()?;
        Ok(pull)
    }

    /// The distinct chunks still missing, in file order.
    #[must_use]
    pub fn wanted(&self) -> Vec<Chunk> {
        let chunks = self.manifest.chunks.iter().enumerate();
        chunks
            .filter(|(index, chunk)| !self.present.get(*index) && self.places[&chunk.id][0] == *index)
            .map(|(_, chunk)| *chunk)
            .collect()
    }

    /// The same chunks as [`Pull::wanted`], as runs of neighbours in the file.
    #[must_use]
    pub fn wanted_runs(&self) -> Vec<ChunkRun> {
        ChunkRun::gather(self.manifest.blake3, 0, &self.manifest.chunks, |index, chunk| {
            !self.present.get(index) && self.places[&chunk.id][0] == index
        })
    }

    /// Forgets which chunks came corrupt: whoever sent them is not asked any more.
    pub(crate) fn forgive(&mut self) {
        self.corrupt.clear();
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Takes a chunk: checks its length and BLAKE3, writes it to all its places, and commits now and then.
    ///
    /// When this returns [`Arrival::Written`] the chunk survives a kill of the process, and a power cut once the next commit
    /// is done (half a second later on a fast link, 5 seconds on a slow one, at [`Pull::commit`] or drop); nothing that was
    /// not verified is ever counted as present.
    ///
    /// # Errors
    /// [`StoreError::CorruptChunk`] when one chunk came corrupt too often, [`StoreError::NotEnoughSpace`] or
    /// [`StoreError::Io`] if it cannot be written.
    pub fn accept(&mut self, id: Blake3, bytes: &[u8], origin: &str) -> Result<Arrival, StoreError> {
        self.progress.received_bytes += bytes.len() as u64;
        let arrival = self.take(id, bytes)?;
        if arrival == Arrival::Corrupt {
            let attempts = self.corrupt.entry(id).or_default();
            *attempts += 1;
            tracing::warn!(file = %self.manifest.blake3, chunk = %id, origin, attempts, "a corrupt chunk was refused");
            if *attempts >= CORRUPT_ATTEMPTS {
                let (index, attempts) = (self.places[&id][0], *attempts);
                return Err(StoreError::CorruptChunk {
                    index,
                    file: self.manifest.blake3,
                    attempts,
                    origin: origin.to_owned(),
                });
            }
        }
        Ok(arrival)
    }

    fn take(&mut self, id: Blake3, bytes: &[u8]) -> Result<Arrival, StoreError> {
        let Some(places) = self.places.get(&id) else { return Ok(Arrival::Unwanted) };
        let first = places[0];
        if self.present.get(first) {
            return Ok(Arrival::Duplicate);
        }
        if bytes.len() != self.manifest.chunks[first].bytes as usize || digest(bytes) != id {
            return Ok(Arrival::Corrupt);
        }
        for index in places {
            let written = self.store.inner.options.medium.write_at(&self.file, bytes, self.offsets[*index]);
            written.map_err(|error| self.write_error(error))?;
        }
        for index in places {
            self.present.set(*index, true);
        }
        self.progress.present_bytes += bytes.len() as u64 * places.len() as u64;
        self.uncommitted += places.len();
        self.commit_if_due()?;
        Ok(Arrival::Written)
    }

    /// Begins a commit now and then, on a thread of its own: the next chunks need not wait for the disk.
    fn commit_if_due(&mut self) -> Result<(), StoreError> {
        let (waiting, since) = (self.uncommitted, self.committed_at.elapsed());
        let due = (waiting >= CHUNKS_PER_COMMIT && since >= COMMIT_PACE) || since >= COMMIT_EVERY;
        let must_wait = waiting >= MOST_UNCOMMITTED;
        if !must_wait && (!due || self.commit.is_running()) {
            return Ok(());
        }
        self.commit.wait()?;
        let file = self.file.try_clone().map_err(StoreError::io("open again", &self.part))?;
        let (store, id, part) = (self.store.clone(), self.manifest.blake3, self.part.clone());
        let present = self.present.clone();
        self.commit.start(move || vouch(&store, id, &file, &part, &present));
        self.uncommitted = 0;
        self.committed_at = Instant::now();
        Ok(())
    }

    /// Makes everything written so far survive a power cut: data first, then the bitmap that vouches for it.
    ///
    /// # Errors
    /// If the disk or the index refuses; then nothing new is vouched for.
    pub fn commit(&mut self) -> Result<(), StoreError> {
        self.commit.wait()?;
        if self.uncommitted == 0 {
            return Ok(());
        }
        vouch(&self.store, self.manifest.blake3, &self.file, &self.part, &self.present)?;
        self.uncommitted = 0;
        self.committed_at = Instant::now();
        Ok(())
    }

    /// Checks the whole file and gives it its name: durable, verified, visible, in that order.
    ///
    /// `None` if some chunks rotted on disk since they were written: they are wanted again.
    ///
    /// # Errors
    /// [`StoreError::WrongDigest`] if every chunk is as the manifest says and the whole is not: the partial file is then
    /// discarded. Otherwise if the disk or the index refuses.
    pub fn finish(&mut self) -> Result<Option<StoredFile>, StoreError> {
        self.commit()?;
        self.file.sync_all().map_err(StoreError::io("make durable", &self.part))?;
        let (_, blake3, sha256) = digests(&self.part)?;
        let manifest = &self.manifest;
        if blake3 != manifest.blake3 || sha256 != manifest.sha256 {
            let wrong = if blake3 == manifest.blake3 {
                ("SHA-256", manifest.sha256.to_hex(), sha256.to_hex())
            } else {
                ("BLAKE3", manifest.blake3.to_hex(), blake3.to_hex())
            };
            return self.find_rot(wrong).map(|()| None);
        }
        let layout = &self.store.inner.layout;
        let whole = layout.model(manifest.blake3);
        atomic::rename(&self.part, &whole)?;
        self.store.inner.index.install(manifest)?;
        Ok(Some(StoredFile { blake3, sha256, bytes: manifest.bytes, path: whole }))
    }

    /// Reads every chunk back; those that are not what they were are wanted again.
    fn find_rot(&mut self, wrong: (&'static str, String, String)) -> Result<(), StoreError> {
        self.rescan()?;
        let (file, (what, expected, got)) = (self.manifest.blake3, wrong);
        if self.wanted().is_empty() {
            self.store.inner.index.forget_partial(file)?;
            atomic::remove(&self.part)?;
            return Err(StoreError::WrongDigest { file, what, expected, got });
        }
        tracing::warn!(%file, chunks = self.wanted().len(), "chunks rotted on disk and are fetched again");
        self.store.inner.index.set_present(file, self.present.as_bytes())
    }

    /// Learns from the bytes themselves which chunks are here.
    fn rescan(&mut self) -> Result<(), StoreError> {
        let mut buffer = vec![0; outpost_contract::limits::CHUNK_BYTES];
        for (index, chunk) in self.manifest.chunks.iter().enumerate() {
            let piece = &mut buffer[..chunk.bytes as usize];
            self.file.read_exact_at(piece, self.offsets[index]).map_err(StoreError::io("read", &self.part))?;
            self.present.set(index, digest(piece) == chunk.id);
        }
        // All places of an id are present or none is.
        for places in self.places.values() {
            let all = places.iter().all(|index| self.present.get(*index));
            places.iter().for_each(|index| self.present.set(*index, all));
        }
        self.recount();
        Ok(())
    }

    /// Finds chunks that were written and not vouched for when the process was killed: the kernel kept them. Space that was
    /// only reserved reads as zeros and is not looked at closely.
    fn find_uncommitted(&mut self) -> Result<(), StoreError> {
        let mut buffer = vec![0; outpost_contract::limits::CHUNK_BYTES];
        for (index, chunk) in self.manifest.chunks.iter().enumerate() {
            let places = &self.places[&chunk.id];
            if self.present.get(index) || places[0] != index {
                continue;
            }
            let offset = self.offsets[index];
            let probe = &mut buffer[..PROBE_BYTES.min(chunk.bytes as usize)];
            self.file.read_exact_at(probe, offset).map_err(StoreError::io("read", &self.part))?;
            if probe.iter().all(|&byte| byte == 0) {
                continue;
            }
            let mut is_whole = true;
            for &place in places {
                let piece = &mut buffer[..chunk.bytes as usize];
                self.file.read_exact_at(piece, self.offsets[place]).map_err(StoreError::io("read", &self.part))?;
                is_whole &= digest(piece) == chunk.id;
            }
            if is_whole {
                // Read from memory perhaps: the next commit makes it durable before it is vouched for.
                places.iter().for_each(|&place| self.present.set(place, true));
                self.uncommitted += places.len();
            }
        }
        Ok(())
    }

    fn recount(&mut self) {
        let chunks = self.manifest.chunks.iter().enumerate();
        self.progress.present_bytes =
            chunks.filter(|(index, _)| self.present.get(*index)).map(|(_, chunk)| u64::from(chunk.bytes)).sum();
    }

    /// Takes the space for the whole file now, so that a full disk is a refusal and not an accident halfway.
    fn reserve(&mut self, found_bytes: u64, resumed: bool) -> Result<(), StoreError> {
        let inner = &self.store.inner;
        let allocated = self.file.metadata().map_err(StoreError::io("examine", &self.part))?.blocks() * 512;
        let needed_bytes = self.manifest.bytes.saturating_sub(allocated);
        let free_bytes = inner
            .options
            .medium
            .free_bytes(&inner.layout.partial)
            .map_err(StoreError::io("examine", &inner.layout.partial))?;
        let fits = needed_bytes == 0 || free_bytes.saturating_sub(inner.options.reserve_bytes) >= needed_bytes;
        let reserved = if fits {
            let shorten =
                if found_bytes > self.manifest.bytes { self.file.set_len(self.manifest.bytes) } else { Ok(()) };
            shorten.and_then(|()| inner.options.medium.reserve(&self.file, self.manifest.bytes))
        } else {
            Err(std::io::ErrorKind::StorageFull.into())
        };
        reserved.map_err(|error| {
            let refused = self.write_error(error);
            if !resumed && let Err(error) = atomic::remove(&self.part) {
                tracing::warn!(%error, "an empty partial file stays behind");
            }
            refused
        })
    }

    fn write_error(&self, error: std::io::Error) -> StoreError {
        if error.kind() != std::io::ErrorKind::StorageFull {
            return StoreError::io("write", &self.part)(error);
        }
        let (inner, missing) = (&self.store.inner, self.manifest.bytes - self.progress.present_bytes);
        StoreError::NotEnoughSpace {
            file: self.manifest.blake3,
            dir: inner.layout.partial.clone(),
            needed_bytes: missing,
            free_bytes: inner.options.medium.free_bytes(&inner.layout.partial).unwrap_or(0),
            reserve_bytes: inner.options.reserve_bytes,
        }
    }
}

impl Drop for Pull {
    fn drop(&mut self) {
        if let Err(error) = self.commit() {
            tracing::warn!(%error, file = %self.manifest.blake3, "the last chunks of a pull are not vouched for");
        }
    }
}

/// Data first, then the bitmap that vouches for it.
fn vouch(store: &Store, file: Blake3, data: &File, part: &Path, present: &Bitmap) -> Result<(), StoreError> {
    data.sync_data().map_err(StoreError::io("make durable", part))?;
    store.inner.index.set_present(file, present.as_bytes())
}

/// Where each chunk begins, and all places of each id.
type Places = (Vec<u64>, HashMap<Blake3, Vec<usize>>);

fn places(manifest: &Manifest) -> Result<Places, StoreError> {
    let mut offsets = Vec::with_capacity(manifest.chunks.len());
    let mut places: HashMap<Blake3, Vec<usize>> = HashMap::with_capacity(manifest.chunks.len());
    let mut at = 0;
    for (index, chunk) in manifest.chunks.iter().enumerate() {
        offsets.push(at);
        at += u64::from(chunk.bytes);
        let same = places.entry(chunk.id).or_default();
        if same.first().is_some_and(|&first| manifest.chunks[first].bytes != chunk.bytes) {
            return Err(StoreError::Contradiction { index });
        }
        same.push(index);
    }
    Ok((offsets, places))
}
