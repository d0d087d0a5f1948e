//! `POST /outpost/bundle/import` and `/export`: takes in a stick that is in this machine, or writes on it what goes home. What a
//! stick is worth is up to its signatures, which the agent checks; the policies say who may bring one, and who may take records
//! away.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use outpost_policies::{Action, Resource};
use serde_json::{Map, Value};

use crate::api::manage;
use crate::app::App;
use crate::error::ApiError;
use crate::fields::Fields;

pub(crate) async fn import(
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<Json<Map<String, Value>>, ApiError> {
    let (call, directory) = manage::read_here(&app, request, "import_bundle", parse).await?;
    // A stick may bring other rules as well as another model.
    let act = (Action::ChangePolicy, "import_bundle");
    let imported = manage::act(&app, &call, act, Resource::PolicyStore, |backend, permit| async move {
        backend.import(permit, &directory).await
    });
    imported.await.map(Json)
}

pub(crate) async fn export(
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<Json<Map<String, Value>>, ApiError> {
    let (call, (directory, from)) = manage::read_here(&app, request, "export_bundle", parse_export).await?;
    let act = (Action::ExportAudit, "export_bundle");
    let exported = manage::act(&app, &call, act, Resource::AuditLog, |backend, permit| async move {
        backend.export(permit, &directory, from).await
    });
    exported.await.map(Json)
}

fn parse(object: Map<String, Value>) -> Result<PathBuf, ApiError> {
    let mut fields = Fields::new(object);
    let directory = directory(&mut fields)?;
    fields.finish()?;
    Ok(directory)
}

fn parse_export(object: Map<String, Value>) -> Result<(PathBuf, Option<u64>), ApiError> {
    let mut fields = Fields::new(object);
    let (directory, from) = (directory(&mut fields)?, fields.whole("from", 0, (1 << 53) - 1)?);
    fields.finish()?;
    Ok((directory, from))
}

fn directory(fields: &mut Fields) -> Result<PathBuf, ApiError> {
    let directory = fields.text("directory")?.filter(|path| Path::new(path).is_absolute());
    let what = "has to be the absolute path of a directory on this machine";
    let directory = directory.ok_or_else(|| fields.wrong("directory", what))?;
    Ok(directory.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::anything::holds;

    #[test]
    fn any_wish_is_read_or_refused_and_a_path_is_absolute() {
        holds(&json!({ "directory": "/mnt/stick" }), parse);
        let read = |wish: Value| parse(wish.as_object().unwrap().clone());
        assert_eq!(read(json!({ "directory": "/mnt/stick" })), Ok(PathBuf::from("/mnt/stick")));
        for wrong in [json!({}), json!({ "directory": "stick" }), json!({ "directory": "" }), json!({ "directory": 1 })]
        {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
        assert!(read(json!({ "directory": "/mnt/stick", "force": true })).is_err());

        holds(&json!({ "directory": "/mnt/stick", "from": 7 }), parse_export);
        let read = |wish: Value| parse_export(wish.as_object().unwrap().clone());
        assert_eq!(read(json!({ "directory": "/mnt/stick" })), Ok((PathBuf::from("/mnt/stick"), None)));
        for wrong in [json!({ "from": 1 }), json!({ "directory": "/mnt/stick", "from": -1 })] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
