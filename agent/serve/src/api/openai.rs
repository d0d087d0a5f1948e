//! The OpenAI API, as its official clients speak it.

mod chat;
mod choices;
mod completions;
mod embeddings;
pub(in crate::api) mod format;
pub(in crate::api) mod logprobs;
mod models;
mod parts;
mod responses;
mod sampling;
mod tools;
mod usage;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::api::Route;
use crate::app::App;
use crate::error::ApiError;
use crate::router::{only_get, only_post};

const MODELS: &str = "/v1/models";
const MODEL: &str = "/v1/models/{id}";
const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";
const EMBEDDINGS: &str = "/v1/embeddings";
const RESPONSES: &str = "/v1/responses";
const RESPONSE: &str = "/v1/responses/{id}";
const RESPONSE_INPUT: &str = "/v1/responses/{id}/input_items";
const RESPONSE_CANCEL: &str = "/v1/responses/{id}/cancel";

pub(in crate::api) use chat::conversation;
pub(crate) use responses::Store as Responses;

pub(crate) const ROUTES: &[Route] = &[
    Route::new("GET", MODELS),
    Route::new("GET", MODEL),
    Route::new("POST", CHAT),
    Route::new("POST", COMPLETIONS),
    Route::new("POST", EMBEDDINGS),
    Route::new("POST", RESPONSES),
    Route::new("GET", RESPONSE),
    Route::new("DELETE", RESPONSE),
    Route::new("GET", RESPONSE_INPUT),
    Route::new("POST", RESPONSE_CANCEL),
];

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route(MODELS, get(models::list).fallback(only_get))
        .route(MODEL, get(models::show).fallback(only_get))
        .route(CHAT, post(chat::complete).fallback(only_post))
        .route(COMPLETIONS, post(completions::complete).fallback(only_post))
        .route(EMBEDDINGS, post(embeddings::create).fallback(only_post))
        .route(RESPONSES, post(responses::create).fallback(only_post))
        .route(RESPONSE, get(responses::show).delete(responses::delete).fallback(only_get_or_delete))
        .route(RESPONSE_INPUT, get(responses::input_items).fallback(only_get))
        .route(RESPONSE_CANCEL, post(responses::cancel).fallback(only_post))
}

async fn only_get_or_delete() -> ApiError {
    ApiError::wrong_method("GET, HEAD, DELETE")
}
