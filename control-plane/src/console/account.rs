//! My account: sessions, password, authenticator and recovery codes of whoever looks.

use std::net::IpAddr;

use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum::{Extension, Form};
use maud::{Markup, html};
use serde::Deserialize;

use super::format;
use super::layout::{self, Notice, Section, badge, done};
use super::viewer::{PageError, Viewer};
use crate::api::cookie;
use crate::db::OpenSession;
use crate::fleet::{Fleet, FleetError};
use crate::http::Peer;
use crate::people::{IDLE_S, Means, Offered, SESSION_S};
use crate::tokens;

const PATH: &str = "/console/account";

/// The forms of the page, each with what went wrong in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Password,
    Authenticator,
    Confirm,
    Codes,
}

/// What came of a form.
#[derive(Debug, Default)]
enum Made {
    /// There was none.
    #[default]
    Nothing,
    /// It was done, and there is nothing to show.
    Done(Notice),
    /// These are shown this once.
    Secret(Offered),
    Codes(Vec<String>),
}

/// How somebody gets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// With a token: there is no account.
    Token,
    /// At the provider.
    Provider,
    /// With a password, and with an authenticator and so many recovery codes.
    Password { has_totp: bool, codes_left: u32 },
}

struct View {
    way: Way,
    sessions: Vec<OpenSession>,
    /// The one that looks.
    current: Option<String>,
    now_s: i64,
    made: Made,
    problem: Option<(Field, String)>,
}

fn view(fleet: &Fleet, viewer: &Viewer, current: Option<&str>) -> Result<View, FleetError> {
    let (database, name, now_s) = (&fleet.inner.database, &viewer.actor.name, fleet.now_s());
    let nothing = |way, sessions| {
        let current = current.map(|cookie| hex::encode(tokens::hash(cookie)));
        View { way, sessions, current, now_s, made: Made::Nothing, problem: None }
    };
    if viewer.actor.means != Means::Session {
        return Ok(nothing(Way::Token, Vec::new()));
    }
    let sessions = database.sessions_of(name, now_s - SESSION_S, now_s - IDLE_S)?;
    if database.is_vouched_for(name)? {
        return Ok(nothing(Way::Provider, sessions));
    }
    let has_totp = database.person(name)?.is_some_and(|person| person.has_totp);
    let codes_left = database.recovery_codes_left(name)?;
    Ok(nothing(Way::Password { has_totp, codes_left }, sessions))
}

pub(super) async fn show(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    headers: HeaderMap,
) -> Result<Html<String>, PageError> {
    let (current, looks) = (cookie(&headers).map(str::to_owned), viewer.clone());
    let view = fleet.run(move |fleet| view(fleet, &looks, current.as_deref())).await?;
    Ok(page(&viewer, &view))
}

fn page(viewer: &Viewer, view: &View) -> Html<String> {
    layout::page(viewer, "My account", Section::Account, render(viewer, view))
}

fn render(viewer: &Viewer, view: &View) -> Markup {
    html! {
        (made(&view.made, view))
        div.grid {
            section.card {
                h2 { "You" }
                dl {
                    dt { "Name" } dd { (format::shown(&viewer.actor.name, 80)) }
                    dt { "Roles" } dd { (format::shown(&viewer.actor.roles.join(", "), 400)) }
                }
                @match view.way {
                    Way::Token => p.small { "You came with a token: it has no password and no sessions." },
                    Way::Provider => p.small { "You sign in at your organisation's provider, which keeps your password and says your roles." },
                    Way::Password { .. } => {}
                }
            }
            @if let Way::Password { has_totp, codes_left } = view.way {
                (password(view))
                (authenticator(view, has_totp))
                @if has_totp { (codes(view, codes_left)) }
            }
        }
        @if view.way != Way::Token { (sessions(view)) }
    }
}

fn made(made: &Made, view: &View) -> Markup {
    html! {
        @match made {
            Made::Nothing | Made::Done(_) => {},
            Made::Secret(offered) => section.card.shown-once role="status" {
                h2 { "Your new authenticator" }
                p { "Type this secret into your authenticator, or open the address with it. It is shown this once." }
                p.big-code { (offered.secret) }
                pre.command { (offered.address) }
                form method="post" action="/console/account/authenticator/confirm" {
                    (confirm(view))
                }
            },
            Made::Codes(codes) => section.card.shown-once role="status" {
                h2 { "Your recovery codes" }
                p { "Each signs you in once in the place of a code of your authenticator. Keep them where you keep your keys; they are shown this once." }
                ul.codes { @for code in codes { li { (code) } } }
            },
        }
    }
}

