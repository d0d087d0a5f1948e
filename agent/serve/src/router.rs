//! Which path is answered by which file of `api/`.

use std::sync::Arc;

use axum::Router;
use axum::extract::OriginalUri;
use axum::routing::{get, post};

use crate::api;
use crate::app::App;
use crate::error::ApiError;

/// The routes. The table that tests walk is [`api::ROUTES`].
pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route(api::HEALTH, get(api::health::show).fallback(only_get))
        .route(api::MODELS, get(api::openai::models::list).fallback(only_get))
        .route(api::MODEL, get(api::openai::models::show).fallback(only_get))
        .route(api::CHAT, post(api::openai::chat::complete).fallback(only_post))
        .route(api::STATUS, get(api::outpost::status::show).fallback(only_get))
        .route(api::CHECKPOINT, get(api::outpost::checkpoint::show).fallback(only_get))
        .fallback(no_route)
}

async fn only_get() -> ApiError {
    ApiError::wrong_method("GET, HEAD")
}

async fn only_post() -> ApiError {
    ApiError::wrong_method("POST")
}

async fn no_route(OriginalUri(uri): OriginalUri) -> ApiError {
    ApiError::no_route(uri.path())
}
