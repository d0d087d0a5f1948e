//! The models in memory beside the planned one: loaded when asked for, let go when idle or when their room is needed.
//!
//! One is loaded at a time. The planner decides whether it fits beside what is loaded, from memory as it is at that moment;
//! where it does not, the idle one that would leave soonest leaves first.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use outpost_audit::{AuditLog, Kind, Record};
use outpost_contract::{Blake3, GoldenPrompts};
use outpost_engine::batch::Limits;
use outpost_engine::embedder::Embedder;
use outpost_engine::gguf::Gguf;
use outpost_planner::{Candidate, Choice, Constraints, plan};
use outpost_serve::{BackendError, KeepAlive, Purpose};
use outpost_store::Store;

use super::shelf::Entry;
use crate::active::{Card, Loaded};
use crate::config;
use crate::facts::MINIMUM_CONTEXT_TOKENS;
use crate::install;
use crate::measure::Measured;
use crate::self_test;
use crate::worker::WorkerOptions;

/// How long a model stays after its last answer unless somebody says otherwise.
const KEEP: KeepAlive = KeepAlive::For(Duration::from_secs(300));

/// Seconds after which a caller may ask again for a model that had no room beside busy ones.
const RETRY_AFTER_S: u32 = 5;

/// What answers or makes vectors.
#[derive(Debug, Clone)]
pub(crate) enum Engine {
    /// Answers.
    Generator(Arc<Loaded>),
    /// Makes vectors.
    Embedder(Arc<LoadedEmbedder>),
}

/// An embedder in memory.
#[derive(Debug)]
pub(crate) struct LoadedEmbedder {
    pub(crate) embedder: Embedder,
    pub(crate) card: Card,
    /// One batch at a time: each uses every core.
    pub(crate) turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Resident {
    engine: Engine,
    entry: Arc<Entry>,
    memory_bytes: u64,
    keep: KeepAlive,
    used: Instant,
    running: Arc<AtomicU32>,
}

impl Resident {
    /// When it would leave; nothing while it is in use or stays for ever.
    fn leaves(&self) -> Option<Instant> {
        match self.keep {
            KeepAlive::For(time) if self.running.load(Ordering::Acquire) == 0 => self.used.checked_add(time),
            _ => None,
        }
    }
}

/// A model held in memory for one request.
#[derive(Debug)]
pub(crate) struct InUse {
    pub(crate) engine: Engine,
    /// What loading it for this request took; zero if it was there.
    pub(crate) load_time: Duration,
    /// Keeps it counted as in use; nothing for the planned model, which stays anyway.
    pub(crate) _hold: Option<Hold>,
}

/// Counts one use, until it is dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    running: Arc<AtomicU32>,
    residents: Arc<Residents>,
    file: Blake3,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.running.fetch_sub(1, Ordering::AcqRel);
        self.residents.touch(self.file);
    }
}

/// A resident as lists show it.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) entry: Arc<Entry>,
    pub(crate) context_tokens: u32,
    pub(crate) memory_bytes: u64,
    pub(crate) expires_in: Option<Duration>,
    pub(crate) running: u32,
}

/// The models in memory.
#[derive(Debug)]
pub(crate) struct Residents {
    pub(crate) settings: config::Model,
    pub(crate) program: PathBuf,
    pub(crate) audit: AuditLog,
    pub(crate) measured: Arc<Measured>,
    here: Mutex<HashMap<Blake3, Resident>>,
    /// Whoever loads holds it.
    loading: tokio::sync::Mutex<()>,
    /// Why none is loaded for now.
    closed: Mutex<Option<String>>,
}

impl Residents {
    /// Nothing is loaded yet.
    pub(crate) fn new(settings: config::Model, program: PathBuf, audit: AuditLog, measured: Arc<Measured>) -> Self {
        Self {
            settings,
            program,
            audit,
            measured,
            here: Mutex::default(),
            loading: tokio::sync::Mutex::default(),
            closed: Mutex::default(),
        }
    }

