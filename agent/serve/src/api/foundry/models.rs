//! Which models there are, and loading and unloading them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use outpost_policies::Action;
use serde_json::{Value, json};

use crate::api::manage::{self, look};
use crate::app::App;
use crate::converse::model_name;
use crate::error::ApiError;
use crate::handle::Call;
use crate::{KeepAlive, LoadOutcome, ModelCard, Purpose, model};

type Answer = Result<Json<Value>, ApiError>;
type Named = Result<Path<String>, PathRejection>;

pub(crate) async fn status(State(app): State<Arc<App>>, Extension(call): Extension<Call>) -> Answer {
    look(&app, &call, Action::ReadStatus).await?;
    Ok(Json(json!({ "modelCachePath": "", "endpoints": [], "pid": 0 })))
}

pub(crate) async fn older_status(State(app): State<Arc<App>>, Extension(call): Extension<Call>) -> Answer {
    look(&app, &call, Action::ReadStatus).await?;
    Ok(Json(json!({ "Endpoints": [], "ModelDirPath": "", "PipeName": "" })))
}

/// No GPU is used, which clients read as −1.
pub(crate) async fn gpu(State(app): State<Arc<App>>, Extension(call): Extension<Call>) -> Answer {
    look(&app, &call, Action::ReadStatus).await?;
    Ok(Json(json!(-1)))
}

pub(crate) async fn names(State(app): State<Arc<App>>, Extension(call): Extension<Call>) -> Answer {
    look(&app, &call, Action::ListModels).await?;
    Ok(Json(app.serving.backend.models().await.into_iter().map(|model| model.id).collect()))
}

pub(crate) async fn loaded(State(app): State<Arc<App>>, Extension(call): Extension<Call>) -> Answer {
    look(&app, &call, Action::ListModels).await?;
    Ok(Json(app.serving.backend.loaded().await.into_iter().map(|model| model.card.id).collect()))
}

pub(crate) async fn catalogue(State(app): State<Arc<App>>, Extension(call): Extension<Call>) -> Answer {
    look(&app, &call, Action::ListModels).await?;
    let models: Value = app.serving.backend.models().await.iter().map(entry).collect();
    Ok(Json(json!({ "models": models })))
}

fn entry(card: &ModelCard) -> Value {
    json!({
        "name": card.id,
        "displayName": card.id,
        "alias": card.parent.as_deref().unwrap_or(&card.id),
        "version": card.file_sha256,
        "modelType": "GGUF",
        "task": match card.purpose {
            Purpose::Generation => "chat-completion",
            Purpose::Embedding => "embeddings",
        },
        "runtime": { "deviceType": "CPU", "executionProvider": "CPU" },
        "fileSizeMb": card.file_bytes / 1_000_000,
        "license": card.licence,
        "supportsToolCalling": card.tools,
        "parentModelUri": "",
    })
}

pub(crate) async fn load(
    State(app): State<Arc<App>>,
    Extension(call): Extension<Call>,
    named: Named,
    query: Result<Query<HashMap<String, String>>, QueryRejection>,
) -> Answer {
    let model = name(named)?;
    let Ok(Query(query)) = query else { return Err(ApiError::invalid("ttl", "what goes after `?` cannot be read")) };
    let keep = match query.get("ttl").map(|ttl| ttl.parse::<u32>()) {
        None => None,
        Some(Ok(seconds)) => Some(KeepAlive::For(Duration::from_secs(seconds.into()))),
        Some(Err(_)) => return Err(ApiError::invalid("ttl", "`ttl` has to be a whole number of seconds")),
    };
    Ok(Json(match manage::load(&app, &call, model, keep).await? {
        LoadOutcome::Loaded(_) => json!({ "status": "loaded" }),
        LoadOutcome::AlreadyLoaded => json!({ "status": "already_loaded" }),
    }))
}

pub(crate) async fn unload(State(app): State<Arc<App>>, Extension(call): Extension<Call>, named: Named) -> Answer {
    let was_there = take_out(&app, &call, name(named)?).await?;
    Ok(Json(json!({ "status": if was_there { "unloaded" } else { "not_loaded" } })))
}

/// One act for each model, so that each has its permit and its records; the first refusal ends it.
pub(crate) async fn unload_all(State(app): State<Arc<App>>, Extension(call): Extension<Call>) -> Answer {
    look(&app, &call, Action::ListModels).await?;
    for model in app.serving.backend.loaded().await {
        take_out(&app, &call, model.card.id).await?;
    }
    Ok(Json(json!({ "status": "unloaded" })))
}

async fn take_out(app: &Arc<App>, call: &Call, name: String) -> Result<bool, ApiError> {
    let resource = model::find(app, &name).await.resource;
    manage::act(app, call, (Action::SwitchModel, "unload_model"), resource, |backend, permit| async move {
        backend.unload(permit, &name).await
    })
    .await
}

fn name(named: Named) -> Result<String, ApiError> {
    let Ok(Path(name)) = named else { return Err(ApiError::no_model("the model's name in the path is no text")) };
    model_name(Some(name))
}
