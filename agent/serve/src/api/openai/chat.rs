//! `POST /v1/chat/completions`: a conversation in, its continuation out, at once or as a stream.

mod answer;
mod request;
mod stream;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::Response;
use outpost_audit::{DecisionRef, Kind, ObjectRef};
use outpost_policies::{Action, ModelFacts, Permit, Resource};
use tokio::sync::mpsc;

use crate::app::App;
use crate::drive::{self, Piece, Turn};
use crate::error::ApiError;
use crate::handle::Call;
use crate::permit::{self, Wanted};
use crate::{ChatRequest, Generation, body, record};

use answer::Head;
use request::ChatCall;

/// Pieces of an answer that wait for a client who reads slowly.
const PIECES: usize = 32;

/// Seconds after which asking again makes sense when every slot is taken.
const RETRY_AFTER_S: u32 = 2;

pub(crate) async fn complete(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Response, ApiError> {
    let call = request.extensions().get::<Call>().cloned().ok_or_else(ApiError::internal)?;
    let asked = match read(&app, request).await {
        Ok(asked) => asked,
        Err(error) => {
            let object = ObjectRef { endpoint: call.endpoint.to_owned(), ..ObjectRef::default() };
            return Err(refuse(&app, &call, object, None, error).await);
        }
    };
    let resource = model(&app, &asked.model).await;
    let wanted = Wanted { action: Action::Infer, resource, max_tokens: asked.max_tokens };
    let permit = permit::require(&app, &call, wanted).await?;
    let mut pieces = begin(&app, &call, permit, &asked).await?;
    // What comes first says whether anything may leave at all.
    match pieces.recv().await {
        Some(Piece::Started) => {}
        Some(Piece::Failed(error)) => return Err(error),
        Some(Piece::Text(_) | Piece::End(_)) | None => return Err(ApiError::internal()),
    }
    let head = Head { id: call.id.clone(), model: asked.model, created_s: app.circumstances().now_s };
    if asked.stream {
        Ok(stream::respond(head, pieces, asked.include_usage))
    } else {
        answer::respond(&head, pieces).await
    }
}

async fn read(app: &App, request: Request<Body>) -> Result<ChatCall, ApiError> {
    let (head, body) = request.into_parts();
    request::parse(body::read_object(&head.headers, body, &app.limits).await?)
}

/// The model as policies see it; one that is not here has no licence.
async fn model(app: &App, id: &str) -> Resource {
    let models = app.serving.backend.models().await;
    let licence = models.into_iter().find(|model| model.id == id).map_or_else(String::new, |model| model.licence);
    Resource::Model(ModelFacts { id: id.to_owned(), licence, ..ModelFacts::default() })
}

/// Starts the backend, and the task that sees the answer through to its record.
async fn begin(
    app: &Arc<App>,
    call: &Call,
    permit: Permit,
    asked: &ChatCall,
) -> Result<mpsc::Receiver<Piece>, ApiError> {
    let (object, decision) = (record::object(call, permit.resource()), record::allowed(&permit));
    let Ok(slot) = Arc::clone(&app.generations).try_acquire_owned() else {
        let error = ApiError::busy(RETRY_AFTER_S, "as many answers are being given as this device can: try again soon");
        return Err(refuse(app, call, object, Some(decision), error).await);
    };
    let max_tokens = permit.max_tokens();
    let request = ChatRequest {
        model: asked.model.clone(),
        messages: asked.messages.clone(),
        sampling: asked.sampling,
        stop: asked.stop.clone(),
        max_tokens,
        request_id: call.id.to_string(),
    };
    let generation: Generation = match app.serving.backend.start(permit, request).await {
        Ok(generation) => generation,
        Err(error) => {
            tracing::warn!(request = %call.id, %error, "no answer could be begun");
            return Err(refuse(app, call, object, Some(decision), error.into()).await);
        }
    };
    let served = generation.served().clone();
    let object = ObjectRef {
        model: served.model,
        variant: served.variant,
        file_sha256: served.file_sha256,
        endpoint: call.endpoint.to_owned(),
    };
    let turn = Turn { app: Arc::clone(app), call: call.clone(), object, decision, slot };
    // Appended here, while the worker reads the prompt: what waits for the disk is the first token, not the prefill.
    let started = app.serving.audit.append(asked.describe(turn.record(Kind::InferStart), max_tokens));
    let (sender, pieces) = mpsc::channel(PIECES);
    app.tasks.spawn(drive::drive(turn, generation, started, sender));
    Ok(pieces)
}

/// A refusal to somebody who is identified, once it is durable.
async fn refuse(app: &App, call: &Call, object: ObjectRef, decision: Option<DecisionRef>, error: ApiError) -> ApiError {
    let record = record::of_call(&app.serving, call, Kind::InferDenied)
        .act(Action::Infer.word())
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
