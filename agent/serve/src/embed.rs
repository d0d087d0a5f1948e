//! Texts into vectors, from what was asked to the last record: permit, slot, first record, backend, last record.
//!
//! Runs as a task of its own, as answers do: a client may leave, but what began has to end in the record.

use std::sync::Arc;

use outpost_audit::{DecisionRef, Io, Kind, ObjectRef, Outcome, Record};
use outpost_policies::{Action, Permit};
use tokio::sync::oneshot;

use crate::app::App;
use crate::converse;
use crate::error::ApiError;
use crate::handle::Call;
use crate::permit::{self, Wanted};
use crate::{EmbedRequest, Embeddings, record};

/// Seconds after which asking again makes sense when every slot is taken.
const RETRY_AFTER_S: u32 = 2;

/// Turns texts into vectors. When this returns some, that they were made is on record.
///
/// # Errors
/// Every refusal and failure, once it is on record.
pub(crate) async fn embed(app: &Arc<App>, call: &Call, request: EmbedRequest) -> Result<Embeddings, ApiError> {
    let resource = converse::model(app, &request.model).await;
    let permit = permit::require(app, call, Wanted { action: Action::Embed, resource, max_tokens: None }).await?;
    let (object, decision) = (record::object(call, permit.resource()), record::allowed(&permit));
    let Ok(slot) = Arc::clone(&app.generations).try_acquire_owned() else {
        let error = ApiError::busy(RETRY_AFTER_S, "as many answers are being given as this device can: try again soon");
        return Err(converse::refuse(app, call, Action::Embed, object, Some(decision), error).await);
    };
    let making = Making { app: Arc::clone(app), call: call.clone(), object, decision };
    let (sender, made) = oneshot::channel();
    app.tasks.spawn(async move {
        making.run(permit, request, sender).await;
        drop(slot);
    });
    made.await.unwrap_or_else(|_| Err(ApiError::internal()))
}

/// One request for vectors, and what its records say.
struct Making {
    app: Arc<App>,
    call: Call,
    object: ObjectRef,
    decision: DecisionRef,
}

impl Making {
    async fn run(mut self, permit: Permit, request: EmbedRequest, mut sender: Made) {
        let started = self.record(Kind::InferStart).detail("texts", request.inputs.len() as u64);
        if let Err(error) = self.app.serving.audit.append(started).await {
            let _ = sender.send(Err(record::lost(&self.call, &error)));
            return;
        }
        let made = tokio::select! {
            biased;
            () = sender.closed() => return self.abort(499, "client_left").await,
            () = self.app.giving_up.cancelled() => {
                self.abort(503, "shutdown").await;
                let message = "the device is shutting down: ask again in a minute";
                let _ = sender.send(Err(ApiError::unavailable("shutting_down", message)));
                return;
            }
            made = self.app.serving.backend.embed(permit, request) => made,
        };
        let made = made.map_err(|error| {
            tracing::warn!(request = %self.call.id, %error, "no vectors could be made");
            ApiError::from(error)
        });
        let ended = self.ended(&made);
        // Whoever left in the meantime misses only the news.
        let _ = sender.send(match self.app.serving.audit.append(ended).await {
            Ok(_) => made,
            Err(error) => Err(record::lost(&self.call, &error)),
        });
    }

    fn ended(&mut self, made: &Result<Embeddings, ApiError>) -> Record {
        let ms = Some(record::milliseconds_since(self.call.started));
        match made {
            Err(error) => self.record(Kind::InferEnd).result(Outcome { ms, ..record::refused(error) }),
            Ok(made) => {
                self.object.model.clone_from(&made.served.model);
                self.object.variant.clone_from(&made.served.variant);
                self.object.file_sha256.clone_from(&made.served.file_sha256);
                let io = Io { input_tokens: Some(made.prompt_tokens.into()), ..Io::default() };
                self.record(Kind::InferEnd).io(io).result(Outcome { status: Some(200), ms, ..Outcome::default() })
            }
        }
    }

    async fn abort(&self, status: u16, because: &str) {
        let ms = Some(record::milliseconds_since(self.call.started));
        let outcome = Outcome { status: Some(status), ms, err: because.to_owned(), ..Outcome::default() };
        if let Err(error) = self.app.serving.audit.append(self.record(Kind::InferAborted).result(outcome)).await {
            // The log itself closes what is open at the next start.
            tracing::error!(request = %self.call.id, %error, "given-up vectors could not be recorded as such");
        }
    }

    fn record(&self, kind: Kind) -> Record {
        record::of_call(&self.app.serving, &self.call, kind)
            .act(Action::Embed.word())
            .object(self.object.clone())
            .decision(self.decision.clone())
    }
}

type Made = oneshot::Sender<Result<Embeddings, ApiError>>;
