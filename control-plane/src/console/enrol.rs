//! Letting devices in: a one-time code, shown once, and requests that wait for a yes or no.

use axum::Form;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{Html, Response};
use maud::{Markup, html};
use outpost_contract::{DeviceId, Fingerprint};
use serde::Deserialize;

use super::format;
use super::layout::{self, Notice, Section, badge, done};
use super::viewer::{PageError, Viewer};
use crate::db::EnrolmentRequest;
use crate::fleet::{Fleet, FleetError};
use crate::people::Act;

/// How long codes count that can be chosen, seconds.
const VALIDITIES: [(i64, &str); 4] = [(3600, "1 hour"), (86_400, "1 day"), (604_800, "7 days"), (2_592_000, "30 days")];

/// Requests on the page.
const MOST_REQUESTS: usize = 100;

/// What the page shows.
#[derive(Debug)]
pub(super) struct EnrolView {
    pub(super) requests: Vec<EnrolmentRequest>,
    /// The device and its code, once: only the hash is kept.
    pub(super) made: Option<(DeviceId, String)>,
    /// The address of this server, as the browser knows it.
    pub(super) server: String,
    pub(super) now_s: i64,
}

/// Fills the view.
fn view(fleet: &Fleet) -> Result<EnrolView, FleetError> {
    let server = "https://SERVER".to_owned();
    Ok(EnrolView { requests: fleet.enrol_requests()?, made: None, server, now_s: fleet.now_s() })
}

/// Where the browser found this server; what is no name and port is not repeated.
fn server(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    // HTTP/2 has no `Host`.
    let host = || headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = uri.authority().map(Authority::as_str).or_else(host).filter(|host| host.len() <= 255)?;
    let is_plain = host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']'));
    is_plain.then(|| format!("https://{host}"))
}

pub(super) async fn show(viewer: Viewer, State(fleet): State<Fleet>) -> Result<Html<String>, PageError> {
    let view = fleet.run_as(viewer.actor.clone(), Act::See, "enrolment", view).await?;
    Ok(layout::page(&viewer, "Enrol", Section::Enrol, render(&view, &viewer)))
}

pub(super) fn render(view: &EnrolView, viewer: &Viewer) -> Markup {
    let may = viewer.may(Act::Enrol);
    html! {
        @if let Some((device, code)) = &view.made {
            section.card.shown-once role="status" {
                h2 { "Code for " (device) }
                p.big-code { (code) }
                p { "It is shown this once. On the box, with the authority's file that " code { "init" } " named:" }
                pre.command { "outpost enroll --server " (view.server) " --code " (code) " --ca ca.pem" }
            }
        }
        div.grid.aside {
            @if may {
                section.card {
                    h2 { "Make a code" }
                    form method="post" action="/console/enrol/code" {
                        label for="device" { "Name of the device" }
                        input id="device" name="device" required maxlength="64" autocomplete="off" spellcheck="false";
                        label for="valid" { "Valid for" }
                        select id="valid" name="valid_s" {
                            @for (seconds, label) in VALIDITIES { option value=(seconds) { (label) } }
                        }
                        button.primary type="submit" { "Make a code" }
                    }
                }
            }
            section #live-requests.card.wide[!may] data-live {
                h2 { "Requests that wait" }
                @if view.requests.is_empty() { p.small { "No device asks without a code." } } @else {
                    (requests(view, may))
                }
            }
        }
    }
}

fn requests(view: &EnrolView, may: bool) -> Markup {
    html! {
        p.small { "Say yes only if the fingerprint is the one that the device shows." }
        ul.requests {
            @for (at, request) in view.requests.iter().take(MOST_REQUESTS).enumerate() {
                @let name = format::shown(&request.wished_name, 64);
                li {
                    p.fingerprint { (request.fingerprint) }
                    p {
                        strong { (name) } " from " (format::shown(&request.address, 64)) ", "
                        (format::shown(&request.agent, 60)) ", asked " (format::from_now(request.seen_s, view.now_s)) " "
                        @if request.rejected_s.is_some() { (badge("bad", "refused before")) }
                    }
                    @if may {
                        form.inline method="post" action="/console/enrol/accept" {
                            input type="hidden" name="fingerprint" value=(request.fingerprint);
                            label for={"name-" (at)} { "Enrol as" }
                            input id={"name-" (at)} name="device" value=(name) required maxlength="64" autocomplete="off";
                            button.primary type="submit" { "Accept" }
                        }
                        form.inline method="post" action="/console/enrol/reject" {
                            input type="hidden" name="fingerprint" value=(request.fingerprint);
                            button type="submit" aria-label={"Reject the request of " (name)} { "Reject" }
                        }
                    }
                }
            }
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct CodeForm {
    device: String,
    valid_s: i64,
}

/// The one answer that holds the code; the page is not kept by the browser.
pub(super) async fn make_code(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    uri: Uri,
    headers: HeaderMap,
    form: Result<Form<CodeForm>, FormRejection>,
) -> Result<Html<String>, PageError> {
    let Form(form) = form?;
    let server = server(&uri, &headers);
    let device = named(&form.device)?;
    let name = device.clone();
    let make = move |fleet: &Fleet| {
        let code = fleet.create_code(&name, form.valid_s)?;
        let view = view(fleet)?;
        Ok(EnrolView { made: Some((name, code)), server: server.unwrap_or_else(|| view.server.clone()), ..view })
    };
    let view = fleet.run_as(viewer.actor.clone(), Act::Enrol, &device, make).await?;
    Ok(layout::page(&viewer, "Enrol", Section::Enrol, render(&view, &viewer)))
}

fn named(text: &str) -> Result<DeviceId, PageError> {
    text.trim().parse().map_err(|_| PageError::Unreadable {
        status: StatusCode::BAD_REQUEST,
        message: format!(
            "`{}` is no name for a device: write a-z, 0-9 and `-`, as in `till-12`",
            format::shown(text, 80)
        ),
    })
}

fn fingerprint(text: &str) -> Result<Fingerprint, PageError> {
    text.parse().map_err(|_| PageError::Unreadable {
        status: StatusCode::BAD_REQUEST,
        message: "the form names no fingerprint; load the page again".to_owned(),
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct AcceptForm {
    fingerprint: String,
    device: String,
}

pub(super) async fn accept(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    form: Result<Form<AcceptForm>, FormRejection>,
) -> Result<Response, PageError> {
    let Form(form) = form?;
    let (key, device) = (fingerprint(&form.fingerprint)?, named(&form.device)?);
    let name = device.clone();
    fleet.run_as(viewer.actor, Act::Enrol, &device, move |fleet| fleet.accept_request(&key, &name)).await?;
    Ok(done("/console/enrol", Notice::Accepted))
}

#[derive(Debug, Deserialize)]
pub(super) struct RejectForm {
    fingerprint: String,
}

pub(super) async fn reject(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    form: Result<Form<RejectForm>, FormRejection>,
) -> Result<Response, PageError> {
    let Form(form) = form?;
    let key = fingerprint(&form.fingerprint)?;
    fleet.run_as(viewer.actor, Act::Enrol, key, move |fleet| fleet.reject_request(&key)).await?;
    Ok(done("/console/enrol", Notice::Rejected))
}
