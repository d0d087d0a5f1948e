//! What answers the local API: turns a conversation into tokens, hands them to the model's thread, and passes the answer on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use outpost_disk::Clock;
use outpost_engine::batch::{EventKind, Refusal};
use outpost_engine::encode_chat_with;
use outpost_engine::generate::{Cancel, FinishReason as EngineFinish, Request, Sampling};
use outpost_engine::template::{Message, RenderOptions, TemplateError};
use outpost_policies::Permit;
use outpost_serve::{
    Backend, BackendError, ChatRequest, FinishReason, Generation, GenerationEvent, Health, ModelCard, Served, Usage,
};
use tokio::sync::{mpsc, watch};

use crate::active::{Active, Loaded};
use crate::template_worker::RenderError;
use crate::worker::NotTaken;

/// The name under which whatever serves can be asked for, so that a client need not know what the planner chose.
pub const DEFAULT_MODEL: &str = "default";

/// Where the agent stands on its way to an answer; health and status show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// A model is being fetched or loaded.
    Preparing,
    /// A model serves.
    Serving,
    /// Nothing serves, and why.
    Nothing(String),
}

/// Answers from the active model.
#[derive(Debug)]
pub struct ActiveBackend {
    active: Arc<Active>,
    readiness: watch::Receiver<Readiness>,
    answered: AtomicU64,
    status: Box<dyn StatusSource>,
    clock: Clock,
}

/// More facts for `GET /outpost/status`.
pub trait StatusSource: Send + Sync + std::fmt::Debug {
    /// An object of plain facts, no secrets.
    fn status(&self) -> serde_json::Value;
}

impl ActiveBackend {
    /// A backend over the slot.
    #[must_use]
    pub fn new(
        active: Arc<Active>,
        readiness: watch::Receiver<Readiness>,
        status: Box<dyn StatusSource>,
        clock: Clock,
    ) -> Self {
        Self { active, readiness, answered: AtomicU64::new(0), status, clock }
    }

    /// Answers begun since the start.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    fn loaded(&self, wanted: &str) -> Result<Arc<Loaded>, BackendError> {
        let Some(loaded) = self.active.current() else {
            return Err(match &*self.readiness.borrow() {
                Readiness::Nothing(because) => BackendError::NotReady { detail: because.clone() },
                Readiness::Preparing | Readiness::Serving => {
                    BackendError::NotReady { detail: "a model is being prepared".into() }
                }
            });
        };
        if wanted == DEFAULT_MODEL || wanted == loaded.card.model.as_str() {
            return Ok(loaded);
        }
        Err(BackendError::UnknownModel { model: wanted.to_owned() })
    }
}

#[async_trait]
impl Backend for ActiveBackend {
    async fn models(&self) -> Vec<ModelCard> {
        let Some(loaded) = self.active.current() else { return Vec::new() };
        let card = &loaded.card;
        let named = |id: &str| ModelCard {
            id: id.to_owned(),
            created_s: card.installed_at_s,
            licence: card.licence.clone(),
            variant: card.variant.clone(),
            file_sha256: card.sha256.to_hex(),
            context_tokens: card.context_tokens,
            parameters: loaded.worker.model().info().parameters,
        };
        vec![named(card.model.as_str()), named(DEFAULT_MODEL)]
    }

    async fn health(&self) -> Health {
        match &*self.readiness.borrow() {
            Readiness::Serving => Health::Ready,
            Readiness::Preparing => Health::Loading,
            Readiness::Nothing(because) => Health::Unavailable { because: because.clone() },
        }
    }

    async fn start(&self, permit: Permit, request: ChatRequest) -> Result<Generation, BackendError> {
        let loaded = self.loaded(&request.model)?;
        let messages: Vec<_> = request
            .messages
            .iter()
            .map(|message| Message::new(message.role.word(), message.content.as_str()))
            .collect();
        let options = RenderOptions { now_s: self.clock.now_s(), ..RenderOptions::default() };
        let encoder = Arc::clone(&loaded);
        let encoding = tokio::task::spawn_blocking(move || encode(&encoder, &messages, &options)).await;
        let tokens = encoding.map_err(|error| BackendError::Failed { detail: error.to_string() })??;
        let limit = request.max_tokens.min(permit.max_tokens());
        let sampling = sampling(&request.sampling);
        let cancel = Cancel::default();
        // Nothing of what one caller sends is shared with another, not even the time it takes.
        let scope = format!("{}/{}", permit.principal().kind.word(), permit.principal().id);
        let asked = Request {
            scope,
            sampling,
            stop: request.stop,
            limit: Some(limit),
            cancel: cancel.clone(),
            ..Request::new(tokens)
        };
        let events = loaded.worker.generate(asked).await.map_err(refusal)?;
        self.answered.fetch_add(1, Ordering::Relaxed);
        let served = Served {
            model: loaded.card.model.to_string(),
            variant: loaded.card.variant.clone(),
            file_sha256: loaded.card.sha256.to_hex(),
        };
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(pass_on(loaded, events, sender, cancel));
        Ok(Generation::new(receiver, served, Arc::new(AtomicBool::new(false))))
    }

