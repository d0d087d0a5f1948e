//! `POST /v1/completions`: texts to be continued as they are, and how likely their tokens were.

mod answer;
mod logprobs;
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

pub(super) use request::tokens;

pub(crate) async fn complete(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Response, ApiError> {
    let (call, asked) = converse::read(&app, request, request::parse).await?;
    let result = if asked.stream {
        choices::begin(&app, &call, asked.questions.clone())
            .await
            .map(|(common, answers)| choices::respond(stream::Writer::new(common, asked), answers))
    } else {
        let answers = choices::whole(&app, &call, &asked.questions).await;
        answers.map(|(common, answers)| answer::respond(&common, &asked, &answers))
    };
    // What chats call `messages` is the prompt here.
    result.map_err(|error| error.renamed("messages", "prompt"))
}
