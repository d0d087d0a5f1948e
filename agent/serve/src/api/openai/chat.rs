//! `POST /v1/chat/completions`: a conversation in, its continuation out, at once or as a stream.

mod answer;
mod messages;
mod request;
mod stream;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::Response;

use super::choices;
use crate::app::App;
use crate::converse;
use crate::error::ApiError;

pub(in crate::api) use messages::read as conversation;
pub(super) use request::EFFORTS;

pub(crate) async fn complete(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Response, ApiError> {
    let (call, asked) = converse::read(&app, request, request::parse).await?;
    let (n, top, include_usage) = (asked.n, asked.asked.scores, asked.include_usage);
    let questions: Vec<_> = choices::repeat(&asked.asked, n).collect();
    if asked.asked.stream {
        let (common, answers) = choices::begin(&app, &call, questions).await?;
        return Ok(choices::respond(stream::Writer { common, n, include_usage, top }, answers));
    }
    let (common, answers) = choices::whole(&app, &call, &questions).await?;
    Ok(answer::respond(&common, &answers, top))
}
