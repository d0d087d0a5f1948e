//! A store in a directory of its own, and bytes to put into it.
#![allow(dead_code, reason = "each test file uses a part")]

use std::path::{Path, PathBuf};

use outpost_contract::Manifest;
use outpost_store::{Store, StoreOptions, manifest};
use tempfile::TempDir;

/// A store that goes away with its directory.
pub(crate) struct Room {
    dir: TempDir,
    pub(crate) store: Store,
}

impl Room {
    pub(crate) fn new() -> Self {
        Self::with(StoreOptions { reserve_bytes: 0, ..StoreOptions::default() })
    }

    pub(crate) fn with(options: StoreOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open_with(dir.path(), options).unwrap();
        Self { dir, store }
    }

    /// What the next start of the program sees.
    pub(crate) fn reopened(self) -> Self {
        let dir = self.close();
        let options = StoreOptions { reserve_bytes: 0, ..StoreOptions::default() };
        Self { store: Store::open_with(dir.path(), options).unwrap(), dir }
    }

    pub(crate) fn close(self) -> TempDir {
        drop(self.store);
        self.dir
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn partial_files(&self) -> Vec<PathBuf> {
        files(&self.dir.path().join("partial"))
    }

    pub(crate) fn model_files(&self) -> Vec<PathBuf> {
        files(&self.dir.path().join("models"))
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Bytes that repeat nowhere.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

pub(crate) fn manifest_of(bytes: &[u8], cuts: &[u64]) -> Manifest {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    manifest::of_file(file.path(), cuts).unwrap()
}
