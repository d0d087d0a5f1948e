//! My account: sessions, password, authenticator and recovery codes of whoever looks.

use std::net::IpAddr;

use axum::Extension;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::form::{Beside, Mistake, Sent};
use super::format;
use super::layout::{self, Notice, Section, badge, done};
use super::viewer::{PageError, Viewer};
use crate::api::cookie;
use crate::db::OpenSession;
use crate::fleet::{Fleet, FleetError};
use crate::http::Peer;
use crate::people::{Means, Offered};
use crate::tokens;

const PATH: &str = "/console/account";

/// What a mistake is about: each form of the page has one.
const PASSWORD: &str = "password";
const AUTHENTICATOR: &str = "authenticator";
const CONFIRM: &str = "confirm";
const CODES: &str = "codes";

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
    mistake: Option<Mistake>,
}

fn view(fleet: &Fleet, viewer: &Viewer, current: Option<&str>) -> Result<View, FleetError> {
    let (database, name, now_s) = (&fleet.inner.database, &viewer.actor.name, fleet.now_s());
    let nothing = |way, sessions| {
        let current = current.map(|cookie| hex::encode(tokens::hash(cookie)));
        View { way, sessions, current, now_s, made: Made::Nothing, mistake: None }
    };
    if viewer.actor.means != Means::Session {
        return Ok(nothing(Way::Token, Vec::new()));
    }
    let sessions = fleet.own_sessions(&viewer.actor)?;
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

fn confirm(view: &View) -> Markup {
    let beside = Beside::of(view.mistake.as_ref(), CONFIRM);
    html! {
        (beside.words)
        label for="confirm-code" { "Code that it shows now" }
        input id="confirm-code" name="code" inputmode="numeric" autocomplete="one-time-code" required maxlength="16"
            aria-describedby=[beside.described(None)] aria-invalid=[beside.invalid()];
        button.primary type="submit" { "Put it in force" }
    }
}

/// The field that asks for the password again.
fn current(id: &str, beside: &Beside) -> Markup {
    html! {
        label for=(id) { "Current password" }
        input id=(id) name="current" type="password" autocomplete="current-password" required maxlength="256"
            aria-describedby=[beside.described(None)] aria-invalid=[beside.invalid()];
    }
}

fn password(view: &View) -> Markup {
    let beside = Beside::of(view.mistake.as_ref(), PASSWORD);
    html! {
        section.card {
            h2 { "Password" }
            (beside.words)
            form method="post" action="/console/account/password" {
                (current("password-current", &beside))
                label for="password-new" { "New password" }
                input id="password-new" name="new" type="password" autocomplete="new-password" required minlength="12"
                    maxlength="256" aria-describedby="password-hint" aria-invalid=[beside.invalid()];
                p.hint id="password-hint" { "12 characters or more, without your name. Your other sessions end." }
                button.primary type="submit" { "Change" }
            }
        }
    }
}

fn authenticator(view: &View, has_totp: bool) -> Markup {
    let beside = Beside::of(view.mistake.as_ref(), AUTHENTICATOR);
    let (action, word) = if has_totp {
        ("/console/account/authenticator/remove", "Remove")
    } else {
        ("/console/account/authenticator", "Set up")
    };
    html! {
        section.card {
            h2 { "Authenticator " @if has_totp { (badge("good", "in force")) } @else { (badge("warn", "none")) } }
            p.small { "An app that shows a code every 30 seconds, asked for beside your password." }
            (beside.words)
            form method="post" action=(action) {
                (current("authenticator-current", &beside))
                button.primary[!has_totp].danger[has_totp] type="submit" { (word) }
            }
            // A wrong first code does not make the secret another one.
            @if view.mistake.as_ref().is_some_and(|mistake| mistake.field == CONFIRM) {
                form method="post" action="/console/account/authenticator/confirm" { (confirm(view)) }
            }
        }
    }
}

fn codes(view: &View, left: u32) -> Markup {
    let beside = Beside::of(view.mistake.as_ref(), CODES);
    html! {
        section.card {
            h2 { "Recovery codes " (badge(if left > 2 { "good" } else { "warn" }, &format!("{left} left"))) }
            p.small { "For when your authenticator is lost. New ones take the place of those before." }
            (beside.words)
            form method="post" action="/console/account/codes" {
                (current("codes-current", &beside))
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

/// Who acts, and from where.
pub(super) struct Caller {
    viewer: Viewer,
    /// The cookie of the session, if there is one.
    session: String,
    address: IpAddr,
}

impl FromRequestParts<Fleet> for Caller {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, fleet: &Fleet) -> Result<Self, PageError> {
        let viewer = Viewer::from_request_parts(parts, fleet).await?;
        let session = cookie(&parts.headers).unwrap_or_default().to_owned();
        // The listener says of every connection where it comes from.
        let Extension(peer) = Extension::<Peer>::from_request_parts(parts, fleet).await?;
        Ok(Self { viewer, session, address: peer.address.ip() })
    }
}

/// Does something about the account and shows what came of it: what was made, the page again with what is wrong in the form
/// `field`, or, if there is nothing to show, the page as it is now.
async fn act<F: Send + 'static>(
    sent: Sent<F, Caller>,
    field: &'static str,
    act: impl FnOnce(&Fleet, &Caller, F) -> Result<Made, FleetError> + Send + 'static,
) -> Result<Response, PageError> {
    let Sent { by, fleet, form } = sent;
    let viewer = by.viewer.clone();
    let tried = move |fleet: &Fleet| {
        let outcome = act(fleet, &by, form);
        let view = view(fleet, &by.viewer, Some(&by.session))?;
        match outcome {
            Ok(made) => Ok(View { made, ..view }),
            Err(error @ (FleetError::Person(_) | FleetError::HeldBack(_))) => {
                Ok(View { mistake: Some(Mistake::new(field, error)), ..view })
            }
            Err(error) => Err(error),
        }
    };
    let view = fleet.run(tried).await?;
    Ok(match (&view.mistake, &view.made) {
        (Some(_), _) => (StatusCode::BAD_REQUEST, page(&viewer, &view)).into_response(),
        (None, Made::Done(notice)) => done(PATH, *notice),
        (None, _) => page(&viewer, &view).into_response(),
    })
}

type Answer = Result<Response, PageError>;

pub(super) async fn change_password(sent: Sent<PasswordForm, Caller>) -> Answer {
    let change = |fleet: &Fleet, by: &Caller, PasswordForm { current, new }| {
        fleet.change_password(&by.viewer.actor, [&current, &new], &by.session, by.address)?;
        Ok(Made::Done(Notice::PasswordChanged))
    };
    act(sent, PASSWORD, change).await
}

pub(super) async fn offer_authenticator(sent: Sent<CurrentForm, Caller>) -> Answer {
    let offer = |fleet: &Fleet, by: &Caller, CurrentForm { current }| {
        fleet.offer_authenticator(&by.viewer.actor, &current, by.address).map(Made::Secret)
    };
    act(sent, AUTHENTICATOR, offer).await
}

pub(super) async fn confirm_authenticator(sent: Sent<ConfirmForm, Caller>) -> Answer {
    let confirm = |fleet: &Fleet, by: &Caller, ConfirmForm { code }| {
        fleet.confirm_authenticator(&by.viewer.actor, &code, by.address).map(Made::Codes)
    };
    act(sent, CONFIRM, confirm).await
}

pub(super) async fn drop_authenticator(sent: Sent<CurrentForm, Caller>) -> Answer {
    let remove = |fleet: &Fleet, by: &Caller, CurrentForm { current }| {
        fleet.drop_authenticator(&by.viewer.actor, &current, by.address)?;
        Ok(Made::Done(Notice::AuthenticatorRemoved))
    };
    act(sent, AUTHENTICATOR, remove).await
}

pub(super) async fn renew_codes(sent: Sent<CurrentForm, Caller>) -> Answer {
    let renew = |fleet: &Fleet, by: &Caller, CurrentForm { current }| {
        fleet.renew_recovery_codes(&by.viewer.actor, &current, by.address).map(Made::Codes)
    };
    act(sent, CODES, renew).await
}

pub(super) async fn end_session(sent: Sent<EndForm>) -> Answer {
    let Sent { by, fleet, form } = sent;
    fleet.run(move |fleet| fleet.end_own_session(&by.actor, &form.id.0)).await?;
    Ok(done(PATH, Notice::SessionEnded))
}
