//! The store: what is here, where it lies, whether it is still what it was; pulls go through [`Store::pull`].

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use outpost_contract::{Blake3, Chunk, Manifest, Sha256};
use outpost_disk::atomic;
use sha2::Digest as _;

use crate::collect::Use;
use crate::index::Index;
use crate::layout::Layout;
use crate::manifest::digest;
use crate::medium::{Medium, RealMedium};
use crate::pull::Bitmap;
use crate::{StoreError, StoredFile, recover};

/// Space that pulls leave free for the audit log and everything else on the disk: 64 MiB.
const RESERVE_BYTES: u64 = 64 * 1024 * 1024;

/// How a store treats its disk.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Bytes that a pull must leave free.
    pub reserve_bytes: u64,
    /// The disk.
    pub medium: Arc<dyn Medium>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { reserve_bytes: RESERVE_BYTES, medium: Arc::new(RealMedium) }
    }
}

/// A directory of content-addressed files. Clones share one store; open a directory once per process.
///
/// All methods but [`Store::pull`] and [`Store::fetch_blob`] block on the disk: call them from a blocking thread.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) layout: Layout,
    pub(crate) index: Index,
    pub(crate) options: StoreOptions,
    /// Files being pulled now: two writers on one partial file would spoil each other's bitmap.
    pub(crate) claimed: Mutex<HashSet<Blake3>>,
    /// When files were last used, as far as this run knows.
    pub(crate) uses: Mutex<HashMap<Blake3, Use>>,
}

