//! One webhook: what it got of late, what was given up for it, and what one can do about it.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Html;
use maud::{Markup, html};

use super::{MOST_ADDRESS, answer, kinds, path, state, why};
use crate::console::form::{Beside, Mistake};
use crate::console::format;
use crate::console::layout::{self, Section, badge};
use crate::console::viewer::{PageError, Viewer};
use crate::db::{Delivery, Webhook};
use crate::fleet::{Fleet, FleetError};
use crate::people::Act;
use crate::signals::Deliveries;

/// Longest words about a delivery, characters.
const WORDS: usize = 300;

/// What the page shows.
#[derive(Debug)]
pub(in crate::console) struct HookPage {
    hook: Webhook,
    deliveries: Deliveries,
    now_s: i64,
    /// What came of a test.
    pub(super) tested: Option<Delivery>,
    pub(super) mistake: Option<Mistake>,
}

/// Fills the view.
pub(super) fn view(fleet: &Fleet, name: &str) -> Result<HookPage, FleetError> {
    let (hook, deliveries) = (fleet.webhook(name)?, fleet.webhook_deliveries(name)?);
    Ok(HookPage { hook, deliveries, now_s: fleet.now_s(), tested: None, mistake: None })
}

pub(in crate::console) async fn show(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Html<String>, PageError> {
    let Path(name) = name?;
    let subject = format::shown(&name, 64);
    let look = move |fleet: &Fleet| view(fleet, &name);
    let view = fleet.run_as(viewer.actor.clone(), Act::Administer, subject, look).await?;
    Ok(page(&viewer, &view))
}

pub(super) fn page(viewer: &Viewer, view: &HookPage) -> Html<String> {
    let title = format!("Webhook {}", view.hook.name);
    layout::page(viewer, &title, Section::Webhooks, render(view))
}

fn render(view: &HookPage) -> Markup {
    html! {
        p.crumb { a href="/console/webhooks" { "All webhooks" } }
        @if let Some(tested) = &view.tested { (test_result(tested)) }
        div #live-webhook data-live {
            p.state { (state(&view.hook)) @if let Some(why) = why(&view.hook, view.now_s) { " " (why) } }
            section.card {
                h2 { "What it is sent" }
                dl {
                    dt { "Address" } dd.code { (format::shown(&view.hook.url, MOST_ADDRESS)) }
                    dt { "Events" } dd { (kinds(&view.hook)) }
                    dt { "Made" } dd { (format::time(view.hook.created_s)) }
                    dt { "Has got" } dd { "all that it wants up to event " (view.hook.delivered) }
                }
            }
            (attempts(view))
            @if !view.deliveries.dead.is_empty() { (given_up(view)) }
        }
        (acts(view))
    }
}

fn test_result(tested: &Delivery) -> Markup {
    html! {
        section.card.shown-once role="status" {
            h2 { "The test " (answer(tested)) }
            @if tested.error.is_empty() {
                p { "The receiver took it, after " (tested.took_ms) " ms." }
            } @else {
                p.misread { (format::shown(&tested.error, WORDS)) }
                p.small { "A test is sent once; what waits for the webhook is not touched by it." }
            }
        }
    }
}

fn attempts(view: &HookPage) -> Markup {
    html! {
        section.card {
            h2 { "Last deliveries" }
            @if view.deliveries.attempts.is_empty() { p.small { "Nothing was sent yet." } } @else {
                div.scroll tabindex="0" role="group" aria-label="Table of deliveries" {
                    table {
                        thead {
                            tr { @for head in ["Event", "When", "Answer", "Took", "What went wrong"] { th scope="col" { (head) } } }
                        }
                        tbody {
                            @for delivery in &view.deliveries.attempts {
                                tr {
                                    th scope="row" { (delivery.number) }
                                    td.number { (format::time(delivery.at_s)) }
                                    td { (answer(delivery)) }
                                    td.number { (delivery.took_ms) " ms" }
                                    td { (format::shown(&delivery.error, WORDS)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn given_up(view: &HookPage) -> Markup {
    html! {
        section.card.danger {
            h2 { "Given up " (badge("bad", &view.deliveries.dead.len().to_string())) }
            ul.reasons {
                @for dead in &view.deliveries.dead {
                    li {
                        strong { "event " (dead.number) }
                        span.when { (format::time(dead.at_s)) }
                        span { (format::shown(&dead.why, WORDS)) }
                    }
                }
            }
        }
    }
}

fn acts(view: &HookPage) -> Markup {
    let (hook, here) = (&view.hook, path(&view.hook.name));
    let confirm = Beside::of(view.mistake.as_ref(), "confirm");
    html! {
        div.grid {
            section.card {
                h2 { "Try it" }
                p { "An event " code { "webhook.test" } " is sent now, out of turn." }
                form method="post" action={(here) "/test"} { button.primary type="submit" { "Send a test" } }
            }
            section.card {
                @if hook.disabled.is_some() {
                    h2 { "Go on" }
                    p { "What happened meanwhile comes in its order." }
                    form method="post" action={(here) "/retry"} { button type="submit" { "Go on" } }
                } @else {
                    h2 { "Pause" }
                    p { "Nothing is sent until somebody lets it go on; what happens meanwhile waits for it." }
                    form method="post" action={(here) "/pause"} { button type="submit" { "Pause" } }
                    @if hook.failures > 0 {
                        form method="post" action={(here) "/retry"} { button type="submit" { "Try again now" } }
                    }
                }
            }
            section.card.danger {
                h2 { "Remove" }
                form method="post" action={(here) "/remove"} {
                    label for="confirm" { "Type " strong { (format::shown(&hook.name, 64)) } ": its secret and what waits for it are gone" }
                    input id="confirm" name="confirm" required maxlength="64" autocomplete="off" autocapitalize="none" spellcheck="false"
                        autofocus[confirm.is_wrong()] aria-describedby=[confirm.described(None)] aria-invalid=[confirm.invalid()];
                    (confirm.words)
                    button.danger type="submit" { "Remove" }
                }
            }
        }
    }
}
