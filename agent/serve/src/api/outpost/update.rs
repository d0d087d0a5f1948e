//! `POST /outpost/update`: tries another build of the agent, a file of this machine. What it is worth, it has to prove.

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

pub(crate) async fn update(
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<Json<Map<String, Value>>, ApiError> {
    let (call, (file, again)) = manage::read_here(&app, request, "install_update", parse).await?;
    // Another program may do whatever other rules could allow.
    let act = (Action::ChangePolicy, "install_update");
    let updated = manage::act(&app, &call, act, Resource::PolicyStore, |backend, permit| async move {
        backend.update(permit, &file, again).await
    });
    updated.await.map(Json)
}

fn parse(object: Map<String, Value>) -> Result<(PathBuf, bool), ApiError> {
    let mut fields = Fields::new(object);
    let file = fields.text("file")?.filter(|path| Path::new(path).is_absolute());
    let file = file.ok_or_else(|| fields.wrong("file", "has to be the absolute path of a program on this machine"))?;
    let again = fields.flag("again")?.unwrap_or(false);
    fields.finish()?;
    Ok((file.into(), again))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::anything::holds;

    #[test]
    fn any_wish_is_read_or_refused_and_a_path_is_absolute() {
        holds(&json!({ "file": "/mnt/stick/outpost", "again": true }), parse);
        let read = |wish: Value| parse(wish.as_object().unwrap().clone());
        assert_eq!(read(json!({ "file": "/mnt/outpost" })), Ok((PathBuf::from("/mnt/outpost"), false)));
        for wrong in [json!({}), json!({ "file": "outpost" }), json!({ "file": "/outpost", "force": true })] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
