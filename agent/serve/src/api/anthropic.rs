//! `/v1/messages`, as clients of Anthropic speak it.

mod answer;
mod content;
mod request;
mod stream;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::Response;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::api::{Route, count};
use crate::app::App;
use crate::converse;
use crate::error::ApiError;
use crate::router::only_post;

const MESSAGES: &str = "/v1/messages";
const COUNT: &str = "/v1/messages/count_tokens";

pub(crate) const ROUTES: &[Route] = &[Route::new("POST", MESSAGES), Route::new("POST", COUNT)];

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route(MESSAGES, post(messages).fallback(only_post))
        .route(COUNT, post(count_tokens).fallback(only_post))
}

async fn messages(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Response, ApiError> {
    let (call, asked) = converse::read(&app, request, request::parse).await?;
    let answer = converse::begin(&app, &call, &asked).await?;
    if asked.stream { Ok(stream::respond(answer)) } else { answer::respond(answer).await }
}

async fn count_tokens(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Json<Value>, ApiError> {
    let (call, asked) = converse::read(&app, request, request::parse_count).await?;
    let tokens = count::count(&app, &call, &asked.model, asked.prompt).await?;
    Ok(Json(json!({ "input_tokens": tokens })))
}
