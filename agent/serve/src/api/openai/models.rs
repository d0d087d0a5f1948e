//! `GET /v1/models` and `GET /v1/models/{id}`: what can be asked.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use outpost_policies::{Action, Resource};
use serde_json::{Value, json};

use crate::app::App;
use crate::error::ApiError;
use crate::handle::Call;
use crate::permit::{self, Wanted};
use crate::{BackendError, ModelCard, Purpose};

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Extension(call): Extension<Call>,
) -> Result<Json<Value>, ApiError> {
    let _permit = permit::require(&app, &call, wanted(&app)).await?;
    let models: Vec<Value> = app.serving.backend.models().await.iter().map(card).collect();
    Ok(Json(json!({ "object": "list", "data": models })))
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Extension(call): Extension<Call>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let _permit = permit::require(&app, &call, wanted(&app)).await?;
    let Ok(Path(id)) = id else { return Err(ApiError::no_model("the model's name in the path is no text")) };
    let models = app.serving.backend.models().await;
    match models.iter().find(|model| model.id == id) {
        Some(model) => Ok(Json(card(model))),
        None => Err(BackendError::UnknownModel { model: id.chars().take(100).collect() }.into()),
    }
}

fn wanted(app: &App) -> Wanted {
    let resource = Resource::Device { id: app.serving.device.clone() };
    Wanted { action: Action::ListModels, resource, max_tokens: None }
}

fn card(model: &ModelCard) -> Value {
    json!({
        "id": model.id,
        "object": "model",
        "created": model.created_s,
        "owned_by": "outpost",
        "meta": {
            "variant": model.variant,
            "family": model.family,
            "licence": model.licence,
            "purpose": match model.purpose {
                Purpose::Generation => "generation",
                Purpose::Embedding => "embedding",
            },
            "tools": model.tools,
            "thinking": model.thinking,
            "loaded": model.loaded,
            "context_tokens": model.context_tokens,
            "parameters": model.parameters,
            "file_sha256": model.file_sha256,
        },
    })
}
