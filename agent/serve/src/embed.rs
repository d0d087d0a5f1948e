//! Texts into vectors, from what was asked to the last record: permit, turn, first record, backend, last record.
//!
//! Runs as a task of its own, as answers do: a client may leave, but what began has to end in the record.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use outpost_audit::{DecisionRef, Io, Kind, ObjectRef, Outcome, Record};
use outpost_policies::content::{ContentRules, Direction};
use outpost_policies::{Action, Permit};
use tokio::sync::oneshot;

use crate::admit::{self, Admitted};
use crate::app::App;
use crate::content::{self, Found};
use crate::converse;
use crate::error::ApiError;
use crate::handle::Call;
use crate::kept::Keeping;
use crate::model::{self, Meant};
use crate::permit::{self, Before, Manner, Wanted};
use crate::trail::append;
use crate::{EmbedInput, EmbedRequest, Embeddings, Prompt, Timings, Usage, record};

/// Bytes of text that are about a token.
const TOKEN_BYTES: usize = 4;

/// Turns texts into vectors. When this returns some, that they were made is on record.
///
/// # Errors
/// Every refusal and failure, once it is on record.
pub(crate) async fn embed(app: &Arc<App>, call: &Call, mut request: EmbedRequest) -> Result<Embeddings, ApiError> {
    let Meant { resource, lane } = model::find(app, &request.model).await;
    let permit = permit::require(app, call, Wanted { action: Action::Embed, resource, max_tokens: None }).await?;
    let (object, decision) = (record::object(call, permit.resource()), record::allowed(&permit));
    let mut found = Found::default();
    let looked = look_through(permit.content(), &mut request, &mut found);
    found.count(&app.metrics, Direction::Input);
    if let Err(error) = looked {
        return Err(converse::refuse(app, call, Action::Embed, object, Some(decision), error).await);
    }
    let admitted = admit::admit(app, call, &permit, lane, tokens(&request)).await?;
    let keeping = Keeping::of(&app.serving, call, &permit);
    let making = Making { app: Arc::clone(app), call: call.clone(), object, decision, admitted, found, keeping };
    let (sender, made) = oneshot::channel();
    app.tasks.spawn(making.run(permit, request, sender));
    made.await.unwrap_or_else(|_| Err(ApiError::internal()))
}

/// The texts as they may go to a model.
fn look_through(rules: &ContentRules, request: &mut EmbedRequest, found: &mut Found) -> Result<(), ApiError> {
    for input in &mut request.inputs {
        let mut prompt = match std::mem::replace(input, EmbedInput::Tokens(Vec::new())) {
            EmbedInput::Text(text) => Prompt::Text(text),
            EmbedInput::Tokens(tokens) => Prompt::Tokens(tokens),
        };
        content::look_through(rules, &mut prompt, found)?;
        *input = match prompt {
            Prompt::Text(text) => EmbedInput::Text(text),
            Prompt::Tokens(tokens) => EmbedInput::Tokens(tokens),
            Prompt::Chat(_) => return Err(ApiError::internal()),
        };
    }
    Ok(())
}

/// About how many tokens the texts have.
fn tokens(request: &EmbedRequest) -> u32 {
    let tokens = request.inputs.iter().map(|input| match input {
        EmbedInput::Text(text) => text.len().div_ceil(TOKEN_BYTES),
        EmbedInput::Tokens(tokens) => tokens.len(),
    });
    u32::try_from(tokens.sum::<usize>()).unwrap_or(u32::MAX)
}

/// One request for vectors, and what its records say.
struct Making {
    app: Arc<App>,
    call: Call,
    object: ObjectRef,
    decision: DecisionRef,
    admitted: Admitted,
    found: Found,
    keeping: Keeping,
}

impl Making {
    async fn run(mut self, permit: Permit, request: EmbedRequest, mut sender: Made) {
        let before = Before::of(&permit, Action::Embed, None, Manner::default());
        let started = self.record(Kind::InferStart).detail("texts", request.inputs.len() as u64);
        let started = self.keeping.seal_request(started, self.keeping.texts(&request.inputs));
        let started = self.admitted.reserve(self.found.describe(started, Direction::Input));
        if let Err(error) = append(&self.app.serving, &self.call, started).await {
            self.admitted.release();
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
            made = AssertUnwindSafe(self.app.serving.backend.embed(permit, request)).catch_unwind() => made,
        };
        let made = match made {
            Ok(Ok(made)) => before.holds_for(&self.app, &self.call, &made.served).await.map(|()| made),
            Ok(Err(error)) => {
                tracing::warn!(request = %self.call.id, %error, "no vectors could be made");
                Err(ApiError::from(error))
            }
            Err(_) => {
                tracing::error!(request = %self.call.id, "a bug: making vectors panicked");
                Err(ApiError::internal())
            }
        };
        let ended = self.ended(&made);
        // Whoever left in the meantime misses only the news.
        let _ = sender.send(match append(&self.app.serving, &self.call, ended).await {
            Ok(_) => made,
            Err(error) => Err(record::lost(&self.call, &error)),
        });
    }

    fn ended(&mut self, made: &Result<Embeddings, ApiError>) -> Record {
        let ms = Some(record::milliseconds_since(self.call.started));
        match made {
            Err(error) => {
                let record = self.record(Kind::InferEnd).result(Outcome { ms, ..record::refused(error) });
                self.admitted.finish(record, &Usage::default(), &Timings::default())
            }
            Ok(made) => {
                self.object.model.clone_from(&made.served.model);
                self.object.variant.clone_from(&made.served.variant);
                self.object.file_sha256.clone_from(&made.served.file_sha256);
                let io = Io { input_tokens: Some(made.prompt_tokens.into()), ..Io::default() };
                let outcome = Outcome { status: Some(200), ms, ..Outcome::default() };
                let record = self.record(Kind::InferEnd).io(io).result(outcome);
                let usage = Usage { prompt_tokens: made.prompt_tokens, ..Usage::default() };
                self.admitted.finish(record, &usage, &Timings::default())
            }
        }
    }

    async fn abort(mut self, status: u16, because: &str) {
        let ms = Some(record::milliseconds_since(self.call.started));
        let outcome = Outcome { status: Some(status), ms, err: because.to_owned(), ..Outcome::default() };
        let record = self.record(Kind::InferAborted).result(outcome);
        self.admitted.broke_off(0);
        let record = self.admitted.settle_broken(record, 0);
        if let Err(error) = append(&self.app.serving, &self.call, record).await {
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
