//! Fetching a model: a task of its own passes on how far it is, and records the outcome before it is told.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use outpost_policies::{Action, ModelClass, ModelFacts, Resource};
use tokio::sync::mpsc;

use crate::api::manage::Act;
use crate::app::App;
use crate::error::ApiError;
use crate::handle::Call;
use crate::permit::{self, Wanted};
use crate::{Found, Progress, model};

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
    let called = ruled(name);
    let resource = model::find(app, called).await.resource;
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
    let (asked, whose, called) = (Arc::clone(app), call.clone(), called.to_owned());
    app.tasks.spawn(async move {
        let vetting = Vetting { app: &asked, call: &whose, name: &called };
        let followed = tokio::select! {
            followed = follow(progress, &sender, &mut act, &vetting) => followed,
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

/// The name that rules look at: of a hub's repository, whichever revision and files are meant of it.
fn ruled(name: &str) -> &str {
    let end = if name.starts_with("hf:") { name.find(['@', '#']) } else { None };
    &name[..end.unwrap_or(name.len())]
}

/// Who asked for what: it is asked about again once it is known what it is.
struct Vetting<'a> {
    app: &'a App,
    call: &'a Call,
    name: &'a str,
}

impl Vetting<'_> {
    /// Whether the caller may have what was found.
    async fn of(&self, found: &Found) -> Result<(), ApiError> {
        let facts = ModelFacts {
            id: self.name.to_owned(),
            licence: found.licence.clone(),
            family: found.family.clone(),
            quantisation: found.variant.clone(),
            class: ModelClass::of_parameters(found.parameters),
            ..ModelFacts::default()
        };
        let wanted = Wanted { action: Action::PullModel, resource: Resource::Model(facts), max_tokens: None };
        permit::require(self.app, self.call, wanted).await.map(|_| ())
    }
}

/// Passes on what comes; the outcome, or nothing if the client left.
async fn follow(
    mut progress: mpsc::Receiver<Progress>,
    sender: &mpsc::Sender<News>,
    act: &mut Act,
    vetting: &Vetting<'_>,
) -> Option<Result<(), ApiError>> {
    loop {
        let step = tokio::select! {
            biased;
            () = sender.closed() => return None,
            step = progress.recv() => step,
        };
        match step {
            Some(Progress::Done) => return Some(Ok(())),
            Some(Progress::Failed(because)) => return Some(Err(ApiError::unavailable("pull_failed", because))),
            Some(Progress::Verified(sha256)) => act.verified(sha256),
            Some(Progress::Found(found)) => {
                act.found(&found);
                if let Err(refusal) = vetting.of(&found).await {
                    found.consent.refuse();
                    return Some(Err(refusal));
                }
                found.consent.give();
                let commit: String = found.commit.chars().take(12).collect();
                let told =
                    format!("`{}` of {} at commit {commit}, licence {}", found.path, found.source, found.licence);
                sender.send(News::Progress(Progress::Step(told))).await.ok()?;
            }
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
