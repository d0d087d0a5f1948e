//! One answer, from what was asked to the pieces of its stream: permit, content, limits, queue, backend, first record,
//! and who sees it through.
//!
//! Every family of clients comes through here, so that none has rules of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Request;
use outpost_audit::{DecisionRef, Kind, ObjectRef, Record};
use outpost_policies::content::Direction;
use outpost_policies::{Action, Permit};
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use crate::admit::{self, Admitted, Demand, Leaving, Queued};
use crate::app::App;
use crate::content::{self, Filter, Found};
use crate::drive::{self, Piece, Turn};
use crate::error::ApiError;
use crate::handle::Call;
use crate::kept::Keeping;
use crate::metrics::Course;
use crate::model::{self, Meant};
use crate::permit::{self, Before, Manner, Wanted};
use crate::request_id::RequestId;
use crate::trail::append;
use crate::{
    BackendError, Ending, GenerateRequest, Generation, KeepAlive, Prompt, Said, Sampling, Served, Shape, TokenScore,
    ToolCall,
};
use crate::{body, record};

/// Pieces of an answer that wait for a client who reads slowly.
const PIECES: usize = 32;

/// Pauses between tries to begin where the backend takes no more, before the turn is given up: what was cancelled a moment
/// ago has not gone yet.
const BUSY_PAUSES_MS: [u64; 4] = [20, 40, 80, 160];

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

    /// How it is asked, as rules see it.
    fn manner(&self) -> Manner {
        Manner { stream: self.stream, tools: self.prompt.offers_tools() }
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
    /// Whether the answer may be kept for the caller.
    pub(crate) may_store: bool,
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
    read_for(app, Action::Infer, request, parse).await
}

