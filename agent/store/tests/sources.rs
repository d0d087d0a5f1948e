//! Several sources for one file: who is asked, for what, and what becomes of a liar.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use common::{Room, manifest_of, noise};
use outpost_contract::Chunk;
use outpost_store::{Deliver, MemorySource, Source, SourceError, Sources, StoreError};

const CHUNK: usize = outpost_contract::limits::CHUNK_BYTES;

/// Delivers so many chunks of another source, then is gone.
struct Cut {
    inner: MemorySource,
    chunks: usize,
    asked: AtomicUsize,
}

#[async_trait]
impl Source for Cut {
    fn name(&self) -> String {
        "a wire that is cut".to_owned()
    }

    async fn fetch(&self, wanted: &[Chunk], deliver: Deliver) -> Result<(), SourceError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.inner.fetch(&wanted[..self.chunks.min(wanted.len())], deliver).await?;
        Err(SourceError::Unavailable { origin: self.name(), detail: "cut".to_owned() })
    }
}

#[tokio::test]
async fn the_next_source_brings_what_the_one_before_did_not() {
    let (room, bytes) = (Room::new(), noise(1, 10 * CHUNK));
    let manifest = manifest_of(&bytes, &[]);
    let whole = || MemorySource::of(&bytes, &manifest.chunks);
    let first = Arc::new(Cut { inner: whole(), chunks: 4, asked: AtomicUsize::new(0) });
    let sources = Sources::new(vec![first.clone(), Arc::new(whole())]);
    let stored = room.store.pull(&manifest, &sources, |_| {}).await.unwrap();
    assert_eq!(std::fs::read(stored.path).unwrap(), bytes);
    let brought: Vec<_> = sources.shares().iter().map(|share| share.bytes).collect();
    assert_eq!(brought, [4 * CHUNK as u64, 6 * CHUNK as u64], "nothing came twice");
    assert_eq!(first.asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_source_out_of_reach_is_asked_last_the_next_time() {
    let (room, bytes) = (Room::new(), noise(5, 2 * CHUNK));
    let manifest = manifest_of(&bytes, &[]);
    let whole = || MemorySource::of(&bytes, &manifest.chunks);
    let gone = Arc::new(Cut { inner: whole(), chunks: 0, asked: AtomicUsize::new(0) });
    let sources = Sources::new(vec![gone.clone(), Arc::new(whole())]);
    let (deliver, mut arrivals) = tokio::sync::mpsc::channel(8);
    sources.fetch(&manifest.chunks, deliver).await.unwrap();
    while arrivals.recv().await.is_some() {}
    room.store.pull(&manifest, &sources, |_| {}).await.unwrap();
    assert_eq!(gone.asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_source_that_sends_corrupt_content_is_set_aside_and_the_next_one_completes_the_file() {
    let (room, bytes) = (Room::new(), noise(2, 40 * CHUNK));
    let manifest = manifest_of(&bytes, &[]);
    let liar = MemorySource::of(&bytes, &manifest.chunks);
    for chunk in &manifest.chunks[5..] {
        liar.replace(chunk.id, Bytes::from(noise(9, CHUNK)));
    }
    let honest = MemorySource::of(&bytes, &manifest.chunks);
    let sources = Sources::new(vec![Arc::new(liar), Arc::new(honest)]);
    let stored = room.store.pull(&manifest, &sources, |_| {}).await.unwrap();
    assert_eq!(std::fs::read(stored.path).unwrap(), bytes);
    let shares = sources.shares();
    assert!(shares[0].set_aside && !shares[1].set_aside, "{shares:?}");
    assert!(shares[1].bytes >= 35 * CHUNK as u64, "the honest one brought the rest: {shares:?}");
}

#[tokio::test]
async fn when_every_source_lies_the_pull_ends_and_keeps_what_was_right() {
    let (room, bytes) = (Room::new(), noise(3, 3 * CHUNK));
    let manifest = manifest_of(&bytes, &[]);
    let liar = || {
        let liar = MemorySource::of(&bytes, &manifest.chunks);
        liar.replace(manifest.chunks[2].id, Bytes::from_static(b"short"));
        Arc::new(liar)
    };
    let sources = Sources::new(vec![liar(), liar(), liar(), liar()]);
    let error = room.store.pull(&manifest, &sources, |_| {}).await.unwrap_err();
    let corrupt = matches!(error, StoreError::Incomplete { source: SourceError::Corrupt { .. }, missing: 1, .. });
    assert!(corrupt, "{error}");
    assert!(sources.shares().iter().all(|share| share.set_aside));
}

#[tokio::test]
async fn no_source_at_all_says_so() {
    let (room, bytes) = (Room::new(), noise(4, CHUNK));
    let error = room.store.pull(&manifest_of(&bytes, &[]), &Sources::new(Vec::new()), |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("no source at all"), "{error}");
}
