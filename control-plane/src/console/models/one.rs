//! One model: its variants, what is asked for before it is assigned, who approved it, and the kill switch.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Html;
use maud::{Markup, html};
use outpost_contract::ModelId;

use super::decisions;
use crate::config::{LicenceStanding, ModelRules};
use crate::console::form::{Beside, Mistake, again};
use crate::console::format;
use crate::console::layout::{self, Section, badge};
use crate::console::standing::devices_where;
use crate::console::viewer::{PageError, Viewer};
use crate::db::StoredWithdrawal;
use crate::fleet::{Fleet, FleetError};
use crate::models::{ApprovalState, ApprovalView, CatalogueEntry, Filter, MOST_DEADLINE_S};
use crate::people::Act;

/// Approvals on the page, the newest.
const MOST_APPROVALS: usize = 100;

/// Days from now on which the form lets an approval end, if nobody says otherwise.
const DAYS: i64 = 90;

/// Seconds of a day and of an hour.
const DAY_S: i64 = 24 * HOUR_S;
pub(super) const HOUR_S: i64 = 60 * 60;

/// What stands in the fields.
#[derive(Debug, Clone, Default)]
pub(super) struct Typed {
    pub(super) until: String,
    pub(super) selector: String,
    pub(super) note: String,
    pub(super) target: String,
    pub(super) reason: String,
    pub(super) hours: String,
}

/// What the page shows.
#[derive(Debug)]
pub(in crate::console) struct ModelPage {
    pub(super) model: ModelId,
    /// Its variants; none if the catalogue has it no more.
    entries: Vec<CatalogueEntry>,
    /// The digest of what an approval would be for.
    digest: String,
    rules: ModelRules,
    approvals: Vec<ApprovalView>,
    withdrawals: Vec<StoredWithdrawal>,
    now_s: i64,
    pub(super) typed: Typed,
    pub(super) mistake: Option<Mistake>,
}

impl ModelPage {
    /// Shows a mistake, with what was typed in the form that it is in.
    pub(super) fn take(&mut self, (mistake, typed): (Mistake, Typed)) {
        let kept = std::mem::take(&mut self.typed);
        let or = |typed: String, kept: String| if typed.is_empty() { kept } else { typed };
        self.typed = Typed {
            until: or(typed.until, kept.until),
            selector: or(typed.selector, kept.selector),
            hours: or(typed.hours, kept.hours),
            ..typed
        };
        self.mistake = Some(mistake);
    }
}

/// Fills the view.
pub(super) fn view(fleet: &Fleet, model: &ModelId) -> Result<ModelPage, FleetError> {
    let mut entries = fleet.entries(&Filter::default())?;
    entries.retain(|entry| entry.model == *model);
    let mut withdrawals = fleet.withdrawals()?;
    withdrawals.retain(|one| one.model == model.as_str());
    let mut approvals = fleet.model_approvals(Some(model))?;
    if entries.is_empty() && withdrawals.is_empty() && approvals.is_empty() {
        return Err(FleetError::UnknownModel(model.to_string()));
    }
    approvals.reverse();
    approvals.truncate(MOST_APPROVALS);
    let digest = if entries.is_empty() { String::new() } else { fleet.model_digest(model)? };
    let now_s = fleet.now_s();
    let typed = Typed {
        until: format::day(now_s + DAYS * DAY_S),
        selector: "all".to_owned(),
        hours: "24".to_owned(),
        ..Typed::default()
    };
    let rules = fleet.config().models.clone();
    Ok(ModelPage { model: model.clone(), entries, digest, rules, approvals, withdrawals, now_s, typed, mistake: None })
}

pub(in crate::console) async fn show(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    model: Result<Path<ModelId>, PathRejection>,
) -> Result<Html<String>, PageError> {
    let Path(model) = model?;
    let view = fleet.run_as(viewer.actor.clone(), Act::See, &model.clone(), move |fleet| view(fleet, &model)).await?;
    Ok(page(&viewer, &view))
}

pub(super) fn page(viewer: &Viewer, view: &ModelPage) -> Html<String> {
    layout::page(viewer, view.model.as_str(), Section::Models, render(view, viewer))
}

