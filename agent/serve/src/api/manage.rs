//! Acts that change the device, whichever family asks: permit, the record of the intention, the act, the record of its outcome.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use futures_util::FutureExt;
use outpost_audit::{Appended, DecisionRef, Kind, ObjectRef, Outcome, Record};
use outpost_policies::{Action, Network, Permit, Resource};
use serde_json::{Map, Value};

use crate::admit::{self, Admitted};
use crate::app::App;
use crate::error::ApiError;
use crate::given_up::CLIENT_LEFT;
use crate::handle::Call;
use crate::model::{self, Meant};
use crate::permit::{self, Wanted};
use crate::trail::append;
use crate::{Backend, BackendError, Found, KeepAlive, LoadOutcome, Timings, Usage, body, record};

/// An allowed act whose intention is on record. Dropped before its end, as when its client leaves or it panics, it records
/// that.
pub(crate) struct Act {
    app: Arc<App>,
    call: Call,
    object: ObjectRef,
    decision: DecisionRef,
    /// What is done, as in `load`; the action says only what it takes.
    word: &'static str,
    /// What came to be known of it on the way, for its end.
    known: Vec<(&'static str, String)>,
    /// Its turn in the queue, where it takes one.
    turn: Option<Admitted>,
    /// Whether its outcome is on its way to the record.
    over: bool,
}

impl Act {
    /// Asks the policies and records the intention.
    ///
    /// # Errors
    /// 403 with the rule; 503 if it cannot be recorded.
    pub(crate) async fn begin(
        app: &Arc<App>,
        call: &Call,
        action: Action,
        word: &'static str,
        resource: Resource,
    ) -> Result<(Permit, Self), ApiError> {
        let permit = permit::require(app, call, Wanted { action, resource, max_tokens: None }).await?;
        let act = Self::of(app, call, &permit, word, None).await?;
        Ok((permit, act))
    }

    /// Records the intention of what was allowed.
    async fn of(
        app: &Arc<App>,
        call: &Call,
        permit: &Permit,
        word: &'static str,
        turn: Option<Admitted>,
    ) -> Result<Self, ApiError> {
        let (object, decision) = (record::object(call, permit.resource()), record::allowed(permit));
        let (app, call) = (Arc::clone(app), call.clone());
        let mut act = Self { app, call, object, decision, word, known: Vec::new(), turn, over: false };
        act.call.trail.act_began();
        let begun = append(&act.app.serving, &act.call, act.record("begin")).await;
        begun.map(|_| ()).map_err(|error| {
            act.is_over();
            record::lost(&act.call, &error)
        })?;
        Ok(act)
    }

    /// Records the outcome.
    ///
    /// # Errors
    /// The outcome's own, or 503 if it cannot be recorded.
    pub(crate) async fn end<T>(&mut self, outcome: Result<T, ApiError>) -> Result<T, ApiError> {
        let result = match &outcome {
            Ok(_) => Outcome { status: Some(200), ..Outcome::default() },
            Err(error) => record::refused(error),
        };
        self.concluded(result).await.map_err(|error| record::lost(&self.call, &error))?;
        outcome
    }

    /// Records that the caller left before the end.
    pub(crate) async fn left(&mut self) {
        let result = Outcome { status: Some(CLIENT_LEFT), err: "client_left".to_owned(), ..Outcome::default() };
        if let Err(error) = self.concluded(result).await {
            // Nobody is left to be told.
            record::lost(&self.call, &error);
        }
    }

    /// Keeps what a model turned out to be, for the record of the end.
    pub(crate) fn found(&mut self, found: &Found) {
        self.object.variant.clone_from(&found.variant);
        self.known = vec![
            ("origin", found.source.clone()),
            ("commit", found.commit.clone()),
            ("path", found.path.clone()),
            ("licence", found.licence.clone()),
        ];
    }

    /// Keeps what its file is, for the record of the end.
    pub(crate) fn verified(&mut self, sha256: String) {
        self.object.file_sha256 = sha256;
    }

    fn concluded(&mut self, result: Outcome) -> Appended {
        let result = Outcome { ms: Some(record::milliseconds_since(self.call.started)), ..result };
        let record = self.record("end").result(result);
        let record = match &mut self.turn {
            Some(turn) => turn.finish(record, &Usage::default(), &Timings::default()),
            None => record,
        };
        self.is_over();
        append(&self.app.serving, &self.call, record)
    }

    fn is_over(&mut self) {
        self.over = true;
        self.call.trail.act_ended();
    }

    fn record(&self, phase: &str) -> Record {
        let record = record::of_call(&self.app.serving, &self.call, Kind::AdminAct)
            .act(self.word)
            .object(self.object.clone())
            .decision(self.decision.clone())
            .detail("phase", phase);
        self.known.iter().fold(record, |record, (name, value)| record.detail(name, value.as_str()))
    }
}

impl Drop for Act {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let (status, because) = if std::thread::panicking() { ApiError::panicked() } else { self.app.left() };
        let result = Outcome { status: Some(status), err: because.to_owned(), ..Outcome::default() };
        let (appended, id) = (self.concluded(result), self.call.id.clone());
        self.app.tasks.spawn(async move {
            if let Err(error) = appended.await {
                tracing::error!(request = %id, %error, because, "how an act ended could not be recorded");
            }
        });
    }
}

