//! `POST /outpost/locks`, `/outpost/break-glass`, `/outpost/policy`: documents that count by who signed them, and the ways
//! back from two of them.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::{Extension, Json};
use bytes::Bytes;
use outpost_policies::{Action, Permit, Resource};
use serde_json::{Map, Value};

use crate::api::manage;
use crate::app::App;
use crate::error::ApiError;
use crate::handle::Call;
use crate::{Governance, GovernanceError, body};

type InForce = Result<Map<String, Value>, GovernanceError>;

pub(crate) async fn apply_locks(
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<Json<Map<String, Value>>, ApiError> {
    let (call, document) = read(&app, request).await?;
    govern(&app, &call, (Action::ChangePolicy, "apply_locks"), |governance, permit| async move {
        governance.apply_locks(permit, document).await
    })
    .await
}

pub(crate) async fn open_override(
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<Json<Map<String, Value>>, ApiError> {
    let (call, document) = read(&app, request).await?;
    govern(&app, &call, (Action::BreakGlass, "open_override"), |governance, permit| async move {
        governance.open_override(permit, document).await
    })
    .await
}

pub(crate) async fn close_override(
    State(app): State<Arc<App>>,
    Extension(call): Extension<Call>,
) -> Result<Json<Map<String, Value>>, ApiError> {
    govern(&app, &call, (Action::BreakGlass, "close_override"), |governance, permit| async move {
        governance.close_override(permit).await
    })
    .await
}

pub(crate) async fn activate_policy(
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<Json<Map<String, Value>>, ApiError> {
    let (call, document) = read(&app, request).await?;
    govern(&app, &call, (Action::ChangePolicy, "activate_policy"), |governance, permit| async move {
        governance.activate_policy(permit, document).await
    })
    .await
}

pub(crate) async fn roll_back_policy(
    State(app): State<Arc<App>>,
    Extension(call): Extension<Call>,
) -> Result<Json<Map<String, Value>>, ApiError> {
    govern(&app, &call, (Action::ChangePolicy, "roll_back_policy"), |governance, permit| async move {
        governance.roll_back_policy(permit).await
    })
    .await
}

/// The document as it came: signatures and rules are over its bytes, and a key that comes twice must still show.
async fn read(app: &App, request: Request<Body>) -> Result<(Call, Bytes), ApiError> {
    let call = request.extensions().get::<Call>().cloned().ok_or_else(ApiError::internal)?;
    let (head, body) = request.into_parts();
    Ok((call, body::read_json(&head.headers, body, &app.limits).await?))
}

async fn govern<F>(
    app: &Arc<App>,
    call: &Call,
    (action, word): (Action, &'static str),
    doing: impl FnOnce(Arc<dyn Governance>, Permit) -> F,
) -> Result<Json<Map<String, Value>>, ApiError>
where
    F: Future<Output = InForce> + Send + 'static,
{
    let resource = match action {
        Action::BreakGlass => Resource::Device { id: app.serving.device.clone() },
        _ => Resource::PolicyStore,
    };
    let (permit, act) = manage::Act::begin(app, call, action, word, resource).await?;
    manage::see_through(act, doing(Arc::clone(&app.serving.governance), permit)).await.map(Json)
}
