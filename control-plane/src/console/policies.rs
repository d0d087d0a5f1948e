//! Policies: what devices enforce, and the drafts of what they will.

mod act;
mod draft;
mod file;
mod simulation;

use axum::extract::State;
use axum::response::Html;
use maud::{Markup, html};

use super::format;
use super::layout::{self, Section, badge};
use super::viewer::{PageError, Viewer};
use crate::fleet::Fleet;
use crate::inventory::words::clean;
use crate::people::Act;
use crate::policy_desk::{DraftState, DraftSummary, PolicyBoard, ReleasedPolicy};

pub(super) use act::{approve, create, drop_draft, save};
pub(super) use draft::show as show_draft;
pub(super) use file::show as show_file;
pub(super) use simulation::run as simulate;

#[cfg(test)]
pub(super) use simulation::render as render_simulation;

pub(super) async fn show(viewer: Viewer, State(fleet): State<Fleet>) -> Result<Html<String>, PageError> {
    let board = fleet.run_as(viewer.actor.clone(), Act::See, "policies", Fleet::policy_board).await?;
    Ok(layout::page(&viewer, "Policies", Section::Policies, render(&board, &viewer)))
}

pub(super) fn render(board: &PolicyBoard, viewer: &Viewer) -> Markup {
    html! {
        div #live-policies data-live {
            (released(&board.released))
            section.card.flush {
                @if board.drafts.is_empty() { p.empty-state { "No draft is being written." } } @else { (drafts(&board.drafts)) }
            }
            p.small {
                @if board.two_persons { "A second person approves each draft before it is released." } @else {
                    "One person is enough here: with a second one in the fleet, or with " code { "[policies] two_persons = true" }
                    ", a second person approves each draft."
                }
            }
        }
        @if viewer.may(Act::DraftPolicy) { (begin()) }
    }
}

fn released(policies: &[ReleasedPolicy]) -> Markup {
    html! {
        @if policies.is_empty() {
            section.card.empty-state {
                h2 { "No policy bundle was released yet" }
                p { "Without one a device answers nobody. Begin a draft, or release one with " code { "outpost-control catalogue release" } "." }
            }
        } @else {
            section.card.flush {
                div.scroll tabindex="0" role="group" aria-label="Table of policy bundles" {
                    table {
                        thead {
                            tr {
                                @for name in ["Bundle", "Standing", "Version", "Release", "Length", "SHA-256"] {
                                    th scope="col" { (name) }
                                }
                            }
                        }
                        tbody {
                            @for policy in policies {
                                tr {
                                    th scope="row" { (policy.target) }
                                    td { (standing(policy)) }
                                    td.number { (policy.version) }
                                    td.number { (policy.release) }
                                    td.number { (format::bytes(policy.bytes)) }
                                    td.code { (policy.sha256) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn standing(policy: &ReleasedPolicy) -> Markup {
    match (policy.in_force, policy.pinned) {
        (true, _) => badge("good", "in force"),
        (false, 0) => badge("dim", "no device is told of it"),
        (false, pinned) => badge("accent", &format!("on {pinned} devices")),
    }
}

fn drafts(drafts: &[DraftSummary]) -> Markup {
    html! {
        div.scroll tabindex="0" role="group" aria-label="Table of drafts" {
            table {
                thead {
                    tr { @for name in ["Draft", "State", "Version", "Written by", "Approved by", "Saved"] { th scope="col" { (name) } } }
                }
                tbody {
                    @for draft in drafts {
                        tr {
                            th scope="row" { a href=(path(&draft.name)) data-row { (draft.name) } }
                            td { (state(draft.state)) }
                            td.number { @if let Some(version) = draft.version { (version) } @else { "–" } }
                            td { (people(draft.authors.iter())) }
                            td { (people(draft.approvals.iter().map(|approval| &approval.person))) }
                            td.number { (format::time(draft.saved_s)) }
                        }
                    }
                }
            }
        }
    }
}

fn people<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<String> = names.map(|name| clean(name, 80)).collect();
    if names.is_empty() { "–".to_owned() } else { names.join(", ") }
}

/// Where a draft is seen; its name was checked when it was saved.
fn path(name: &str) -> String {
    format!("/console/policies/drafts/{name}")
}

fn state(state: DraftState) -> Markup {
    match state {
        DraftState::Faulty => badge("bad", "has errors"),
        DraftState::Waiting => badge("warn", "waits for a second person"),
        DraftState::Ready => badge("accent", "can be released"),
        DraftState::Staged => badge("accent", "staged"),
        DraftState::Released => badge("good", "in force"),
    }
}

fn begin() -> Markup {
    html! {
        section.card {
            h2 { "Begin a draft" }
            form method="post" action="/console/policies/drafts" {
                label for="name" { "Name" }
                input id="name" name="name" required maxlength="48" pattern="[a-z0-9][a-z0-9\\-]*" autocomplete="off" spellcheck="false";
                label for="start" { "Begin with" }
                select id="start" name="start" {
                    option value="in-force" { "the policy in force" }
                    option value="default" { "the built-in policy" }
                    option value="brought" { "the bundle below" }
                }
                label for="bundle" { "A bundle as JSON, if you bring one" }
                textarea id="bundle" name="bundle" rows="4" spellcheck="false" {}
                button.primary type="submit" { "Begin" }
            }
        }
    }
}