/// Does something to a model. A task of its own sees it through, so that its outcome is on record though the caller
/// leaves.
///
/// # Errors
/// Every refusal and failure, once it is on record.
pub(crate) async fn act<T, F>(
    app: &Arc<App>,
    call: &Call,
    (action, word): (Action, &'static str),
    resource: Resource,
    doing: impl FnOnce(Arc<dyn Backend>, Permit) -> F,
) -> Result<T, ApiError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, BackendError>> + Send + 'static,
{
    let (permit, act) = Act::begin(app, call, action, word, resource).await?;
    see_through(act, doing(Arc::clone(&app.serving.backend), permit)).await
}

/// Loads a model. Asking it loads it as well, so who may ask may load, within the same limits and in turn.
///
/// # Errors
/// Every refusal and failure, once it is on record.
pub(crate) async fn load(
    app: &Arc<App>,
    call: &Call,
    name: String,
    keep: Option<KeepAlive>,
) -> Result<LoadOutcome, ApiError> {
    let Meant { resource, lane } = model::find(app, &name).await;
    let permit = permit::require(app, call, Wanted { action: Action::Infer, resource, max_tokens: None }).await?;
    let turn = admit::admit_beside(app, call, &permit, &lane).await?;
    let act = Act::of(app, call, &permit, "load_model", Some(turn)).await?;
    let backend = Arc::clone(&app.serving.backend);
    see_through(act, async move { backend.load(permit, &name, keep).await }).await
}

/// Sees an act through in a task of its own, to its outcome on record.
///
/// # Errors
/// The act's own, once it is on record.
pub(crate) async fn see_through<T, E>(
    mut act: Act,
    doing: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, ApiError>
where
    T: Send + 'static,
    E: std::fmt::Display + Into<ApiError> + Send,
{
    let (tasks, id) = (act.app.tasks.clone(), act.call.id.clone());
    let seen_through = tasks.spawn(async move {
        let outcome = match AssertUnwindSafe(doing).catch_unwind().await {
            Ok(outcome) => outcome.map_err(|error| {
                tracing::warn!(request = %id, act = act.word, %error, "an act failed");
                error.into()
            }),
            Err(_) => {
                tracing::error!(request = %id, act = act.word, "a bug: an act panicked");
                Err(ApiError::internal())
            }
        };
        act.end(outcome).await
    });
    seen_through.await.unwrap_or_else(|_| Err(ApiError::internal()))
}

/// Reads the body of a request that would change something.
///
/// # Errors
/// What is wrong with it, once that is on record.
pub(crate) async fn read<T>(
    app: &App,
    request: Request<Body>,
    word: &'static str,
    parse: impl FnOnce(Map<String, Value>) -> Result<T, ApiError>,
) -> Result<(Call, T), ApiError> {
    let (call, parsed) = read_quietly(app, request, parse).await?;
    let error = match parsed {
        Ok(parsed) => return Ok((call, parsed)),
        Err(error) => error,
    };
    let object = ObjectRef { endpoint: call.endpoint.to_owned(), ..ObjectRef::default() };
    let refused =
        record::of_call(&app.serving, &call, Kind::AdminAct).act(word).object(object).result(record::refused(&error));
    match append(&app.serving, &call, refused).await {
        Ok(_) => Err(error),
        Err(lost) => Err(record::lost(&call, &lost)),
    }
}

/// The same for a request that names a path of this machine: whoever is elsewhere has no business with those.
///
/// # Errors
/// 403 for a caller who is not on this machine; else as [`read`].
pub(crate) async fn read_here<T>(
    app: &App,
    request: Request<Body>,
    word: &'static str,
    parse: impl FnOnce(Map<String, Value>) -> Result<T, ApiError>,
) -> Result<(Call, T), ApiError> {
    let is_here = request.extensions().get::<Call>().is_some_and(|call| call.caller.network != Network::Remote);
    let parse = move |object| {
        if is_here {
            return parse(object);
        }
        Err(ApiError::not_offered("a path of this machine is taken from its own processes only: ask over its socket"))
    };
    read(app, request, word, parse).await
}

/// Reads the body of a request that only looks.
///
/// # Errors
/// Only if the call is not one; what is wrong with the body is within.
pub(crate) async fn read_quietly<T>(
    app: &App,
    request: Request<Body>,
    parse: impl FnOnce(Map<String, Value>) -> Result<T, ApiError>,
) -> Result<(Call, Result<T, ApiError>), ApiError> {
    let call = request.extensions().get::<Call>().cloned().ok_or_else(ApiError::internal)?;
    let (head, body) = request.into_parts();
    let read = body::read_object(&head.headers, body, &app.limits).await;
    Ok((call, read.and_then(parse)))
}

/// Asks whether the caller may look at the device in this way.
///
/// # Errors
/// 403 with the rule.
pub(crate) async fn look(app: &App, call: &Call, action: Action) -> Result<(), ApiError> {
    let resource = Resource::Device { id: app.serving.device.clone() };
    permit::require(app, call, Wanted { action, resource, max_tokens: None }).await.map(|_| ())
}
