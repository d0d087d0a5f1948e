//! `POST /api/pull`: fetching a model, told as it goes.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::names;
use crate::Progress;
use crate::api::fetch::{self, News};
use crate::api::{Family, manage};
use crate::app::App;
use crate::error::ApiError;
use crate::fields::{Fields, Neutral};

pub(crate) async fn pull(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Response, ApiError> {
    let (call, (model, stream)) = manage::read(&app, request, "pull_model", parse).await?;
    let mut news = fetch::fetch(&app, &call, &model).await?;
    if stream {
        return Ok(fetch::told(news, "application/x-ndjson", line));
    }
    while let Some(said) = news.recv().await {
        match said {
            News::Progress(_) => {}
            News::Done => return Ok(Json(json!({ "status": "success" })).into_response()),
            News::Failed(error) => return Err(error),
        }
    }
    Err(ApiError::internal())
}

fn parse(object: Map<String, Value>) -> Result<(String, bool), ApiError> {
    let mut fields = Fields::new(object);
    let called = names::called(&mut fields, "model")?;
    fields.refuse("insecure", Neutral::False)?;
    for field in ["username", "password"] {
        if fields.text(field)?.is_some_and(|text| !text.is_empty()) {
            return Err(fields.not_served(field, "is not taken here: where models come from is set on the device"));
        }
    }
    let stream = fields.flag("stream")?.unwrap_or(true);
    fields.finish()?;
    Ok((names::plain(&called), stream))
}

fn line(news: News) -> String {
    let line = match news {
        News::Progress(Progress::Step(step)) => json!({ "status": step }),
        News::Progress(Progress::Bytes { digest, total, completed }) => {
            let short: String = digest.chars().take(12).collect();
            let digest = format!("sha256:{digest}");
            json!({ "status": format!("pulling {short}"), "digest": digest, "total": total, "completed": completed })
        }
        News::Progress(Progress::Called(name)) => {
            json!({ "status": format!("it is called `{name}` here"), "model": name })
        }
        News::Progress(Progress::Found(_) | Progress::Verified(_) | Progress::Done | Progress::Failed(_)) => {
            return String::new();
        }
        News::Done => json!({ "status": "success" }),
        News::Failed(error) => error.to_json(Family::Ollama),
    };
    format!("{line}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::anything::holds;

    #[test]
    fn any_wish_for_a_model_is_read_or_refused() {
        let good = json!({ "model": "demo", "insecure": false, "username": "", "password": "", "stream": false });
        holds(&good, parse);
    }
}
