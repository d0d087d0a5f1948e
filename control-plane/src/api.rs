//! The HTTPS API and the console. No route but `/health`, `/login`, `/v1/enrol`, `/v1/renew` and the console's style and script
//! answers without an identity.

mod accounts;
mod audit;
mod blobs;
#[cfg(test)]
mod caller;
mod codes;
mod commands;
mod condition;
mod devices;
mod enrol;
mod enrolment;
mod error;
#[cfg(test)]
mod hostile;
mod idempotency;
mod identity;
mod inventory;
mod models;
mod onefile;
mod openapi;
mod own;
mod page;
mod people;
pub(crate) mod policies;
mod renew;
mod rollouts;
mod routes;
mod signals;
mod tokens;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Extension;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use outpost_contract::limits::ENROL_BYTES;
use serde_json::json;

use crate::catalogue::TargetSummary;
use crate::fleet::Fleet;
use crate::metrics::measured;
use crate::people::Act;
use crate::people::sent::digested;
use crate::shares::Shares;
pub(crate) use audit::{incident_file, report_file};
use condition::{Conditional, conditionally};
pub(crate) use error::{ApiError, from_fleet};
pub(crate) use identity::{Operator, cookie};
use page::Listed;
use routes::{Routes, delete, get, post};

/// Longest time that an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Every route but the console's, once.
fn routes() -> Routes {
    Routes::default()
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
        .route("/v1/devices/{device}/site", get(enrolment::site).put(enrolment::set_site).conditional())
        .route("/v1/devices", get(devices::list))
        .route("/v1/devices/{device}", get(devices::show))
        .route("/v1/devices/{device}/assignment", get(devices::assigned).put(devices::assign).conditional())
        .route("/v1/devices/{device}/revoke", post(devices::revoke))
        .route("/v1/devices/{device}/commands", get(commands::list).post(commands::give))
        .route("/v1/devices/{device}/commands/{id}", get(commands::show))
        .route("/v1/devices/{device}/events", get(commands::events))
        .route("/v1/devices/{device}/labels", get(inventory::labels).patch(inventory::set_labels).conditional())
        .route("/v1/inventory", get(inventory::list))
        .route("/v1/inventory/{device}", get(inventory::show))
        .route("/v1/overview", get(inventory::overview))
        .route("/v1/groups", get(inventory::groups).post(inventory::keep_group))
        .route(
            "/v1/groups/{group}",
            get(inventory::group).put(inventory::put_group).delete(inventory::remove_group).conditional(),
        )
        .route("/v1/selectors/preview", get(inventory::preview))
        .route("/v1/what-if", post(inventory::what_if))
        .route("/v1/policies", get(policies::board))
        .route("/v1/policies/{name}", get(policies::show).put(policies::save).delete(policies::remove).layer(drafts()))
        .route("/v1/policies/{name}/diff", get(policies::diff))
        .route("/v1/policies/{name}/simulate", post(policies::simulate))
        .route("/v1/policies/{name}/approve", post(policies::approve))
        .route("/v1/fleet/diff", post(onefile::diff).layer(fleet_files()))
        .route("/v1/fleet/apply", post(onefile::apply).layer(fleet_files()))
        .route("/v1/fleet/export", get(onefile::export))
        .route("/v1/rollouts", get(rollouts::list).post(rollouts::start))
        .route("/v1/rollouts/{rollout}", get(rollouts::show))
        .route("/v1/rollouts/{rollout}/devices", get(rollouts::devices))
        .route("/v1/rollouts/{rollout}/approve", post(rollouts::approve))
        .route("/v1/rollouts/{rollout}/pause", post(rollouts::pause))
        .route("/v1/rollouts/{rollout}/resume", post(rollouts::resume))
        .route("/v1/rollouts/{rollout}/abort", post(rollouts::abort))
        .route("/v1/rollouts/{rollout}/retry", post(rollouts::retry))
        .route("/v1/catalogue", get(catalogue))
        .route("/v1/approvals/models", get(models::all_approvals))
        .route("/v1/approvals/models/{id}", delete(models::revoke))
        .route("/v1/models/{model}/approvals", get(models::approvals).post(models::approve))
        .route("/v1/models/{model}/withdraw", post(models::withdraw))
        .route("/v1/models/{model}/restore", post(models::restore))
        .route("/v1/catalogue/models", get(models::entries))
        .route("/v1/catalogue/compare", get(models::compare))
        .route("/v1/bom", get(models::bom))
        .route("/v1/devices/{device}/bom", get(models::bom_of_device))
        .route("/v1/withdrawals", get(models::withdrawals))
        .route("/v1/blobs/{blake3}", get(blobs::blob))
        .route("/v1/chunks/{blake3}", get(blobs::chunk))
        .route("/v1/tokens", post(tokens::issue))
        .route("/v1/audit", get(audit::list))
        .route("/v1/audit/search", get(audit::search))
        .route("/v1/audit/report", get(audit::report))
        .route("/v1/audit/devices/{device}", get(audit::show))
        .route("/v1/audit/devices/{device}/incidents", get(audit::incidents))
        .route("/v1/audit/devices/{device}/incidents/{number}", get(audit::incident))
        .route("/v1/audit/devices/{device}/incidents/{number}/{file}", get(audit::evidence))
        .route("/metrics", get(signals::metrics))
        .route("/v1/events", get(signals::events))
        .route("/v1/webhooks", get(signals::webhooks).post(signals::add_webhook))
        .route("/v1/webhooks/{name}", delete(signals::remove_webhook))
        .route("/v1/webhooks/{name}/test", post(signals::test_webhook))
        .route("/v1/webhooks/{name}/pause", post(signals::pause_webhook))
        .route("/v1/webhooks/{name}/retry", post(signals::retry_webhook))
        .route("/v1/webhooks/{name}/deliveries", get(signals::deliveries))
        .route("/v1/people", get(accounts::people).post(accounts::add_person))
        .route(
            "/v1/people/{name}",
            get(accounts::person).patch(accounts::change_person).delete(accounts::remove_person).conditional(),
        )
        .route("/v1/people/{name}/code", post(accounts::reset_person))
        .route("/v1/api-tokens", get(accounts::tokens).post(accounts::make_token))
        .route("/v1/api-tokens/{name}", get(accounts::token).delete(accounts::revoke_token).conditional())
        .route("/v1/sessions", get(own::sessions).delete(own::end_sessions))
        .route("/v1/sessions/{id}", delete(own::end_session))
        .route("/v1/own-records", get(own::records))
        .route("/v1/openapi.json", get(openapi::show))
        .route("/login", get(people::form).post(people::sign_in))
        .route("/login/first", get(people::first_form).post(people::first))
        .route("/login/oidc", get(people::provider::begin))
        .route("/login/oidc/back", get(people::provider::back))
        .route("/logout", post(people::sign_out))
}

