//! What a store does, when it is opened, about acts that were cut off.

mod common;

use common::{Room, manifest_of, noise};
use outpost_store::{MemorySource, Pull, StoreError};

const CHUNK: usize = outpost_contract::limits::CHUNK_BYTES;

async fn with_one_file(seed: u64) -> (Room, outpost_contract::Manifest) {
    let room = Room::new();
    let bytes = noise(seed, 2 * CHUNK + 3);
    let manifest = manifest_of(&bytes, &[]);
    room.store.pull(&manifest, &MemorySource::of(&bytes, &manifest.chunks), |_| {}).await.unwrap();
    (room, manifest)
}

#[test]
fn an_install_cut_off_after_its_rename_is_finished() {
    let room = Room::new();
    let bytes = noise(1, 2 * CHUNK);
    let manifest = manifest_of(&bytes, &[]);
    let mut pull = Pull::begin(&room.store, &manifest).unwrap();
    for (index, chunk) in manifest.chunks.iter().enumerate() {
        pull.accept(chunk.id, &bytes[index * CHUNK..][..CHUNK], "test").unwrap();
    }
    drop(pull);
    let whole = room.dir().join(format!("models/{}.gguf", manifest.blake3));
    std::fs::rename(room.partial_files().pop().unwrap(), whole).unwrap();
    let room = room.reopened();
    room.store.verify_file(manifest.blake3).unwrap();
    assert!(room.store.partials().unwrap().is_empty());
}

#[test]
fn a_partial_file_that_nothing_vouches_for_is_removed() {
    let room = Room::new();
    std::fs::write(room.dir().join(format!("partial/{}.part", "ab".repeat(32))), b"what is this").unwrap();
    assert!(room.reopened().partial_files().is_empty());
}

#[tokio::test]
async fn a_file_that_disappeared_is_wanted_again() {
    let (room, manifest) = with_one_file(2).await;
    std::fs::remove_file(room.model_files().pop().unwrap()).unwrap();
    let room = room.reopened();
    assert!(room.store.list().unwrap().is_empty());
    assert_eq!(room.store.missing(&manifest).unwrap().len(), 3);
}

#[tokio::test]
async fn a_lost_index_is_rebuilt_from_the_files() {
    let (room, manifest) = with_one_file(3).await;
    let dir = room.dir().to_owned();
    let room = room.close();
    for name in ["store.db", "store.db-wal", "store.db-shm"] {
        let _ = std::fs::remove_file(dir.join(name));
    }
    let store = outpost_store::Store::open(room.path()).unwrap();
    assert_eq!(store.verify_file(manifest.blake3).unwrap().sha256, manifest.sha256);
    assert!(store.missing(&manifest).unwrap().is_empty());
}

#[tokio::test]
async fn a_file_that_is_not_what_its_name_says_is_never_adopted() {
    let room = Room::new();
    std::fs::write(room.dir().join(format!("models/{}.gguf", "cd".repeat(32))), b"somebody put this here").unwrap();
    let room = room.reopened();
    assert!(room.store.list().unwrap().is_empty() && room.model_files().is_empty());
}

#[tokio::test]
async fn a_stored_file_that_was_changed_truncated_or_removed_is_noticed_before_it_is_loaded() {
    let (room, manifest) = with_one_file(4).await;
    let path = room.model_files().pop().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let mut flipped = bytes.clone();
    flipped[CHUNK + 1] ^= 0x10;
    for wrong in [flipped, bytes[..bytes.len() - 1].to_vec(), [bytes.clone(), vec![0]].concat()] {
        std::fs::write(&path, wrong).unwrap();
        let error = room.store.verify_file(manifest.blake3).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }
    std::fs::write(&path, bytes).unwrap();
    room.store.verify_file(manifest.blake3).unwrap();
    room.store.remove(manifest.blake3).unwrap();
    assert!(matches!(room.store.verify_file(manifest.blake3), Err(StoreError::NotStored { .. })));
    assert!(room.model_files().is_empty());
}
