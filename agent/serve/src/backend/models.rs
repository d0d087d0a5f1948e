//! The models of a device: what they are, which are in memory, and how one comes and goes.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use super::Sampling;

/// One model as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelCard {
    /// The name to ask for.
    pub id: String,
    /// When it was installed, seconds since 1970-01-01 UTC.
    pub created_s: i64,
    /// SPDX identifier of its licence; empty if unknown. Policies see it.
    pub licence: String,
    /// Variant that serves, as in `Q4_0`.
    pub variant: String,
    /// Family, as in `qwen3`; empty if unknown.
    pub family: String,
    /// SHA-256 of its file, 64 hexadecimal digits; empty if unknown.
    pub file_sha256: String,
    /// Size of its file, bytes; 0 if unknown.
    pub file_bytes: u64,
    /// Context length in force, tokens.
    pub context_tokens: u32,
    /// Number of weights; 0 if unknown.
    pub parameters: u64,
    /// Length of a hidden state, and of a vector if it makes vectors; 0 if unknown.
    pub width: u32,
    /// What it is for.
    pub purpose: Purpose,
    /// Whether its template knows tools of itself.
    pub tools: bool,
    /// Whether it thinks before it answers.
    pub thinking: bool,
    /// The model that it was made from by other presets; none for one of its own.
    pub parent: Option<String>,
    /// Whether it is in memory.
    pub loaded: bool,
}

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Purpose {
    /// Answering.
    #[default]
    Generation,
    /// Turning text into vectors.
    Embedding,
}

/// Whether a question would be answered now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Yes.
    Ready,
    /// Not yet: a model is being fetched or loaded.
    Loading,
    /// No, and waiting does not help by itself.
    Unavailable {
        /// What is missing, without secrets: anybody may read it.
        because: String,
    },
}

/// Everything that is known of one model.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ModelDetail {
    /// As lists show it.
    pub card: ModelCard,
    /// Text of its licence, or its SPDX identifier; empty if unknown.
    pub licence: String,
    /// Its chat template; empty if it has none.
    pub template: String,
    /// What is said before every conversation; empty for nothing.
    pub system: String,
    /// Presets, where they differ from the agent's.
    pub sampling: Sampling,
    /// Texts that end its answers.
    pub stop: Vec<String>,
    /// The keys of its file, long lists left out.
    pub keys: Map<String, Value>,
}

/// A model in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedModel {
    /// As lists show it.
    pub card: ModelCard,
    /// Memory that it takes with its conversations, bytes.
    pub memory_bytes: u64,
    /// How long it stays if nobody asks; `None` for as long as there is room.
    pub expires_in: Option<Duration>,
    /// Answers that it is giving now.
    pub running: u32,
    /// Requests that wait for it.
    pub waiting: u32,
}

/// How predicted times of a model compare with measured ones.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// The model.
    pub model: String,
    /// Its quantisation.
    pub variant: String,
    /// `next_token` or `first_token`.
    pub what: &'static str,
    /// Measured over predicted, smoothed.
    pub ratio: f64,
}

/// What came of loading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadOutcome {
    /// It is in memory now, and that took so long.
    Loaded(Duration),
    /// It was there already.
    AlreadyLoaded,
}

/// A model made from another by presets.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NewModel {
    /// Its name.
    pub name: String,
    /// The model that it is made from.
    pub from: String,
    /// Said before every conversation, unless the caller says something; `None` leaves the original's.
    pub system: Option<String>,
    /// Presets; what is `None` is the original's.
    pub sampling: Sampling,
    /// Texts that end its answers.
    pub stop: Vec<String>,
}

/// How far fetching a model is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// What is being done, in a few words.
    Step(String),
    /// So much of a file is here.
    Bytes {
        /// Name of the file's content.
        digest: String,
        /// Size of the file.
        total: u64,
        /// What is here.
        completed: u64,
    },
    /// It was found, and comes once whoever asked may have it.
    Found(Box<Found>),
    /// It came, and this is its SHA-256, in hexadecimal.
    Verified(String),
    /// The name that it can be asked for with.
    Called(String),
    /// It is here, checked.
    Done,
    /// It is not, and why; for the caller.
    Failed(String),
}

/// A model that was found somewhere else and is not here yet: what rules look at, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// SPDX identifier of its licence; `noassertion` if nobody names one, since nothing more will be known.
    pub licence: String,
    /// Its family, as in `qwen3`.
    pub family: String,
    /// Its quantisation, as in `Q4_K_M`.
    pub variant: String,
    /// Number of weights.
    pub parameters: u64,
    /// The address that it comes from, without secrets.
    pub source: String,
    /// The commit that it is of.
    pub commit: String,
    /// Its path there.
    pub path: String,
    /// Without it nothing comes.
    pub consent: Consent,
}

/// The word that lets a model come; whoever fetches waits for it.
#[derive(Debug, Clone)]
pub struct Consent(Arc<Semaphore>);

impl Default for Consent {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }
}

impl PartialEq for Consent {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Consent {}

impl Consent {
    /// It may come.
    pub fn give(&self) {
        self.0.add_permits(1);
    }

    /// Waits for the word; false if it will never be said.
    pub async fn given(&self) -> bool {
        self.0.acquire().await.is_ok()
    }

    /// It may not come.
    pub fn refuse(&self) {
        self.0.close();
    }
}
