//! Fetching a model: a task of its own passes on how far it is, and records the outcome before it is told.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use outpost_policies::Action;
use tokio::sync::mpsc;

use crate::api::manage::Act;
use crate::app::App;
use crate::error::ApiError;
use crate::handle::Call;
use crate::{Progress, model};

/// News that waits for a client who reads slowly.
const NEWS: usize = 32;

/// What is told of a fetch.
#[derive(Debug)]
pub(crate) enum News {
    /// How far it is; never an end.
    Progress(Progress),
    /// The model is here, and that is on record.
    Done,
    /// It is not, and that is on record.
    Failed(ApiError),
}

/// Begins to fetch a model. Dropping the news gives up, which is recorded.
///
/// # Errors
/// Every refusal, once it is on record.
pub(crate) async fn fetch(app: &Arc<App>, call: &Call, name: &str) -> Result<mpsc::Receiver<News>, ApiError> {
    let resource = model::find(app, name).await.resource;
    let (permit, mut act) = Act::begin(app, call, Action::PullModel, "pull_model", resource).await?;
    let progress = match app.serving.backend.pull(permit, name).await {
        Ok(progress) => progress,
        Err(error) => {
            act.end::<()>(Err(error.into())).await?;
            return Err(ApiError::internal());
        }
    };
    let (sender, news) = mpsc::channel(NEWS);
    let giving_up = app.giving_up.clone();
    app.tasks.spawn(async move {
        let followed = tokio::select! {
            followed = follow(progress, &sender) => followed,
            () = giving_up.cancelled() => {
                Some(Err(ApiError::unavailable("shutting_down", "the device is shutting down: ask again in a minute")))
            }
        };
        let Some(outcome) = followed else { return act.left().await };
        let last = match act.end(outcome).await {
            Ok(()) => News::Done,
            Err(error) => News::Failed(error),
        };
        // Whoever left by now has missed only the news.
        let _ = sender.send(last).await;
    });
    Ok(news)
}

/// Passes on what comes; the outcome, or nothing if the client left.
async fn follow(mut progress: mpsc::Receiver<Progress>, sender: &mpsc::Sender<News>) -> Option<Result<(), ApiError>> {
    loop {
        let step = tokio::select! {
            biased;
            () = sender.closed() => return None,
            step = progress.recv() => step,
        };
        match step {
            Some(Progress::Done) => return Some(Ok(())),
            Some(Progress::Failed(because)) => return Some(Err(ApiError::unavailable("pull_failed", because))),
            Some(step) => sender.send(News::Progress(step)).await.ok()?,
            None => return Some(Err(ApiError::internal())),
        }
    }
}

/// Answers with the news as it comes, each written by `write`.
pub(crate) fn told(news: mpsc::Receiver<News>, content_type: &'static str, write: fn(News) -> String) -> Response {
    let written = stream::unfold(news, move |mut news| async move {
        let line = write(news.recv().await?);
        Some((Ok::<_, Infallible>(Bytes::from(line)), news))
    });
    let mut response = Response::new(Body::from_stream(written));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
