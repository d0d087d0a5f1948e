//! Which files leave when room is needed: nothing that is pinned or in use, what was used longest ago first, and partial files
//! that nobody wants any more before whole ones.
//!
//! When a file was used is kept in memory and written once a day at the most: on a memory card every write counts.

mod choose;

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::PoisonError;

use outpost_contract::{Blake3, Manifest};

use crate::{Store, StoreError, StoredFile};
use choose::{Candidate, Shortage, choose};

/// A partial file that nobody wanted for so long leaves even where there is room: 7 days.
const STALE_S: i64 = 7 * 24 * 3600;

/// A use is written when the one on disk is older than this: a day.
const WRITE_EVERY_S: i64 = 24 * 3600;

/// When a file was used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Use {
    used_s: i64,
    written_s: i64,
}

/// A file of the store with what decides about its staying.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The file.
    pub file: StoredFile,
    /// Somebody said that it stays.
    pub pinned: bool,
    /// When it was last used, seconds since 1970-01-01 UTC; 0 if that is not known.
    pub used_s: i64,
}

/// What must not leave beside what is pinned: whatever serves, is loaded, is about to be, or is wanted.
#[derive(Debug, Clone, Default)]
pub struct Keep {
    /// Whole and partial files.
    pub files: HashSet<Blake3>,
}

/// How much room there has to be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Room {
    /// Most bytes that files and partial files may take together; 0 for what the disk gives.
    pub budget_bytes: u64,
    /// Bytes that are about to be added.
    pub incoming_bytes: u64,
}

/// A file that leaves, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Which.
    pub file: Blake3,
    /// What it took on the disk.
    pub bytes: u64,
    /// True for one that was not whole.
    pub partial: bool,
    /// `stale`, `budget` or `room`.
    pub because: &'static str,
}

/// What is to leave, decided and not yet done: whoever records removals does so before they happen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collection {
    /// In the order in which they leave.
    pub leaving: Vec<Removed>,
    /// Bytes that are missing even then. What was to make room for something incoming does not leave in vain: it is not in
    /// the list.
    pub missing_bytes: u64,
}

impl Store {
    /// Says that a file stays, or no longer has to. Durable when this returns.
    ///
    /// # Errors
    /// [`StoreError::NotStored`], or if the index refuses.
    pub fn pin(&self, file: Blake3, pinned: bool) -> Result<(), StoreError> {
        self.find(file)?.ok_or(StoreError::NotStored { file })?;
        self.inner.index.set_pinned(file, pinned)
    }

    /// Notes that a file is used, or a partial file wanted. In memory, and on disk once a day at the most.
    ///
    /// # Errors
    /// If the index refuses; it is noted in memory even then.
    pub fn used(&self, file: Blake3, now_s: i64) -> Result<(), StoreError> {
        let due = {
            let mut uses = self.inner.uses.lock().unwrap_or_else(PoisonError::into_inner);
            let known = uses.contains_key(&file);
            let one = uses.entry(file).or_insert(Use { used_s: now_s, written_s: 0 });
            if !known {
                // What an earlier run wrote today need not be written again.
                one.written_s = self.inner.index.keeping()?.get(&file).map_or(0, |keeping| keeping.used_s);
            }
            one.used_s = now_s;
            let due = now_s < one.written_s || now_s.saturating_sub(one.written_s) >= WRITE_EVERY_S;
            if due {
                one.written_s = now_s;
            }
            due
        };
        if due { self.inner.index.set_used(file, now_s) } else { Ok(()) }
    }

