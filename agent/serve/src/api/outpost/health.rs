//! `GET /health`: whether a question would be answered now. The one route without an identity; it says nothing else.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use outpost_audit::Kind;
use serde_json::json;

use crate::Health;
use crate::app::App;
use crate::error::ApiError;

pub(crate) async fn show(State(app): State<Arc<App>>) -> Response {
    if let Err(error) = app.serving.audit.admits(Kind::InferStart) {
        return ApiError::unrecorded(&error).into_response();
    }
    match app.serving.backend.health().await {
        Health::Ready => Json(json!({ "status": "ok" })).into_response(),
        Health::Loading => ApiError::unavailable("model_loading", "a model is being loaded").into_response(),
        Health::Unavailable { because } => ApiError::unavailable("model_unavailable", because).into_response(),
    }
}
