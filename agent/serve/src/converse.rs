//! One answer, from what was asked to the pieces of its stream: permit, slot, backend, first record, and who sees it through.
//!
//! Every family of clients comes through here, so that none has rules of its own.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use outpost_audit::{DecisionRef, Kind, ObjectRef, Record};
use outpost_policies::{Action, ModelFacts, Permit, Resource};
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use crate::app::App;
use crate::drive::{self, Piece, Turn};
use crate::error::ApiError;
use crate::handle::Call;
use crate::permit::{self, Wanted};
use crate::request_id::RequestId;
use crate::{Ending, GenerateRequest, KeepAlive, Prompt, Said, Sampling, Served, Shape, TokenScore, ToolCall};
use crate::{body, record};

/// Pieces of an answer that wait for a client who reads slowly.
const PIECES: usize = 32;

/// Seconds after which asking again makes sense when every slot is taken.
const RETRY_AFTER_S: u32 = 2;

/// Bytes that the name of a model may have.
const MODEL_BYTES: usize = 256;

/// What somebody asks a model, whichever way it was written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    pub(crate) model: String,
    pub(crate) prompt: Prompt,
    pub(crate) sampling: Sampling,
    pub(crate) shape: Shape,
    pub(crate) stop: Vec<String>,
    /// As many as the permit gives, if not said.
    pub(crate) max_tokens: Option<u32>,
    /// Scores of tokens, with so many alternatives.
    pub(crate) scores: Option<u8>,
    pub(crate) prompt_scores: bool,
    pub(crate) keep_alive: Option<KeepAlive>,
    /// Whether it comes piece by piece.
    pub(crate) stream: bool,
}

impl Asked {
    /// Asks with nothing special.
    pub(crate) fn new(model: String, prompt: Prompt) -> Self {
        Self {
            model,
            prompt,
            sampling: Sampling::default(),
            shape: Shape::Free,
            stop: Vec::new(),
            max_tokens: None,
            scores: None,
            prompt_scores: false,
            keep_alive: None,
            stream: false,
        }
    }

    /// Adds to a record what was asked for, apart from the content.
    fn describe(&self, record: Record, max_tokens: u32) -> Record {
        let milli = |value: f32| i64::from((value * 1000.0).round() as i32);
        let mut record = record.detail("max_tokens", max_tokens).detail("stream", i64::from(self.stream));
        if let Prompt::Chat(chat) = &self.prompt {
            record = record.detail("messages", chat.messages.len() as u64);
            if !chat.tools.is_empty() {
                record = record.detail("tools", chat.tools.len() as u64);
            }
        }
        if let Some(temperature) = self.sampling.temperature {
            record = record.detail("temperature_milli", milli(temperature));
        }
        if let Some(seed) = self.sampling.seed {
            record = record.detail("seed", seed.to_string());
        }
        let shape = match &self.shape {
            Shape::Free => return record,
            Shape::Object => "object",
            Shape::Schema(_) => "schema",
            Shape::Regex(_) => "regex",
            Shape::Lark(_) => "lark",
        };
        record.detail("shape", shape)
    }
}

/// An answer that has begun: its start is on record, its parts come.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) id: RequestId,
    /// The model as the caller named it.
    pub(crate) model: String,
    /// What answers in fact.
    pub(crate) served: Served,
    pub(crate) created_s: i64,
    pub(crate) pieces: mpsc::Receiver<Piece>,
}

/// Reads the body of a question.
///
/// # Errors
/// What is wrong with it, once that is on record.
pub(crate) async fn read<T>(
    app: &App,
    request: Request<Body>,
    parse: impl FnOnce(Map<String, Value>) -> Result<T, ApiError>,
) -> Result<(Call, T), ApiError> {
    let call = request.extensions().get::<Call>().cloned().ok_or_else(ApiError::internal)?;
    let (head, body) = request.into_parts();
    let read = body::read_object(&head.headers, body, &app.limits).await;
    match read.and_then(parse) {
        Ok(parsed) => Ok((call, parsed)),
        Err(error) => {
            let object = ObjectRef { endpoint: call.endpoint.to_owned(), ..ObjectRef::default() };
            Err(refuse(app, &call, Action::Infer, object, None, error).await)
        }
    }
}

/// Whether this can be the name of a model.
///
/// # Errors
/// 400 if not.
pub(crate) fn model_name(name: Option<String>) -> Result<String, ApiError> {
    let name = name.ok_or_else(|| ApiError::invalid("model", "name a `model`; `GET /v1/models` lists them"))?;
    if name.is_empty() || name.len() > MODEL_BYTES || name.chars().any(char::is_control) {
        return Err(ApiError::invalid("model", "`model` has to be the name of a model"));
    }
    Ok(name)
}

/// The model as policies see it; of one that is not here nothing is known but its name.
pub(crate) async fn model(app: &App, id: &str) -> Resource {
    let name = id.strip_suffix(":latest").unwrap_or(id);
    let card = app.serving.backend.models().await.into_iter().find(|model| model.id == name);
    let facts = ModelFacts { id: id.to_owned(), ..ModelFacts::default() };
    Resource::Model(match card {
        None => facts,
        Some(card) => ModelFacts {
            licence: card.licence,
            family: card.family,
            quantisation: card.variant,
            class: outpost_policies::ModelClass::of_parameters(card.parameters),
            ..facts
        },
    })
}

