//! A question without a question: the model is loaded, or with `keep_alive` of 0 unloaded.

use std::sync::Arc;
use std::time::Duration;

use outpost_policies::Action;

use crate::KeepAlive;
use crate::api::manage;
use crate::app::App;
use crate::error::ApiError;
use crate::handle::Call;
use crate::model;

/// Loads or unloads; the word for it.
pub(super) async fn load(
    app: &Arc<App>,
    call: &Call,
    called: &str,
    keep: Option<KeepAlive>,
) -> Result<&'static str, ApiError> {
    let name = called.to_owned();
    if keep == Some(KeepAlive::For(Duration::ZERO)) {
        let resource = model::find(app, called).await.resource;
        manage::act(app, call, (Action::SwitchModel, "unload_model"), resource, |backend, permit| async move {
            backend.unload(permit, &name).await
        })
        .await?;
        return Ok("unload");
    }
    manage::load(app, call, name, keep).await.map(|_| "load")
}
