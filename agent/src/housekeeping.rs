//! Room for models: what may leave the disk, when it does, and a record of each that did.
//!
//! On a device of a fleet whatever is not wanted can be fetched again, so it leaves when room is needed. On a box of its own
//! somebody brought every file: there nothing leaves unless a budget was set.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use outpost_audit::{AuditLog, Kind, ObjectRef, Record};
use outpost_contract::{Blake3, Manifest, Measurements, Reason, ReasonCode};
use outpost_disk::Clock;
use outpost_store::{Collection, Keep, Room, Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::activation::recorded;
use crate::active::{Active, Card};
use crate::config;
use crate::models::Residents;

/// How often it is looked for what nobody wants any more.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

/// Keeps the store within its room.
#[derive(Debug)]
pub(crate) struct Housekeeper {
    pub(crate) settings: config::Store,
    pub(crate) store: Store,
    pub(crate) active: Arc<Active>,
    pub(crate) residents: Arc<Residents>,
    pub(crate) audit: AuditLog,
    pub(crate) clock: Clock,
    /// Whether files may leave without a budget.
    pub(crate) in_fleet: bool,
    /// What the ledger names and desired state wants.
    pub(crate) named: Mutex<Named>,
}

/// Files that stay although nobody has them in memory.
#[derive(Debug, Default)]
pub(crate) struct Named {
    /// What served last, and before it.
    last: HashSet<Blake3>,
    /// What desired state names.
    wanted: HashSet<Blake3>,
}

impl Named {
    /// What the ledger says at a start.
    pub(crate) fn of(card: Option<&Card>, settings: &config::Store) -> Self {
        Self { last: card.map_or_else(HashSet::new, |card| last(card, settings)), wanted: HashSet::new() }
    }
}

impl Housekeeper {
    /// What desired state names from now on.
    pub(crate) fn want(&self, files: impl IntoIterator<Item = Blake3>) {
        self.named.lock().unwrap_or_else(PoisonError::into_inner).wanted = files.into_iter().collect();
    }

    /// What serves from now on, and what served before it.
    pub(crate) fn serves(&self, card: &Card) {
        self.named.lock().unwrap_or_else(PoisonError::into_inner).last = last(card, &self.settings);
    }

    /// The measurements with the room that could be made counted as free: what may leave is no obstacle to a plan.
    pub(crate) async fn with_room_made(&self, measurements: &Measurements) -> Measurements {
        let (store, keep, budget_bytes) = (self.store.clone(), self.keep(), self.budget_bytes());
        let collects = self.collects();
        let asking = tokio::task::spawn_blocking(move || -> Result<_, StoreError> {
            let removable_bytes = if collects { store.removable_bytes(&keep)? } else { 0 };
            Ok((removable_bytes, store.taken_bytes()?, budget_bytes))
        });
        let mut free_bytes = measurements.disk_free_bytes;
        match asking.await {
            Ok(Ok((removable_bytes, taken_bytes, budget_bytes))) => {
                free_bytes = free_bytes.saturating_add(removable_bytes);
                if budget_bytes > 0 {
                    let kept_bytes = taken_bytes.saturating_sub(removable_bytes);
                    free_bytes = free_bytes.min(budget_bytes.saturating_sub(kept_bytes));
                }
            }
            Ok(Err(error)) => tracing::warn!(%error, "the store cannot say what could leave"),
            Err(error) => tracing::warn!(%error, "the store cannot say what could leave"),
        }
        Measurements { disk_free_bytes: free_bytes, ..measurements.clone() }
    }

    /// Makes the room that a pull needs.
    ///
    /// # Errors
    /// If what may leave is not enough: nothing left then.
    pub(crate) async fn make_room(&self, subject: &str, manifest: &Manifest) -> Result<(), Reason> {
        let (store, file, now_s, manifest) =
            (self.store.clone(), manifest.blake3, self.clock.now_s(), manifest.clone());
        let adding = tokio::task::spawn_blocking(move || {
            store.used(file, now_s)?;
            store.bytes_to_add(&manifest)
        });
        let incoming_bytes = match adding.await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(error)) => return Err(reason(subject, error.to_string())),
            Err(error) => return Err(reason(subject, error.to_string())),
        };
        if incoming_bytes == 0 {
            return Ok(());
        }
        let mut keep = self.keep();
        keep.files.insert(file);
        let missing_bytes = self.collect(keep, incoming_bytes).await?;
        if missing_bytes == 0 || !self.collects() {
            // Without leave to remove anything, the pull itself says what is missing.
            return Ok(());
        }
        Err(reason(
            subject,
            format!(
                "{incoming_bytes} bytes are needed and {missing_bytes} of them are missing even without the files that may \
                 leave: unpin a model (`outpost model ls`), raise `store.disk_budget_mib` or free space on the disk"
            ),
        ))
    }

    /// Lets leave what is too much or too old; what it could not do is in the log.
    pub(crate) async fn tidy(&self) {
        match self.collect(self.keep(), 0).await {
            Ok(0) => {}
            Ok(missing_bytes) => {
                tracing::warn!(missing_bytes, "the models that have to stay take more room than they should");
            }
            Err(reason) => tracing::error!(detail = reason.detail, "models that nobody wants could not be removed"),
        }
    }

    /// Now and then, until told to stop.
    pub(crate) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {
                    self.note_use().await;
                    self.tidy().await;
                }
            }
        }
    }

    /// What is in memory is in use: in the store's memory, and on disk once a day.
    pub(crate) async fn note_use(&self) {
        let (store, files, now_s) = (self.store.clone(), self.in_memory(), self.clock.now_s());
        let noting =
            tokio::task::spawn_blocking(move || files.into_iter().try_for_each(|file| store.used(file, now_s)));
        if let Ok(Err(error)) = noting.await {
            tracing::warn!(%error, "when models were used is not kept");
        }
    }

    fn collects(&self) -> bool {
        self.in_fleet || self.settings.disk_budget_mib > 0
    }

    fn budget_bytes(&self) -> u64 {
        self.settings.disk_budget_mib.saturating_mul(1024 * 1024)
    }

    fn in_memory(&self) -> HashSet<Blake3> {
        let mut files: HashSet<_> = self.residents.snapshot().iter().map(|one| one.entry.blake3).collect();
        files.extend(self.active.current().and_then(|loaded| loaded.card.blake3));
        files
    }

    fn keep(&self) -> Keep {
        let mut files = self.in_memory();
        files.extend(self.active.current().into_iter().flat_map(|loaded| last(&loaded.card, &self.settings)));
        let named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        files.extend(named.last.iter().chain(&named.wanted));
        Keep { files }
    }

    /// Gives the bytes that are missing in spite of it.
    async fn collect(&self, keep: Keep, incoming_bytes: u64) -> Result<u64, Reason> {
        if !self.collects() {
            return Ok(0);
        }
        let failed =
            |detail: String| Reason { code: ReasonCode::InsufficientSpace, subject: "model store".into(), detail };
        let room = Room { budget_bytes: self.budget_bytes(), incoming_bytes };
        let (store, now_s) = (self.store.clone(), self.clock.now_s());
        let deciding = tokio::task::spawn_blocking(move || -> Result<(Collection, Vec<_>), StoreError> {
            let collection = store.collection(&keep, room, now_s)?;
            let digest = |file| store.find(file).map(|found| found.map_or_else(String::new, |one| one.sha256.to_hex()));
            let digests = collection.leaving.iter().map(|one| digest(one.file)).collect::<Result<_, _>>()?;
            Ok((collection, digests))
        });
        let decided = deciding.await.map_err(|error| failed(error.to_string()))?;
        let (collection, digests) = decided.map_err(|error| failed(error.to_string()))?;
        for (leaving, file_sha256) in collection.leaving.into_iter().zip(digests) {
            let record = Record::new(Kind::AdminAct)
                .act("delete_model")
                .object(ObjectRef { file_sha256, ..ObjectRef::default() })
                .detail("file", leaving.file.to_string())
                .detail("bytes", leaving.bytes)
                .detail("because", leaving.because)
                .detail("partial", u64::from(leaving.partial));
            recorded(&self.audit, record).await?;
            tracing::info!(file = %leaving.file, bytes = leaving.bytes, because = leaving.because, "a model leaves the disk");
            let store = self.store.clone();
            let removing = tokio::task::spawn_blocking(move || store.discard(&leaving));
            let removed = removing.await.map_err(|error| failed(error.to_string()))?;
            removed.map_err(|error| failed(error.to_string()))?;
        }
        Ok(collection.missing_bytes)
    }
}

/// What serves by a card, and what served before it.
fn last(card: &Card, settings: &config::Store) -> HashSet<Blake3> {
    let previous = card.previous.filter(|_| settings.keep_previous > 0);
    card.blake3.into_iter().chain(previous).collect()
}

fn reason(subject: &str, detail: String) -> Reason {
    Reason { code: ReasonCode::InsufficientSpace, subject: subject.to_owned(), detail }
}