/// Begins an answer. When this returns, its start is on record and text may leave.
///
/// # Errors
/// Every refusal, once it is on record.
pub(crate) async fn begin(app: &Arc<App>, call: &Call, asked: &Asked) -> Result<Answer, ApiError> {
    let resource = model(app, &asked.model).await;
    let wanted = Wanted { action: Action::Infer, resource, max_tokens: asked.max_tokens };
    let permit = permit::require(app, call, wanted).await?;
    let (served, mut pieces) = start(app, call, permit, asked).await?;
    // What comes first says whether anything may leave at all.
    match pieces.recv().await {
        Some(Piece::Started) => {}
        Some(Piece::Failed(error)) => return Err(error),
        Some(Piece::Said(_) | Piece::End(_)) | None => return Err(ApiError::internal()),
    }
    let (id, model) = (call.id.clone(), asked.model.clone());
    Ok(Answer { id, model, served, created_s: app.circumstances().now_s, pieces })
}

/// Starts the backend, and the task that sees the answer through to its record.
async fn start(
    app: &Arc<App>,
    call: &Call,
    permit: Permit,
    asked: &Asked,
) -> Result<(Served, mpsc::Receiver<Piece>), ApiError> {
    let (object, decision) = (record::object(call, permit.resource()), record::allowed(&permit));
    let Ok(slot) = Arc::clone(&app.generations).try_acquire_owned() else {
        let error = ApiError::busy(RETRY_AFTER_S, "as many answers are being given as this device can: try again soon");
        return Err(refuse(app, call, Action::Infer, object, Some(decision), error).await);
    };
    let max_tokens = permit.max_tokens();
    let request = GenerateRequest {
        model: asked.model.clone(),
        prompt: asked.prompt.clone(),
        sampling: asked.sampling.clone(),
        shape: asked.shape.clone(),
        stop: asked.stop.clone(),
        max_tokens,
        scores: asked.scores,
        prompt_scores: asked.prompt_scores,
        keep_alive: asked.keep_alive,
        request_id: call.id.to_string(),
    };
    let generation = match app.serving.backend.start(permit, request).await {
        Ok(generation) => generation,
        Err(error) => {
            tracing::warn!(request = %call.id, %error, "no answer could be begun");
            return Err(refuse(app, call, Action::Infer, object, Some(decision), error.into()).await);
        }
    };
    let served = generation.served().clone();
    let object = ObjectRef {
        model: served.model.clone(),
        variant: served.variant.clone(),
        file_sha256: served.file_sha256.clone(),
        endpoint: call.endpoint.to_owned(),
    };
    let turn = Turn { app: Arc::clone(app), call: call.clone(), object, decision, slot };
    // Appended here, while the worker reads the prompt: what waits for the disk is the first token, not the prefill.
    let started = app.serving.audit.append(asked.describe(turn.record(Kind::InferStart), max_tokens));
    let (sender, pieces) = mpsc::channel(PIECES);
    app.tasks.spawn(drive::drive(turn, generation, started, sender));
    Ok((served, pieces))
}

/// A refusal to somebody who is identified, once it is durable.
pub(crate) async fn refuse(
    app: &App,
    call: &Call,
    action: Action,
    object: ObjectRef,
    decision: Option<DecisionRef>,
    error: ApiError,
) -> ApiError {
    let record = record::of_call(&app.serving, call, Kind::InferDenied)
        .act(action.word())
        .object(object)
        .result(record::refused(&error));
    let record = match decision {
        Some(decision) => record.decision(decision),
        None => record,
    };
    match app.serving.audit.append(record).await {
        Ok(_) => error,
        Err(lost) => record::lost(call, &lost),
    }
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Collected {
    pub(crate) content: String,
    pub(crate) reasoning: String,
    pub(crate) calls: Vec<ToolCall>,
    pub(crate) scores: Vec<TokenScore>,
    pub(crate) prompt_scores: Vec<TokenScore>,
    pub(crate) ending: Ending,
}

/// Waits for the whole answer.
///
/// # Errors
/// If it did not come to its end.
pub(crate) async fn collect(id: &RequestId, mut pieces: mpsc::Receiver<Piece>) -> Result<Collected, ApiError> {
    let (mut content, mut reasoning, mut calls) = (String::new(), String::new(), Vec::<ToolCall>::new());
    let (mut scores, mut prompt_scores) = (Vec::new(), Vec::new());
    while let Some(piece) = pieces.recv().await {
        match piece {
            Piece::Started => {}
            Piece::Said(Said::Prompt(tokens)) => prompt_scores.extend(tokens),
            Piece::Said(Said::Text { text, tokens }) => {
                content.push_str(&text);
                scores.extend(tokens);
            }
            Piece::Said(Said::Reasoning(text)) => reasoning.push_str(&text),
            Piece::Said(Said::Call { index, name }) => {
                calls.push(ToolCall { id: call_id(id, index), name, arguments: String::new() });
            }
            Piece::Said(Said::Arguments { index, text }) => {
                let call = calls.get_mut(index as usize).ok_or_else(ApiError::internal)?;
                call.arguments.push_str(&text);
            }
            Piece::Failed(error) => return Err(error),
            Piece::End(ending) => {
                return Ok(Collected { content, reasoning, calls, scores, prompt_scores, ending });
            }
        }
    }
    Err(ApiError::internal())
}

/// Names a call of an answer, the same in a stream and in a whole answer.
pub(crate) fn call_id(id: &RequestId, index: u32) -> String {
    format!("call_{id}_{index}")
}
