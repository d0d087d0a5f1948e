//! `GET /api/tags`, `/api/ps`, `/api/version`, `/` and `POST /api/show`: what there is.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::{Extension, Json};
use jiff::Timestamp;
use outpost_policies::Action;
use serde_json::{Map, Value, json};

use super::names;
use crate::api::manage::{look, read_quietly};
use crate::app::App;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::handle::Call;
use crate::{ModelCard, ModelDetail, Purpose};

/// Until when a model stays that stays as long as there is room: clients read a time, so one that is far away.
const FOREVER_S: i64 = 100 * 365 * 86_400;

pub(crate) async fn running(
    State(app): State<Arc<App>>,
    Extension(call): Extension<Call>,
) -> Result<&'static str, ApiError> {
    look(&app, &call, Action::ReadStatus).await?;
    Ok("Outpost is running")
}

pub(crate) async fn version(
    State(app): State<Arc<App>>,
    Extension(call): Extension<Call>,
) -> Result<Json<Value>, ApiError> {
    look(&app, &call, Action::ReadStatus).await?;
    Ok(Json(json!({ "version": env!("CARGO_PKG_VERSION") })))
}

pub(crate) async fn tags(
    State(app): State<Arc<App>>,
    Extension(call): Extension<Call>,
) -> Result<Json<Value>, ApiError> {
    look(&app, &call, Action::ListModels).await?;
    let models: Vec<Value> = app.serving.backend.models().await.iter().map(card).collect();
    Ok(Json(json!({ "models": models })))
}

pub(crate) async fn loaded(
    State(app): State<Arc<App>>,
    Extension(call): Extension<Call>,
) -> Result<Json<Value>, ApiError> {
    look(&app, &call, Action::ListModels).await?;
    let now_s = app.circumstances().now_s;
    let models = app.serving.backend.loaded().await.into_iter().map(|loaded| {
        let stays_s = loaded.expires_in.and_then(|stays| i64::try_from(stays.as_secs()).ok()).unwrap_or(FOREVER_S);
        let mut model = card(&loaded.card);
        model["size"] = json!(loaded.memory_bytes);
        model["size_vram"] = json!(0);
        model["expires_at"] = json!(time(now_s.saturating_add(stays_s)));
        model["context_length"] = json!(loaded.card.context_tokens);
        model
    });
    Ok(Json(json!({ "models": models.collect::<Value>() })))
}

pub(crate) async fn show(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Json<Value>, ApiError> {
    let (call, model) = read_quietly(&app, request, parse).await?;
    look(&app, &call, Action::ListModels).await?;
    let detail = app.serving.backend.detail(&names::plain(&model?)).await?;
    Ok(Json(described(&detail)))
}

fn parse(object: Map<String, Value>) -> Result<String, ApiError> {
    let mut fields = Fields::new(object);
    let called = names::called(&mut fields, "model")?;
    fields.ignore(&["verbose", "options"]);
    for field in ["system", "template"] {
        if fields.text(field)?.is_some_and(|text| !text.is_empty()) {
            return Err(fields.not_served(field, "changes nothing of a model that is only shown: leave it out"));
        }
    }
    fields.finish()?;
    Ok(called)
}

fn described(detail: &ModelDetail) -> Value {
    let parameters = parameters(detail);
    let mut modelfile = format!("FROM {}\n", detail.card.parent.as_deref().unwrap_or(&detail.card.id));
    for line in parameters.lines() {
        modelfile.push_str(&format!("PARAMETER {line}\n"));
    }
    if !detail.system.is_empty() {
        modelfile.push_str(&format!("SYSTEM \"\"\"{}\"\"\"\n", detail.system));
    }
    json!({
        "license": detail.licence,
        "modelfile": modelfile,
        "parameters": parameters,
        "template": detail.template,
        "system": detail.system,
        "details": details(&detail.card),
        "model_info": detail.keys,
        "capabilities": capabilities(&detail.card),
        "modified_at": time(detail.card.created_s),
    })
}

/// Presets, a line each.
fn parameters(detail: &ModelDetail) -> String {
    let sampling = &detail.sampling;
    let float = |value: Option<f32>| value.map(|value| value.to_string());
    let whole = |value: Option<u32>| value.map(|value| value.to_string());
    let presets = [
        ("temperature", float(sampling.temperature)),
        ("top_p", float(sampling.top_p)),
        ("top_k", whole(sampling.top_k)),
        ("min_p", float(sampling.min_p)),
        ("repeat_penalty", float(sampling.repetition_penalty)),
        ("repeat_last_n", whole(sampling.repetition_window)),
        ("presence_penalty", float(sampling.presence_penalty)),
        ("frequency_penalty", float(sampling.frequency_penalty)),
        ("seed", sampling.seed.map(|seed| seed.to_string())),
    ];
    let presets = presets.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value?)));
    let stops = detail.stop.iter().map(|stop| format!("stop {}", json!(stop)));
    presets.chain(stops).collect::<Vec<_>>().join("\n")
}

fn card(card: &ModelCard) -> Value {
    json!({
        "name": card.id,
        "model": card.id,
        "modified_at": time(card.created_s),
        "size": card.file_bytes,
        "digest": card.file_sha256,
        "details": details(card),
        "capabilities": capabilities(card),
    })
}

fn details(card: &ModelCard) -> Value {
    json!({
        "parent_model": card.parent.clone().unwrap_or_default(),
        "format": "gguf",
        "family": card.family,
        "families": [card.family],
        "parameter_size": size(card.parameters),
        "quantization_level": card.variant,
        "context_length": card.context_tokens,
        "embedding_length": card.width,
    })
}

fn capabilities(card: &ModelCard) -> Vec<&'static str> {
    let purpose = match card.purpose {
        Purpose::Generation => "completion",
        Purpose::Embedding => "embedding",
    };
    let more = [("tools", card.tools), ("thinking", card.thinking)];
    [purpose].into_iter().chain(more.into_iter().filter_map(|(word, can)| can.then_some(word))).collect()
}

/// A number of weights as people say it.
fn size(parameters: u64) -> String {
    let number = parameters as f64;
    match parameters {
        1_000_000_000.. => format!("{:.1}B", number / 1e9),
        1_000_000.. => format!("{:.2}M", number / 1e6),
        1_000.. => format!("{:.0}K", number / 1e3),
        _ => parameters.to_string(),
    }
}

/// A time as clients read it; one that no calendar has is the beginning of time.
pub(super) fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::anything::holds;

    #[test]
    fn any_question_about_a_model_is_read_or_refused() {
        let good =
            json!({ "model": "demo", "name": "demo", "verbose": true, "options": {}, "system": "", "template": "" });
        holds(&good, parse);
    }
}
