//! Files leave when room is needed, and the index is written seldom.

mod common;

use std::sync::Arc;

use common::{Room as Folder, manifest_of, noise};
use outpost_contract::{Blake3, Manifest};
use outpost_store::{Keep, MemorySource, Pull, Room, StoreError};

const CHUNK: usize = outpost_contract::limits::CHUNK_BYTES;
const DAY_S: i64 = 24 * 3600;
const NOW_S: i64 = 1_795_380_305;

async fn pulled(folder: &Folder, seed: u64, chunks: usize) -> Manifest {
    let bytes = noise(seed, chunks * CHUNK);
    let manifest = manifest_of(&bytes, &[]);
    folder.store.pull(&manifest, &MemorySource::of(&bytes, &manifest.chunks), |_| {}).await.unwrap();
    manifest
}

fn leave(folder: &Folder, keep: &[Blake3], budget_chunks: usize, now_s: i64) -> Vec<Blake3> {
    let keep = Keep { files: keep.iter().copied().collect() };
    let room = Room { budget_bytes: (budget_chunks * CHUNK) as u64, incoming_bytes: 0 };
    let collection = folder.store.collection(&keep, room, now_s).unwrap();
    collection.leaving.iter().for_each(|one| folder.store.discard(one).unwrap());
    collection.leaving.iter().map(|one| one.file).collect()
}

#[tokio::test]
async fn pins_and_uses_outlive_a_restart_and_decide_who_leaves() {
    let folder = Folder::new();
    let mut files = Vec::new();
    for seed in 0..4 {
        files.push(pulled(&folder, seed, 2).await.blake3);
        folder.store.used(files[seed as usize], NOW_S + seed as i64 * DAY_S).unwrap();
    }
    folder.store.pin(files[0], true).unwrap();
    let folder = folder.reopened();
    let kept = folder.store.kept().unwrap();
    assert_eq!(kept.iter().map(|one| one.file.blake3).collect::<Vec<_>>(), files);
    assert_eq!(kept.iter().map(|one| one.pinned).collect::<Vec<_>>(), [true, false, false, false]);
    assert_eq!(leave(&folder, &[files[1]], 4, NOW_S + 9 * DAY_S), [files[2], files[3]], "neither pinned nor in use");
    folder.store.pin(files[0], false).unwrap();
    assert_eq!(leave(&folder, &[files[1]], 2, NOW_S + 9 * DAY_S), [files[0]]);
    assert!(matches!(folder.store.pin(files[0], true), Err(StoreError::NotStored { .. })));
}

#[tokio::test]
async fn a_partial_file_leaves_after_a_week_and_never_while_it_is_pulled() {
    let folder = Folder::new();
    let manifest = manifest_of(&noise(7, 3 * CHUNK), &[]);
    let pull = Pull::begin(&folder.store, &manifest).unwrap();
    assert_eq!(leave(&folder, &[], 0, NOW_S), []);
    assert_eq!(leave(&folder, &[], 0, NOW_S + 8 * DAY_S), [], "it is being pulled");
    drop(pull);
    let folder = folder.reopened();
    assert_eq!(leave(&folder, &[manifest.blake3], 0, NOW_S + 8 * DAY_S), [], "it is wanted");
    assert_eq!(leave(&folder, &[], 0, NOW_S + 6 * DAY_S), []);
    assert_eq!(leave(&folder, &[], 0, NOW_S + 8 * DAY_S), [manifest.blake3]);
    assert!(folder.partial_files().is_empty());
}

#[tokio::test]
async fn a_removed_file_that_somebody_reads_is_theirs_until_they_let_it_go() {
    let folder = Folder::new();
    let manifest = pulled(&folder, 3, 2).await;
    let stored = folder.store.find(manifest.blake3).unwrap().unwrap();
    let open = std::fs::File::open(&stored.path).unwrap();
    let keep = Keep { files: [manifest.blake3].into() };
    assert_eq!(folder.store.removable_bytes(&keep).unwrap(), 0, "what is read makes no room");
    assert_eq!(folder.store.removable_bytes(&Keep::default()).unwrap(), 2 * CHUNK as u64);
    folder.store.remove(manifest.blake3).unwrap();
    let mut first = [0; 16];
    std::os::unix::fs::FileExt::read_exact_at(&open, &mut first, 0).unwrap();
    assert_eq!(first[..], noise(3, 16)[..]);
}

