//! The frame of every page: head, way to the other pages, colours, what was just done.

use axum::Form;
use axum::extract::rejection::FormRejection;
use axum::http::StatusCode;
use axum::http::header::{LOCATION, SET_COOKIE};
use axum::response::{Html, IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;

use super::assets::{SCRIPT_PATH, STYLE_PATH};
use super::format;
use super::viewer::{PageError, Theme, Viewer};
use crate::people::Act;

/// The pages one gets to from everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Overview,
    Devices,
    Models,
    Rollouts,
    Policies,
    Enrol,
    Audit,
    People,
    /// For those who administer: an address can hold a secret of its receiver.
    Webhooks,
    /// Reached by one's own name.
    Account,
}

const SECTIONS: [(Section, &str, &str); 9] = [
    (Section::Overview, "Overview", "/console"),
    (Section::Devices, "Devices", "/console/devices"),
    (Section::Models, "Models", "/console/models"),
    (Section::Rollouts, "Rollouts", "/console/rollouts"),
    (Section::Policies, "Policies", "/console/policies"),
    (Section::Enrol, "Enrol", "/console/enrol"),
    (Section::Audit, "Audit", "/console/audit"),
    (Section::People, "People", "/console/people"),
    (Section::Webhooks, "Webhooks", "/console/webhooks"),
];

/// What was just done, told once at the head of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notice {
    Commanded,
    Assigned,
    AuthenticatorRemoved,
    PasswordChanged,
    SessionEnded,
    Placed,
    Revoked,
    Accepted,
    Rejected,
    DraftApproved,
    DraftDropped,
    DraftSaved,
    GroupKept,
    GroupRemoved,
    HookGoesOn,
    HookPaused,
    HookRemoved,
    Labelled,
    ModelApproved,
    ModelApprovalRevoked,
    ModelRestored,
    ModelWithdrawn,
    RolloutStarted,
    RolloutSteered,
}

impl Notice {
    const ALL: &[(Self, &'static str, &'static str)] = &[
        (Self::Commanded, "commanded", "The command was signed; its answer appears below."),
        (Self::Assigned, "assigned", "The assignment was signed for the device."),
        (Self::AuthenticatorRemoved, "authenticator-removed", "You are asked for your password alone from now on."),
        (Self::PasswordChanged, "password-changed", "Your password was changed; your other sessions are over."),
        (Self::SessionEnded, "session-ended", "The session was ended."),
        (Self::Placed, "placed", "The device's site was changed."),
        (Self::Revoked, "revoked", "The device was revoked: it is let in no longer."),
        (Self::Accepted, "accepted", "The key may enrol: the device gets its certificate when it asks again."),
        (Self::Rejected, "rejected", "The request was refused."),
        (Self::DraftSaved, "draft-saved", "The draft was saved and looked at."),
        (Self::DraftApproved, "draft-approved", "The draft is approved, for exactly what it says now."),
        (Self::DraftDropped, "draft-dropped", "The draft is gone; what was released stays."),
        (Self::Labelled, "labelled", "The device's labels were changed."),
        (Self::GroupKept, "group-kept", "The group was kept."),
        (Self::GroupRemoved, "group-removed", "The group was removed; its devices stay as they are."),
        (Self::HookPaused, "hook-paused", "It is sent nothing; what happens meanwhile waits for it."),
        (Self::HookGoesOn, "hook-goes-on", "It is tried at once."),
        (Self::HookRemoved, "hook-removed", "The webhook was removed, and with it what it had not got yet."),
        (Self::ModelApproved, "model-approved", "The model is approved, for exactly the files that it has now."),
        (Self::ModelApprovalRevoked, "approval-revoked", "The approval counts no more; what runs goes on."),
        (
            Self::ModelWithdrawn,
            "withdrawn",
            "The model was withdrawn; every device is told until when it may serve it.",
        ),
        (Self::ModelRestored, "restored", "The model may be assigned again, and devices are told so."),
        (Self::RolloutStarted, "started", "The rollout was started."),
        (Self::RolloutSteered, "steered", "It was done; the waves show what follows."),
    ];

    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(notice, ..)| *notice == self).map_or("", |(_, name, _)| name)
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known, _)| *known == name).map(|(notice, ..)| *notice)
    }

    fn text(self) -> &'static str {
        Self::ALL.iter().find(|(notice, ..)| *notice == self).map_or("", |(.., text)| text)
    }
}

