//! `POST /api/embed` and the older `/api/embeddings`: texts in, vectors out.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use outpost_policies::Action;
use serde_json::{Map, Value, json};

use super::answer::nanoseconds;
use super::{names, options};
use crate::app::App;
use crate::converse;
use crate::embed;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::handle::Call;
use crate::{EmbedInput, EmbedRequest, Embeddings};

/// Texts of one request.
const INPUTS: usize = 2048;

pub(crate) async fn embed(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Json<Value>, ApiError> {
    let (called, call, made) = vectors(&app, request, "input").await?;
    Ok(Json(json!({
        "model": called,
        "embeddings": made.vectors,
        "total_duration": nanoseconds(call.started.elapsed()),
        "load_duration": nanoseconds(made.load_time),
        "prompt_eval_count": made.prompt_tokens,
    })))
}

pub(crate) async fn embeddings(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Json<Value>, ApiError> {
    let (_, _, mut made) = vectors(&app, request, "prompt").await?;
    Ok(Json(json!({ "embedding": made.vectors.pop() })))
}

async fn vectors(
    app: &Arc<App>,
    request: Request<Body>,
    field: &'static str,
) -> Result<(String, Call, Embeddings), ApiError> {
    let (call, (called, mut request)) =
        converse::read_for(app, Action::Embed, request, |object| parse(object, field)).await?;
    request.request_id = call.id.to_string();
    let made = embed::embed(app, &call, request).await?;
    Ok((called, call, made))
}

pub(super) fn parse(object: Map<String, Value>, field: &'static str) -> Result<(String, EmbedRequest), ApiError> {
    let mut fields = Fields::new(object);
    let called = names::called(&mut fields, "model")?;
    let texts = match fields.take(field) {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(list)) if field == "input" && list.len() <= INPUTS => {
            let texts: Option<Vec<String>> = list.into_iter().map(|value| value.as_str().map(str::to_owned)).collect();
            texts.unwrap_or_default()
        }
        _ => Vec::new(),
    };
    if texts.is_empty() || texts.iter().any(String::is_empty) {
        let many = if field == "input" { format!(", or a list of 1 to {INPUTS} such texts") } else { String::new() };
        return Err(fields.wrong(field, &format!("has to be a text that is not empty{many}")));
    }
    let truncate = fields.flag("truncate")?.unwrap_or(true);
    let dimensions = fields.count("dimensions", 0)?.filter(|dimensions| *dimensions > 0);
    if dimensions.is_some_and(|dimensions| dimensions > 65_536) {
        return Err(fields.wrong("dimensions", "is more than any model here has"));
    }
    let keep_alive = options::keep_alive(&mut fields)?;
    // Nothing is drawn for a vector: read for misspelt names only.
    options::options(&mut fields, "options")?;
    fields.finish()?;
    let inputs = texts.into_iter().map(EmbedInput::Text).collect();
    let model = names::plain(&called);
    Ok((called, EmbedRequest { model, inputs, truncate, dimensions, keep_alive, request_id: String::new() }))
}
