//! `POST /openai/download`: lines of progress, then an object that says how it went.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::Progress;
use crate::api::fetch::{self, News};
use crate::api::{Family, manage};
use crate::app::App;
use crate::converse::model_name;
use crate::error::ApiError;
use crate::fields::Fields;

pub(crate) async fn download(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Response, ApiError> {
    let (call, model) = manage::read(&app, request, "pull_model", parse).await?;
    let news = fetch::fetch(&app, &call, &model).await?;
    Ok(fetch::told(news, "text/plain; charset=utf-8", line))
}

/// Takes the model's name, or its `Uri` where it has no name; what else clients know of it is the source's to say.
fn parse(object: Map<String, Value>) -> Result<String, ApiError> {
    let mut fields = Fields::new(object);
    fields.ignore(&["ignorePipeReport", "IgnorePipeReport", "bufferSize", "customDirPath"]);
    if fields.text("token")?.is_some_and(|token| !token.is_empty()) {
        return Err(fields.not_served("token", "is not taken here: where models come from is set on the device"));
    }
    let value = fields.take("model").ok_or_else(|| fields.wrong("model", "is missing"))?;
    fields.finish()?;
    let mut model = Fields::within("model", value)?;
    let mut named = None;
    for field in ["Name", "name", "Uri", "uri"] {
        named = named.or(model.text(field)?);
    }
    model_name(named)
}

fn line(news: News) -> String {
    match news {
        News::Progress(Progress::Bytes { digest, total, completed }) if total > 0 => {
            let short: String = digest.chars().take(12).collect();
            format!("(\"{short}\", {:.3})\n", completed as f64 / total as f64)
        }
        News::Progress(_) => String::new(),
        News::Done => format!("{}\n", json!({ "Success": true, "ErrorMessage": null })),
        News::Failed(error) => {
            let message = error.to_json(Family::OpenAi)["error"]["message"].take();
            format!("{}\n", json!({ "Success": false, "ErrorMessage": message }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::anything::holds;

    #[test]
    fn any_wish_for_a_model_is_read_or_refused() {
        let good = json!({
            "model": { "Name": "demo", "Uri": "x" }, "token": "", "ignorePipeReport": true, "bufferSize": 1,
            "customDirPath": "",
        });
        holds(&good, parse);
    }
}
