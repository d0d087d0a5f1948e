//! The HTTPS API and the console. No route but `/health`, `/login`, `/v1/enrol`, `/v1/renew` and the console's style and script
//! answers without an identity.

mod blobs;
mod codes;
mod commands;
mod devices;
mod enrol;
mod enrolment;
mod error;
mod identity;
mod inventory;
mod people;
mod renew;
mod rollouts;
mod tokens;

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Extension;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use outpost_contract::limits::ENROL_BYTES;
use serde_json::json;

use crate::catalogue::TargetSummary;
use crate::fleet::Fleet;
use crate::people::Act;
use crate::shares::Shares;
pub(crate) use error::{ApiError, from_fleet};
pub(crate) use identity::Operator;

/// Longest time that an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Every route there is.
pub(crate) fn router(fleet: Fleet, shares: Shares) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/v1/enrol", post(enrol::enrol))
        .route("/v1/self", get(devices::own))
        .route("/v1/self/renew", post(renew::renew))
        .route("/v1/renew/nonce", get(renew::nonce))
        .route("/v1/renew", post(renew::renew_late))
        .route("/v1/codes", post(codes::create))
        .route("/v1/enrolment/codes", get(enrolment::codes).post(enrolment::create_codes).layer(lists()))
        .route("/v1/enrolment/codes/{id}", delete(enrolment::withdraw_code))
        .route("/v1/enrolment/keys", get(enrolment::keys).post(enrolment::allow_keys).layer(lists()))
        .route("/v1/enrolment/keys/{fingerprint}", delete(enrolment::forbid_key))
        .route("/v1/enrolment/requests", get(enrolment::requests))
        .route("/v1/enrolment/requests/{fingerprint}/accept", post(enrolment::accept))
        .route("/v1/enrolment/requests/{fingerprint}/reject", post(enrolment::reject))
        .route("/v1/devices/{device}/site", put(enrolment::set_site))
        .route("/v1/devices", get(devices::list))
        .route("/v1/devices/{device}", get(devices::show))
        .route("/v1/devices/{device}/assignment", put(devices::assign))
        .route("/v1/devices/{device}/revoke", post(devices::revoke))
        .route("/v1/devices/{device}/commands", get(commands::list).post(commands::give))
        .route("/v1/devices/{device}/commands/{id}", get(commands::show))
        .route("/v1/devices/{device}/events", get(commands::events))
        .route("/v1/devices/{device}/labels", get(inventory::labels).patch(inventory::set_labels))
        .route("/v1/inventory", get(inventory::list))
        .route("/v1/inventory/{device}", get(inventory::show))
        .route("/v1/overview", get(inventory::overview))
        .route("/v1/groups", get(inventory::groups).post(inventory::keep_group))
        .route("/v1/groups/{group}", get(inventory::group).delete(inventory::remove_group))
        .route("/v1/selectors/preview", get(inventory::preview))
        .route("/v1/what-if", post(inventory::what_if))
        .route("/v1/rollouts", get(rollouts::list).post(rollouts::start))
        .route("/v1/rollouts/{rollout}", get(rollouts::show))
        .route("/v1/rollouts/{rollout}/devices", get(rollouts::devices))
        .route("/v1/rollouts/{rollout}/approve", post(rollouts::approve))
        .route("/v1/rollouts/{rollout}/pause", post(rollouts::pause))
        .route("/v1/rollouts/{rollout}/resume", post(rollouts::resume))
        .route("/v1/rollouts/{rollout}/abort", post(rollouts::abort))
        .route("/v1/rollouts/{rollout}/retry", post(rollouts::retry))
        .route("/v1/catalogue", get(catalogue))
        .route("/v1/blobs/{blake3}", get(blobs::blob))
        .route("/v1/chunks/{blake3}", get(blobs::chunk))
        .route("/v1/tokens", post(tokens::issue))
        .route("/login", get(people::form).post(people::sign_in))
        .route("/login/first", get(people::first_form).post(people::first))
        .route("/logout", post(people::sign_out))
        .merge(crate::console::router())
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .layer(DefaultBodyLimit::max(ENROL_BYTES))
        .layer(Extension(shares))
        .layer(middleware::from_fn(in_time))
        .with_state(fleet)
}

/// Lists may be longer than other bodies: an operator's identity is looked at before the body is read.
fn lists() -> DefaultBodyLimit {
    DefaultBodyLimit::max(enrolment::LIST_BYTES)
}

/// Also while the broker is not there: devices enrol and operators work without it.
async fn health(State(fleet): State<Fleet>) -> Response {
    let broker = if fleet.inner.linked.load(Ordering::Relaxed) { "connected" } else { "unreachable" };
    axum::Json(json!({ "status": "ok", "broker": broker, "version": env!("CARGO_PKG_VERSION") })).into_response()
}

async fn catalogue(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
) -> Result<axum::Json<Vec<TargetSummary>>, ApiError> {
    Ok(axum::Json(fleet.run_as(actor, Act::See, "catalogue", Fleet::targets).await?))
}

/// Strangers are not told which routes there are.
async fn unknown(_: Operator) -> ApiError {
    ApiError::NoSuchRoute
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(PATIENCE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::TooSlow.into_response(),
    }
}