/// Says what went wrong in a form, for whoever sees it and whoever hears it.
fn problem(view: &View, field: Field) -> (Markup, Option<String>) {
    match &view.problem {
        Some((of, message)) if *of == field => {
            let id = format!("problem-{field:?}").to_lowercase();
            (html! { p.misread id=(id) role="alert" { (message) } }, Some(id))
        }
        _ => (html! {}, None),
    }
}

fn confirm(view: &View) -> Markup {
    let (message, told) = problem(view, Field::Confirm);
    html! {
        (message)
        label for="confirm-code" { "Code that it shows now" }
        input id="confirm-code" name="code" inputmode="numeric" autocomplete="one-time-code" required maxlength="16"
            aria-describedby=[told.as_deref()] aria-invalid=[told.as_ref().map(|_| "true")];
        button.primary type="submit" { "Put it in force" }
    }
}

/// The field that asks for the password again.
fn current(id: &str, told: Option<&str>) -> Markup {
    html! {
        label for=(id) { "Current password" }
        input id=(id) name="current" type="password" autocomplete="current-password" required maxlength="256"
            aria-describedby=[told] aria-invalid=[told.map(|_| "true")];
    }
}

fn password(view: &View) -> Markup {
    let (message, told) = problem(view, Field::Password);
    html! {
        section.card {
            h2 { "Password" }
            (message)
            form method="post" action="/console/account/password" {
                (current("password-current", told.as_deref()))
                label for="password-new" { "New password" }
                input id="password-new" name="new" type="password" autocomplete="new-password" required minlength="12"
                    maxlength="256" aria-describedby="password-hint" aria-invalid=[told.as_ref().map(|_| "true")];
                p.hint id="password-hint" { "12 characters or more, without your name. Your other sessions end." }
                button.primary type="submit" { "Change" }
            }
        }
    }
}

fn authenticator(view: &View, has_totp: bool) -> Markup {
    let (message, told) = problem(view, Field::Authenticator);
    let (action, word) = if has_totp {
        ("/console/account/authenticator/remove", "Remove")
    } else {
        ("/console/account/authenticator", "Set up")
    };
    html! {
        section.card {
            h2 { "Authenticator " @if has_totp { (badge("good", "in force")) } @else { (badge("warn", "none")) } }
            p.small { "An app that shows a code every 30 seconds, asked for beside your password." }
            (message)
            form method="post" action=(action) {
                (current("authenticator-current", told.as_deref()))
                button.primary[!has_totp].danger[has_totp] type="submit" { (word) }
            }
            // A wrong first code does not make the secret another one.
            @if view.problem.as_ref().is_some_and(|(field, _)| *field == Field::Confirm) {
                form method="post" action="/console/account/authenticator/confirm" { (confirm(view)) }
            }
        }
    }
}

fn codes(view: &View, left: u32) -> Markup {
    let (message, told) = problem(view, Field::Codes);
    html! {
        section.card {
            h2 { "Recovery codes " (badge(if left > 2 { "good" } else { "warn" }, &format!("{left} left"))) }
            p.small { "For when your authenticator is lost. New ones take the place of those before." }
            (message)
            form method="post" action="/console/account/codes" {
                (current("codes-current", told.as_deref()))
                button type="submit" { "Make 10 new codes" }
            }
        }
    }
}