impl Store {
    /// Opens or makes a store and finishes what a power cut left unfinished.
    ///
    /// # Errors
    /// If the directory or the index cannot be used.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::open_with(dir, StoreOptions::default())
    }

    /// As [`Store::open`], with another reserve or disk.
    ///
    /// # Errors
    /// If the directory or the index cannot be used.
    pub fn open_with(dir: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        std::fs::create_dir_all(dir).map_err(StoreError::io("create", dir))?;
        let layout = Layout::create(dir)?;
        let index = Index::open(&layout.index, &layout.models)?;
        recover::run(&layout, &index)?;
        Ok(Self {
            inner: Arc::new(Inner { layout, index, options, claimed: Mutex::default(), uses: Mutex::default() }),
        })
    }

    /// Where a whole file lies, if it is here.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn path(&self, file: Blake3) -> Result<Option<PathBuf>, StoreError> {
        Ok(self.find(file)?.map(|found| found.path))
    }

    /// A whole file, if it is here.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn find(&self, file: Blake3) -> Result<Option<StoredFile>, StoreError> {
        self.inner.index.find(file)
    }

    /// A chunk of a whole file, checked against its id: what a neighbour may be given. `None` if no whole file holds it, or
    /// what holds it rotted.
    ///
    /// # Errors
    /// If the index or the file cannot be read.
    pub fn chunk(&self, id: Blake3) -> Result<Option<Bytes>, StoreError> {
        let Some((file, offset, bytes)) = self.inner.index.locate_any(id)? else { return Ok(None) };
        let path = self.inner.layout.model(file);
        let mut buffer = vec![0; bytes as usize];
        let opened = File::open(&path).map_err(StoreError::io("open", &path))?;
        opened.read_exact_at(&mut buffer, offset).map_err(StoreError::io("read", &path))?;
        Ok((digest(&buffer) == id).then(|| buffer.into()))
    }

    /// All whole files.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn list(&self) -> Result<Vec<StoredFile>, StoreError> {
        self.inner.index.list()
    }

    /// Files whose pull has begun and not finished, with the bytes that are safe on disk.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn partials(&self) -> Result<Vec<(Blake3, u64)>, StoreError> {
        let partials = self.inner.index.partials()?;
        Ok(partials
            .into_iter()
            .map(|partial| {
                let bitmap = Bitmap::from_bytes(&partial.present, partial.manifest.chunks.len());
                let chunks = partial.manifest.chunks.iter().enumerate();
                let safe =
                    chunks.filter(|(index, _)| bitmap.get(*index)).map(|(_, chunk)| u64::from(chunk.bytes)).sum();
                (partial.manifest.blake3, safe)
            })
            .collect())
    }

    /// The distinct chunks of a file that neither it, nor any other file here, holds: what a pull would fetch.
    ///
    /// # Errors
    /// If the manifest is refused or the index cannot be read.
    pub fn missing(&self, manifest: &Manifest) -> Result<Vec<Chunk>, StoreError> {
        manifest.check()?;
        if self.find(manifest.blake3)?.is_some() {
            return Ok(Vec::new());
        }
        let mut known: HashSet<Blake3> = HashSet::new();
        for partial in self.inner.index.partials()? {
            let bitmap = Bitmap::from_bytes(&partial.present, partial.manifest.chunks.len());
            let chunks = partial.manifest.chunks.iter().enumerate();
            known.extend(chunks.filter(|(index, _)| bitmap.get(*index)).map(|(_, chunk)| chunk.id));
        }
        let mut missing = Vec::new();
        for chunk in &manifest.chunks {
            if known.insert(chunk.id) && self.inner.index.locate(chunk.id, chunk.bytes)?.is_none() {
                missing.push(*chunk);
            }
        }
        Ok(missing)
    }

    /// Reads the whole file and compares it with what was installed. Do this before a file is loaded.
    ///
    /// # Errors
    /// [`StoreError::NotStored`], [`StoreError::Damaged`], or if it cannot be read.
    pub fn verify_file(&self, file: Blake3) -> Result<StoredFile, StoreError> {
        let stored = self.find(file)?.ok_or(StoreError::NotStored { file })?;
        let damaged = |detail: String| StoreError::Damaged { file, detail };
        let (bytes, blake3, sha256) = digests(&stored.path)?;
        if bytes != stored.bytes {
            return Err(damaged(format!("it has {bytes} bytes, it was installed with {}", stored.bytes)));
        }
        if blake3 != stored.blake3 {
            return Err(damaged(format!("its BLAKE3 is {blake3}")));
        }
        if sha256 != stored.sha256 {
            return Err(damaged(format!("its SHA-256 is {sha256}, it was installed with {}", stored.sha256)));
        }
        Ok(stored)
    }

    /// Removes a whole file. Whoever has it open or mapped keeps it until they close it.
    ///
    /// # Errors
    /// [`StoreError::NotStored`], or if the file system or index refuses.
    pub fn remove(&self, file: Blake3) -> Result<(), StoreError> {
        let stored = self.find(file)?.ok_or(StoreError::NotStored { file })?;
        // Index first: after a crash in between, recovery finds a file without a row and decides by its digest.
        self.inner.index.forget(file)?;
        Ok(atomic::remove(&stored.path)?)
    }

    /// Gives up a partial file, for one that a newer release replaced. Its chunks are lost.
    ///
    /// # Errors
    /// [`StoreError::Busy`] while it is being pulled, or if the file system or index refuses.
    pub fn discard_partial(&self, file: Blake3) -> Result<(), StoreError> {
        let _claim = self.claim(file)?;
        self.inner.index.forget_partial(file)?;
        Ok(atomic::remove(self.inner.layout.part(file))?)
    }

    pub(crate) fn claim(&self, file: Blake3) -> Result<Claim, StoreError> {
        let mut claimed = self.inner.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        if !claimed.insert(file) {
            return Err(StoreError::Busy { file });
        }
        Ok(Claim { inner: Arc::clone(&self.inner), file })
    }
}

/// The right to write one partial file; given back when dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    inner: Arc<Inner>,
    file: Blake3,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.inner.claimed.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.file);
    }
}

/// Blocks that the second digest may be behind.
const BLOCKS_BEHIND: usize = 4;

/// Length and both digests of a file, in one pass; the slower digest has a thread of its own.
pub(crate) fn digests(path: &Path) -> Result<(u64, Blake3, Sha256), StoreError> {
    let mut file = File::open(path).map_err(StoreError::io("open", path))?;
    std::thread::scope(|scope| {
        let (blocks, received) = sync_channel::<Arc<Vec<u8>>>(BLOCKS_BEHIND);
        let sha256 = scope.spawn(move || {
            let mut hasher = sha2::Sha256::new();
            received.iter().for_each(|block| hasher.update(&*block));
            Sha256(hasher.finalize().into())
        });
        let (mut bytes, mut whole) = (0, blake3::Hasher::new());
        loop {
            let mut block = vec![0; 1024 * 1024];
            let read = file.read(&mut block).map_err(StoreError::io("read", path))?;
            if read == 0 {
                break;
            }
            bytes += read as u64;
            block.truncate(read);
            let block = Arc::new(block);
            // It is gone only if it panicked, which shows below.
            blocks.send(Arc::clone(&block)).ok();
            whole.update(&block);
        }
        drop(blocks);
        let sha256 = sha256.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((bytes, Blake3(*whole.finalize().as_bytes()), sha256))
    })
}
