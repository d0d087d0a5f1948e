//! One device: what it is, what it runs and why, what it waits for, what happened on it, and what one can do about it.

use std::sync::Arc;

use axum::Form;
use axum::extract::rejection::{FormRejection, PathRejection};
use axum::extract::{Extension, Path, State};
use axum::response::{Html, Response};
use maud::{Markup, html};
use outpost_contract::{BuildSource, DeviceId, Measurements, Operation, ReasonCode, TransferProgress};
use serde::Deserialize;

use super::cached::Boards;
use super::layout::{self, Notice, Section, badge, done};
use super::viewer::{PageError, Viewer};
use super::{format, groups, machine, picture, standing};
use crate::audit::MirrorSummary;
use crate::db::{Assignment, CommandRecord, StoredEvent};
use crate::fleet::{Fleet, FleetError};
use crate::inventory::{CertificateState, ClockView, DevicePlan, DeviceView, Drift, Machine};
use crate::people::Act;

/// Events and commands that are shown.
const NEWEST: usize = 20;

/// How long a command from a button counts, seconds.
const COMMAND_S: i64 = 600;

/// Longest text of a device in a line, characters.
const MOST_TEXT: usize = 400;

/// What the page shows.
#[derive(Debug)]
pub(super) struct DevicePage {
    pub(super) device: DeviceView,
    /// Everything that it measured.
    pub(super) measured: Option<Measurements>,
    /// What it would make of its assigned model.
    pub(super) plan: Option<DevicePlan>,
    /// What it fetches.
    pub(super) transfer: Option<TransferProgress>,
    pub(super) commands: Vec<CommandRecord>,
    pub(super) events: Vec<StoredEvent>,
    /// Models that it can be assigned.
    pub(super) models: Vec<String>,
    pub(super) mirrors: Vec<MirrorSummary>,
    pub(super) now_s: i64,
}

/// Fills the view but for the mirrors, which are made for all devices at once.
fn view(fleet: &Fleet, device: &DeviceId) -> Result<DevicePage, FleetError> {
    let known = fleet.device(device)?;
    let plan = fleet.device_plan(&known)?;
    let (measured, transfer) =
        known.reported.map_or((None, None), |reported| (reported.measurements, reported.transfer));
    Ok(DevicePage {
        device: fleet.view(device)?,
        measured,
        plan,
        transfer,
        commands: fleet.commands(device)?,
        events: fleet.events(device)?,
        models: super::models::names(&fleet.targets()?),
        mirrors: Vec::new(),
        now_s: fleet.now_s(),
    })
}

pub(super) async fn show(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    Extension(boards): Extension<Arc<Boards>>,
    device: Result<Path<DeviceId>, PathRejection>,
) -> Result<Html<String>, PageError> {
    let Path(device) = device?;
    let name = device.clone();
    let mut view = fleet.run_as(viewer.actor.clone(), Act::See, &device, move |fleet| view(fleet, &name)).await?;
    let mirrors = boards.mirrors.get(&fleet, Fleet::audit_mirrors).await?;
    view.mirrors = mirrors.iter().filter(|mirror| mirror.device == device).cloned().collect();
    Ok(layout::page(&viewer, device.as_str(), Section::Devices, render(&view, &viewer)))
}

fn is_revoked(device: &DeviceView) -> bool {
    matches!(device.drift, Drift::Revoked { .. })
}

pub(super) fn render(view: &DevicePage, viewer: &Viewer) -> Markup {
    let device = &view.device;
    html! {
        p.crumb { a href="/console/devices" { "All devices" } }
        div #live-device data-live {
            p.state {
                (standing::state(device)) " " (standing::presence(device, view.now_s))
                @if let Some(site) = &device.site {
                    span {
                        "site "
                        @match standing::devices_where(&format!("site={}", standing::quoted(site))) {
                            Some(link) => a href=(link) { (format::shown(site, 64)) },
                            None => (format::shown(site, 64)),
                        }
                    }
                }
                @for group in &device.groups {
                    @match standing::devices_where(&format!("group={group}")) {
                        Some(link) => a.chip.group href=(link) { (format::shown(group, 64)) },
                        None => span.chip.group { (format::shown(group, 64)) },
                    }
                }
            }
            @if device.drift.is_drift() { (drift(device)) }
            div.grid.four {
                (running(device, view.transfer.as_ref()))
                @if let Some(machine) = &device.machine { (resources(machine, view.now_s)) }
                @if let Some(plan) = &view.plan { (machine::plan(plan)) }
                @if let Some(measured) = &view.measured { (machine::facts(measured)) }
                (identity(view))
                (audit(view))
                @if !device.plan.is_empty() {
                    section.card.wide {
                        h2 { "Plan, and why others lost" }
                        ol.plan { @for line in &device.plan { li { (format::shown(line, MOST_TEXT)) } } }
                    }
                }
                (commands(view))
                (events(view))
            }
        }
        (labels(view, viewer))
        @if !is_revoked(device) { (actions(view, viewer)) }
    }
}