/// Reads the body of a request for an act.
///
/// # Errors
/// What is wrong with it, once that is on record.
pub(crate) async fn read_for<T>(
    app: &App,
    action: Action,
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
            Err(refuse(app, &call, action, object, None, error).await)
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

/// A question with its place in the queue: all that can be refused before its turn was not. Dropping it gives it up, which is
/// recorded.
pub(crate) struct Waiting {
    app: Arc<App>,
    call: Call,
    meant: Meant,
    permit: Permit,
    prompt: Prompt,
    found: Found,
    filter: Option<Filter>,
    queued: Queued,
}

/// Begins an answer. When this returns, its start is on record and text may leave.
///
/// # Errors
/// Every refusal, once it is on record.
pub(crate) async fn begin(app: &Arc<App>, call: &Call, asked: &Asked) -> Result<Answer, ApiError> {
    let meant = model::find(app, &asked.model).await;
    enter(app, call, &meant, asked).await?.begin(asked).await
}

/// Asks whether the caller may, looks through what was asked, and takes a place in the queue for it.
///
/// # Errors
/// Every refusal, once it is on record.
pub(crate) async fn enter(app: &Arc<App>, call: &Call, meant: &Meant, asked: &Asked) -> Result<Waiting, ApiError> {
    let permit = authorize(app, call, meant, asked).await?;
    let filter = Filter::new(permit.content().clone());
    let (prompt, found) = look_through(app, call, &permit, asked, filter.is_some()).await?;
    let demand = demand(app, call, &permit, meant, asked, &prompt).await?;
    let queued = admit::enter(app, call, &permit, demand).await?;
    let (app, call, meant) = (Arc::clone(app), call.clone(), meant.clone());
    Ok(Waiting { app, call, meant, permit, prompt, found, filter, queued })
}

async fn authorize(app: &App, call: &Call, meant: &Meant, asked: &Asked) -> Result<Permit, ApiError> {
    let wanted = Wanted { action: Action::Infer, resource: meant.resource.clone(), max_tokens: asked.max_tokens };
    permit::require_asked(app, call, wanted, asked.manner()).await
}

impl Waiting {
    /// Begins the answer when its turn comes. When this returns, its start is on record and text may leave.
    ///
    /// # Errors
    /// Every refusal, once it is on record.
    pub(crate) async fn begin(self, asked: &Asked) -> Result<Answer, ApiError> {
        let (app, id) = (Arc::clone(&self.app), self.call.id.clone());
        let may_store = self.permit.may_store();
        let (served, mut pieces) = self.start(asked).await?;
        // What comes first says whether anything may leave at all.
        match pieces.recv().await {
            Some(Piece::Started) => {}
            Some(Piece::Failed(error)) => return Err(error),
            Some(Piece::Said(_) | Piece::End(_)) | None => return Err(ApiError::internal()),
        }
        let model = asked.model.clone();
        Ok(Answer { id, model, served, created_s: app.circumstances().now_s, may_store, pieces })
    }

    /// Waits for its turn, starts the backend, and the task that sees the answer through to its record.
    async fn start(self, asked: &Asked) -> Result<(Served, mpsc::Receiver<Piece>), ApiError> {
        let Self { app, call, meant, permit, prompt, found, filter, queued } = self;
        let decision = record::allowed(&permit);
        let keeping = Keeping::of(&app.serving, &call, &permit);
        let kept = keeping.prompt(&prompt);
        let mut admitted = queued.turn().await?;
        let began = Instant::now();
        let (generation, max_tokens) = generate(&app, &call, permit, (&meant, asked), prompt, &mut admitted).await?;
        let served = generation.served().clone();
        let object = ObjectRef {
            model: served.model.clone(),
            variant: served.variant.clone(),
            file_sha256: served.file_sha256.clone(),
            endpoint: call.endpoint.to_owned(),
        };
        let course = Course {
            model: served.model.clone(),
            operation: if matches!(asked.prompt, Prompt::Chat(_)) { "chat" } else { "text_completion" },
            endpoint: call.endpoint,
            max_tokens,
            came: call.started,
            waited: admitted.waited(),
            began,
            first: None,
        };
        let heard = keeping.listen();
        let mut turn = Turn { app: Arc::clone(&app), call, object, decision, admitted, filter, keeping, heard, course };
        // Appended here, while the worker reads the prompt: what waits for the disk is the first token, not the prefill.
        let record = found.describe(asked.describe(turn.record(Kind::InferStart), max_tokens), Direction::Input);
        let record = turn.keeping.seal_request(record, kept);
        let started = append(&app.serving, &turn.call, turn.admitted.reserve(record));
        let (sender, pieces) = mpsc::channel(PIECES);
        app.tasks.spawn(drive::drive(turn, generation, started, sender));
        Ok((served, pieces))
    }
}

/// What was asked as it may go to a model, and what was found in it.
async fn look_through(
    app: &App,
    call: &Call,
    permit: &Permit,
    asked: &Asked,
    is_filtered: bool,
) -> Result<(Prompt, Found), ApiError> {
    let prompt = if is_filtered && (asked.scores.is_some() || asked.prompt_scores) {
        // Scores repeat the text token by token, past everything that looks through it.
        Err(ApiError::invalid("logprobs", "answers to you are looked through, so they come without log-probabilities"))
    } else {
        Ok(asked.prompt.clone())
    };
    look_at(app, call, permit, prompt).await
}

/// The prompt as it may go to a model, and what was found in it; it may be refused already.
///
/// # Errors
/// The refusal, once it is on record.
pub(crate) async fn look_at(
    app: &App,
    call: &Call,
    permit: &Permit,
    prompt: Result<Prompt, ApiError>,
) -> Result<(Prompt, Found), ApiError> {
    let mut found = Found::default();
    let looked = prompt.and_then(|mut prompt| {
        content::look_through(permit.content(), &mut prompt, &mut found)?;
        Ok(prompt)
    });
    found.count(&app.metrics, Direction::Input);
    let error = match looked {
        Ok(prompt) => return Ok((prompt, found)),
        Err(error) => error,
    };
    let (object, decision) = (record::object(call, permit.resource()), record::allowed(permit));
    let describe = |record| found.describe(record, Direction::Input);
    Err(refuse_with(app, call, Action::Infer, object, Some(decision), error, describe).await)
}

/// What an answer would take. Where the caller's context is limited, the prompt is counted for it.
async fn demand(
    app: &App,
    call: &Call,
    permit: &Permit,
    meant: &Meant,
    asked: &Asked,
    prompt: &Prompt,
) -> Result<Demand, ApiError> {
    let mut demand = Demand {
        lane: meant.lane.clone(),
        prompt_bytes: bytes(prompt),
        prompt_tokens: None,
        max_tokens: permit.max_tokens(),
        fewer_will_do: asked.max_tokens.is_none(),
    };
    let Some(most) = permit.limits().context_tokens else { return Ok(demand) };
    let counting = authorize(app, call, meant, asked).await?;
    let counted = app.serving.backend.count(counting, &asked.model, prompt.clone()).await;
    let fits = counted.and_then(|tokens| {
        let left = most.checked_sub(tokens).filter(|left| *left > 0);
        left.map(|left| (tokens, left)).ok_or(BackendError::TooLong { prompt_tokens: tokens, context_tokens: most })
    });
    match fits {
        Ok((tokens, left)) => {
            demand.prompt_tokens = Some(tokens);
            demand.max_tokens = demand.max_tokens.min(left);
            Ok(demand)
        }
        Err(error) => {
            let (object, decision) = (record::object(call, permit.resource()), record::allowed(permit));
            Err(refuse(app, call, Action::Infer, object, Some(decision), error.into()).await)
        }
    }
}

/// Starts the backend; goes back to the queue's head while it takes no more.
async fn generate(
    app: &Arc<App>,
    call: &Call,
    mut permit: Permit,
    (meant, asked): (&Meant, &Asked),
    prompt: Prompt,
    admitted: &mut Admitted,
) -> Result<(Generation, u32), ApiError> {
    let mut pauses = BUSY_PAUSES_MS.into_iter();
    loop {
        // What is allowed may have changed while it waited.
        if permit.policy_version() != app.serving.policies.now().version() {
            permit = authorize(app, call, meant, asked).await?;
        }
        let max_tokens = admitted.max_tokens().min(permit.max_tokens());
        let request = GenerateRequest {
            model: asked.model.clone(),
            prompt: prompt.clone(),
            sampling: asked.sampling.clone(),
            shape: asked.shape.clone(),
            stop: asked.stop.clone(),
            max_tokens,
            scores: asked.scores,
            prompt_scores: asked.prompt_scores,
            keep_alive: asked.keep_alive,
            request_id: call.id.to_string(),
        };
        let (object, decision) = (record::object(call, permit.resource()), record::allowed(&permit));
        let leaving = Leaving::new(app, call, &permit);
        let before = Before::of(&permit, Action::Infer, asked.max_tokens, asked.manner());
        let error = match app.serving.backend.start(permit, request).await {
            Ok(generation) => {
                leaving.stays();
                before.holds_for(app, call, generation.served()).await?;
                return Ok((generation, max_tokens));
            }
            Err(error) => error,
        };
        let is_busy = matches!(error, BackendError::Busy { .. });
        let pause = pauses.next().filter(|_| is_busy);
        if pause.is_some() || (is_busy && admitted.has_company()) {
            match pause {
                Some(pause) => tokio::time::sleep(Duration::from_millis(pause)).await,
                None => {
                    admitted.again().await;
                    pauses = BUSY_PAUSES_MS.into_iter();
                }
            }
            leaving.stays();
            permit = authorize(app, call, meant, asked).await?;
            continue;
        }
        leaving.stays();
        tracing::warn!(request = %call.id, %error, "no answer could be begun");
        return Err(refuse(app, call, Action::Infer, object, Some(decision), error.into()).await);
    }
}

/// Bytes of a prompt, for a guess at its tokens.
fn bytes(prompt: &Prompt) -> usize {
    match prompt {
        Prompt::Text(text) => text.len(),
        // A token is about four bytes of text.
        Prompt::Tokens(tokens) => tokens.len().saturating_mul(4),
        Prompt::Chat(chat) => {
            let said = chat.messages.iter().map(|message| {
                let calls: usize = message.calls.iter().map(|call| call.name.len() + call.arguments.len()).sum();
                message.content.len() + message.reasoning.as_ref().map_or(0, String::len) + calls
            });
            let offered = chat
                .tools
                .iter()
                .map(|tool| tool.name.len() + tool.description.len() + tool.parameters.to_string().len());
            said.chain(offered).sum()
        }
    }
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
    refuse_with(app, call, action, object, decision, error, |record| record).await
}

async fn refuse_with(
    app: &App,
    call: &Call,
    action: Action,
    object: ObjectRef,
    decision: Option<DecisionRef>,
    error: ApiError,
    describe: impl FnOnce(Record) -> Record,
) -> ApiError {
    let record = record::of_call(&app.serving, call, Kind::InferDenied)
        .act(action.word())
        .object(object)
        .result(record::refused(&error));
    let record = describe(record);
    let record = match decision {
        Some(decision) => record.decision(decision),
        None => record,
    };
    match append(&app.serving, call, record).await {
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
