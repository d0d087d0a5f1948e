//! `GET /outpost/audit/content/{id}`: what was sealed with one record, for whoever may read the record. That it was read,
//! by whom and which, is on record before it is told.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use outpost_audit::{Kind, Outcome};
use outpost_policies::{Action, Resource};
use serde_json::{Value, json};

use super::aside;
use crate::app::App;
use crate::error::ApiError;
use crate::handle::Call;
use crate::permit::{self, Wanted};
use crate::record;
use crate::trail::append;

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Extension(call): Extension<Call>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let wanted = Wanted { action: Action::ReadAudit, resource: Resource::AuditLog, max_tokens: None };
    let permit = permit::require(&app, &call, wanted).await?;
    let index = id.ok().and_then(|Path(id)| id.parse::<u64>().ok()).ok_or_else(|| {
        ApiError::no_content("name a record by its index, as `outpost audit show` does: `/outpost/audit/content/17`")
    })?;
    let log = app.serving.audit.clone();
    let read = aside(move || log.content(index)).await.map_err(ApiError::from);
    let result = match &read {
        Ok(_) => Outcome { status: Some(200), ..Outcome::default() },
        Err(error) => record::refused(error),
    };
    let record = record::of_call(&app.serving, &call, Kind::AuditRead)
        .act("read_content")
        .object(record::object(&call, permit.resource()))
        .decision(record::allowed(&permit))
        .result(result)
        .detail("record", index);
    append(&app.serving, &call, record).await.map_err(|error| record::lost(&call, &error))?;
    let content = read?;
    Ok(Json(json!({ "record": index, "asked": told(content.input), "answered": told(content.output) })))
}

/// As it was sealed, which is JSON; what was cut is none any more, and told as text.
fn told(side: Option<Vec<u8>>) -> Value {
    let Some(bytes) = side else { return Value::Null };
    serde_json::from_slice(&bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes)))
}
