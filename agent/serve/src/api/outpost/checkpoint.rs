//! `GET /outpost/audit/checkpoint`: the newest signed head of the audit log, as a C2SP checkpoint. Being read is itself
//! recorded.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use outpost_audit::{Kind, Outcome};
use outpost_policies::{Action, Resource};

use crate::app::App;
use crate::error::ApiError;
use crate::handle::Call;
use crate::permit::{self, Wanted};
use crate::record;
use crate::trail::append;

pub(crate) async fn show(State(app): State<Arc<App>>, Extension(call): Extension<Call>) -> Result<Response, ApiError> {
    let wanted = Wanted { action: Action::ReadAudit, resource: Resource::AuditLog, max_tokens: None };
    let permit = permit::require(&app, &call, wanted).await?;
    let record = record::of_call(&app.serving, &call, Kind::AuditRead)
        .act(Action::ReadAudit.word())
        .object(record::object(&call, permit.resource()))
        .decision(record::allowed(&permit))
        .result(Outcome { status: Some(200), ..Outcome::default() });
    append(&app.serving, &call, record).await.map_err(|error| record::lost(&call, &error))?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], app.serving.audit.checkpoint()).into_response())
}
