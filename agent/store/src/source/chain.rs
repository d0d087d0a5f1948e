//! Several sources in an order: the next one is asked for what the one before did not bring; a liar is not asked again.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use outpost_contract::{Blake3, Chunk, ChunkRun};
use tokio::sync::{Notify, mpsc};

use super::{Deliver, Source, SourceError};

/// What one source brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The source, in words.
    pub source: String,
    /// Bytes that it delivered, corrupt ones included.
    pub bytes: u64,
    /// It sent corrupt content and is not asked any more.
    pub set_aside: bool,
}

/// The sources of one pull, first choice first. Make a new one for the next pull: this one remembers who lied.
pub struct Sources {
    links: Vec<Link>,
    /// Who delivered which chunk: to know whom to blame for a corrupt one.
    delivered: Mutex<HashMap<Blake3, usize>>,
}

struct Link {
    source: Arc<dyn Source>,
    aside: AtomicBool,
    /// Out of reach when it was asked last: others are asked before it.
    tired: AtomicBool,
    stop: Notify,
    bytes: Mutex<u64>,
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Sources").field(&self.shares()).finish()
    }
}

impl Sources {
    /// Asks `sources` in this order.
    #[must_use]
    pub fn new(sources: Vec<Arc<dyn Source>>) -> Self {
        let link = |source| Link {
            source,
            aside: AtomicBool::new(false),
            tired: AtomicBool::new(false),
            stop: Notify::new(),
            bytes: Mutex::new(0),
        };
        Self { links: sources.into_iter().map(link).collect(), delivered: Mutex::default() }
    }

    /// What each source brought so far, in their order.
    #[must_use]
    pub fn shares(&self) -> Vec<Share> {
        let share = |link: &Link| Share {
            source: link.source.name(),
            bytes: *locked(&link.bytes),
            set_aside: link.aside.load(Ordering::Relaxed),
        };
        self.links.iter().map(share).collect()
    }

    /// Asks one source, and notes what it brings.
    async fn ask(
        &self,
        index: usize,
        runs: &[ChunkRun],
        deliver: &Deliver,
        came: &mut HashSet<Blake3>,
    ) -> Result<(), SourceError> {
        let link = &self.links[index];
        let (tap, mut tapped) = mpsc::channel::<(Blake3, bytes::Bytes)>(2);
        // It owns its end of the tap: when it stops, the source sees that nobody takes anything any more.
        let hand_on = async move {
            while let Some((id, bytes)) = tapped.recv().await {
                *locked(&link.bytes) += bytes.len() as u64;
                locked(&self.delivered).insert(id, index);
                deliver.send((id, bytes)).await.map_err(|_| SourceError::Closed)?;
                came.insert(id);
            }
            Ok(())
        };
        let both = async {
            // A receiver that is gone closes the tap, which ends the fetch.
            let (fetched, handed_on) = tokio::join!(link.source.fetch_runs(runs, tap), hand_on);
            handed_on.and(fetched)
        };
        tokio::select! {
            ended = both => ended,
            () = link.stop.notified() => Err(SourceError::Corrupt { origin: link.source.name() }),
        }
    }
}

#[async_trait]
impl Source for Sources {
    fn name(&self) -> String {
        let names: Vec<_> = self.links.iter().map(|link| link.source.name()).collect();
        names.join(", then ")
    }

    async fn fetch(&self, wanted: &[Chunk], deliver: Deliver) -> Result<(), SourceError> {
        // Without a file around them, each is a run of its own, of a blob that is the chunk itself.
        let alone = |chunk: &Chunk| ChunkRun { blob: chunk.id, start: 0, chunks: vec![*chunk] };
        let runs: Vec<_> = wanted.iter().map(alone).collect();
        self.fetch_runs(&runs, deliver).await
    }

    async fn fetch_runs(&self, runs: &[ChunkRun], deliver: Deliver) -> Result<(), SourceError> {
        let mut rest = runs.to_vec();
        let mut last = None;
        let mut turns: Vec<_> = self.links.iter().enumerate().collect();
        turns.sort_by_key(|(_, link)| link.tired.load(Ordering::Relaxed));
        for (index, link) in turns {
            if link.aside.load(Ordering::Relaxed) {
                last = Some(SourceError::Corrupt { origin: link.source.name() });
                continue;
            }
            let (before, mut came) = (*locked(&link.bytes), HashSet::new());
            let ended = self.ask(index, &rest, &deliver, &mut came).await;
            let (source, bytes) = (link.source.name(), *locked(&link.bytes) - before);
            rest = without(rest, &came);
            let missing = rest.iter().map(|run| run.chunks.len()).sum();
            match ended {
                Err(SourceError::Closed) => return Err(SourceError::Closed),
                Err(error) => {
                    let out_of_reach = bytes == 0 && matches!(error, SourceError::Unavailable { .. });
                    link.tired.store(out_of_reach, Ordering::Relaxed);
                    tracing::info!(source, bytes, missing, %error, "a source stopped; the next one is asked");
                    last = Some(error);
                }
                Ok(()) => {
                    tracing::info!(source, bytes, missing, "a source brought what it has");
                    last = Some(SourceError::Missing { origin: source, missing });
                }
            }
            if rest.is_empty() {
                return Ok(());
            }
        }
        Err(last.unwrap_or_else(|| SourceError::Missing {
            origin: "no source at all".to_owned(),
            missing: rest.iter().map(|run| run.chunks.len()).sum(),
        }))
    }

    fn refuse(&self, corrupt: Blake3) -> bool {
        let Some(index) = locked(&self.delivered).get(&corrupt).copied() else { return false };
        let link = &self.links[index];
        if !link.aside.swap(true, Ordering::Relaxed) {
            tracing::warn!(source = link.source.name(), chunk = %corrupt, "a source sent corrupt content and is set aside");
        }
        // Whoever waits is woken; nobody's permit stays behind to stop a later, honest turn, because there is none.
        link.stop.notify_one();
        true
    }
}

/// The runs of what did not come.
fn without(runs: Vec<ChunkRun>, came: &HashSet<Blake3>) -> Vec<ChunkRun> {
    let still =
        |run: ChunkRun| ChunkRun::gather(run.blob, run.start, &run.chunks, |_, chunk| !came.contains(&chunk.id));
    runs.into_iter().flat_map(still).collect()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
