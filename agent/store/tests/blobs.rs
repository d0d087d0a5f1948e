//! Small blobs in memory: the catalogue.

mod common;

use common::{Room, manifest_of, noise};
use outpost_contract::{Blake3, BlobRef};
use outpost_store::{MemorySource, StoreError};

const CHUNK: usize = outpost_contract::limits::CHUNK_BYTES;

fn blob(bytes: &[u8]) -> BlobRef {
    let manifest = manifest_of(bytes, &[]);
    BlobRef { bytes: manifest.bytes, blake3: manifest.blake3, chunks: manifest.chunks }
}

#[tokio::test]
async fn a_blob_arrives_in_memory_and_leaves_nothing_on_disk() {
    let room = Room::new();
    let bytes = noise(1, 2 * CHUNK + 1);
    let reference = blob(&bytes);
    let source = MemorySource::of(&bytes, &reference.chunks);
    assert_eq!(room.store.fetch_blob(&reference, 1 << 20, &source).await.unwrap(), bytes);
    assert!(room.partial_files().is_empty() && room.model_files().is_empty());
}

#[tokio::test]
async fn a_blob_above_its_limit_is_not_even_asked_for() {
    let room = Room::new();
    let bytes = noise(2, 1000);
    let reference = blob(&bytes);
    let error = room.store.fetch_blob(&reference, 999, &MemorySource::default()).await.unwrap_err();
    assert!(matches!(error, StoreError::Manifest(_)), "{error}");
}

#[tokio::test]
async fn a_corrupt_missing_or_swapped_chunk_makes_no_blob() {
    let room = Room::new();
    let bytes = noise(3, 2 * CHUNK);
    let reference = blob(&bytes);
    let source = MemorySource::of(&bytes, &reference.chunks);
    source.replace(reference.chunks[1].id, bytes[..CHUNK].to_vec());
    let error = room.store.fetch_blob(&reference, 1 << 20, &source).await.unwrap_err();
    assert!(matches!(error, StoreError::CorruptChunk { index: 1, .. }), "{error}");

    let error = room.store.fetch_blob(&reference, 1 << 20, &MemorySource::default()).await.unwrap_err();
    assert!(matches!(error, StoreError::Incomplete { missing: 2, .. }), "{error}");

    let mut swapped = reference.clone();
    swapped.chunks.swap(0, 1);
    let source = MemorySource::of(&bytes, &reference.chunks);
    let error = room.store.fetch_blob(&swapped, 1 << 20, &source).await.unwrap_err();
    assert!(matches!(error, StoreError::WrongDigest { .. }), "{error}");

    let mut other = reference;
    other.blake3 = Blake3([1; 32]);
    assert!(matches!(room.store.fetch_blob(&other, 1 << 20, &source).await, Err(StoreError::WrongDigest { .. })));
}