/// An idle day and a pull, in rows of the index: each is a write and a sync of its journal at the most.
#[tokio::test]
async fn an_idle_day_costs_one_row_and_a_pull_one_for_sixteen_chunks_at_most() {
    let folder = Folder::new();
    let manifest = pulled(&folder, 1, 1).await;
    let before = folder.store.rows_written();
    for minute in 0..24 * 60 {
        folder.store.used(manifest.blake3, NOW_S + minute * 60).unwrap();
        folder.store.collection(&Keep::default(), Room::default(), NOW_S + minute * 60).unwrap();
    }
    assert_eq!(folder.store.rows_written() - before, 1);
    folder.store.used(manifest.blake3, NOW_S + DAY_S).unwrap();
    assert_eq!(folder.store.rows_written() - before, 2);

    let chunks = 64;
    let before = folder.store.rows_written();
    let pulled = pulled(&folder, 2, chunks).await;
    let rows = folder.store.rows_written() - before;
    // The partial file begun, then the file, a row for each chunk, and the partial file gone: the last three in one
    // transaction. Between them a commit for sixteen chunks at most: a fast source outruns the disk. A slow disk commits every
    // five seconds besides.
    let least = 1 + 1 + pulled.chunks.len() as u64 + 1;
    assert!((least..least + chunks as u64 / 16 + 8).contains(&rows), "{rows} rows, {least} at the least");
}

/// The room that a pull needs is made by what may leave, where that is enough, and by nothing where it is not.
#[tokio::test]
async fn what_is_decided_for_a_pull_makes_its_room() {
    let folder = Folder::with(outpost_store::StoreOptions {
        reserve_bytes: 0,
        medium: Arc::new(Small { whole: 5 * CHUNK as u64, within: std::sync::OnceLock::new() }),
    });
    let old = pulled(&folder, 1, 2).await;
    let newer = pulled(&folder, 2, 2).await;
    folder.store.used(old.blake3, NOW_S).unwrap();
    folder.store.used(newer.blake3, NOW_S + 1).unwrap();
    let bytes = noise(3, 3 * CHUNK);
    let manifest = manifest_of(&bytes, &[]);
    let incoming_bytes = folder.store.bytes_to_add(&manifest).unwrap();
    let room = Room { budget_bytes: 0, incoming_bytes };
    let kept = Keep { files: [old.blake3, newer.blake3].into() };
    let none = folder.store.collection(&kept, room, NOW_S + 2).unwrap();
    assert_eq!((none.leaving.len(), none.missing_bytes), (0, 2 * CHUNK as u64));
    let some = folder.store.collection(&Keep::default(), room, NOW_S + 2).unwrap();
    assert_eq!(some.leaving.iter().map(|one| one.file).collect::<Vec<_>>(), [old.blake3]);
    some.leaving.iter().for_each(|one| folder.store.discard(one).unwrap());
    folder.store.pull(&manifest, &MemorySource::of(&bytes, &manifest.chunks), |_| {}).await.unwrap();
    assert_eq!(folder.store.bytes_to_add(&manifest).unwrap(), 0);
}

/// A disk of a set size, that holds what lies in the store.
#[derive(Debug)]
struct Small {
    whole: u64,
    within: std::sync::OnceLock<std::path::PathBuf>,
}

impl outpost_store::Medium for Small {
    fn free_bytes(&self, path: &std::path::Path) -> std::io::Result<u64> {
        let root = self.within.get_or_init(|| path.parent().unwrap().to_owned());
        let mut taken = 0;
        for folder in ["models", "partial"] {
            for entry in std::fs::read_dir(root.join(folder))? {
                taken += entry?.metadata()?.len();
            }
        }
        Ok(self.whole.saturating_sub(taken))
    }

    fn reserve(&self, file: &std::fs::File, bytes: u64) -> std::io::Result<()> {
        outpost_store::RealMedium.reserve(file, bytes)
    }

    fn write_at(&self, file: &std::fs::File, bytes: &[u8], offset: u64) -> std::io::Result<()> {
        outpost_store::RealMedium.write_at(file, bytes, offset)
    }
}
