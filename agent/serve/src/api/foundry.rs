//! `/status`, `/models`, `/openai` and `/foundry`, as clients of Foundry Local speak them.

use std::sync::Arc;

use axum::Router;

use crate::api::Route;
use crate::app::App;

pub(crate) const ROUTES: &[Route] = &[];

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
}
