//! Which path is answered by which file of `api/`.

use std::sync::Arc;

use axum::Router;
use axum::extract::OriginalUri;

use crate::api;
use crate::app::App;
use crate::error::ApiError;

/// The routes of every family.
pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .merge(api::openai::router())
        .merge(api::ollama::router())
        .merge(api::foundry::router())
        .merge(api::anthropic::router())
        .merge(api::outpost::router())
        .fallback(no_route)
}

/// For `.fallback` of a path that is only read.
pub(crate) async fn only_get() -> ApiError {
    ApiError::wrong_method("GET, HEAD")
}

/// For `.fallback` of a path that is only posted to.
pub(crate) async fn only_post() -> ApiError {
    ApiError::wrong_method("POST")
}

async fn no_route(OriginalUri(uri): OriginalUri) -> ApiError {
    ApiError::no_route(uri.path())
}
