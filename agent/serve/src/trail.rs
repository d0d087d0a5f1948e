//! What of one call is on record so far, so that whatever ends it, what is missing is written.
//!
//! ```text
//! every record of a call ─► append ─► noted here, then queued
//! answered, failed, panicked ─► conclude: if no record says this status, a `request` record does, durable before the answer
//! dropped (the client left)  ─► Drop:     if nobody else will say so, a `request` record says 499
//! ```

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use axum::http::{Method, StatusCode};
use outpost_audit::{Appended, DecisionRef, Kind, ObjectRef, Outcome, Record, Who};
use outpost_policies::Permit;

use crate::api::Endpoint;
use crate::app::{App, Serving};
use crate::error::ApiError;
use crate::given_up::CLIENT_LEFT;
use crate::handle::Call;
use crate::record;
use crate::request_id::RequestId;

/// What is on record of one call; shared by all that answers it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trail(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Statuses that records say.
    told: BTreeSet<u16>,
    /// Questions that wait, and say so when they are dropped.
    waiting: usize,
    /// Answers that began; whoever sees each through records its end.
    answers: usize,
    /// The same of acts.
    acts: usize,
    allowed: Option<Allowed>,
}

/// What the policies allowed last.
#[derive(Debug, Clone)]
struct Allowed {
    act: &'static str,
    object: ObjectRef,
    decision: DecisionRef,
}

impl Trail {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The policies allowed something.
    pub(crate) fn allowed(&self, call: &Call, permit: &Permit) {
        let (act, object) = (permit.action().word(), record::object(call, permit.resource()));
        self.state().allowed = Some(Allowed { act, object, decision: record::allowed(permit) });
    }

    /// A question waits: if it is dropped, that will be on record.
    pub(crate) fn waits(&self) {
        self.state().waiting += 1;
    }

    /// It waits no more.
    pub(crate) fn waited(&self) {
        let mut state = self.state();
        state.waiting = state.waiting.saturating_sub(1);
    }

    /// An act began: its end will be on record.
    pub(crate) fn act_began(&self) {
        self.state().acts += 1;
    }

    /// That act is over.
    pub(crate) fn act_ended(&self) {
        let mut state = self.state();
        state.acts = state.acts.saturating_sub(1);
    }

    fn note(&self, record: &Record) {
        let mut state = self.state();
        match record.kind() {
            Kind::InferStart => state.answers += 1,
            Kind::InferEnd | Kind::InferAborted => state.answers = state.answers.saturating_sub(1),
            _ => {}
        }
        state.told.extend(record.status());
    }

    /// Whether what is on record, or sure to be, says that the call ended so.
    fn tells(&self, status: StatusCode) -> bool {
        let state = self.state();
        state.told.contains(&status.as_u16()) || (status.is_success() && state.answers + state.acts > 0)
    }

    /// Whether what is on record, or sure to be, says how the call ended though its client left.
    fn tells_of_leaving(&self) -> bool {
        let state = self.state();
        state.waiting + state.answers > 0
            || state.told.contains(&CLIENT_LEFT)
            || (state.acts == 0 && !state.told.is_empty())
    }
}

/// Appends a record of a call: the one way in which those that answer it do.
pub(crate) fn append(serving: &Serving, call: &Call, record: Record) -> Appended {
    call.trail.note(&record);
    serving.audit.append(record)
}

/// A call on its way. Dropped before it is concluded, it says that its client left.
pub(crate) struct Underway {
    app: Arc<App>,
    id: RequestId,
    method: &'static str,
    endpoint: Endpoint,
    started: Instant,
    /// Once it is known who calls.
    call: OnceLock<Call>,
    concluded: bool,
}

impl Underway {
    pub(crate) fn new(app: &Arc<App>, id: &RequestId, method: &Method, endpoint: Endpoint, started: Instant) -> Self {
        let (app, id, method) = (Arc::clone(app), id.clone(), word(method));
        Self { app, id, method, endpoint, started, call: OnceLock::new(), concluded: false }
    }

    /// It is known who calls.
    pub(crate) fn is_by(&self, call: &Call) {
        // A call is identified once.
        let _ = self.call.set(call.clone());
    }

