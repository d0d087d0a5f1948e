//! One request from head to answer: id, gate, identity, route, and its record. A panic on the way is a 500, not a dead
//! server.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, HeaderName, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Request};
use axum::response::Response;
use futures_util::FutureExt;
use outpost_audit::{Kind, Outcome, Record, Who};
use tower::ServiceExt;

use crate::api::{self, Endpoint};
use crate::app::App;
use crate::cors;
use crate::error::ApiError;
use crate::given_up::GivenUp;
use crate::identify::{Caller, Peer, Tally};
use crate::label::Label;
use crate::quota::Told;
use crate::request_id::RequestId;
use crate::trail::{Trail, Underway};

/// Carries the request id back, so that a person can quote it and an operator can find it.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a route knows of the call that it answers.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) id: RequestId,
    pub(crate) caller: Caller,
    /// What the caller says of its data.
    pub(crate) label: Label,
    /// The route as it is written in the table, never what the caller wrote.
    pub(crate) endpoint: &'static str,
    pub(crate) started: Instant,
    /// What the answer's headers say beside the answer.
    pub(crate) told: Told,
    /// Whether what is being answered was given up.
    pub(crate) given_up: GivenUp,
    /// What is on record of it.
    pub(crate) trail: Trail,
}

/// Answers one request.
pub(crate) async fn handle(app: Arc<App>, peer: Peer, request: Request<Body>) -> Response {
    let (id, started) = (RequestId::fresh(app.circumstances().now_s), Instant::now());
    let method = request.method().clone();
    let endpoint = api::endpoint(request.uri().path());
    let origin = app.gate.listed_origin(request.headers());
    let told = Told::default();
    let mut underway = Underway::new(&app, &id, &method, endpoint, started);
    let answering = AssertUnwindSafe(answer(&app, &id, peer, endpoint, (&underway, started, &told), request));
    let answered = match answering.catch_unwind().await {
        Ok(Ok(mut response)) => match response.extensions_mut().remove::<ApiError>() {
            Some(error) => Err(error),
            None => Ok(response),
        },
        Ok(Err(error)) => Err(error),
        Err(_) => {
            tracing::error!(request = %id, %method, endpoint = endpoint.path, "a bug: answering panicked");
            Err(ApiError::internal())
        }
    };
    let (status, code) =
        answered.as_ref().map_or_else(|error| (error.status, error.code), |response| (response.status(), ""));
    let answered = underway.conclude(status, code).await.and(answered);
    let mut response = answered.unwrap_or_else(|error| error.respond(endpoint.family));
    let headers = response.headers_mut();
    if let Some(origin) = origin {
        cors::admit(origin, headers);
    }
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        headers.insert(REQUEST_ID, value);
    }
    told.write(headers);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    app.metrics.request(endpoint.path, response.status().as_u16());
    let milliseconds = crate::record::milliseconds_since(started);
    tracing::info!(request = %id, %method, endpoint = endpoint.path, status = response.status().as_u16(), milliseconds, "answered");
    response
}

async fn answer(
    app: &Arc<App>,
    id: &RequestId,
    peer: Peer,
    endpoint: Endpoint,
    (underway, started, told): (&Underway, Instant, &Told),
    mut request: Request<Body>,
) -> Result<Response, ApiError> {
    if let Err(error) = app.gate.check(&peer, &request) {
        return Err(refuse_unidentified(app, &peer, error.code, error).await);
    }
    if cors::is_preflight(&request) {
        return Ok(cors::preflight());
    }
    if endpoint.identified {
        let caller = app.serving.identities.identify(request.headers(), &peer, app.circumstances().now_s);
        let caller = match caller {
            Ok(caller) => caller,
            Err(unidentified) => {
                let error = ApiError::unidentified(unidentified.code, unidentified.message);
                return Err(refuse_unidentified(app, &peer, unidentified.code, error).await);
            }
        };
        let call = Call {
            id: id.clone(),
            caller,
            label: Label::of(request.headers()),
            endpoint: endpoint.path,
            started,
            told: told.clone(),
            given_up: GivenUp::default(),
            trail: Trail::default(),
        };
        underway.is_by(&call);
        request.extensions_mut().insert(call);
    }
    let router = app.router.clone().with_state(Arc::clone(app));
    match router.oneshot(request).await {
        Ok(response) => Ok(response),
        Err(never) => match never {},
    }
}

/// The refusal, once it is recorded as far as it has to be.
async fn refuse_unidentified(app: &App, peer: &Peer, code: &'static str, error: ApiError) -> ApiError {
    let Some(tally) = app.failures.count(&peer.source(), code, Instant::now()) else { return error };
    match app.serving.audit.append(failure_record(&tally)).await {
        Ok(_) => error,
        Err(lost) => {
            tracing::error!(error = %lost, source = tally.source, "a failure to identify could not be recorded");
            ApiError::unrecorded(&lost)
        }
    }
}

/// Counts a knock that never became a request, and records it as far as it has to be.
pub(crate) async fn tally_knock(app: &App, peer: &Peer, code: &'static str) {
    let Some(tally) = app.failures.count(&peer.source(), code, Instant::now()) else { return };
    if let Err(lost) = app.serving.audit.append(failure_record(&tally)).await {
        tracing::error!(error = %lost, source = tally.source, "a knock could not be recorded");
    }
}

/// Failures of one source, as one record.
pub(crate) fn failure_record(tally: &Tally) -> Record {
    let record = Record::new(Kind::AuthFail)
        .who(Who { kind: "unknown".to_owned(), auth: "none".to_owned(), ..Who::default() })
        .result(Outcome { err: tally.code.to_owned(), ..Outcome::default() })
        .detail("source", tally.source.as_str())
        .detail("count", tally.count());
    match tally.reasons() {
        Some(reasons) => record.detail("reasons", reasons),
        None => record,
    }
}
