//! The HTTPS API and the console. No route but `/health`, `/v1/enrol`, `/v1/renew` and the console's style and script answers
//! without an identity.

mod blobs;
mod codes;
mod commands;
mod devices;
mod enrol;
mod error;
mod identity;
mod renew;
mod tokens;

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Extension;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
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
        .route("/v1/devices", get(devices::list))
        .route("/v1/devices/{device}", get(devices::show))
        .route("/v1/devices/{device}/assignment", put(devices::assign))
        .route("/v1/devices/{device}/revoke", post(devices::revoke))
        .route("/v1/devices/{device}/commands", get(commands::list).post(commands::give))
        .route("/v1/devices/{device}/commands/{id}", get(commands::show))
        .route("/v1/devices/{device}/events", get(commands::events))
        .route("/v1/catalogue", get(catalogue))
        .route("/v1/blobs/{blake3}", get(blobs::blob))
        .route("/v1/chunks/{blake3}", get(blobs::chunk))
        .route("/v1/tokens", post(tokens::issue))
        .merge(crate::console::router())
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .layer(DefaultBodyLimit::max(ENROL_BYTES))
        .layer(Extension(shares))
        .layer(middleware::from_fn(in_time))
        .with_state(fleet)
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