fn render(view: &ModelPage, viewer: &Viewer) -> Markup {
    let serving = devices_where(&format!("model={}", view.model));
    html! {
        p.crumb { a href="/console/models" { "All models" } }
        p.state { (standing(view)) @if let Some(serving) = serving { a href=(serving) { "Devices that it serves on" } } }
        @if view.entries.is_empty() {
            section.card.empty-state { h2 { "The catalogue has it no more" } p { "What was decided about it is below." } }
        } @else { (variants(view)) }
        @if !view.withdrawals.is_empty() {
            (decisions::withdrawals(&view.withdrawals, view.now_s))
            (restore(view, viewer))
        }
        div.grid {
            (decisions::rules(&view.rules))
            @if !view.entries.is_empty() { (approve(view, viewer)) }
        }
        @if !view.approvals.is_empty() {
            (decisions::approvals(&view.approvals, view.now_s, viewer.may(Act::ApproveModel)))
        }
        @if !view.entries.is_empty() && viewer.may(Act::WithdrawModel) { (withdraw(view)) }
    }
}

/// Whether it may be assigned, in a word.
fn standing(view: &ModelPage) -> Markup {
    let licences = || view.entries.iter().map(|entry| view.rules.licence(&entry.licence));
    let is_approved = view.approvals.iter().any(|approval| approval.state == ApprovalState::Counts);
    let asks = view.rules.approvals || licences().any(|standing| standing == LicenceStanding::NeedsApproval);
    let withdrawn = view.entries.iter().filter(|entry| entry.withdrawn.is_some()).count();
    let (tone, words) = match (view.entries.len(), withdrawn) {
        (0, _) => ("dim", "not in the catalogue"),
        (all, withdrawn) if all == withdrawn => ("bad", "withdrawn"),
        _ if licences().all(|standing| standing == LicenceStanding::Denied) => ("bad", "its licence is refused"),
        _ if asks && is_approved => ("good", "approved"),
        _ if asks => ("warn", "needs an approval"),
        (_, 0) => ("good", "may be assigned"),
        _ => ("warn", "withdrawn in part"),
    };
    badge(tone, words)
}

