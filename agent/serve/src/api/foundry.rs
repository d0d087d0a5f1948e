//! `/status`, `/models`, `/openai` and `/foundry`, as clients of Foundry Local speak them.
//!
//! Where Foundry changes something by GET, here a POST does it and the GET is answered 405: a GET is what any web page
//! can send. Paths of the device are not told; their places are empty.

mod count;
mod download;
mod models;
mod refused;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::api::Route;
use crate::app::App;
use crate::router::{only_get, only_post};

pub(crate) const ROUTES: &[Route] = &[
    Route::new("GET", "/status"),
    Route::new("GET", "/models/loaded"),
    Route::new("POST", "/models/load/{id}"),
    Route::new("POST", "/models/unload/{id}"),
    Route::new("GET", "/openai/status"),
    Route::new("GET", "/openai/models"),
    Route::new("GET", "/openai/loadedmodels"),
    Route::new("GET", "/openai/getgpudevice"),
    Route::new("POST", "/openai/load/{id}"),
    Route::new("POST", "/openai/unload/{id}"),
    Route::new("POST", "/openai/unloadall"),
    Route::new("POST", "/openai/download"),
    Route::new("POST", "/openai/register"),
    Route::new("POST", "/openai/setgpudevice/{id}"),
    Route::new("GET", "/foundry/list"),
    Route::new("POST", "/shutdown"),
    Route::new("POST", "/v1/chat/completions/tokenizer/encode/count"),
];

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/status", get(models::status).fallback(only_get))
        .route("/models/loaded", get(models::loaded).fallback(only_get))
        .route("/models/load/{id}", post(models::load).fallback(only_post))
        .route("/models/unload/{id}", post(models::unload).fallback(only_post))
        .route("/openai/status", get(models::older_status).fallback(only_get))
        .route("/openai/models", get(models::names).fallback(only_get))
        .route("/openai/loadedmodels", get(models::loaded).fallback(only_get))
        .route("/openai/getgpudevice", get(models::gpu).fallback(only_get))
        .route("/openai/load/{id}", post(models::load).fallback(only_post))
        .route("/openai/unload/{id}", post(models::unload).fallback(only_post))
        .route("/openai/unloadall", post(models::unload_all).fallback(only_post))
        .route("/openai/download", post(download::download).fallback(only_post))
        .route("/openai/register", post(refused::register).fallback(only_post))
        .route("/openai/setgpudevice/{id}", post(refused::gpu).fallback(only_post))
        .route("/foundry/list", get(models::catalogue).fallback(only_get))
        .route("/shutdown", post(refused::shutdown).fallback(only_post))
        .route("/v1/chat/completions/tokenizer/encode/count", post(count::count).fallback(only_post))
}
