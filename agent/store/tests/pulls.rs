//! A file on its way in, and everything that can happen to it there.

mod common;

use std::os::unix::fs::FileExt;

use common::{Room, manifest_of, noise};
use outpost_contract::{Blake3, Sha256};
use outpost_store::{Arrival, DirectorySource, MemorySource, Pull, Store, StoreError};

const CHUNK: usize = outpost_contract::limits::CHUNK_BYTES;

#[tokio::test]
async fn a_pulled_file_is_whole_and_has_its_digest_as_its_name() {
    let room = Room::new();
    let bytes = noise(1, 3 * CHUNK + 17);
    let manifest = manifest_of(&bytes, &[]);
    let stored = room.store.pull(&manifest, &MemorySource::of(&bytes, &manifest.chunks), |_| {}).await.unwrap();
    assert_eq!(std::fs::read(&stored.path).unwrap(), bytes);
    assert!(stored.path.ends_with(format!("models/{}.gguf", manifest.blake3)));
    assert_eq!(room.store.verify_file(manifest.blake3).unwrap(), stored);
    assert_eq!(room.store.list().unwrap(), [stored]);
    assert!(room.partial_files().is_empty());
    assert!(room.store.missing(&manifest).unwrap().is_empty());
}

#[tokio::test]
async fn a_pull_that_was_killed_keeps_every_chunk_that_was_written() {
    let room = Room::new();
    let bytes = noise(2, 40 * CHUNK);
    let manifest = manifest_of(&bytes, &[]);
    let mut pull = Pull::begin(&room.store, &manifest).unwrap();
    for (index, chunk) in manifest.chunks.iter().enumerate().take(20) {
        let piece = &bytes[index * CHUNK..][..CHUNK];
        assert_eq!(pull.accept(chunk.id, piece, "test").unwrap(), Arrival::Written);
    }
    // No destructor runs in a process that is killed.
    std::mem::forget(pull);

    let room = room.reopened();
    let left = Pull::begin(&room.store, &manifest).unwrap().wanted().len();
    assert_eq!(left, 20, "20 of 40 chunks were written, committed or not");
    let source = MemorySource::of(&bytes, &manifest.chunks);
    let received = std::sync::Arc::new(std::sync::Mutex::new(0));
    let last = std::sync::Arc::clone(&received);
    let stored =
        room.store.pull(&manifest, &source, move |now| *last.lock().unwrap() = now.received_bytes).await.unwrap();
    assert_eq!(std::fs::read(stored.path).unwrap(), bytes);
    assert_eq!(*received.lock().unwrap(), 20 * CHUNK as u64);
}

#[tokio::test]
async fn a_pull_that_is_dropped_keeps_every_verified_chunk() {
    let room = Room::new();
    let bytes = noise(3, 5 * CHUNK);
    let manifest = manifest_of(&bytes, &[]);
    let mut pull = Pull::begin(&room.store, &manifest).unwrap();
    pull.accept(manifest.chunks[3].id, &bytes[3 * CHUNK..4 * CHUNK], "test").unwrap();
    drop(pull);
    let room = room.reopened();
    assert_eq!(room.store.partials().unwrap(), [(manifest.blake3, CHUNK as u64)]);
    assert_eq!(room.store.missing(&manifest).unwrap().len(), 4);
    assert!(room.store.path(manifest.blake3).unwrap().is_none(), "a partial file is not a file");
}

#[tokio::test]
async fn a_chunk_with_a_flipped_bit_is_never_written_and_named_after_three_tries() {
    let room = Room::new();
    let bytes = noise(4, 3 * CHUNK);
    let manifest = manifest_of(&bytes, &[]);
    let source = MemorySource::of(&bytes, &manifest.chunks);
    let mut flipped = bytes[CHUNK..2 * CHUNK].to_vec();
    flipped[77] ^= 1;
    source.replace(manifest.chunks[1].id, flipped);
    let error = room.store.pull(&manifest, &source, |_| {}).await.unwrap_err();
    assert!(matches!(error, StoreError::CorruptChunk { index: 1, attempts: 3, .. }), "{error}");
    assert!(error.to_string().contains("chunk 1 of"), "{error}");
    assert!(room.store.path(manifest.blake3).unwrap().is_none());

    // The honest chunks stayed; an honest source completes the file.
    assert_eq!(room.store.missing(&manifest).unwrap(), [manifest.chunks[1]]);
    source.replace(manifest.chunks[1].id, bytes[CHUNK..2 * CHUNK].to_vec());
    room.store.pull(&manifest, &source, |_| {}).await.unwrap();
}

