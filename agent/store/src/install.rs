//! Drives a pull from a source: fetching and writing run side by side, the disk never blocks the network's thread.

use std::path::Path;
use std::sync::Arc;

use outpost_contract::{Blake3, Manifest};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::manifest;
use crate::{Arrival, FileSource, Progress, Pull, Source, SourceError, Store, StoreError, StoredFile};

/// Chunks that may wait for the disk before the source has to wait: 2 MiB.
const WAITING_CHUNKS: usize = 8;

/// Rounds in a row in which a source says it is done and nothing new came.
const FRUITLESS_ROUNDS: u32 = 3;

/// Told after each chunk; called on the writing thread, so it must return at once.
pub(crate) type OnProgress = Arc<dyn Fn(Progress) + Send + Sync>;

impl Store {
    /// Brings a file into the store, or returns it at once if it is here.
    ///
    /// Verified chunks survive anything: drop the future, kill the process, cut the power, and call this again. When it
    /// returns `Ok` the file is whole, checked against both digests of the manifest, and durable under its final name.
    ///
    /// # Errors
    /// [`StoreError::NotEnoughSpace`] before the first byte; [`StoreError::CorruptChunk`] if one chunk came corrupt three
    /// times; [`StoreError::Incomplete`] if the source stopped (pull again later); [`StoreError::WrongDigest`] if the
    /// manifest itself is wrong; [`StoreError::Busy`] if a pull of this file runs already.
    pub async fn pull(
        &self,
        manifest: &Manifest,
        source: &dyn Source,
        on_progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<StoredFile, StoreError> {
        let file = manifest.blake3;
        let on_progress: OnProgress = Arc::new(on_progress);
        let begun = {
            let (store, manifest) = (self.clone(), manifest.clone());
            blocking(file, move || match store.find(manifest.blake3)? {
                Some(stored) => Ok(Begun::Here(stored)),
                None => Pull::begin(&store, &manifest).map(|pull| Begun::Pull(Box::new(pull))),
            })
            .await??
        };
        let mut pull = match begun {
            Begun::Here(stored) => return Ok(stored),
            Begun::Pull(pull) => pull,
        };
        let (mut fruitless, mut rotted) = (0, 0);
        loop {
            on_progress(pull.progress());
            let runs = pull.wanted_runs();
            if runs.is_empty() {
                let (done, back) = blocking(file, move || (pull.finish(), pull)).await?;
                pull = back;
                match done? {
                    Some(stored) => return Ok(stored),
                    None if rotted == FRUITLESS_ROUNDS => return Err(rotting(file)),
                    None => rotted += 1,
                }
                continue;
            }
            let wanted: usize = runs.iter().map(|run| run.chunks.len()).sum();
            let (deliver, arrivals) = mpsc::channel(WAITING_CHUNKS);
            let (corrupt, mut refused) = mpsc::unbounded_channel();
            let (origin, report) = (source.name(), Arc::clone(&on_progress));
            let writer = spawn_blocking(move || write(pull, arrivals, &origin, &report, &corrupt));
            let mut set_aside = false;
            let mut fetching = source.fetch_runs(&runs, deliver);
            let fetched = loop {
                tokio::select! {
                    fetched = &mut fetching => break fetched,
                    Some(id) = refused.recv() => set_aside |= source.refuse(id),
                }
            };
            // Whatever it holds of the channel ends with it, and the writer sees the end.
            drop(fetching);
            let written;
            (pull, written) = writer.await.map_err(|_| StoreError::Interrupted { file })?;
            while let Ok(id) = refused.try_recv() {
                set_aside |= source.refuse(id);
            }
            match written {
                Err(StoreError::CorruptChunk { .. }) if set_aside => {}
                written => written?,
            }
            if set_aside {
                // Somebody else is asked now: the round of the one who lied is no failure of theirs.
                pull.forgive();
                continue;
            }
            let missing = pull.wanted().len();
            fruitless = if missing < wanted { 0 } else { fruitless + 1 };
            if let Err(source) = fetched {
                return if missing == 0 {
                    finish_now(file, pull).await
                } else {
                    Err(StoreError::Incomplete { file, missing, source })
                };
            }
            if fruitless == FRUITLESS_ROUNDS {
                let source = SourceError::Missing { origin: source.name(), missing };
                return Err(StoreError::Incomplete { file, missing, source });
            }
        }
    }

    /// Takes a local file into the store and returns its manifest; `cuts` as in [`manifest::of_file`].
    ///
    /// # Errors
    /// As [`Store::pull`], and if the file cannot be read.
    pub async fn import(&self, path: &Path, cuts: &[u64]) -> Result<Manifest, StoreError> {
        let described = {
            let (path, cuts) = (path.to_owned(), cuts.to_vec());
            spawn_blocking(move || manifest::of_file(&path, &cuts)).await
        };
        let stopped = |_| StoreError::io("read", path)(std::io::Error::other("the program is stopping"));
        let manifest = described.map_err(stopped)??;
        let source = FileSource::open(path, &manifest).map_err(StoreError::io("open", path))?;
        self.pull(&manifest, &source, |_| {}).await?;
        Ok(manifest)
    }
}

enum Begun {
    Here(StoredFile),
    Pull(Box<Pull>),
}

/// Takes what arrives until the source is done; the pull comes back in any case.
fn write(
    mut pull: Box<Pull>,
    mut arrivals: mpsc::Receiver<(Blake3, bytes::Bytes)>,
    origin: &str,
    report: &OnProgress,
    corrupt: &mpsc::UnboundedSender<Blake3>,
) -> (Box<Pull>, Result<(), StoreError>) {
    let mut written = Ok(());
    while written.is_ok() {
        match arrivals.blocking_recv() {
            Some((id, bytes)) => {
                let arrival = pull.accept(id, &bytes, origin);
                if matches!(arrival, Ok(Arrival::Corrupt) | Err(StoreError::CorruptChunk { .. })) {
                    // Nobody listens only when the pull was dropped.
                    corrupt.send(id).ok();
                }
                written = arrival.map(|_| report(pull.progress()));
            }
            None => break,
        }
    }
    // Also after a refusal: what was verified before it is worth keeping.
    let committed = pull.commit();
    (pull, written.and(committed))
}

/// The last chunk came just before the source failed.
async fn finish_now(file: Blake3, mut pull: Box<Pull>) -> Result<StoredFile, StoreError> {
    blocking(file, move || pull.finish()).await??.ok_or_else(|| rotting(file))
}

/// Chunks that were right when they were written are wrong when they are read: the disk is failing.
fn rotting(file: Blake3) -> StoreError {
    StoreError::Damaged { file, detail: "chunks changed on disk after they were written; check the disk".to_owned() }
}

async fn blocking<T: Send + 'static>(file: Blake3, work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    spawn_blocking(work).await.map_err(|_| StoreError::Interrupted { file })
}
