//! The OpenAI API, as its official clients speak it.

mod chat;
mod models;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::api::Route;
use crate::app::App;
use crate::router::{only_get, only_post};

const MODELS: &str = "/v1/models";
const MODEL: &str = "/v1/models/{id}";
const CHAT: &str = "/v1/chat/completions";

pub(crate) const ROUTES: &[Route] = &[Route::new("GET", MODELS), Route::new("GET", MODEL), Route::new("POST", CHAT)];

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route(MODELS, get(models::list).fallback(only_get))
        .route(MODEL, get(models::show).fallback(only_get))
        .route(CHAT, post(chat::complete).fallback(only_post))
}
