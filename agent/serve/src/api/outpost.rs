//! Our own routes: how the device is, what it recorded, and the signed documents that it takes.

mod bundle;
mod checkpoint;
mod content;
mod dead_letters;
mod description;
mod erase;
mod governance;
mod health;
mod metrics;
mod status;
mod update;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use outpost_audit::AuditError;

use crate::api::Route;
use crate::app::App;
use crate::router::{only_get, only_post};

const HEALTH: &str = "/health";
const METRICS: &str = "/metrics";
const STATUS: &str = "/outpost/status";
const CHECKPOINT: &str = "/outpost/audit/checkpoint";
const CONTENT: &str = "/outpost/audit/content/{id}";
const ERASE: &str = "/outpost/audit/erase";
const PRUNE: &str = "/outpost/audit/prune";
const DESCRIPTION: &str = "/openapi.json";
const BUNDLE_IMPORT: &str = "/outpost/bundle/import";
const BUNDLE_EXPORT: &str = "/outpost/bundle/export";
const DEAD_LETTERS_CLEAR: &str = "/outpost/link/dead-letters/clear";
const UPDATE: &str = "/outpost/update";
const LOCKS: &str = "/outpost/locks";
const BREAK_GLASS: &str = "/outpost/break-glass";
const BREAK_GLASS_CLOSE: &str = "/outpost/break-glass/close";
const POLICY: &str = "/outpost/policy";
const POLICY_ROLL_BACK: &str = "/outpost/policy/rollback";

pub(crate) const ROUTES: &[Route] = &[
    Route {
        identified: false,
        unrecorded: Some(
            "asked every few seconds by whoever keeps the device running, without an identity; says one word",
        ),
        ..Route::new("GET", HEALTH)
    },
    Route::new("GET", STATUS),
    Route {
        unrecorded: Some("scraped every few seconds for ever; holds counts, nobody's content"),
        ..Route::new("GET", METRICS)
    },
    Route::new("GET", CHECKPOINT),
    Route::new("GET", CONTENT),
    Route::new("POST", ERASE),
    Route::new("POST", PRUNE),
    Route::new("GET", DESCRIPTION),
    Route::new("POST", LOCKS),
    Route::new("POST", BREAK_GLASS),
    Route::new("POST", BREAK_GLASS_CLOSE),
    Route::new("POST", POLICY),
    Route::new("POST", POLICY_ROLL_BACK),
    Route::new("POST", BUNDLE_IMPORT),
    Route::new("POST", BUNDLE_EXPORT),
    Route::new("POST", UPDATE),
    Route::new("POST", DEAD_LETTERS_CLEAR),
];

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route(HEALTH, get(health::show).fallback(only_get))
        .route(METRICS, get(metrics::show).fallback(only_get))
        .route(STATUS, get(status::show).fallback(only_get))
        .route(CHECKPOINT, get(checkpoint::show).fallback(only_get))
        .route(CONTENT, get(content::show).fallback(only_get))
        .route(ERASE, post(erase::erase).fallback(only_post))
        .route(PRUNE, post(erase::prune).fallback(only_post))
        .route(DESCRIPTION, get(description::show).fallback(only_get))
        .route(LOCKS, post(governance::apply_locks).fallback(only_post))
        .route(BREAK_GLASS, post(governance::open_override).fallback(only_post))
        .route(BREAK_GLASS_CLOSE, post(governance::close_override).fallback(only_post))
        .route(POLICY, post(governance::activate_policy).fallback(only_post))
        .route(POLICY_ROLL_BACK, post(governance::roll_back_policy).fallback(only_post))
        .route(BUNDLE_IMPORT, post(bundle::import).fallback(only_post))
        .route(BUNDLE_EXPORT, post(bundle::export).fallback(only_post))
        .route(UPDATE, post(update::update).fallback(only_post))
        .route(DEAD_LETTERS_CLEAR, post(dead_letters::clear).fallback(only_post))
}

/// Does something with the log's disk off the threads that serve; a panic goes on to whoever asked.
async fn aside<T: Send + 'static>(
    doing: impl FnOnce() -> Result<T, AuditError> + Send + 'static,
) -> Result<T, AuditError> {
    match tokio::task::spawn_blocking(doing).await {
        Ok(done) => done,
        Err(broken) => match broken.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(AuditError::Closed),
        },
    }
}