#[test]
fn a_chunk_of_the_wrong_length_or_of_another_file_is_refused() {
    let room = Room::new();
    let bytes = noise(5, 2 * CHUNK);
    let manifest = manifest_of(&bytes, &[]);
    let mut pull = Pull::begin(&room.store, &manifest).unwrap();
    let id = manifest.chunks[0].id;
    assert_eq!(pull.accept(id, &bytes[..CHUNK - 1], "test").unwrap(), Arrival::Corrupt);
    assert_eq!(pull.accept(id, &[], "test").unwrap(), Arrival::Corrupt);
    assert_eq!(pull.accept(Blake3([9; 32]), &bytes[..CHUNK], "test").unwrap(), Arrival::Unwanted);
    assert_eq!(pull.accept(id, &bytes[..CHUNK], "test").unwrap(), Arrival::Written);
    assert_eq!(pull.accept(id, &bytes[..CHUNK], "test").unwrap(), Arrival::Duplicate);
}

#[tokio::test]
async fn a_partial_file_that_was_truncated_is_measured_again_by_its_bytes() {
    let room = Room::new();
    let bytes = noise(6, 6 * CHUNK);
    let manifest = manifest_of(&bytes, &[]);
    let mut pull = Pull::begin(&room.store, &manifest).unwrap();
    for index in 0..5 {
        pull.accept(manifest.chunks[index].id, &bytes[index * CHUNK..][..CHUNK], "test").unwrap();
    }
    drop(pull);
    let part = room.partial_files().pop().unwrap();
    std::fs::File::options().write(true).open(part).unwrap().set_len(2 * CHUNK as u64 + 5).unwrap();
    let room = room.reopened();
    assert_eq!(Pull::begin(&room.store, &manifest).unwrap().wanted(), manifest.chunks[2..]);
    let stored = room.store.pull(&manifest, &MemorySource::of(&bytes, &manifest.chunks), |_| {}).await.unwrap();
    assert_eq!(std::fs::read(stored.path).unwrap(), bytes);
}

#[tokio::test]
async fn chunks_that_rot_on_disk_before_the_end_are_fetched_again() {
    let room = Room::new();
    let bytes = noise(7, 3 * CHUNK);
    let manifest = manifest_of(&bytes, &[]);
    let mut pull = Pull::begin(&room.store, &manifest).unwrap();
    pull.accept(manifest.chunks[0].id, &bytes[..CHUNK], "test").unwrap();
    drop(pull);
    let part = room.partial_files().pop().unwrap();
    std::fs::File::options().write(true).open(part).unwrap().write_all_at(b"rot", 1000).unwrap();
    let stored = room.store.pull(&manifest, &MemorySource::of(&bytes, &manifest.chunks), |_| {}).await.unwrap();
    assert_eq!(std::fs::read(stored.path).unwrap(), bytes);
}

#[tokio::test]
async fn a_manifest_whose_whole_digest_is_wrong_installs_nothing() {
    let bytes = noise(8, 2 * CHUNK);
    let honest = manifest_of(&bytes, &[]);
    let mut wrong_name = honest.clone();
    wrong_name.blake3 = Blake3([3; 32]);
    let mut wrong_sha = honest.clone();
    wrong_sha.sha256 = Sha256([3; 32]);
    for (manifest, what) in [(wrong_name, "BLAKE3"), (wrong_sha, "SHA-256")] {
        let room = Room::new();
        let error = room.store.pull(&manifest, &MemorySource::of(&bytes, &manifest.chunks), |_| {}).await.unwrap_err();
        assert!(matches!(&error, StoreError::WrongDigest { what: said, .. } if *said == what), "{error}");
        assert!(room.store.list().unwrap().is_empty());
        assert!(room.partial_files().is_empty());
    }
}

