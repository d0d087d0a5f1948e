//! `POST /v1/chat/completions`: a conversation in, its continuation out, at once or as a stream.

mod answer;
mod request;
mod stream;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::Response;

use crate::app::App;
use crate::converse;
use crate::error::ApiError;

pub(crate) async fn complete(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Response, ApiError> {
    let (call, asked) = converse::read(&app, request, request::parse).await?;
    let answer = converse::begin(&app, &call, &asked.asked).await?;
    if asked.asked.stream { Ok(stream::respond(answer, asked.include_usage)) } else { answer::respond(answer).await }
}
