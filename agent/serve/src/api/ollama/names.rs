//! Names of models, and `POST /api/create`, `POST /api/copy`, `DELETE /api/delete`, which give and take them.
//!
//! The one rule: `demo:latest` means `demo`. Any other tag is part of the name.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use outpost_policies::{Action, Resource};
use serde_json::{Map, Value, json};

use super::options;
use crate::NewModel;
use crate::api::manage;
use crate::app::App;
use crate::converse::model_name;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::handle::Call;
use crate::model;

/// Reads a model's name, which older clients call `name`.
pub(super) fn called(fields: &mut Fields, field: &'static str) -> Result<String, ApiError> {
    let older = fields.text("name")?;
    let called = fields.text(field)?.filter(|name| !name.is_empty()).or(older);
    let called = model_name(called)?;
    if plain(&called).is_empty() {
        return Err(fields.wrong(field, "has only a tag: a name goes before it"));
    }
    Ok(called)
}

/// The name without the tag that says nothing.
pub(super) fn plain(called: &str) -> String {
    called.strip_suffix(":latest").unwrap_or(called).to_owned()
}

pub(crate) async fn create(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Response, ApiError> {
    let (call, (new, stream)) = manage::read(&app, request, "create_model", parse_new).await?;
    make(&app, &call, "create_model", new).await?;
    let done = json!({ "status": "success" });
    if stream {
        return Ok(([(CONTENT_TYPE, "application/x-ndjson")], format!("{done}\n")).into_response());
    }
    Ok(Json(done).into_response())
}

pub(crate) async fn copy(State(app): State<Arc<App>>, request: Request<Body>) -> Result<(), ApiError> {
    let (call, new) = manage::read(&app, request, "copy_model", parse_copy).await?;
    make(&app, &call, "copy_model", new).await
}

pub(crate) async fn delete(State(app): State<Arc<App>>, request: Request<Body>) -> Result<(), ApiError> {
    let (call, called) = manage::read(&app, request, "delete_model", parse_name).await?;
    let resource = model::find(&app, &called).await.resource;
    manage::act(&app, &call, (Action::DeleteModel, "delete_model"), resource, |backend, permit| async move {
        backend.delete(permit, &called).await
    })
    .await
}

/// Makes a model: under its new name, with all that is known of the one that it comes from.
async fn make(app: &Arc<App>, call: &Call, word: &'static str, new: NewModel) -> Result<(), ApiError> {
    let mut resource = model::find(app, &new.from).await.resource;
    if let Resource::Model(facts) = &mut resource {
        facts.id.clone_from(&new.name);
    }
    manage::act(app, call, (Action::PullModel, word), resource, |backend, permit| async move {
        backend.create(permit, new).await
    })
    .await
}

fn parse_name(object: Map<String, Value>) -> Result<String, ApiError> {
    let mut fields = Fields::new(object);
    let called = called(&mut fields, "model")?;
    fields.finish()?;
    Ok(plain(&called))
}

fn parse_copy(object: Map<String, Value>) -> Result<NewModel, ApiError> {
    let mut fields = Fields::new(object);
    let mut named = |field| {
        let name = fields.text(field)?.filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| fields.wrong(field, "has to be the name of a model"))?;
        model_name(Some(name)).map(|name| plain(&name))
    };
    let (from, name) = (named("source")?, named("destination")?);
    fields.finish()?;
    Ok(NewModel { name, from, ..NewModel::default() })
}

fn parse_new(object: Map<String, Value>) -> Result<(NewModel, bool), ApiError> {
    let mut fields = Fields::new(object);
    let name = plain(&called(&mut fields, "model")?);
    let from = fields.text("from")?.filter(|from| !from.is_empty());
    let elsewhere = "is not taken here: a model's file comes with `/api/pull`, checked; then name it in `from`";
    for (field, what) in [
        ("files", elsewhere),
        ("adapters", "is not implemented here: leave it out"),
        ("quantize", "is not done on a device: pull a variant that is quantized so"),
        ("quantization", "is not done on a device: pull a variant that is quantized so"),
        ("template", "is not taken here: a model keeps its own"),
        ("license", "is not taken here: a model keeps the licence of the one that it is made from"),
        ("messages", "is not implemented here: say it in `system`"),
        ("modelfile", "is not read here: send `from`, `system` and `parameters`"),
        ("path", elsewhere),
    ] {
        if fields.take(field).is_some_and(|value| !blank(&value)) {
            return Err(fields.not_served(field, what));
        }
    }
    let from = from.ok_or_else(|| fields.wrong("from", "has to be the name of a model that is here"))?;
    let from = plain(&model_name(Some(from))?);
    let system = fields.text("system")?.filter(|system| !system.is_empty());
    let presets = options::options(&mut fields, "parameters")?;
    if presets.max_tokens.is_some() {
        return Err(fields.not_served("parameters", "cannot hold `num_predict`: whoever asks says how much"));
    }
    let stream = fields.flag("stream")?.unwrap_or(true);
    fields.finish()?;
    Ok((NewModel { name, from, system, sampling: presets.sampling, stop: presets.stop }, stream))
}

fn blank(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::anything::holds;

    #[test]
    fn any_name_to_give_or_take_is_read_or_refused() {
        let new = json!({
            "model": "new", "from": "demo", "system": "Be brief.", "parameters": { "temperature": 0.5, "stop": ["END"] },
            "stream": false, "files": {}, "adapters": {}, "quantize": "", "template": "", "license": [], "messages": [],
            "modelfile": "", "path": "",
        });
        holds(&new, parse_new);
        holds(&json!({ "source": "demo", "destination": "new:latest" }), parse_copy);
        holds(&json!({ "model": "new:latest" }), parse_name);
    }
}
