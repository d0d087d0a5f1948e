//! What Foundry does and this device does not, whoever asks; who may not run the device hears only that.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use outpost_policies::{Action, Resource};

use crate::app::App;
use crate::error::ApiError;
use crate::handle::Call;
use crate::permit::{self, Wanted};

pub(crate) async fn register(State(app): State<Arc<App>>, Extension(call): Extension<Call>) -> ApiError {
    refuse(&app, &call, "no other server's models are registered here: pull a model with `/openai/download`").await
}

pub(crate) async fn gpu(State(app): State<Arc<App>>, Extension(call): Extension<Call>) -> ApiError {
    refuse(&app, &call, "models run on the processor here: there is no GPU to choose").await
}

pub(crate) async fn shutdown(State(app): State<Arc<App>>, Extension(call): Extension<Call>) -> ApiError {
    refuse(&app, &call, "the agent is not stopped over its API: stop its service on the device").await
}

async fn refuse(app: &App, call: &Call, because: &str) -> ApiError {
    let resource = Resource::Device { id: app.serving.device.clone() };
    match permit::require(app, call, Wanted { action: Action::Restart, resource, max_tokens: None }).await {
        Ok(_permit) => ApiError::not_offered(because),
        Err(error) => error,
    }
}
