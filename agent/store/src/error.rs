//! What can go wrong with stored files, each with the thing, the cause and the way out.

use std::io;
use std::path::{Path, PathBuf};

use outpost_contract::Blake3;
use outpost_contract::blob::InvalidManifest;

use crate::SourceError;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("cannot {act} `{path}`: {source}")]
    Io {
        /// What was tried, as in `write`.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A name in the store could not be changed.
    #[error(transparent)]
    Disk(#[from] outpost_disk::DiskError),
    /// The chunk index refused.
    #[error(
        "cannot {act} the chunk index: {source}; if it is damaged, move `store.db` away: installed models are found again"
    )]
    Index {
        /// What was tried, as in `read`.
        act: &'static str,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The index was written by a newer agent.
    #[error("the chunk index has form {found}, this agent knows up to {known}; run the newer agent again")]
    NewerForm {
        /// What the file says.
        found: i64,
        /// What this agent reads and writes.
        known: i64,
    },
    /// The manifest contradicts itself or a limit.
    #[error("the manifest is refused: {0}")]
    Manifest(#[from] InvalidManifest),
    /// The manifest gives one chunk id two lengths.
    #[error("the manifest is refused: chunk {index} repeats an id with another length")]
    Contradiction {
        /// Position of the second mention.
        index: usize,
    },
    /// The file would not fit.
    #[error(
        "not enough disk for `{file}`: {needed_bytes} bytes are needed, {free_bytes} are free and {reserve_bytes} of them \
         are kept in reserve; remove a model or free space under `{dir}`"
    )]
    NotEnoughSpace {
        /// The file wanted.
        file: Blake3,
        /// Where it would be kept.
        dir: PathBuf,
        /// Bytes still to be allocated.
        needed_bytes: u64,
        /// Bytes free now.
        free_bytes: u64,
        /// Bytes that must stay free.
        reserve_bytes: u64,
    },
    /// A chunk came several times with bytes that are not what was signed.
    #[error(
        "chunk {index} of `{file}` arrived corrupt {attempts} times from {origin}; nothing of it was kept; \
         check the source or use another one"
    )]
    CorruptChunk {
        /// Position in the manifest.
        index: usize,
        /// The file that it belongs to.
        file: Blake3,
        /// How often it came corrupt.
        attempts: u32,
        /// The source, in words.
        origin: String,
    },
    /// The source stopped before it had delivered everything; what arrived is kept.
    #[error("`{file}` is incomplete, {missing} chunks are missing: {source}; what arrived is kept, pull again")]
    Incomplete {
        /// The file wanted.
        file: Blake3,
        /// Distinct chunks still missing.
        missing: usize,
        /// Why the source stopped.
        source: SourceError,
    },
    /// All chunks are as the manifest says, but the whole is not: the manifest itself is wrong.
    #[error("`{file}` has {what} {got}, the manifest says {expected}; the release must be made again")]
    WrongDigest {
        /// The file wanted.
        file: Blake3,
        /// `BLAKE3` or `SHA-256`.
        what: &'static str,
        /// What the manifest says, hexadecimal.
        expected: String,
        /// What the bytes are, hexadecimal.
        got: String,
    },
    /// A stored file is not what it was when it was installed.
    #[error("stored file `{file}` is damaged: {detail}; remove it and pull it again")]
    Damaged {
        /// The file.
        file: Blake3,
        /// What differs.
        detail: String,
    },
    /// There is no such file here.
    #[error("`{file}` is not in the store; pull it first")]
    NotStored {
        /// The file.
        file: Blake3,
    },
    /// Another pull of the same file is running.
    #[error("`{file}` is being pulled already; wait for that pull")]
    Busy {
        /// The file.
        file: Blake3,
    },
    /// The program is stopping.
    #[error("the pull of `{file}` was interrupted; what arrived is kept, pull again")]
    Interrupted {
        /// The file.
        file: Blake3,
    },
}

impl StoreError {
    /// For `map_err`: names the act and the path.
    pub(crate) fn io(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { act, path, source }
    }

    /// For `map_err`: names the act on the index.
    pub(crate) fn index(act: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| Self::Index { act, source }
    }
}