    /// All whole files with what decides about their staying, the one used longest ago first.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn kept(&self) -> Result<Vec<Kept>, StoreError> {
        let keeping = self.inner.index.keeping()?;
        let uses = self.inner.uses.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = self.list()?.into_iter().map(|file| {
            let known = keeping.get(&file.blake3).copied().unwrap_or_default();
            let used_s = uses.get(&file.blake3).map_or(known.used_s, |one| one.used_s);
            Kept { pinned: known.pinned, used_s, file }
        });
        let mut kept: Vec<_> = kept.collect();
        kept.sort_by_key(|one| (one.used_s, one.file.blake3));
        Ok(kept)
    }

    /// Bytes that a pull of this file would still add to the disk.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn bytes_to_add(&self, manifest: &Manifest) -> Result<u64, StoreError> {
        if self.find(manifest.blake3)?.is_some() {
            return Ok(0);
        }
        let part = self.inner.layout.part(manifest.blake3);
        Ok(manifest.bytes.saturating_sub(taken_bytes(&part)))
    }

    /// Bytes that could be made free by removing what nobody keeps.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn removable_bytes(&self, keep: &Keep) -> Result<u64, StoreError> {
        Ok(self.candidates(keep)?.iter().filter(|one| !one.stays).map(|one| one.bytes).sum())
    }

    /// Bytes that files and partial files take on the disk.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn taken_bytes(&self) -> Result<u64, StoreError> {
        Ok(self.candidates(&Keep::default())?.iter().map(|one| one.bytes).sum())
    }

    /// Decides what leaves. Nothing is removed: see [`Store::discard`].
    ///
    /// # Errors
    /// If the index or the disk cannot be read.
    pub fn collection(&self, keep: &Keep, room: Room, now_s: i64) -> Result<Collection, StoreError> {
        let mut candidates = self.candidates(keep)?;
        for partial in candidates.iter_mut().filter(|one| one.partial && one.used_s == 0) {
            // Begun by a program that did not note when: its days begin now.
            self.used(partial.file, now_s)?;
            partial.used_s = now_s;
        }
        let inner = &self.inner;
        let free_bytes = inner.options.medium.free_bytes(&inner.layout.partial);
        let free_bytes = free_bytes.map_err(StoreError::io("examine", &inner.layout.partial))?;
        let shortage = Shortage { free_bytes, reserve_bytes: inner.options.reserve_bytes, room };
        Ok(choose(candidates, shortage, now_s, STALE_S))
    }

    /// Removes what was decided to leave. A file that somebody has mapped keeps its room until they let it go: whoever needs
    /// room keeps such files out of the decision.
    ///
    /// # Errors
    /// If the file system or index refuses. One that is gone already, or is being pulled again by now, is no error.
    pub fn discard(&self, leaving: &Removed) -> Result<(), StoreError> {
        let removed = if leaving.partial { self.discard_partial(leaving.file) } else { self.remove(leaving.file) };
        match removed {
            Err(StoreError::NotStored { .. } | StoreError::Busy { .. }) => Ok(()),
            other => other,
        }
    }

    /// Rows that the index has written since it was opened: for whoever counts what a memory card has to bear.
    #[must_use]
    pub fn rows_written(&self) -> u64 {
        self.inner.index.rows_written()
    }

    fn candidates(&self, keep: &Keep) -> Result<Vec<Candidate>, StoreError> {
        let whole = self.kept()?.into_iter().map(|kept| Candidate {
            file: kept.file.blake3,
            bytes: kept.file.bytes,
            partial: false,
            used_s: kept.used_s,
            stays: kept.pinned || keep.files.contains(&kept.file.blake3),
        });
        let mut candidates: Vec<_> = whole.collect();
        let keeping = self.inner.index.keeping()?;
        for partial in self.inner.index.partials()? {
            let file = partial.manifest.blake3;
            let claimed = self.inner.claimed.lock().unwrap_or_else(PoisonError::into_inner).contains(&file);
            let used = self.inner.uses.lock().unwrap_or_else(PoisonError::into_inner).get(&file).map(|one| one.used_s);
            candidates.push(Candidate {
                file,
                bytes: taken_bytes(&self.inner.layout.part(file)),
                partial: true,
                used_s: used.or_else(|| keeping.get(&file).map(|known| known.used_s)).unwrap_or(0),
                stays: claimed || keep.files.contains(&file),
            });
        }
        Ok(candidates)
    }
}

/// What a file takes on the disk; nothing if it is not there.
fn taken_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |facts| facts.blocks().saturating_mul(512))
}
