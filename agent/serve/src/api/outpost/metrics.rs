//! `GET /metrics`: what was measured, for Prometheus. Whoever may read the device's status may read it.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use outpost_policies::{Action, Resource};
use serde_json::Value;

use crate::app::App;
use crate::error::ApiError;
use crate::handle::Call;
use crate::metrics::Surroundings;
use crate::permit::{self, Wanted};

/// The text format that every Prometheus reads.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(crate) async fn show(State(app): State<Arc<App>>, Extension(call): Extension<Call>) -> Result<Response, ApiError> {
    let resource = Resource::Device { id: app.serving.device.clone() };
    let wanted = Wanted { action: Action::ReadStatus, resource, max_tokens: None };
    let _permit = permit::require(&app, &call, wanted).await?;
    let status = app.serving.backend.status();
    let around = Surroundings {
        load: app.queue.load(),
        audit_records: app.serving.audit.size(),
        loaded: app.serving.backend.loaded().await.into_iter().map(|model| model.card.id).collect(),
        kv_cache_usage: status["kv_cache_usage"].as_f64(),
        pressure_steps: status["pressure"]["steps"].as_f64(),
        build: build(&status["build"]["running"]),
        predictions: app.serving.backend.predictions(),
    };
    Ok(([(CONTENT_TYPE, TEXT)], app.metrics.page(&around)).into_response())
}

/// Version, target and origin of the build that runs.
fn build(running: &Value) -> Option<[String; 3]> {
    let [version, target, source] =
        ["version", "target", "source"].map(|name| running[name].as_str().map(str::to_owned));
    Some([version?, target?, source?])
}
