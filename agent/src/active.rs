//! The model that serves now, and how it is replaced without a caller noticing.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use outpost_audit::ObjectRef;
use outpost_contract::{ModelId, Sha256, TargetName};
use outpost_engine::dialect::Dialect;
use serde::{Deserialize, Serialize};

use crate::template_worker::TemplateWorker;
use crate::worker::Worker;

/// What is known of a model that serves; also what the ledger keeps, so that a restart without a network finds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// The model.
    pub model: ModelId,
    /// Its quantisation, as in `Q4_0`.
    pub variant: String,
    /// The catalogue target it came from; none for a local file.
    pub target: Option<TargetName>,
    /// Name of the file in the store; none for a local file.
    pub blake3: Option<outpost_contract::Blake3>,
    /// Where a local file lies; none for one in the store.
    pub path: Option<PathBuf>,
    /// SHA-256 of the file.
    pub sha256: Sha256,
    /// SPDX identifier of its licence; empty if the file names none.
    pub licence: String,
    /// Context of one conversation, tokens.
    pub context_tokens: u32,
    /// Conversations at once.
    pub slots: u32,
    /// Threads of the engine.
    pub threads: u32,
    /// Speed in the self-test, thousandths of a token per second.
    pub tokens_per_second_milli: u64,
    /// Golden prompts that its self-test answered as its release knows them; 0 if none was asked.
    #[serde(default)]
    pub golden_prompts: u32,
    /// When it was installed, seconds since 1970-01-01 UTC.
    pub installed_at_s: i64,
    /// The file that served before, kept in the store for a way back; none if there was none.
    #[serde(default)]
    pub previous: Option<outpost_contract::Blake3>,
}

impl Card {
    /// The model as records name it.
    pub(crate) fn object(&self) -> ObjectRef {
        ObjectRef {
            model: self.model.to_string(),
            variant: self.variant.clone(),
            file_sha256: self.sha256.to_hex(),
            endpoint: String::new(),
        }
    }
}

/// A loaded model with its card.
#[derive(Debug)]
pub struct Loaded {
    /// The thread that owns it.
    pub worker: Worker,
    /// What runs its chat template, if it has one.
    pub template: Option<TemplateWorker>,
    /// How it writes reasoning and calls; told once from its template, and asked at every request.
    pub dialect: Dialect,
    /// What it is.
    pub card: Card,
}

impl Loaded {
    /// A loaded model.
    #[must_use]
    pub fn new(worker: Worker, template: Option<TemplateWorker>, card: Card) -> Self {
        let dialect = Dialect::of(worker.model().template().map(|template| template.source()));
        Self { worker, template, dialect, card }
    }
}

/// The slot. A caller takes the model with [`Active::current`] and keeps it for its whole request, so a replaced
/// model lives until its last answer is given.
#[derive(Debug, Default)]
pub struct Active(RwLock<Option<Arc<Loaded>>>);

impl Active {
    /// The model that serves now.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Loaded>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another model in its place; gives the old one back so that the caller decides where it is dropped.
    pub fn replace(&self, loaded: Option<Arc<Loaded>>) -> Option<Arc<Loaded>> {
        std::mem::replace(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner), loaded)
    }
}