#[tokio::test]
async fn a_re_release_with_another_header_fetches_only_the_header() {
    let room = Room::new();
    let tensors = noise(9, 8 * CHUNK + 100);
    let old = [b"old header".as_slice(), &tensors].concat();
    let new = [b"a new and longer header".as_slice(), &tensors].concat();
    let (old_manifest, new_manifest) = (manifest_of(&old, &[10]), manifest_of(&new, &[23]));
    room.store.pull(&old_manifest, &MemorySource::of(&old, &old_manifest.chunks), |_| {}).await.unwrap();
    assert_eq!(room.store.missing(&new_manifest).unwrap(), new_manifest.chunks[..1]);

    let only_header = MemorySource::of(&new[..23], &new_manifest.chunks[..1]);
    let stored = room.store.pull(&new_manifest, &only_header, |_| {}).await.unwrap();
    assert_eq!(std::fs::read(stored.path).unwrap(), new);
    assert_eq!(room.store.list().unwrap().len(), 2);
}

#[tokio::test]
async fn a_superseded_pull_lends_its_chunks_to_the_newer_release_and_is_then_discarded() {
    let room = Room::new();
    let shared = noise(10, 4 * CHUNK);
    let (old, new) = ([shared.clone(), noise(11, CHUNK)].concat(), [shared, noise(12, CHUNK)].concat());
    let (old_manifest, new_manifest) = (manifest_of(&old, &[]), manifest_of(&new, &[]));
    let mut pull = Pull::begin(&room.store, &old_manifest).unwrap();
    for index in 0..4 {
        pull.accept(old_manifest.chunks[index].id, &old[index * CHUNK..][..CHUNK], "test").unwrap();
    }
    drop(pull);
    assert_eq!(room.store.missing(&new_manifest).unwrap(), new_manifest.chunks[4..]);

    let newer = Pull::begin(&room.store, &new_manifest).unwrap();
    assert_eq!(newer.wanted(), new_manifest.chunks[4..]);
    assert_eq!(newer.progress().copied_bytes, 4 * CHUNK as u64);
    room.store.discard_partial(old_manifest.blake3).unwrap();
    assert_eq!(room.partial_files().len(), 1);
    assert!(matches!(room.store.discard_partial(new_manifest.blake3), Err(StoreError::Busy { .. })));
    drop(newer);
    room.store.pull(&new_manifest, &MemorySource::of(&new, &new_manifest.chunks), |_| {}).await.unwrap();
}

#[tokio::test]
async fn a_damaged_neighbour_lends_nothing() {
    let room = Room::new();
    let bytes = noise(13, 3 * CHUNK);
    let old = manifest_of(&bytes, &[]);
    let stored = room.store.pull(&old, &MemorySource::of(&bytes, &old.chunks), |_| {}).await.unwrap();
    std::fs::File::options().write(true).open(&stored.path).unwrap().write_all_at(b"rot", 5).unwrap();
    let longer = [bytes.clone(), b"tail".to_vec()].concat();
    let new = manifest_of(&longer, &[]);
    let pull = Pull::begin(&room.store, &new).unwrap();
    assert_eq!(pull.wanted(), [new.chunks[0], new.chunks[3]]);
}

#[tokio::test]
async fn a_chunk_that_stands_twice_in_a_file_is_fetched_once() {
    let room = Room::new();
    let piece = noise(14, CHUNK);
    let bytes = [piece.clone(), noise(15, CHUNK), piece].concat();
    let manifest = manifest_of(&bytes, &[]);
    assert_eq!(Pull::begin(&room.store, &manifest).unwrap().wanted().len(), 2);
    let stored = room.store.pull(&manifest, &MemorySource::of(&bytes, &manifest.chunks), |_| {}).await.unwrap();
    assert_eq!(std::fs::read(stored.path).unwrap(), bytes);
}

#[test]
fn two_pulls_of_one_file_do_not_write_over_each_other() {
    let room = Room::new();
    let bytes = noise(16, CHUNK);
    let manifest = manifest_of(&bytes, &[]);
    let first = Pull::begin(&room.store, &manifest).unwrap();
    assert!(matches!(Pull::begin(&room.store, &manifest), Err(StoreError::Busy { .. })));
    drop(first);
    Pull::begin(&room.store, &manifest).unwrap();
}