    /// It was answered so: on record, if it has to be and is not.
    ///
    /// # Errors
    /// 503 if that cannot be recorded.
    pub(crate) async fn conclude(&mut self, status: StatusCode, code: &'static str) -> Result<(), ApiError> {
        let missing = self.missing(status);
        let appended = missing.then(|| self.append(status.as_u16(), code));
        // From here on it is said, though the client may leave while the disk works.
        self.concluded = true;
        let Some(appended) = appended else { return Ok(()) };
        match appended.await {
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::error!(request = %self.id, %error, "nothing is answered that cannot be recorded");
                Err(ApiError::unrecorded(&error))
            }
        }
    }

    fn missing(&self, status: StatusCode) -> bool {
        let is_ours = status == StatusCode::INTERNAL_SERVER_ERROR;
        match self.call.get() {
            // A failure to identify is counted and recorded by source.
            None => is_ours,
            Some(_) if status.is_success() && self.endpoint.unrecorded.is_some() => false,
            Some(call) => !call.trail.tells(status),
        }
    }

    fn append(&self, status: u16, code: &str) -> Appended {
        let result = Outcome {
            status: Some(status),
            ms: Some(record::milliseconds_since(self.started)),
            err: code.to_owned(),
            ..Outcome::default()
        };
        let record = match self.call.get() {
            Some(call) => self.of_call(call),
            None => Record::new(Kind::Request).request(self.id.as_str()).object(self.object()).who(Who {
                kind: "unknown".to_owned(),
                auth: "none".to_owned(),
                ..Who::default()
            }),
        };
        let record = record.result(result).detail("method", self.method);
        match self.call.get() {
            Some(call) => append(&self.app.serving, call, record),
            None => self.app.serving.audit.append(record),
        }
    }

    fn of_call(&self, call: &Call) -> Record {
        let record = record::of_call(&self.app.serving, call, Kind::Request);
        let allowed = call.trail.state().allowed.clone();
        match allowed {
            Some(Allowed { act, object, decision }) => record.act(act).object(object).decision(decision),
            None => record.object(self.object()),
        }
    }

    fn object(&self) -> ObjectRef {
        ObjectRef { endpoint: self.endpoint.path.to_owned(), ..ObjectRef::default() }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        let Some(call) = self.call.get().filter(|_| !self.concluded) else { return };
        if call.trail.tells_of_leaving() {
            return;
        }
        let (status, because) = self.app.left();
        let appended = self.append(status, because);
        let id = self.id.clone();
        self.app.tasks.spawn(async move {
            if let Err(error) = appended.await {
                tracing::error!(request = %id, %error, because, "that a call broke off could not be recorded");
            }
        });
    }
}

/// A method as records name it: of a closed list, never what the caller wrote.
fn word(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(records: &[(Kind, Option<u16>)]) -> Trail {
        let trail = Trail::default();
        for (kind, status) in records {
            let outcome = Outcome { status: *status, ..Outcome::default() };
            trail.note(&Record::new(*kind).result(outcome));
        }
        trail
    }

    #[test]
    fn a_status_that_a_record_says_needs_no_second() {
        let denied = noted(&[(Kind::InferDenied, Some(403))]);
        assert!(denied.tells(StatusCode::FORBIDDEN));
        assert!(!denied.tells(StatusCode::INTERNAL_SERVER_ERROR) && !denied.tells(StatusCode::OK));
        assert!(!noted(&[]).tells(StatusCode::OK));
    }

    #[test]
    fn what_goes_on_will_be_told_by_whoever_sees_it_through() {
        let begun = noted(&[(Kind::InferStart, None)]);
        assert!(begun.tells(StatusCode::OK) && begun.tells_of_leaving());
        assert!(!begun.tells(StatusCode::INTERNAL_SERVER_ERROR), "a failure is told as one");
        let ended = noted(&[(Kind::InferStart, None), (Kind::InferAborted, Some(500))]);
        assert!(!ended.tells(StatusCode::OK));
    }

    #[test]
    fn an_act_goes_on_without_its_client_and_that_the_client_left_is_said_beside_it() {
        let trail = noted(&[(Kind::AdminAct, Some(200))]);
        assert!(trail.tells_of_leaving());
        trail.act_began();
        assert!(trail.tells(StatusCode::CREATED) && !trail.tells_of_leaving());
        trail.act_ended();
        assert!(trail.tells_of_leaving());
    }

    #[test]
    fn no_callers_word_becomes_a_method() {
        assert_eq!(word(&Method::DELETE), "DELETE");
        assert_eq!(word(&Method::from_bytes(b"EVIL").unwrap()), "other");
    }
}
