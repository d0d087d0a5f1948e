//! The console: server-rendered pages under `/console` for the people who run the fleet. Everything works without a
//! script; with it, what is live on a page follows the fleet.
//!
//! Each page is a file with its view (a struct that one function fills) and its rendering (a function of the view alone).

mod account;
mod assets;
mod audit;
mod cached;
mod device;
mod devices;
mod enrol;
mod form;
mod format;
mod groups;
mod layout;
mod live;
mod machine;
mod models;
mod overview;
mod people;
mod picture;
mod policies;
mod rollouts;
mod standing;
mod viewer;
mod webhooks;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Extension;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{Redirect, Response};
use axum::routing::{get, post};

use crate::fleet::Fleet;
pub(crate) use assets::STYLE_PATH;
pub(crate) use layout::mark;
use viewer::Viewer;

/// What pages may load and do: their own style, script and live updates, and nothing from anywhere else.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; \
     connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Every page and form of the console.
pub(crate) fn router() -> Router<Fleet> {
    Router::new()
        .route("/", get(home))
        .route("/console", get(overview::show))
        .route("/console/devices", get(devices::show))
        .route("/console/devices/{device}", get(device::show))
        .route("/console/devices/{device}/command", post(device::command))
        .route("/console/devices/{device}/assignment", post(device::assign))
        .route("/console/devices/{device}/site", post(device::set_site))
        .route("/console/devices/{device}/revoke", post(device::revoke))
        .route("/console/devices/{device}/labels", post(groups::label))
        .route("/console/groups", get(groups::show).post(groups::keep))
        .route("/console/groups/remove", post(groups::remove))
        .route("/console/models", get(models::show))
        .route("/console/models/{model}", get(models::show_one))
        // After a mistake the address is the form's: loaded again, it is the model's page.
        .route("/console/models/{model}/approve", get(models::show_one).post(models::approve))
        .route("/console/models/{model}/revoke", post(models::revoke))
        .route("/console/models/{model}/withdraw", get(models::show_one).post(models::withdraw))
        .route("/console/models/{model}/restore", post(models::restore))
        .route("/console/rollouts", get(rollouts::show).post(rollouts::start))
        .route("/console/rollouts/{name}", get(rollouts::show_one))
        .route("/console/rollouts/{name}/{act}", post(rollouts::steer))
        .route("/console/policies", get(policies::show))
        .route("/console/policies/drafts", post(policies::create).layer(drafts()))
        .route("/console/policies/drafts/{name}", get(policies::show_draft))
        .route("/console/policies/drafts/{name}/file", get(policies::show_file).post(policies::save).layer(drafts()))
        .route("/console/policies/drafts/{name}/approve", post(policies::approve))
        .route("/console/policies/drafts/{name}/simulate", post(policies::simulate))
        .route("/console/policies/drafts/{name}/drop", post(policies::drop_draft))
        .route("/console/enrol", get(enrol::show))
        .route("/console/enrol/code", get(enrol::show).post(enrol::make_code))
        .route("/console/enrol/accept", post(enrol::accept))
        .route("/console/enrol/reject", post(enrol::reject))
        .route("/console/audit", get(audit::show))
        .route("/console/audit/{device}", get(audit::logs::show))
        .route("/console/audit/{device}/incident/{number}", get(audit::logs::incident))
        .route("/console/audit/{device}/incident/{number}/{file}", get(audit::logs::evidence))
        .route("/console/records", get(audit::search::show))
        .route("/console/report", get(audit::search::report))
        .route("/console/people", get(people::show))
        .route("/console/webhooks", get(webhooks::show).post(webhooks::create))
        .route("/console/webhooks/{name}", get(webhooks::show_one))
        .route("/console/webhooks/{name}/test", get(webhooks::show_one).post(webhooks::test))
        .route("/console/webhooks/{name}/pause", post(webhooks::pause))
        .route("/console/webhooks/{name}/retry", post(webhooks::retry))
        .route("/console/webhooks/{name}/remove", get(webhooks::show_one).post(webhooks::remove))
        .route("/console/account", get(account::show))
        .route("/console/account/password", post(account::change_password))
        .route("/console/account/authenticator", post(account::offer_authenticator))
        .route("/console/account/authenticator/confirm", post(account::confirm_authenticator))
        .route("/console/account/authenticator/remove", post(account::drop_authenticator))
        .route("/console/account/codes", post(account::renew_codes))
        .route("/console/account/sessions/end", post(account::end_session))
        .route("/console/theme", post(layout::set_theme))
        .route("/console/live", get(live::follow))
        .route("/console/assets/{name}", get(assets::serve))
        .layer(Extension(Arc::new(cached::Boards::default())))
        .layer(middleware::from_fn(guarded))
}

/// Texts of policies are longer than other forms.
fn drafts() -> DefaultBodyLimit {
    DefaultBodyLimit::max(crate::api::policies::DRAFT_BYTES)
}

/// The colours that a browser's cookie asks for.
pub(crate) fn theme(headers: &HeaderMap) -> &'static str {
    viewer::Theme::from_cookies(headers).name()
}

async fn home(_: Viewer) -> Redirect {
    Redirect::to("/console")
}

/// Tells the browser what it must not do with an answer of the console.
async fn guarded(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