#[test]
fn a_manifest_that_contradicts_itself_reserves_nothing() {
    let room = Room::new();
    let bytes = noise(17, 2 * CHUNK + 5);
    let mut manifest = manifest_of(&bytes, &[]);
    manifest.chunks[2].id = manifest.chunks[0].id;
    assert!(matches!(Pull::begin(&room.store, &manifest), Err(StoreError::Contradiction { index: 2 })));
    manifest.bytes = u64::MAX;
    assert!(matches!(Pull::begin(&room.store, &manifest), Err(StoreError::Manifest(_))));
    assert!(room.partial_files().is_empty());
}

#[tokio::test]
async fn a_source_that_lacks_a_chunk_leaves_a_pull_that_goes_on_later() {
    let room = Room::new();
    let bytes = noise(18, 3 * CHUNK);
    let manifest = manifest_of(&bytes, &[]);
    let half = MemorySource::of(&bytes[..CHUNK], &manifest.chunks[..1]);
    let error = room.store.pull(&manifest, &half, |_| {}).await.unwrap_err();
    assert!(matches!(error, StoreError::Incomplete { missing: 2, .. }), "{error}");
    let rest = MemorySource::of(&bytes, &manifest.chunks);
    room.store.pull(&manifest, &rest, |_| {}).await.unwrap();
}

#[tokio::test]
async fn a_stick_with_one_file_per_chunk_fills_the_store() {
    let room = Room::new();
    let bytes = noise(19, 2 * CHUNK + 9);
    let manifest = manifest_of(&bytes, &[]);
    let stick = tempfile::tempdir().unwrap();
    let mut at = 0;
    for chunk in &manifest.chunks {
        std::fs::write(stick.path().join(chunk.id.to_hex()), &bytes[at..][..chunk.bytes as usize]).unwrap();
        at += chunk.bytes as usize;
    }
    room.store.pull(&manifest, &DirectorySource::new(stick.path()), |_| {}).await.unwrap();

    // A chunk file that grew is corrupt, not a reason to read it all.
    let other = noise(20, CHUNK);
    let manifest = manifest_of(&other, &[]);
    std::fs::write(stick.path().join(manifest.chunks[0].id.to_hex()), [other, vec![0; 1000]].concat()).unwrap();
    let error = room.store.pull(&manifest, &DirectorySource::new(stick.path()), |_| {}).await.unwrap_err();
    assert!(matches!(error, StoreError::CorruptChunk { .. }), "{error}");
}

#[tokio::test]
async fn a_local_file_is_imported_whole() {
    let room = Room::new();
    let bytes = noise(21, CHUNK + 1);
    let path = room.dir().join("my-model.gguf");
    std::fs::write(&path, &bytes).unwrap();
    let manifest = room.store.import(&path, &[64, 4096]).await.unwrap();
    assert_eq!(manifest.chunking, "gguf-tensor");
    assert_eq!(std::fs::read(room.store.path(manifest.blake3).unwrap().unwrap()).unwrap(), bytes);
}

#[tokio::test]
async fn a_pull_whose_future_is_dropped_ends_and_can_begin_again() {
    struct Endless;
    #[async_trait::async_trait]
    impl outpost_store::Source for Endless {
        fn name(&self) -> String {
            "endless".into()
        }
        async fn fetch(
            &self,
            _: &[outpost_contract::Chunk],
            _: outpost_store::Deliver,
        ) -> Result<(), outpost_store::SourceError> {
            std::future::pending().await
        }
    }
    let room = Room::new();
    let bytes = noise(22, 2 * CHUNK);
    let manifest = manifest_of(&bytes, &[]);
    {
        let pull = room.store.pull(&manifest, &Endless, |_| {});
        tokio::pin!(pull);
        // Once it waits for the source, give it up.
        let begun = async {
            while room.store.partials().unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! { _ = &mut pull => unreachable!(), () = begun => {} }
    }
    let source = MemorySource::of(&bytes, &manifest.chunks);
    loop {
        match room.store.pull(&manifest, &source, |_| {}).await {
            // The writing thread of the dropped pull is on its way out.
            Err(StoreError::Busy { .. }) => tokio::task::yield_now().await,
            other => break drop(other.unwrap()),
        }
    }
}

#[test]
fn a_store_of_a_newer_agent_is_left_alone() {
    let room = Room::new();
    let database = room.dir().join("store.db");
    let dir = room.close();
    rusqlite::Connection::open(&database).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(Store::open(dir.path()), Err(StoreError::NewerForm { found: 99, known: 1 })));
}
