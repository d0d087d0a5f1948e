//! `/api`, as clients of Ollama speak it.
//!
//! A load is permitted to whoever may ask the model, since asking loads it as well; taking a model out of memory takes
//! it from others too, and needs `switch_model`. A model made here needs `pull_model`, as one that is fetched does.

mod answer;
mod chat;
mod embed;
mod generate;
mod load;
mod models;
mod names;
pub(crate) mod options;
mod pull;
mod tools;

use std::sync::Arc;

use axum::Router;
use axum::routing::{delete, get, post};

use crate::api::Route;
use crate::app::App;
use crate::error::ApiError;
use crate::router::{only_get, only_post};

pub(crate) const ROUTES: &[Route] = &[
    Route::new("GET", "/"),
    Route::new("GET", "/api/version"),
    Route::new("GET", "/api/tags"),
    Route::new("GET", "/api/ps"),
    Route::new("POST", "/api/show"),
    Route::new("POST", "/api/generate"),
    Route::new("POST", "/api/chat"),
    Route::new("POST", "/api/embed"),
    Route::new("POST", "/api/embeddings"),
    Route::new("POST", "/api/pull"),
    Route::new("POST", "/api/create"),
    Route::new("POST", "/api/copy"),
    Route::new("DELETE", "/api/delete"),
];

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(models::running).fallback(only_get))
        .route("/api/version", get(models::version).fallback(only_get))
        .route("/api/tags", get(models::tags).fallback(only_get))
        .route("/api/ps", get(models::loaded).fallback(only_get))
        .route("/api/show", post(models::show).fallback(only_post))
        .route("/api/generate", post(generate::generate).fallback(only_post))
        .route("/api/chat", post(chat::chat).fallback(only_post))
        .route("/api/embed", post(embed::embed).fallback(only_post))
        .route("/api/embeddings", post(embed::embeddings).fallback(only_post))
        .route("/api/pull", post(pull::pull).fallback(only_post))
        .route("/api/create", post(names::create).fallback(only_post))
        .route("/api/copy", post(names::copy).fallback(only_post))
        .route("/api/delete", delete(names::delete).fallback(only_delete))
}

async fn only_delete() -> ApiError {
    ApiError::wrong_method("DELETE")
}