    fn status(&self) -> serde_json::Value {
        self.status.status()
    }
}

fn encode(loaded: &Loaded, messages: &[Message], options: &RenderOptions) -> Result<Vec<u32>, BackendError> {
    let model = loaded.worker.model();
    let run = |job: &_| loaded.template.as_ref().ok_or(TemplateError::Missing)?.run(job);
    encode_chat_with(model, messages, options, run).map_err(|error: RenderError| {
        let detail = describe(&error);
        match error {
            // The agent's trouble, not the conversation's.
            RenderError::NotStarted { .. } | RenderError::Broken { .. } => BackendError::Failed { detail },
            _ => BackendError::Unsuitable { detail },
        }
    })
}

/// An error with what caused it, in one line.
fn describe(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", describe(source)),
        None => error.to_string(),
    }
}

/// What the caller left out gets the engine's default: the likeliest token every time.
fn sampling(asked: &outpost_serve::Sampling) -> Sampling {
    let default = Sampling::default();
    Sampling {
        temperature: asked.temperature.unwrap_or(default.temperature),
        top_k: asked.top_k.unwrap_or(default.top_k),
        top_p: asked.top_p.unwrap_or(default.top_p),
        min_p: asked.min_p.unwrap_or(default.min_p),
        repetition_penalty: asked.repetition_penalty.unwrap_or(default.repetition_penalty),
        seed: asked.seed.unwrap_or(default.seed),
        ..default
    }
}

fn refusal(refused: NotTaken) -> BackendError {
    match refused {
        NotTaken::Refused(Refusal::Busy { .. }) => BackendError::Busy { retry_after_s: 1 },
        NotTaken::Refused(Refusal::TooLong { tokens, context_tokens }) => {
            BackendError::TooLong { prompt_tokens: u32::try_from(tokens).unwrap_or(u32::MAX), context_tokens }
        }
        NotTaken::Refused(other) => BackendError::Unsuitable { detail: other.to_string() },
        NotTaken::Ended => BackendError::Failed { detail: refused.to_string() },
    }
}

/// Carries one answer from the model's thread to the server; keeps the model loaded until the answer is over.
async fn pass_on(
    loaded: Arc<Loaded>,
    mut events: mpsc::UnboundedReceiver<EventKind>,
    sender: mpsc::UnboundedSender<GenerationEvent>,
    cancel: Cancel,
) {
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = sender.closed() => {
                cancel.cancel();
                break;
            }
        };
        let event = match event {
            // Scores are not asked for yet.
            Some(EventKind::Prompt(_)) => continue,
            Some(EventKind::Text(said)) => GenerationEvent::Text(said.text),
            Some(EventKind::Finished(finished)) => match finished.reason {
                EngineFinish::Error(detail) => GenerationEvent::Failed { detail },
                EngineFinish::Cancelled => GenerationEvent::Failed { detail: "cancelled".into() },
                EngineFinish::Stop => ended(FinishReason::Stop, &finished),
                EngineFinish::Length => ended(FinishReason::Length, &finished),
            },
            None => GenerationEvent::Failed { detail: "the model's thread ended".into() },
        };
        let last = !matches!(event, GenerationEvent::Text(_));
        if sender.send(event).is_err() {
            cancel.cancel();
        }
        if last {
            break;
        }
    }
    // Freeing a model takes a while and joins its thread: not on a thread that serves others.
    tokio::task::spawn_blocking(move || drop(loaded));
}

fn ended(reason: FinishReason, finished: &outpost_engine::generate::Finished) -> GenerationEvent {
    let usage = Usage {
        prompt_tokens: finished.prompt_tokens,
        cached_tokens: finished.cached_tokens,
        generated_tokens: finished.generated_tokens,
    };
    GenerationEvent::Finished { reason, usage }
}
