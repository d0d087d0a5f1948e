//! What answers: the border between serving and the agent that owns the models.

mod answer;
mod models;
mod request;

use std::path::Path;

use async_trait::async_trait;
use outpost_policies::Permit;
use serde_json::{Map, Value};
use tokio::sync::mpsc;

pub use answer::{
    Alternative, Ending, FinishReason, Generation, GenerationEvent, Said, Served, Timings, TokenScore, Usage,
};
pub use models::{
    Consent, Found, Health, LoadOutcome, LoadedModel, ModelCard, ModelDetail, NewModel, Prediction, Progress, Purpose,
};
pub use request::{
    Chat, EmbedInput, EmbedRequest, Embeddings, GenerateRequest, KeepAlive, Message, Prompt, Role, Sampling, Shape,
    Tool, ToolCall, ToolChoice,
};

/// What the agent gives the server to serve.
///
/// Names of models come as callers wrote them; the backend resolves aliases. What changes something takes a [`Permit`],
/// the proof that the caller may, and uses it up.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// The models that can be asked for by name, loaded or not.
    async fn models(&self) -> Vec<ModelCard>;

    /// Whether a question would be answered now.
    async fn health(&self) -> Health;

    /// Begins an answer and returns at once, or as soon as the model is loaded; what is generated comes through the
    /// [`Generation`].
    ///
    /// # Errors
    /// If no answer can be begun.
    async fn start(&self, permit: Permit, request: GenerateRequest) -> Result<Generation, BackendError>;

    /// Turns texts into vectors.
    ///
    /// # Errors
    /// If the model is unknown or makes no vectors, or a text is too long and may not be cut.
    async fn embed(&self, permit: Permit, request: EmbedRequest) -> Result<Embeddings, BackendError>;

    /// Tokens that a prompt has for a model.
    ///
    /// # Errors
    /// If the model is unknown, cannot be loaded, or cannot take the prompt.
    async fn count(&self, permit: Permit, model: &str, prompt: Prompt) -> Result<u32, BackendError>;

    /// Everything that is known of one model; the caller was allowed to list models.
    ///
    /// # Errors
    /// If there is none of this name.
    async fn detail(&self, model: &str) -> Result<ModelDetail, BackendError>;

    /// The models in memory.
    async fn loaded(&self) -> Vec<LoadedModel>;

    /// Loads a model before it is asked.
    ///
    /// # Errors
    /// If there is none of this name, or no room for it.
    async fn load(&self, permit: Permit, model: &str, keep: Option<KeepAlive>) -> Result<LoadOutcome, BackendError>;

    /// Takes a model out of memory; answers that are being given are finished first. Gives whether it was there.
    ///
    /// # Errors
    /// If there is none of this name.
    async fn unload(&self, permit: Permit, model: &str) -> Result<bool, BackendError>;

    /// Fetches a model from where this device may fetch from. What happens comes through the channel, the last message
    /// being [`Progress::Done`] or [`Progress::Failed`]; closing it gives up. What was only named when the permit was given
    /// is told with [`Progress::Found`], and comes once that is consented to.
    ///
    /// # Errors
    /// If the device knows no such source.
    async fn pull(&self, permit: Permit, reference: &str) -> Result<mpsc::Receiver<Progress>, BackendError>;

    /// Makes a model from one that is here, by other presets.
    ///
    /// # Errors
    /// If the original is unknown, or the name is taken or no name.
    async fn create(&self, permit: Permit, new: NewModel) -> Result<(), BackendError>;

    /// Removes a model from this device.
    ///
    /// # Errors
    /// If there is none of this name, or the fleet says that it has to stay.
    async fn delete(&self, permit: Permit, model: &str) -> Result<(), BackendError>;

    /// Takes in a stick: what it holds for this device counts as if it had come over the network. Gives what is in force
    /// now, as plain facts.
    ///
    /// # Errors
    /// If it cannot be read, is for others, or does not hold.
    async fn import(&self, permit: Permit, directory: &Path) -> Result<Map<String, Value>, BackendError>;

    /// Writes onto a stick what the control plane lacks of this device: audit records from `from` on, or from what it is
    /// known to keep, reported state, answers, events. Gives what was written, as plain facts.
    ///
    /// # Errors
    /// If it cannot be written, or there is no such record.
    async fn export(
        &self,
        permit: Permit,
        directory: &Path,
        from: Option<u64>,
    ) -> Result<Map<String, Value>, BackendError>;

    /// Takes in another build of the agent itself, a file of this machine, and starts again with it. Gives what it is, as plain
    /// facts.
    ///
    /// # Errors
    /// If it cannot be read, is not for this machine, or does not prove itself.
    async fn update(&self, permit: Permit, file: &Path, again: bool) -> Result<Map<String, Value>, BackendError>;

    /// Forgets the messages to the control plane that were given up. Gives how many they were.
    ///
    /// # Errors
    /// If the device belongs to no fleet, or they cannot be forgotten.
    async fn clear_dead_letters(&self, permit: Permit) -> Result<u64, BackendError>;

    /// How predicted times compare with measured ones, for each model that answered here.
    fn predictions(&self) -> Vec<Prediction> {
        Vec::new()
    }

    /// More for `GET /outpost/status`: an object of plain facts, no secrets.
    fn status(&self) -> serde_json::Value {
        serde_json::json!({})
    }
}

/// Something cannot be begun or done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// No model of this name.
    #[error("the model `{model}` is not on this device; `GET /v1/models` lists those that are")]
    UnknownModel {
        /// What was asked for.
        model: String,
    },
    /// The model is there but not loaded yet.
    #[error("the model is not loaded yet: {detail}")]
    NotReady {
        /// What is happening.
        detail: String,
    },
    /// No room for another answer.
    #[error("all slots are taken; try again in {retry_after_s} s")]
    Busy {
        /// Seconds after which asking again makes sense.
        retry_after_s: u32,
    },
    /// No room for the model.
    #[error("the model `{model}` does not fit beside what is loaded: {detail}")]
    NoRoom {
        /// Which.
        model: String,
        /// What it needs and what there is.
        detail: String,
        /// Seconds after which asking again makes sense.
        retry_after_s: u32,
    },
    /// The conversation leaves no room for an answer.
    #[error(
        "the prompt is too long: it has {prompt_tokens} tokens, and this model's context here is {context_tokens}; shorten it"
    )]
    TooLong {
        /// Tokens of the conversation.
        prompt_tokens: u32,
        /// Tokens that fit.
        context_tokens: u32,
    },
    /// The model cannot do what is asked of it, or not with these values; the caller can change that.
    #[error("{detail}")]
    Unsuitable {
        /// The field of the request that it is about, as the OpenAI API calls it, as in `messages` or
        /// `response_format`.
        field: &'static str,
        /// What does not fit, and the way out.
        detail: String,
    },
    /// The name is taken, or what is asked for contradicts what the fleet says.
    #[error("{detail}")]
    Conflict {
        /// What with, and the way out.
        detail: String,
    },
    /// The fleet withdrew the model.
    #[error("{detail}")]
    Withdrawn {
        /// Which, why, and the way out.
        detail: String,
    },
    /// Anything that is not the caller's doing.
    #[error("the model could not be asked: {detail}")]
    Failed {
        /// For the log and the record, not for the caller.
        detail: String,
    },
}
