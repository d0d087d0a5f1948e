//! What answers the local API: finds the model that a name means, puts the question to it, and passes the answer on.

mod answer;
mod given_up;
mod manage;
mod prompt;
mod take_in;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use outpost_contract::{Correction, ModelId};
use outpost_disk::Clock;
use outpost_policies::Permit;
use outpost_serve::{
    Backend, BackendError, EmbedRequest, Embeddings, GenerateRequest, Generation, Health, KeepAlive, LoadOutcome,
    LoadedModel, ModelCard, ModelDetail, NewModel, Prediction, Progress, Prompt, Served,
};
use serde_json::{Map, Value};
use tokio::sync::{mpsc, watch};

pub(crate) use given_up::GivenUp;

use crate::active::{Active, Card, Loaded};
use crate::drain::Drain;
use crate::models::hub::FromHub;
use crate::models::{Engine, Entry, InUse, Preset, Presets, Residents, Shelf};
use crate::stick::Port;
use crate::updates::Updates;
use crate::withdrawn::Withdrawn;

/// The name under which whatever the plan chose can be asked for, so that a client need not know what it is.
pub const DEFAULT_MODEL: &str = "default";

/// How long a request waits while models are exchanged.
const SWITCH_PATIENCE: Duration = Duration::from_secs(20);

/// Where the agent stands on its way to an answer; health and status show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// A model is being fetched or loaded.
    Preparing,
    /// A model serves.
    Serving,
    /// One model leaves so that another may come, or the one of before comes back: for a moment none answers.
    Switching(String),
    /// Nothing serves, and why.
    Nothing(String),
}

/// Answers from the planned model, and on a box of its own from those on its shelf.
#[derive(Debug)]
pub struct LocalBackend {
    pub(crate) active: Arc<Active>,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) residents: Arc<Residents>,
    pub(crate) presets: Arc<Presets>,
    /// Directories that `pull` takes model files from.
    pub(crate) sources: Vec<std::path::PathBuf>,
    /// Fetches models of a hub.
    pub(crate) from_hub: Arc<FromHub>,
    /// Where sticks are handed in; none on a box that belongs to no fleet.
    pub(crate) sticks: Option<Port>,
    /// Messages that were given up; none on a box that belongs to no fleet.
    pub(crate) given_up: Option<GivenUp>,
    /// Newer builds of the agent itself.
    pub(crate) updates: Updates,
    pub(crate) readiness: watch::Receiver<Readiness>,
    pub(crate) answered: AtomicU64,
    pub(crate) status: Box<dyn StatusSource>,
    pub(crate) clock: Clock,
    pub(crate) drain: Drain,
    pub(crate) withdrawn: Withdrawn,
}

/// More facts for `GET /outpost/status`.
pub trait StatusSource: Send + Sync + std::fmt::Debug {
    /// An object of plain facts, no secrets.
    fn status(&self) -> serde_json::Value;
}

/// The model that a name means.
enum Meant {
    /// The one that the plan chose.
    Planned(Arc<Loaded>),
    /// Variants on the shelf, of which one is to be loaded.
    Shelved(Vec<Arc<Entry>>),
}

impl LocalBackend {
    /// Answers begun since the start.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// The model that the plan chose. While it is being exchanged for another, whoever asks waits for a while.
    async fn planned(&self) -> Option<Arc<Loaded>> {
        if let Some(loaded) = self.active.current() {
            return Some(loaded);
        }
        let mut readiness = self.readiness.clone();
        if matches!(*readiness.borrow(), Readiness::Switching(_)) {
            let settled = readiness.wait_for(|now| !matches!(now, Readiness::Switching(_)));
            // Whoever waited in vain is told what is going on, and when to ask again.
            let _ = tokio::time::timeout(SWITCH_PATIENCE, settled).await;
        }
        self.active.current()
    }

    /// Finds what a name means, and the presets that come with it. A name without a tag means any variant, `:latest` too.
    async fn meant(&self, name: &str) -> Result<(Meant, Option<Preset>), BackendError> {
        let name = name.strip_suffix(":latest").unwrap_or(name);
        let preset = self.presets.get(name);
        let name = preset.as_ref().map_or(name, |preset| preset.from.as_str());
        let planned = self.planned().await;
        if let Some(loaded) = &planned
            && names(&loaded.card, name)
        {
            return Ok((Meant::Planned(Arc::clone(loaded)), preset));
        }
        let variants = self.shelf.find(name).await;
        if !variants.is_empty() {
            return Ok((Meant::Shelved(variants), preset));
        }
        if planned.is_none() && (name == DEFAULT_MODEL || name.parse::<ModelId>().is_ok()) {
            return match &*self.readiness.borrow() {
                Readiness::Nothing(because) | Readiness::Switching(because) => {
                    Err(BackendError::NotReady { detail: because.clone() })
                }
                Readiness::Preparing | Readiness::Serving => {
                    Err(BackendError::NotReady { detail: "a model is being prepared".into() })
                }
            };
        }
        Err(BackendError::UnknownModel { model: name.to_owned() })
    }