    /// One of these variants, loaded if none of them is: the one that the planner finds best.
    ///
    /// # Errors
    /// If none fits beside what is in use, or the file is no longer what was imported.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        store: &Store,
        variants: &[Arc<Entry>],
        keep: Option<KeepAlive>,
    ) -> Result<InUse, BackendError> {
        if let Some(found) = self.hold(variants, keep, Duration::ZERO) {
            return Ok(found);
        }
        let _turn = self.loading.lock().await;
        if let Some(found) = self.hold(variants, keep, Duration::ZERO) {
            return Ok(found);
        }
        if let Some(detail) = self.closed.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            let model = variants.first().map(|entry| entry.model.to_string()).unwrap_or_default();
            return Err(BackendError::NoRoom { model, detail, retry_after_s: RETRY_AFTER_S });
        }
        let began = Instant::now();
        let (entry, choice) = self.make_room(variants).await?;
        let memory_bytes = choice.needs.total();
        let engine = self.load(store, &entry, &choice).await?;
        let resident = Resident {
            engine,
            entry: Arc::clone(&entry),
            memory_bytes,
            keep: keep.unwrap_or(KEEP),
            used: Instant::now(),
            running: Arc::default(),
        };
        self.lock().insert(entry.blake3, resident);
        let failed = || BackendError::Failed { detail: "a model left as soon as it was loaded".to_owned() };
        self.hold(variants, keep, began.elapsed()).ok_or_else(failed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Blake3, Resident>> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one of the variants into use, if it is in memory.
    fn hold(self: &Arc<Self>, variants: &[Arc<Entry>], keep: Option<KeepAlive>, load_time: Duration) -> Option<InUse> {
        let mut here = self.lock();
        let file = variants.iter().map(|entry| entry.blake3).find(|file| here.contains_key(file))?;
        let resident = here.get_mut(&file)?;
        resident.running.fetch_add(1, Ordering::AcqRel);
        resident.keep = keep.unwrap_or(resident.keep);
        let hold = Hold { running: Arc::clone(&resident.running), residents: Arc::clone(self), file };
        Some(InUse { engine: resident.engine.clone(), load_time, _hold: Some(hold) })
    }

    fn touch(&self, file: Blake3) {
        if let Some(resident) = self.lock().get_mut(&file) {
            resident.used = Instant::now();
        }
    }

    /// The variant to load, once there is room for it.
    async fn make_room(&self, variants: &[Arc<Entry>]) -> Result<(Arc<Entry>, Choice), BackendError> {
        loop {
            let measurements = self.measured.get().await;
            let mut candidates = Vec::new();
            for entry in variants {
                let target = entry.target().map_err(|error| failed(&error))?;
                candidates.push(Candidate { target, facts: entry.facts() });
            }
            let trained = variants.iter().map(|entry| entry.info.context_tokens).min().unwrap_or(0);
            let answers = variants.iter().any(|entry| entry.purpose == Purpose::Generation);
            let constraints = Constraints {
                minimum_context_tokens: MINIMUM_CONTEXT_TOKENS.min(trained),
                slots: if answers { self.settings.slots } else { 1 },
                ..Constraints::default()
            };
            let plan = plan(&candidates, &measurements, &constraints);
            if let Some(choice) = plan.choice {
                let chosen = candidates.iter().position(|candidate| candidate.target == choice.target);
                let entry = chosen.and_then(|place| variants.get(place)).cloned();
                let entry = entry.ok_or_else(|| failed(&anyhow::anyhow!("the planner chose what was not offered")))?;
                return Ok((entry, choice));
            }
            if !self.let_one_go().await {
                let because = plan.verdicts.into_iter().map(|verdict| verdict.because).collect::<Vec<_>>().join("; ");
                let model = variants.first().map(|entry| entry.model.to_string()).unwrap_or_default();
                return Err(BackendError::NoRoom { model, detail: because, retry_after_s: RETRY_AFTER_S });
            }
        }
    }

    /// Lets the idle model go that would leave soonest; gives whether there was one.
    async fn let_one_go(&self) -> bool {
        let leaving = {
            let mut here = self.lock();
            let idle = here.iter().filter(|(_, resident)| resident.running.load(Ordering::Acquire) == 0);
            // One that stays for ever leaves after all others, but it does leave.
            let soonest = idle.min_by_key(|(file, one)| (one.leaves().is_none(), one.leaves(), **file));
            let file = soonest.map(|(file, _)| *file);
            file.and_then(|file| here.remove(&file))
        };
        match leaving {
            None => false,
            Some(resident) => {
                self.gone(resident, "room").await;
                true
            }
        }
    }

    async fn load(&self, store: &Store, entry: &Arc<Entry>, choice: &Choice) -> Result<Engine, BackendError> {
        let mut card = Card {
            model: entry.model.clone(),
            variant: entry.info.quantisation.clone(),
            target: None,
            blake3: Some(entry.blake3),
            path: None,
            sha256: entry.sha256,
            licence: entry.info.licence.clone(),
            context_tokens: choice.context_tokens,
            slots: choice.slots,
            threads: if self.settings.threads == 0 { choice.threads } else { self.settings.threads },
            tokens_per_second_milli: 0,
            golden_prompts: 0,
            installed_at_s: entry.installed_at_s,
            previous: None,
        };
        let loaded = self.read(store, entry, &card).await;
        let engine = match loaded {
            Ok(Read::Generator(generator)) => match self_test::run(&generator.0, &GoldenPrompts::default()).await {
                Ok(speed) => {
                    card.tokens_per_second_milli = speed;
                    let (worker, template) = *generator;
                    Ok(Engine::Generator(Arc::new(Loaded::new(worker, template, card.clone()))))
                }
                Err(error) => Err(error),
            },
            Ok(Read::Embedder(embedder)) => {
                let turn = tokio::sync::Mutex::default();
                Ok(Engine::Embedder(Arc::new(LoadedEmbedder { embedder: *embedder, card: card.clone(), turn })))
            }
            Err(error) => Err(error),
        };
        let object = card.object();
        match engine {
            Ok(engine) => {
                let speed = i64::try_from(card.tokens_per_second_milli).unwrap_or(i64::MAX);
                let record = Record::new(Kind::ModelLoad)
                    .object(object)
                    .detail("tokens_per_second_milli", speed)
                    .detail("because", "asked for");
                self.audit.append(record).await.map_err(|error| failed(&error.into()))?;
                Ok(engine)
            }
            Err(error) => {
                let because = format!("{error:#}");
                let record = Record::new(Kind::ModelReject).object(object).detail("reason", because.as_str());
                self.audit.append(record).await.map_err(|error| failed(&error.into()))?;
                Err(failed(&error))
            }
        }
    }

    /// The file, checked as a whole, in memory.
    async fn read(&self, store: &Store, entry: &Arc<Entry>, card: &Card) -> anyhow::Result<Read> {
        let (store, entry, program) = (store.clone(), Arc::clone(entry), self.program.clone());
        let options = WorkerOptions {
            context_tokens: card.context_tokens,
            slots: card.slots,
            threads: card.threads,
            backend: self.settings.backend.wanted(),
            draft: None,
        };
        let learning = Arc::clone(self.measured.learning());
        let reading = tokio::task::spawn_blocking(move || {
            let stored = store.verify_file(entry.blake3).context("the file in the store cannot be used")?;
            match entry.purpose {
                Purpose::Generation => {
                    let read = install::load(&stored.path, options, program)?;
                    learning.watch(&read.0, &entry.model);
                    Ok(Read::Generator(Box::new(read)))
                }
                Purpose::Embedding => {
                    let gguf = Gguf::open(&stored.path)?;
                    Ok(Read::Embedder(Box::new(Embedder::from_gguf(&gguf, options.threads as usize)?)))
                }
            }
        });
        reading.await.context("loading was interrupted")?
    }

    /// Takes a file out of memory if nobody uses it.
    ///
    /// # Errors
    /// If somebody does.
    pub(crate) async fn release(&self, file: Blake3) -> Result<bool, BackendError> {
        let leaving = {
            let mut here = self.lock();
            match here.get(&file) {
                None => return Ok(false),
                Some(resident) if resident.running.load(Ordering::Acquire) > 0 => {
                    let detail = format!("`{}` is giving answers: ask again when they are given", resident.entry.model);
                    return Err(BackendError::Conflict { detail });
                }
                Some(_) => here.remove(&file),
            }
        };
        if let Some(resident) = leaving {
            self.gone(resident, "asked for").await;
        }
        Ok(true)
    }

    /// Lets go whatever was not asked for long enough.
    pub(crate) async fn sweep(&self) {
        let leaving: Vec<Resident> = {
            let (mut here, now) = (self.lock(), Instant::now());
            let over: Vec<Blake3> = here
                .iter()
                .filter(|(_, resident)| resident.leaves().is_some_and(|leaves| leaves <= now))
                .map(|(file, _)| *file)
                .collect();
            over.iter().filter_map(|file| here.remove(file)).collect()
        };
        for resident in leaving {
            self.gone(resident, "idle").await;
        }
    }

    /// Loads none from now on, and says why; or does again.
    pub(crate) fn close(&self, because: Option<String>) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = because;
    }

    /// Lets go whatever nobody uses, however long it was to stay; gives how many those were.
    pub(crate) async fn yield_room(&self) -> u32 {
        let mut count = 0;
        while self.let_one_go().await {
            count += 1;
        }
        count
    }

    /// Has those that answer do with less, or with all again.
    pub(crate) fn limit(&self, limits: impl Fn(&Card) -> Limits) {
        for resident in self.lock().values() {
            if let Engine::Generator(loaded) = &resident.engine {
                loaded.worker.limit(limits(&loaded.card));
            }
        }
    }

    /// Lets everything go.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    /// Frees a model, away from the threads that serve, and records that it is gone.
    async fn gone(&self, resident: Resident, because: &str) {
        let card = match &resident.engine {
            Engine::Generator(loaded) => loaded.card.clone(),
            Engine::Embedder(loaded) => loaded.card.clone(),
        };
        if tokio::task::spawn_blocking(move || drop(resident)).await.is_err() {
            tracing::error!(model = %card.model, "freeing a model failed");
        }
        let record = Record::new(Kind::ModelUnload).object(card.object()).detail("because", because);
        if let Err(error) = self.audit.append(record).await {
            tracing::error!(%error, "it could not be recorded that a model left");
        }
    }

    /// What is in memory, sorted by name.
    pub(crate) fn snapshot(&self) -> Vec<Snapshot> {
        let now = Instant::now();
        let mut all: Vec<Snapshot> = self
            .lock()
            .values()
            .map(|resident| Snapshot {
                entry: Arc::clone(&resident.entry),
                context_tokens: match &resident.engine {
                    Engine::Generator(loaded) => loaded.card.context_tokens,
                    Engine::Embedder(loaded) => loaded.card.context_tokens,
                },
                memory_bytes: resident.memory_bytes,
                expires_in: match resident.keep {
                    KeepAlive::Forever => None,
                    KeepAlive::For(time) => {
                        Some(resident.leaves().map_or(time, |leaves| leaves.saturating_duration_since(now)))
                    }
                },
                running: resident.running.load(Ordering::Acquire),
            })
            .collect();
        all.sort_by_key(|one| one.entry.tag());
        all
    }

    /// Whether a file is in memory.
    pub(crate) fn has(&self, file: Blake3) -> bool {
        self.lock().contains_key(&file)
    }
}

enum Read {
    Generator(Box<(crate::worker::Worker, Option<crate::template_worker::TemplateWorker>)>),
    Embedder(Box<Embedder>),
}

fn failed(error: &anyhow::Error) -> BackendError {
    BackendError::Failed { detail: format!("{error:#}") }
}