fn sessions(view: &View) -> Markup {
    html! {
        section.card {
            h2 { "Where you are signed in" }
            ul.requests {
                @for session in &view.sessions {
                    @let address = format::shown(&session.address, 64);
                    @let is_this = view.current.as_ref() == Some(&session.id);
                    li {
                        p {
                            strong { (address) } ", since " (format::time(session.started_s)) ", last used "
                            (format::from_now(session.seen_s, view.now_s)) " "
                            @if is_this { (badge("accent", "this browser")) }
                        }
                        @if !is_this {
                            form method="post" action="/console/account/sessions/end" {
                                input type="hidden" name="id" value=(session.id);
                                button type="submit" aria-label={"End the session from " (address) " since " (format::time(session.started_s))} { "End" }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[derive(Deserialize)]
pub(super) struct PasswordForm {
    current: String,
    new: String,
}

#[derive(Deserialize)]
pub(super) struct CurrentForm {
    current: String,
}

#[derive(Deserialize)]
pub(super) struct ConfirmForm {
    code: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct EndForm {
    id: outpost_contract::Fingerprint,
}

/// Does something about the account; a mistake stands on the page again, in its form.
async fn act(
    viewer: Viewer,
    fleet: Fleet,
    headers: &HeaderMap,
    field: Field,
    act: impl FnOnce(&Fleet, &Viewer, &str) -> Result<Made, FleetError> + Send + 'static,
) -> Result<(Viewer, View), PageError> {
    let session = cookie(headers).unwrap_or_default().to_owned();
    let looks = viewer.clone();
    let tried = move |fleet: &Fleet| {
        let outcome = act(fleet, &looks, &session);
        let view = view(fleet, &looks, Some(&session))?;
        match outcome {
            Ok(made) => Ok(View { made, ..view }),
            Err(error @ (FleetError::Person(_) | FleetError::HeldBack(_))) => {
                Ok(View { problem: Some((field, error.to_string())), ..view })
            }
            Err(error) => Err(error),
        }
    };
    Ok((viewer, fleet.run(tried).await?))
}

/// What was made, or what went wrong; or, if there is nothing to show, the page again.
fn told((viewer, view): (Viewer, View)) -> Response {
    match (&view.problem, &view.made) {
        (Some(_), _) => (StatusCode::BAD_REQUEST, page(&viewer, &view)).into_response(),
        (None, Made::Done(notice)) => done(PATH, *notice),
        (None, _) => page(&viewer, &view).into_response(),
    }
}

fn from(peer: &Peer) -> IpAddr {
    peer.address.ip()
}

pub(super) async fn change_password(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    form: Result<Form<PasswordForm>, FormRejection>,
) -> Result<Response, PageError> {
    let Form(PasswordForm { current, new }) = form?;
    let change = move |fleet: &Fleet, viewer: &Viewer, session: &str| {
        fleet
            .change_password(&viewer.actor, [&current, &new], session, from(&peer))
            .map(|()| Made::Done(Notice::PasswordChanged))
    };
    Ok(told(act(viewer, fleet, &headers, Field::Password, change).await?))
}

pub(super) async fn offer_authenticator(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    form: Result<Form<CurrentForm>, FormRejection>,
) -> Result<Response, PageError> {
    let Form(CurrentForm { current }) = form?;
    let offer = move |fleet: &Fleet, viewer: &Viewer, _: &str| {
        fleet.offer_authenticator(&viewer.actor, &current, from(&peer)).map(Made::Secret)
    };
    Ok(told(act(viewer, fleet, &headers, Field::Authenticator, offer).await?))
}

pub(super) async fn confirm_authenticator(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    form: Result<Form<ConfirmForm>, FormRejection>,
) -> Result<Response, PageError> {
    let Form(ConfirmForm { code }) = form?;
    let confirm = move |fleet: &Fleet, viewer: &Viewer, _: &str| {
        fleet.confirm_authenticator(&viewer.actor, &code, from(&peer)).map(Made::Codes)
    };
    Ok(told(act(viewer, fleet, &headers, Field::Confirm, confirm).await?))
}

pub(super) async fn drop_authenticator(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    form: Result<Form<CurrentForm>, FormRejection>,
) -> Result<Response, PageError> {
    let Form(CurrentForm { current }) = form?;
    let remove = move |fleet: &Fleet, viewer: &Viewer, _: &str| {
        fleet
            .drop_authenticator(&viewer.actor, &current, from(&peer))
            .map(|()| Made::Done(Notice::AuthenticatorRemoved))
    };
    Ok(told(act(viewer, fleet, &headers, Field::Authenticator, remove).await?))
}

pub(super) async fn renew_codes(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    form: Result<Form<CurrentForm>, FormRejection>,
) -> Result<Response, PageError> {
    let Form(CurrentForm { current }) = form?;
    let renew = move |fleet: &Fleet, viewer: &Viewer, _: &str| {
        fleet.renew_recovery_codes(&viewer.actor, &current, from(&peer)).map(Made::Codes)
    };
    Ok(told(act(viewer, fleet, &headers, Field::Codes, renew).await?))
}

pub(super) async fn end_session(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    form: Result<Form<EndForm>, FormRejection>,
) -> Result<Response, PageError> {
    let Form(EndForm { id }) = form?;
    fleet.run(move |fleet| fleet.end_own_session(&viewer.actor, &id.0)).await?;
    Ok(done(PATH, Notice::SessionEnded))
}
