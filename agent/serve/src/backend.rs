//! What answers: the border between serving and the agent that owns the models.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use outpost_policies::Permit;
use tokio::sync::mpsc;

/// What the agent gives the server to serve.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// The models that can be asked for by name.
    async fn models(&self) -> Vec<ModelCard>;

    /// Whether a question would be answered now.
    async fn health(&self) -> Health;

    /// Begins an answer and returns at once; what is generated comes through the [`Generation`]. The permit is the
    /// proof that the caller may, and is used up.
    ///
    /// # Errors
    /// If no answer can be begun.
    async fn start(&self, permit: Permit, request: ChatRequest) -> Result<Generation, BackendError>;

    /// More for `GET /outpost/status`: an object of plain facts, no secrets.
    fn status(&self) -> serde_json::Value {
        serde_json::json!({})
    }
}

/// One model as `GET /v1/models` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelCard {
    /// The name to ask for.
    pub id: String,
    /// When it was installed, seconds since 1970-01-01 UTC.
    pub created_s: i64,
    /// SPDX identifier of its licence; empty if unknown. Policies see it.
    pub licence: String,
    /// Variant that serves, as in `Q4_0`.
    pub variant: String,
    /// SHA-256 of its file, 64 hexadecimal digits; empty if unknown.
    pub file_sha256: String,
    /// Context length in force, tokens.
    pub context_tokens: u32,
    /// Number of weights; 0 if unknown.
    pub parameters: u64,
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

/// What to answer.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    /// The model's name.
    pub model: String,
    /// The conversation so far; at least one message.
    pub messages: Vec<Message>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// The answer ends before any of these; none is empty.
    pub stop: Vec<String>,
    /// The most tokens to generate, at least 1; already within the permit.
    pub max_tokens: u32,
    /// For the worker's log; the same as in the response header and the audit record.
    pub request_id: String,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who said it.
    pub role: Role,
    /// What.
    pub content: String,
}

/// Who said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Whoever set up the conversation.
    System,
    /// The person who asks.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// The word in chat templates.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// How tokens are chosen. What the caller left out is `None`: the backend knows what suits the model.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sampling {
    /// 0 always takes the likeliest token; up to 2.
    pub temperature: Option<f32>,
    /// Only the likeliest tokens that together have this probability; above 0, up to 1.
    pub top_p: Option<f32>,
    /// Only this many of the likeliest tokens; 0 for all.
    pub top_k: Option<u32>,
    /// Only tokens at least this likely relative to the likeliest; 0 to 1.
    pub min_p: Option<f32>,
    /// Above 1 makes tokens that were there before less likely; above 0, up to 2.
    pub repetition_penalty: Option<f32>,
    /// The same seed gives the same answer.
    pub seed: Option<u64>,
}

/// An answer being generated. Dropping it cancels.
pub struct Generation {
    events: mpsc::UnboundedReceiver<GenerationEvent>,
    served: Served,
    cancel: Arc<AtomicBool>,
}

impl Generation {
    /// An answer whose events come through `events`; `cancel` becomes true when nobody wants it any more.
    ///
    /// The channel has no bound so that one client who reads slowly cannot hold up the worker that serves all; what
    /// waits in it is bounded by the request's token limit.
    #[must_use]
    pub fn new(events: mpsc::UnboundedReceiver<GenerationEvent>, served: Served, cancel: Arc<AtomicBool>) -> Self {
        Self { events, served, cancel }
    }

    /// What answers.
    #[must_use]
    pub fn served(&self) -> &Served {
        &self.served
    }

    /// What happened next; `None` if the worker is gone.
    pub async fn next(&mut self) -> Option<GenerationEvent> {
        self.events.recv().await
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.cancel.store(true, Ordering::Release);
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Generation").field("served", &self.served).finish_non_exhaustive()
    }
}

/// What answers a request, for the record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Served {
    /// The model's name.
    pub model: String,
    /// Its variant, as in `Q4_0`.
    pub variant: String,
    /// SHA-256 of its file, 64 hexadecimal digits.
    pub file_sha256: String,
}

/// Something that a generation gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GenerationEvent {
    /// More of the answer; whole characters, not empty.
    Text(String),
    /// The end; nothing follows.
    Finished {
        /// Why it ended.
        reason: FinishReason,
        /// What it took.
        usage: Usage,
    },
    /// It went wrong; nothing follows.
    Failed {
        /// For the log and the record, not for the caller.
        detail: String,
    },
}

/// What an answer took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Those of them that were there already, from an earlier prompt of the same caller.
    pub cached_tokens: u32,
    /// Tokens generated.
    pub generated_tokens: u32,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model had said what it had to say, or said a stop text.
    Stop,
    /// The token limit or the end of the context was reached.
    Length,
}

impl FinishReason {
    /// The word in the OpenAI API.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// No answer can be begun.
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
    /// The conversation leaves no room for an answer.
    #[error(
        "the conversation has {prompt_tokens} tokens, and this model's context here is {context_tokens}: shorten it"
    )]
    TooLong {
        /// Tokens of the conversation.
        prompt_tokens: u32,
        /// Tokens that fit.
        context_tokens: u32,
    },
    /// The model's template or tokenizer cannot make a prompt of it.
    #[error("the conversation cannot be put to this model: {detail}")]
    Unsuitable {
        /// What does not fit.
        detail: String,
    },
    /// Anything that is not the caller's doing.
    #[error("the model could not be asked: {detail}")]
    Failed {
        /// For the log and the record, not for the caller.
        detail: String,
    },
}