/// Why it is not what it should be, in words and numbers of its own.
fn drift(device: &DeviceView) -> Markup {
    let (_, tone) = standing::shown(device.drift.state());
    // What stands apart is not said twice.
    let apart = [&device.last_error, &device.next_retry];
    let others =
        || device.reasons.iter().filter(|reason| !apart.iter().any(|one| one.as_ref() == Some(&reason.detail)));
    html! {
        section.card.drift.(tone) {
            h2 { "Not in step" }
            @if device.reasons.is_empty() { p.lead { (format::shown(&device.words, MOST_TEXT)) } }
            dl {
                @if let Some(error) = &device.last_error {
                    dt { "Last error" }
                    dd {
                        @for reason in device.reasons.iter().filter(|reason| reason.detail == *error).take(1) {
                            (badge("warn", &standing::plain(&code(reason.code)))) " " strong { (format::shown(&reason.subject, 120)) } " "
                        }
                        (format::shown(error, MOST_TEXT))
                    }
                }
                @if let Some(retry) = &device.next_retry { dt { "Tries again" } dd { (format::shown(retry, MOST_TEXT)) } }
            }
            @if others().next().is_some() {
                ul.reasons {
                    @for reason in others() {
                        li {
                            (badge("warn", &standing::plain(&code(reason.code))))
                            strong { (format::shown(&reason.subject, 120)) }
                            span { (format::shown(&reason.detail, MOST_TEXT)) }
                        }
                    }
                }
            }
        }
    }
}

