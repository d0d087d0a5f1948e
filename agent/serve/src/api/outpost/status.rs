//! `GET /outpost/status`: what this device serves, and under which policy.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use outpost_policies::{Action, Resource};
use serde_json::{Value, json};

use crate::Health;
use crate::app::App;
use crate::error::ApiError;
use crate::handle::Call;
use crate::permit::{self, Wanted};

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Extension(call): Extension<Call>,
) -> Result<Json<Value>, ApiError> {
    let resource = Resource::Device { id: app.serving.device.clone() };
    let _permit =
        permit::require(&app, &call, Wanted { action: Action::ReadStatus, resource, max_tokens: None }).await?;
    let (health, because) = match app.serving.backend.health().await {
        Health::Ready => ("ready", None),
        Health::Loading => ("loading", None),
        Health::Unavailable { because } => ("unavailable", Some(because)),
    };
    let circumstances = app.circumstances();
    let models: Vec<String> = app.serving.backend.models().await.into_iter().map(|model| model.id).collect();
    let load = app.queue.load();
    Ok(Json(json!({
        "device": app.serving.device,
        "health": health,
        "because": because,
        "models": models,
        "generating": load.running,
        "waiting": load.waiting,
        "policy_version": app.serving.policies.now().version(),
        "policy_age_s": circumstances.policy_age_s,
        "offline_s": circumstances.offline_s,
        "now_s": circumstances.now_s,
        "audit_records": app.serving.audit.size(),
        "access": app.access_status(),
        "agent": app.serving.backend.status(),
    })))
}