    /// The model that a name means, in memory for as long as the result lives.
    async fn acquire(&self, name: &str, keep: Option<KeepAlive>) -> Result<(InUse, Option<Preset>), BackendError> {
        if let Some(left_s) = self.drain.left_s() {
            let detail = format!("an operator lets this device take no new questions for {left_s} more seconds");
            return Err(BackendError::NotReady { detail });
        }
        let meant = self.meant(name).await;
        // At the deadline, not when it has left the memory; and then it is not being loaded again.
        let refused = match &meant {
            Ok((Meant::Planned(loaded), _)) => self.withdrawn.due(&loaded.card.model, &loaded.card.sha256),
            Err(BackendError::NotReady { .. }) => self.withdrawn.stopped(),
            _ => None,
        };
        if let Some(reason) = refused {
            return Err(BackendError::Withdrawn { detail: reason.detail });
        }
        let (meant, preset) = meant?;
        let in_use = match meant {
            Meant::Planned(loaded) => {
                InUse { engine: Engine::Generator(loaded), load_time: std::time::Duration::ZERO, _hold: None }
            }
            Meant::Shelved(variants) => {
                let store = self.shelf.store().ok_or_else(|| failed("the shelf has no store"))?;
                self.residents.acquire(store, &variants, keep).await?
            }
        };
        Ok((in_use, preset))
    }

    /// The model that a name means, if it answers.
    async fn generator(
        &self,
        name: &str,
        keep: Option<KeepAlive>,
    ) -> Result<(Arc<Loaded>, InUse, Option<Preset>), BackendError> {
        let (in_use, preset) = self.acquire(name, keep).await?;
        match &in_use.engine {
            Engine::Generator(loaded) => Ok((Arc::clone(loaded), in_use, preset)),
            Engine::Embedder(_) => Err(BackendError::Unsuitable {
                field: "model",
                detail: format!("`{name}` makes vectors and does not answer: ask another model"),
            }),
        }
    }
}

#[async_trait]
impl Backend for LocalBackend {
    async fn models(&self) -> Vec<ModelCard> {
        self.cards().await
    }

    async fn health(&self) -> Health {
        if self.drain.left_s().is_some() {
            return Health::Unavailable { because: "an operator lets this device take no new questions".to_owned() };
        }
        match &*self.readiness.borrow() {
            Readiness::Serving => Health::Ready,
            Readiness::Preparing | Readiness::Switching(_) => Health::Loading,
            Readiness::Nothing(because) => Health::Unavailable { because: because.clone() },
        }
    }

    async fn start(&self, permit: Permit, request: GenerateRequest) -> Result<Generation, BackendError> {
        let (loaded, in_use, preset) = self.generator(&request.model, request.keep_alive).await?;
        let served = served(&loaded.card);
        let began = self.begin(loaded, in_use, preset, &permit, request).await?;
        self.answered.fetch_add(1, Ordering::Relaxed);
        Ok(began.into_generation(served))
    }

    async fn embed(&self, _permit: Permit, request: EmbedRequest) -> Result<Embeddings, BackendError> {
        self.vectors(request).await
    }

    async fn count(&self, _permit: Permit, model: &str, prompt: Prompt) -> Result<u32, BackendError> {
        self.tokens(model, prompt).await
    }

    async fn detail(&self, model: &str) -> Result<ModelDetail, BackendError> {
        self.described(model).await
    }

    async fn loaded(&self) -> Vec<LoadedModel> {
        self.in_memory().await
    }

    async fn load(&self, _permit: Permit, model: &str, keep: Option<KeepAlive>) -> Result<LoadOutcome, BackendError> {
        let (in_use, _) = self.acquire(model, keep).await?;
        let there = in_use.load_time.is_zero();
        Ok(if there { LoadOutcome::AlreadyLoaded } else { LoadOutcome::Loaded(in_use.load_time) })
    }

    async fn unload(&self, _permit: Permit, model: &str) -> Result<bool, BackendError> {
        self.let_go(model).await
    }

    async fn pull(&self, _permit: Permit, reference: &str) -> Result<mpsc::Receiver<Progress>, BackendError> {
        self.fetch(reference).await
    }

    async fn create(&self, _permit: Permit, new: NewModel) -> Result<(), BackendError> {
        self.make(new).await
    }

    async fn delete(&self, _permit: Permit, model: &str) -> Result<(), BackendError> {
        self.remove(model).await
    }

    async fn import(&self, _permit: Permit, directory: &Path) -> Result<Map<String, Value>, BackendError> {
        self.take_in(directory).await
    }

    async fn export(
        &self,
        _permit: Permit,
        directory: &Path,
        from: Option<u64>,
    ) -> Result<Map<String, Value>, BackendError> {
        self.send_home(directory, from).await
    }

    async fn update(&self, _permit: Permit, file: &Path, again: bool) -> Result<Map<String, Value>, BackendError> {
        self.take_build(file, again).await
    }

    async fn clear_dead_letters(&self, _permit: Permit) -> Result<u64, BackendError> {
        self.forget_given_up().await
    }

    fn predictions(&self) -> Vec<Prediction> {
        let ratios = |one: Correction| {
            let (model, variant) = (one.model.to_string(), one.quantisation);
            let learned = [("next_token", one.decode), ("first_token", one.first_token)];
            learned.into_iter().filter(|(_, learned)| learned.answers > 0).map(move |(what, learned)| Prediction {
                model: model.clone(),
                variant: variant.clone(),
                what,
                ratio: f64::from(learned.ratio_milli) / 1e3,
            })
        };
        self.residents.measured.learning().corrections().into_iter().flat_map(ratios).collect()
    }

    fn status(&self) -> serde_json::Value {
        self.status.status()
    }
}

/// Whether a name means the model of a card.
fn names(card: &Card, name: &str) -> bool {
    let tagged = || name.strip_prefix(card.model.as_str()).and_then(|rest| rest.strip_prefix(':'));
    name == DEFAULT_MODEL
        || name == card.model.as_str()
        || tagged().is_some_and(|variant| variant.eq_ignore_ascii_case(&card.variant))
}

fn served(card: &Card) -> Served {
    Served { model: card.model.to_string(), variant: card.variant.clone(), file_sha256: card.sha256.to_hex() }
}

fn failed(detail: impl Into<String>) -> BackendError {
    BackendError::Failed { detail: detail.into() }
}
