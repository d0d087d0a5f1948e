//! `GET /openapi.json`: every route, for clients that are generated and for tests. Whoever may read the device's status
//! may read it.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use outpost_policies::Action;

use crate::api::manage::look;
use crate::app::App;
use crate::error::ApiError;
use crate::handle::Call;
use crate::openapi;

pub(crate) async fn show(State(app): State<Arc<App>>, Extension(call): Extension<Call>) -> Result<Response, ApiError> {
    look(&app, &call, Action::ReadStatus).await?;
    let document = openapi::document().map_err(|error| {
        tracing::error!(request = %call.id, %error, "a bug: the description of the API cannot be written");
        ApiError::internal()
    })?;
    Ok(([(CONTENT_TYPE, "application/json")], document).into_response())
}