/// As selectors write it.
fn code(code: ReasonCode) -> String {
    serde_json::to_value(code).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn running(device: &DeviceView, transfer: Option<&TransferProgress>) -> Markup {
    html! {
        section.card {
            h2 { "In force" }
            dl {
                dt { "Assigned" }
                dd {
                    @match device.assignment.as_ref().map(|assignment| &assignment.model) {
                        Some(Some(model)) => (model),
                        Some(None) => "no model",
                        None => "nothing yet",
                    }
                }
                dt { "Model" }
                dd { @match &device.runs { Some(runs) => (runs.model), None => "none" } }
                @if let Some(runs) = &device.runs {
                    dt { "Variant" } dd { (runs.target) }
                    dt { "Speed" } dd { (format::milli(runs.tokens_per_second_milli)) " tokens/s" }
                    dt { "Context" } dd { (runs.context_tokens) " tokens" }
                }
                @if let Some(build) = &device.build {
                    dt { "Agent" }
                    dd {
                        (build.version)
                        @if build.source == BuildSource::Packaged { ", packaged" }
                        @if build.trial { " " (badge("accent", "on trial")) }
                    }
                    @if let Some(given_up) = &build.rolled_back {
                        dt { "Rolled back" }
                        dd { (badge("warn", given_up.version.as_str())) " " (format::shown(&given_up.reason, MOST_TEXT)) }
                    }
                }
                dt { "Policy" }
                dd { @if device.policy_version > 0 { "version " (device.policy_version) } @else { "none" } }
                dt { "State" } dd { (device.applied_version) " of " (device.desired_version) " in force" }
                dt { "Answered" } dd { (device.answered) ", refused " (device.refused) }
                @if device.backlog > 0 { dt { "Waits to be sent" } dd { (device.backlog) @if device.backlog == 1 { " message" } @else { " messages" } } }
                @if device.dead_letters > 0 {
                    dt { "Given up" } dd { (badge("bad", &format!("{} messages", device.dead_letters))) }
                }
            }
            @if let Some(transfer) = transfer {
                h3 { "Fetching " (transfer.target) }
                (picture::progress("Transfer", transfer.percent(), "accent"))
                p.small {
                    (transfer.percent()) " % of " (format::bytes(transfer.total_bytes)) ", "
                    (format::bytes(transfer.bytes_per_second)) "/s from " (format::shown(&transfer.source, 120))
                    @if let Some(waiting) = &transfer.waiting_for { "; waits: " (format::shown(waiting, 200)) }
                }
            }
        }
    }
}

fn resources(machine: &Machine, now_s: i64) -> Markup {
    let used = machine.memory_bytes.saturating_sub(machine.available_bytes);
    let percent = u128::from(used) * 100 / u128::from(machine.memory_bytes.max(1));
    html! {
        section.card {
            h2 { "Measured " span.unit { (format::from_now(machine.measured_at_s, now_s)) } }
            (picture::progress("Memory in use", u8::try_from(percent).unwrap_or(100), "accent"))
            dl {
                dt { "Memory" }
                dd { (format::bytes(machine.available_bytes)) " free of " (format::bytes(machine.memory_bytes)) }
                dt { "Disk free" } dd { (format::bytes(machine.disk_bytes)) }
                dt { "Memory speed" } dd { (format::bytes(machine.memory_bytes_per_second)) "/s" }
                dt { "Processor" } dd { (format::shown(&machine.cpu, 120)) ", " (machine.cores) " cores" }
            }
        }
    }
}

fn identity(view: &DevicePage) -> Markup {
    let device = &view.device;
    let end_s = device.certificate.not_after_s.unwrap_or(0);
    let ends = html! { "ends " (format::from_now(end_s, view.now_s)) ", " (format::time(end_s)) };
    html! {
        section.card {
            h2 { "Identity" }
            dl {
                dt { "Enrolled" } dd { (format::time(device.enrolled_s)) }
                @if let Drift::Revoked { since_s } = device.drift { dt { "Revoked" } dd { (format::time(since_s)) } }
                dt { "Certificate" }
                dd {
                    @match device.certificate.state {
                        CertificateState::Unknown => "not known",
                        CertificateState::Good => (ends),
                        CertificateState::RenewalDue => { (badge("accent", "is being renewed")) " " (ends) },
                        CertificateState::RenewalOverdue => { (badge("warn", "should be renewed")) " " (ends) },
                        CertificateState::Expired => { (badge("bad", "expired")) " " (format::from_now(end_s, view.now_s)) },
                    }
                }
                dt { "Clock" }
                dd {
                    @match device.clock {
                        ClockView::NotKnown => "nothing seen wrong with it",
                        ClockView::Fast { by_s } => (badge("warn", &format!("fast by {by_s} s"))),
                    }
                }
                dt { "Agent" } dd { (format::shown(&device.agent, 120)) }
                @if let Some(stick_s) = device.stick_s { dt { "Last stick" } dd { (format::time(stick_s)) } }
                dt { "Audit key" } dd.code { (format::shown(&device.audit_key, 200)) }
            }
        }
    }
}

fn labels(view: &DevicePage, viewer: &Viewer) -> Markup {
    let device = &view.device;
    let may = viewer.may(Act::Assign);
    let here = format!("/console/devices/{}/labels", device.device);
    html! {
        section.card {
            h2 { "Labels" }
            @if device.labels.is_empty() { p.small { "None. Selectors and groups find devices by their labels." } }
            @if may {
                ul.label-list {
                    @for (key, value) in &device.labels {
                        li {
                            form.inline method="post" action=(here) {
                                (groups::label_word(key, value))
                                button.quiet type="submit" name="remove" value=(key) aria-label={"Remove the label " (format::shown(key, 63))} { "×" }
                            }
                        }
                    }
                }
                form.row method="post" action=(here) {
                    div { label for="key" { "Key" } input id="key" name="key" required maxlength="63" autocomplete="off" autocapitalize="none" spellcheck="false"; }
                    div { label for="value" { "Value" } input id="value" name="value" required maxlength="63" autocomplete="off" autocapitalize="none" spellcheck="false"; }
                    button type="submit" { "Set label" }
                }
            } @else { p { (groups::labels(device)) } }
        }
    }
}

fn audit(view: &DevicePage) -> Markup {
    html! {
        section.card {
            h2 { "Audit mirror" }
            @if view.mirrors.is_empty() { p.small { "No record of its log has arrived." } }
            @for mirror in &view.mirrors {
                dl {
                    dt { "Log" } dd.code { (format::shown(&mirror.origin, 120)) }
                    dt { "Mirrored" }
                    dd {
                        (mirror.mirrored)
                        @if let Some(reported) = mirror.reported.filter(|reported| *reported > mirror.mirrored) { " of " (reported) }
                        " records"
                    }
                    dt { "Cosigned" } dd { (mirror.cosigned) " records" }
                    dt { "Incidents" }
                    dd {
                        @if mirror.incidents.is_empty() { "none" }
                        @else { (badge("bad", &mirror.incidents.len().to_string())) }
                    }
                }
            }
        }
    }
}

fn commands(view: &DevicePage) -> Markup {
    html! {
        section.card.wide {
            h2 { "Commands" }
            @if view.commands.is_empty() { p.small { "None was given." } } @else {
                div.scroll tabindex="0" role="group" aria-label="Commands" {
                    table {
                        thead {
                            tr { @for name in ["Command", "State", "Asked by", "When", "Answer"] { th scope="col" { (name) } } }
                        }
                        tbody {
                            @for command in view.commands.iter().take(NEWEST) {
                                tr {
                                    th scope="row" { (command.op.name()) }
                                    td { (command.state.map_or("waiting", |state| state.name())) }
                                    td { (format::shown(&command.asked_by, 80)) }
                                    td { (format::from_now(command.issued_s, view.now_s)) }
                                    td {
                                        @if let Some(answer) = &command.answer { (format::shown(&answer.text, MOST_TEXT)) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn events(view: &DevicePage) -> Markup {
    html! {
        section.card.wide {
            h2 { "Last events" }
            @if view.events.is_empty() { p.small { "None was told." } }
            ol.events {
                @for event in view.events.iter().take(NEWEST) {
                    li {
                        span.when { (format::time(event.at_s)) }
                        (badge("dim", &standing::plain(&event.kind)))
                        span { (format::shown(&event.text, MOST_TEXT)) }
                    }
                }
            }
        }
    }
}

fn actions(view: &DevicePage, viewer: &Viewer) -> Markup {
    let device = &view.device;
    let here = format!("/console/devices/{}", device.device);
    let assigned = device.assignment.as_ref().and_then(|assignment| assignment.model.as_ref());
    let context = device.assignment.as_ref().map_or(2048, |assignment| assignment.minimum_context_tokens);
    html! {
        div.grid {
            @if viewer.may(Act::Command) {
                section.card {
                    h2 { "Give a command" }
                    form.buttons method="post" action={(here) "/command"} {
                        @for (op, label) in COMMANDS { button type="submit" name="op" value=(op) { (label) } }
                    }
                }
            }
            @if viewer.may(Act::Assign) {
                section.card {
                    h2 { "Assign" }
                    form method="post" action={(here) "/assignment"} {
                        label for="model" { "Model" }
                        select id="model" name="model" {
                            option value="" selected[assigned.is_none()] { "none" }
                            @for model in &view.models {
                                option value=(model) selected[assigned.is_some_and(|a| a.as_str() == model)] { (model) }
                            }
                        }
                        label for="context" { "Smallest context, tokens" }
                        input id="context" name="minimum_context_tokens" type="number" min="1" max="1048576" value=(context) required;
                        button.primary type="submit" { "Assign" }
                    }
                    form method="post" action={(here) "/site"} {
                        label for="site" { "Site" }
                        input id="site" name="site" maxlength="64" autocomplete="off"
                            value=(device.site.as_deref().unwrap_or_default());
                        button type="submit" { "Set site" }
                    }
                }
            }
            @if viewer.may(Act::Revoke) {
                section.card.danger {
                    h2 { "Revoke" }
                    form method="post" action={(here) "/revoke"} {
                        label for="confirm" { "Type " strong { (device.device) } ": it is let in no longer" }
                        input id="confirm" name="confirm" autocomplete="off" required;
                        button.danger type="submit" { "Revoke" }
                    }
                }
            }
        }
    }
}

/// What buttons offer; the rest wants words and is given elsewhere.
const COMMANDS: [(&str, &str); 7] = [
    ("status", "Status"),
    ("probe", "Measure again"),
    ("rescan", "Check model files"),
    ("collect_diagnostics", "Collect diagnostics"),
    ("drain", "Drain for 10 min"),
    ("resume", "End draining"),
    ("restart", "Restart"),
];

fn operation(name: &str) -> Option<Operation> {
    Some(match name {
        "status" => Operation::Status,
        "probe" => Operation::Probe,
        "rescan" => Operation::Rescan,
        "collect_diagnostics" => Operation::CollectDiagnostics,
        "drain" => Operation::Drain { seconds: 600 },
        "resume" => Operation::Drain { seconds: 0 },
        "restart" => Operation::Restart,
        _ => return None,
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct CommandForm {
    op: String,
}

pub(super) async fn command(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    device: Result<Path<DeviceId>, PathRejection>,
    form: Result<Form<CommandForm>, FormRejection>,
) -> Result<Response, PageError> {
    let (Path(device), Form(form)) = (device?, form?);
    let op = operation(&form.op).ok_or_else(|| FleetError::BadCommand("the page has no such button".to_owned()))?;
    let (name, by) = (device.clone(), viewer.actor.name.clone());
    fleet.run_as(viewer.actor, Act::Command, &device, move |fleet| fleet.command(&name, op, COMMAND_S, &by)).await?;
    Ok(done(&format!("/console/devices/{device}"), Notice::Commanded))
}

#[derive(Debug, Deserialize)]
pub(super) struct AssignmentForm {
    model: String,
    minimum_context_tokens: u32,
}

pub(super) async fn assign(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    device: Result<Path<DeviceId>, PathRejection>,
    form: Result<Form<AssignmentForm>, FormRejection>,
) -> Result<Response, PageError> {
    let (Path(device), Form(form)) = (device?, form?);
    let model = match form.model.as_str() {
        "" => None,
        name => Some(name.parse().map_err(|_| FleetError::UnknownModel(format::shown(name, 80)))?),
    };
    let assignment = Assignment { model, minimum_context_tokens: form.minimum_context_tokens };
    let name = device.clone();
    fleet.run_as(viewer.actor, Act::Assign, &device, move |fleet| fleet.assign(&name, &assignment)).await?;
    Ok(done(&format!("/console/devices/{device}"), Notice::Assigned))
}

#[derive(Debug, Deserialize)]
pub(super) struct SiteForm {
    site: String,
}

pub(super) async fn set_site(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    device: Result<Path<DeviceId>, PathRejection>,
    form: Result<Form<SiteForm>, FormRejection>,
) -> Result<Response, PageError> {
    let (Path(device), Form(form)) = (device?, form?);
    let name = device.clone();
    let set = move |fleet: &Fleet| {
        let site = form.site.trim();
        fleet.set_site(&name, (!site.is_empty()).then_some(site))
    };
    fleet.run_as(viewer.actor, Act::Assign, &device, set).await?;
    Ok(done(&format!("/console/devices/{device}"), Notice::Placed))
}

#[derive(Debug, Deserialize)]
pub(super) struct RevokeForm {
    confirm: String,
}

pub(super) async fn revoke(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    device: Result<Path<DeviceId>, PathRejection>,
    form: Result<Form<RevokeForm>, FormRejection>,
) -> Result<Response, PageError> {
    let (Path(device), Form(form)) = (device?, form?);
    if form.confirm.trim() != device.as_str() {
        let message = format!("type `{device}` to revoke it; nothing was done");
        return Err(PageError::Unreadable { status: axum::http::StatusCode::BAD_REQUEST, message });
    }
    let name = device.clone();
    fleet.run_as(viewer.actor, Act::Revoke, &device, move |fleet| fleet.revoke(&name)).await?;
    Ok(done(&format!("/console/devices/{device}"), Notice::Revoked))
}