/// Everything that is served.
pub(crate) fn router(fleet: Fleet, shares: Shares) -> Router {
    let routes = routes();
    let conditional = Conditional { fleet: fleet.clone(), routes: Arc::new(routes.conditional()) };
    routes
        .into_router()
        .merge(crate::console::router())
        .fallback(unknown)
        .method_not_allowed_fallback(unknown_method)
        .layer(middleware::from_fn_with_state(conditional, conditionally))
        .layer(middleware::from_fn(digested))
        .layer(middleware::from_fn_with_state(fleet.clone(), idempotency::once))
        .layer(DefaultBodyLimit::max(ENROL_BYTES))
        .layer(Extension(shares))
        .layer(middleware::from_fn(in_time))
        .layer(middleware::from_fn_with_state(fleet.clone(), measured))
        .layer(middleware::map_response(as_it_is_said))
        .with_state(fleet)
}

/// Lists may be longer than other bodies: an operator's identity is looked at before the body is read.
fn lists() -> DefaultBodyLimit {
    DefaultBodyLimit::max(enrolment::LIST_BYTES)
}

/// Policy bundles are longer still.
fn drafts() -> DefaultBodyLimit {
    DefaultBodyLimit::max(policies::DRAFT_BYTES)
}

/// So may files of a whole fleet.
fn fleet_files() -> DefaultBodyLimit {
    DefaultBodyLimit::max(crate::onefile::FLEET_FILE_BYTES)
}

/// Also while the broker is not there: devices enrol and operators work without it.
async fn health(State(fleet): State<Fleet>) -> Response {
    let broker = if fleet.inner.linked.load(Ordering::Relaxed) { "connected" } else { "unreachable" };
    axum::Json(json!({ "status": "ok", "broker": broker, "version": env!("CARGO_PKG_VERSION") })).into_response()
}

async fn catalogue(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    asked: page::Asked<String>,
) -> Result<axum::Json<Listed<TargetSummary>>, ApiError> {
    let (after, limit) = page::wanted(asked)?;
    let targets = fleet.run_as(actor, Act::See, "catalogue", Fleet::targets).await?;
    Ok(axum::Json(Listed::cut(targets, after.as_deref(), limit, |target| target.name.to_string())))
}

/// Strangers are not told which routes there are.
async fn unknown(_: Operator) -> ApiError {
    ApiError::NoSuchRoute
}

/// Nor which methods they answer.
async fn unknown_method(_: Operator) -> ApiError {
    ApiError::NoSuchMethod
}

/// No browser guesses that an answer is something else than it is said to be.
async fn as_it_is_said(mut response: Response) -> Response {
    let sniffing = response.headers_mut().entry(header::X_CONTENT_TYPE_OPTIONS);
    sniffing.or_insert(HeaderValue::from_static("nosniff"));
    response
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(PATIENCE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::TooSlow.into_response(),
    }
}