/// A whole page for a viewer.
pub(super) fn page(viewer: &Viewer, title: &str, section: Section, body: Markup) -> Html<String> {
    frame(title, section, viewer.theme, Some(viewer), body)
}

/// A page for somebody who is not known, or when something failed.
pub(super) fn bare(title: &str, section: Section, body: Markup) -> Html<String> {
    frame(title, section, Theme::System, None, body)
}

fn frame(title: &str, section: Section, theme: Theme, viewer: Option<&Viewer>, body: Markup) -> Html<String> {
    let title = format::shown(title, 120);
    let administers = viewer.is_some_and(|viewer| viewer.may(Act::Administer));
    let notice = viewer.and_then(|viewer| viewer.notice);
    let page = html! {
        (DOCTYPE)
        html lang="en" data-theme=(theme.name()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Outpost" }
                link rel="icon" href="data:,";
                link rel="stylesheet" href=(*STYLE_PATH);
                script src=(*SCRIPT_PATH) defer {}
            }
            body {
                a.skip href="#content" { "Skip to content" }
                header.side {
                    p.brand { a href="/console" { (mark()) "Outpost" } }
                    nav aria-label="Pages" {
                        ul {
                            @for (of, label, path) in SECTIONS.into_iter().filter(|(of, ..)| *of != Section::Webhooks || administers) {
                                li { a href=(path) aria-current=[(of == section).then_some("page")] { (label) } }
                            }
                        }
                    }
                    div.foot {
                        form method="post" action="/console/theme" {
                            label for="theme" { "Colours" }
                            select id="theme" name="theme" {
                                @for offered in [Theme::System, Theme::Light, Theme::Dark] {
                                    option value=(offered.name()) selected[offered == theme] { (offered.name()) }
                                }
                            }
                            button.quiet type="submit" { "Set" }
                        }
                        @if let Some(viewer) = viewer {
                            p.who { "Signed in as " a href="/console/account" { strong { (format::shown(&viewer.actor.name, 80)) } } }
                            form.out method="post" action="/logout" { button.quiet type="submit" { "Sign out" } }
                        }
                    }
                }
                main id="content" tabindex="-1" {
                    h1 { (title) }
                    @if let Some(notice) = notice { p.notice #done role="status" { (notice.text()) } }
                    (body)
                }
            }
        }
    };
    Html(page.into_string())
}

/// The sign of the product.
pub(crate) fn mark() -> Markup {
    html! {
        svg.mark viewBox="0 0 24 24" aria-hidden="true" {
            path d="M12 2 L22 20 H2 Z" {}
            circle cx="12" cy="14.5" r="2.6" {}
        }
    }
}

/// A small coloured word.
pub(super) fn badge(tone: &str, text: &str) -> Markup {
    html! { span.badge.(tone) { (text) } }
}

/// The answer to a form: the page again, which says what was done.
pub(super) fn done(path: &str, notice: Notice) -> Response {
    (StatusCode::SEE_OTHER, [(LOCATION, format!("{path}?done={}", notice.name()))]).into_response()
}

#[derive(Debug, Deserialize)]
pub(super) struct ThemeForm {
    theme: String,
}

/// Keeps the colours in a cookie, which says nothing else.
pub(super) async fn set_theme(_: Viewer, form: Result<Form<ThemeForm>, FormRejection>) -> Result<Response, PageError> {
    let Form(form) = form?;
    let theme = Theme::from_name(&form.theme).unwrap_or_default().name();
    let cookie = format!("theme={theme}; Path=/; Max-Age=31536000; SameSite=Lax; Secure; HttpOnly");
    Ok((StatusCode::SEE_OTHER, [(LOCATION, "/console".to_owned()), (SET_COOKIE, cookie)]).into_response())
}
