//! `POST /outpost/link/dead-letters/clear`: forgets the messages to the control plane that were given up, which ends the alarm.
//! How many they are, and why, stands in the status.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use outpost_policies::{Action, Resource};
use serde_json::{Value, json};

use crate::api::manage;
use crate::app::App;
use crate::error::ApiError;
use crate::handle::Call;

pub(crate) async fn clear(
    State(app): State<Arc<App>>,
    Extension(call): Extension<Call>,
) -> Result<Json<Value>, ApiError> {
    // As much an operator's act on the device as letting it start again, which the same people may.
    let act = (Action::Restart, "clear_dead_letters");
    let device = Resource::Device { id: app.serving.device.clone() };
    let cleared =
        manage::act(
            &app,
            &call,
            act,
            device,
            |backend, permit| async move { backend.clear_dead_letters(permit).await },
        );
    Ok(Json(json!({ "cleared": cleared.await? })))
}
