//! Our own routes: reading how the device is and what it recorded. Nothing here changes anything.

mod checkpoint;
mod description;
mod health;
mod metrics;
mod status;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use crate::api::Route;
use crate::app::App;
use crate::router::only_get;

const HEALTH: &str = "/health";
const METRICS: &str = "/metrics";
const STATUS: &str = "/outpost/status";
const CHECKPOINT: &str = "/outpost/audit/checkpoint";
const DESCRIPTION: &str = "/openapi.json";

pub(crate) const ROUTES: &[Route] = &[
    Route { identified: false, ..Route::new("GET", HEALTH) },
    Route::new("GET", STATUS),
    Route::new("GET", METRICS),
    Route::new("GET", CHECKPOINT),
    Route::new("GET", DESCRIPTION),
];

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route(HEALTH, get(health::show).fallback(only_get))
        .route(METRICS, get(metrics::show).fallback(only_get))
        .route(STATUS, get(status::show).fallback(only_get))
        .route(CHECKPOINT, get(checkpoint::show).fallback(only_get))
        .route(DESCRIPTION, get(description::show).fallback(only_get))
}
