//! Webhooks: who is sent what happens, how far each has got and what fails. An address can hold a secret of its receiver, so the
//! pages are for those who administer.

mod act;
mod one;

use axum::extract::State;
use axum::response::Html;
use maud::{Markup, html};

use super::form::{Beside, Mistake, again};
use super::format::{self, segment};
use super::layout::{self, Section, badge};
use super::viewer::{PageError, Viewer};
use crate::db::{Delivery, Webhook};
use crate::fleet::Fleet;
use crate::people::Act;
use crate::signals::{HookBoard, HookStanding};

pub(super) use act::{create, pause, remove, retry, test};
pub(super) use one::show as show_one;

/// Longest address in a table, characters.
const MOST_ADDRESS: usize = 200;

/// What stands in the fields of the form that makes one.
#[derive(Debug, Clone, Default)]
struct Typed {
    name: String,
    url: String,
    kinds: String,
}

/// What the page shows.
#[derive(Debug)]
pub(super) struct HooksPage {
    board: HookBoard,
    now_s: i64,
    typed: Typed,
    mistake: Option<Mistake>,
    /// The name and the secret of one that was made just now.
    made: Option<(String, String)>,
}

impl HooksPage {
    pub(super) fn new(board: HookBoard, now_s: i64) -> Self {
        Self { board, now_s, typed: Typed::default(), mistake: None, made: None }
    }
}

pub(super) async fn show(viewer: Viewer, State(fleet): State<Fleet>) -> Result<Html<String>, PageError> {
    let look = |fleet: &Fleet| Ok(HooksPage::new(fleet.webhook_board()?, fleet.now_s()));
    let view = fleet.run_as(viewer.actor.clone(), Act::Administer, "webhooks", look).await?;
    Ok(page(&viewer, &view))
}

fn page(viewer: &Viewer, view: &HooksPage) -> Html<String> {
    layout::page(viewer, "Webhooks", Section::Webhooks, render(view))
}

pub(super) fn render(view: &HooksPage) -> Markup {
    html! {
        @if let Some((name, secret)) = &view.made { (made(name, secret)) }
        section #live-webhooks.card.flush data-live {
            @if view.board.hooks.is_empty() {
                p.empty-state { "No webhook yet. A webhook is an address that is sent what happens in the fleet, signed." }
            } @else {
                div.scroll tabindex="0" role="group" aria-label="Table of webhooks" {
                    table {
                        thead {
                            tr {
                                @for head in ["Webhook", "State", "Sends to", "What", "Last delivery", "Has got", "Given up"] {
                                    th scope="col" { (head) }
                                }
                            }
                        }
                        tbody { @for standing in &view.board.hooks { (row(standing, view)) } }
                    }
                }
            }
        }
        (form(view))
    }
}

fn made(name: &str, secret: &str) -> Markup {
    html! {
        section.card.shown-once role="status" {
            h2 { "The secret of " (name) }
            p {
                "With it the receiver checks that an event comes from here, as standardwebhooks.com has it. "
                "It is shown this once; whoever loses it removes the webhook and makes another one."
            }
            pre.command { (secret) }
            p { a.button href=(path(name)) { "Send it a test" } }
        }
    }
}

fn row(HookStanding { hook, last, given_up }: &HookStanding, view: &HooksPage) -> Markup {
    html! {
        tr {
            th scope="row" { a href=(path(&hook.name)) data-row { (format::shown(&hook.name, 64)) } }
            td { (state(hook)) @if let Some(why) = why(hook, view.now_s) { p.why { (why) } } }
            td.code { (format::shown(&hook.url, MOST_ADDRESS)) }
            td { (kinds(hook)) }
            td { (outcome(last.as_ref(), view.now_s)) }
            td.number { (hook.delivered) " of " (view.board.newest) }
            td.number { @if *given_up > 0 { (badge("bad", &given_up.to_string())) } @else { "none" } }
        }
    }
}

/// Where a webhook is seen.
fn path(name: &str) -> String {
    format!("/console/webhooks/{}", segment(name))
}

/// Whether a webhook gets what it wants, in a word.
fn state(hook: &Webhook) -> Markup {
    match (&hook.disabled, hook.failures) {
        (Some(_), _) => badge("warn", "stands still"),
        (None, 0) => badge("good", "well"),
        (None, _) => badge("bad", "fails"),
    }
}

/// Why a webhook does not get what it wants.
fn why(hook: &Webhook, now_s: i64) -> Option<String> {
    match (&hook.disabled, hook.failures) {
        (Some(why), _) => Some(format::shown(why, 200)),
        (None, 0) => None,
        (None, failures) => {
            let attempts = if failures == 1 { "1 attempt".to_owned() } else { format!("{failures} attempts") };
            Some(format!("{attempts} failed; the next one is {}", format::from_now(hook.due_s.max(now_s), now_s)))
        }
    }
}

fn kinds(hook: &Webhook) -> String {
    if hook.kinds.is_empty() { "everything".to_owned() } else { format::shown(&hook.kinds.join(", "), 200) }
}

/// What came of an attempt, and when.
fn outcome(delivery: Option<&Delivery>, now_s: i64) -> Markup {
    html! {
        @match delivery {
            None => "none yet",
            Some(delivery) => {
                (answer(delivery)) " " (format::from_now(delivery.at_s, now_s))
            }
        }
    }
}

/// What a receiver answered.
fn answer(delivery: &Delivery) -> Markup {
    let tone = if delivery.error.is_empty() { "good" } else { "bad" };
    match delivery.status {
        Some(status) => badge(tone, &status.to_string()),
        None => badge(tone, "no answer"),
    }
}

fn form(view: &HooksPage) -> Markup {
    let [name, url, kinds] = ["name", "url", "kinds"].map(|field| Beside::of(view.mistake.as_ref(), field));
    html! {
        section.card {
            h2 { "Make a webhook" }
            form.narrow method="post" action="/console/webhooks" {
                label for="name" { "Name" }
                input id="name" name="name" required maxlength="64" value=(again(&view.typed.name)) autocomplete="off" autocapitalize="none"
                    spellcheck="false" autofocus[name.is_wrong()] aria-describedby=[name.described(None)] aria-invalid=[name.invalid()];
                (name.words)
                label for="url" { "Address" }
                input id="url" name="url" required maxlength="2048" value=(again(&view.typed.url)) inputmode="url" autocomplete="off"
                    autocapitalize="none" spellcheck="false" placeholder="https://pager.example/outpost" autofocus[url.is_wrong()]
                    aria-describedby=[url.described(Some("url-hint"))] aria-invalid=[url.invalid()];
                (url.words)
                p.hint id="url-hint" {
                    "A public one over https; " code { "[webhooks] allow" } " in " code { "outpost-control.toml" } " names other networks."
                }
                label for="kinds" { "Which events" }
                input id="kinds" name="kinds" maxlength="2000" value=(again(&view.typed.kinds)) autocomplete="off" autocapitalize="none"
                    spellcheck="false" placeholder="device.* audit.incident" autofocus[kinds.is_wrong()]
                    aria-describedby=[kinds.described(Some("kinds-hint"))] aria-invalid=[kinds.invalid()];
                (kinds.words)
                p.hint id="kinds-hint" {
                    "Empty: everything. Kinds as " code { "device.lost" } " or areas as " code { "device.*" } ", "
                    code { "catalogue.*" } ", " code { "policy.*" } ", " code { "audit.*" } ", parted by blanks."
                }
                button.primary type="submit" { "Make it" }
            }
        }
    }
}