fn variants(view: &ModelPage) -> Markup {
    html! {
        section.card.flush {
            div.scroll tabindex="0" role="group" aria-label="Table of variants" {
                table {
                    thead {
                        tr {
                            @for head in ["Variant", "Licence", "Quantisation", "File", "Tokens/s", "Release"] {
                                th scope="col" { (head) }
                            }
                        }
                    }
                    tbody {
                        @for entry in &view.entries {
                            tr {
                                th scope="row" {
                                    (entry.target)
                                    @if let Some(reason) = &entry.withdrawn {
                                        " " span title=(format::shown(reason, 200)) { (badge("bad", "withdrawn")) }
                                    }
                                }
                                td { (decisions::licence(&view.rules, &entry.licence)) }
                                td { (format::shown(&entry.quantisation, 40)) }
                                td.number { (format::bytes(entry.file_bytes)) }
                                td.number { (entry.speed_milli.map_or_else(|| "–".to_owned(), format::milli)) }
                                td.number { (entry.release) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn approve(view: &ModelPage, viewer: &Viewer) -> Markup {
    let [files, until, selector, note] =
        ["files", "until", "selector", "note"].map(|field| Beside::of(view.mistake.as_ref(), field));
    let today = format::day(view.now_s);
    let refused = view.entries.iter().any(|entry| view.rules.licence(&entry.licence) == LicenceStanding::Denied);
    html! {
        section.card {
            h2 { "Approve" }
            @if !viewer.may(Act::ApproveModel) {
                p { "Somebody with the role approver approves models." }
            } @else {
                p.small {
                    "You approve exactly what is above: "
                    @if view.entries.len() == 1 { "1 variant" } @else { (view.entries.len()) " variants" }
                    ". What is released later asks anew."
                }
                @if refused { p.notice.warn { "A licence of it is refused: no approval helps with that." } }
                (files.words)
                form method="post" action={"/console/models/" (view.model) "/approve"} {
                    input type="hidden" name="files" value=(view.digest);
                    label for="until" { "Last day" }
                    input id="until" name="until" type="date" required min=(today) value=(again(&view.typed.until))
                        autofocus[until.is_wrong()] aria-describedby=[until.described(Some("until-hint"))] aria-invalid=[until.invalid()];
                    (until.words)
                    p.hint id="until-hint" { "It ends with that day, UTC; within five years." }
                    label for="selector" { "For which devices" }
                    input id="selector" name="selector" required maxlength="4096" value=(again(&view.typed.selector)) autocomplete="off"
                        autocapitalize="none" spellcheck="false" autofocus[selector.is_wrong()]
                        aria-describedby=[selector.described(Some("selector-hint"))] aria-invalid=[selector.invalid()];
                    (selector.words)
                    p.hint id="selector-hint" { "A selector: " code { "all" } ", " code { "label.role=till" } ", " code { "group=canary" } }
                    label for="note" { "What it rests on" }
                    input id="note" name="note" maxlength="500" value=(again(&view.typed.note)) autocomplete="off" autofocus[note.is_wrong()]
                        aria-describedby=[note.described(None)] aria-invalid=[note.invalid()];
                    (note.words)
                    button.primary type="submit" { "Approve" }
                }
            }
        }
    }
}

fn restore(view: &ModelPage, viewer: &Viewer) -> Markup {
    html! {
        @if viewer.may(Act::WithdrawModel) {
            section.card {
                h2 { "Take it back" }
                p {
                    "All of what was withdrawn of it may be assigned again, and devices that are assigned it are told so. "
                    "An approval that it needs, it still needs."
                }
                form method="post" action={"/console/models/" (view.model) "/restore"} {
                    button type="submit" { "Take the withdrawal back" }
                }
            }
        }
    }
}

fn withdraw(view: &ModelPage) -> Markup {
    let [target, reason, hours, confirm] =
        ["target", "reason", "hours", "confirm"].map(|field| Beside::of(view.mistake.as_ref(), field));
    html! {
        section.card.danger {
            h2 { "Withdraw" }
            p {
                "Nothing of it is newly assigned from now on. A device that hears of it stops at the deadline by its own clock, "
                "whether it reaches this server then or not; one that never hears of it goes on."
            }
            form.narrow method="post" action={"/console/models/" (view.model) "/withdraw"} {
                label for="target" { "What" }
                select id="target" name="target" autofocus[target.is_wrong()]
                    aria-describedby=[target.described(None)] aria-invalid=[target.invalid()] {
                    option value="" { "all of " (view.model) }
                    @for entry in &view.entries {
                        option value=(entry.target) selected[entry.target.as_str() == view.typed.target] { (entry.target) }
                    }
                }
                (target.words)
                label for="reason" { "Why" }
                input id="reason" name="reason" required maxlength="200" value=(again(&view.typed.reason)) autocomplete="off"
                    autofocus[reason.is_wrong()] aria-describedby=[reason.described(Some("reason-hint"))] aria-invalid=[reason.invalid()];
                (reason.words)
                p.hint id="reason-hint" { "Devices and their callers read it." }
                label for="hours" { "Hours until devices stop" }
                input id="hours" name="hours" type="number" required min="0" max=(MOST_DEADLINE_S / HOUR_S) value=(again(&view.typed.hours))
                    autofocus[hours.is_wrong()] aria-describedby=[hours.described(Some("hours-hint"))] aria-invalid=[hours.invalid()];
                (hours.words)
                p.hint id="hours-hint" { "0: at once." }
                label for="confirm" { "Type " strong { (view.model) } " to withdraw it" }
                input id="confirm" name="confirm" required maxlength="64" autocomplete="off" autocapitalize="none" spellcheck="false"
                    autofocus[confirm.is_wrong()] aria-describedby=[confirm.described(None)] aria-invalid=[confirm.invalid()];
                (confirm.words)
                button.danger type="submit" { "Withdraw" }
            }
        }
    }
}
