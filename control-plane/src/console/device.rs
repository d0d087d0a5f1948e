//! One device: what it is, what it runs and why, what it waits for, what happened on it, and what one can do about it.

use std::sync::Arc;

use axum::Form;
use axum::extract::rejection::{FormRejection, PathRejection};
use axum::extract::{Extension, Path, State};
use axum::response::{Html, Response};
use maud::{Markup, html};
use outpost_contract::{DeviceId, Measurements, Operation, Reported};
use serde::Deserialize;

use super::cached::Boards;
use super::layout::{self, Notice, Section, badge, done};
use super::overview::Standing;
use super::viewer::{PageError, Viewer};
use super::{format, picture};
use crate::audit::MirrorSummary;
use crate::db::{Assignment, CommandRecord, DeviceSummary, StoredEvent};
use crate::fleet::{Fleet, FleetError};
use crate::people::Act;

/// Events and commands that are shown.
const NEWEST: usize = 20;

/// How long a command from a button counts, seconds.
const COMMAND_S: i64 = 600;

/// Longest text of a device in a line, characters.
const MOST_TEXT: usize = 400;

/// What the page shows.
#[derive(Debug)]
pub(super) struct DeviceView {
    pub(super) summary: DeviceSummary,
    /// When its newest certificate ends.
    pub(super) certificate_end_s: Option<i64>,
    pub(super) commands: Vec<CommandRecord>,
    pub(super) events: Vec<StoredEvent>,
    /// Models that it can be assigned.
    pub(super) models: Vec<String>,
    pub(super) mirrors: Vec<MirrorSummary>,
    pub(super) now_s: i64,
}

/// Fills the view but for the mirrors, which are made for all devices at once.
fn view(fleet: &Fleet, device: &DeviceId) -> Result<DeviceView, FleetError> {
    Ok(DeviceView {
        summary: fleet.device(device)?,
        certificate_end_s: fleet.inner.database.certificate_end(device)?,
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

pub(super) fn render(view: &DeviceView, viewer: &Viewer) -> Markup {
    let device = &view.summary;
    let standing = Standing::of(device);
    html! {
        p.crumb { a href="/console/devices" { "All devices" } }
        div #live-device data-live {
            p.state {
                (badge(standing.tone(), standing.words())) " "
                (device.seen_s.map_or_else(|| "never heard of".to_owned(), |seen_s| {
                    format!("last heard of {}", format::from_now(seen_s, view.now_s))
                }))
                @if let Some(site) = &device.site { " · site " (format::shown(site, 64)) }
            }
            div.grid {
                @if let Some(reported) = &device.reported { (running(device, reported)) }
                @if let Some(measured) = device.reported.as_ref().and_then(|reported| reported.measurements.as_ref()) {
                    (resources(measured, view.now_s))
                }
                (identity(view))
                (audit(view))
                @if let Some(reported) = device.reported.as_ref().filter(|reported| !reported.plan.is_empty()) {
                    section.card.wide {
                        h2 { "Plan, and why others lost" }
                        ol.plan { @for line in &reported.plan { li { (format::shown(line, MOST_TEXT)) } } }
                    }
                }
                (commands(view))
                (events(view))
            }
        }
        @if device.revoked_s.is_none() { (actions(view, viewer)) }
    }
}

fn running(device: &DeviceSummary, reported: &Reported) -> Markup {
    html! {
        section.card {
            h2 { "In force" }
            dl {
                dt { "Model" }
                dd { @match &reported.model { Some(installed) => (installed.model), None => "none" } }
                @if let Some(installed) = &reported.model {
                    dt { "Variant" } dd { (installed.target) }
                    dt { "Speed" }
                    dd { (format::milli(installed.self_test_tokens_per_second_milli)) " tokens/s" }
                    dt { "Context" } dd { (installed.context_tokens) " tokens" }
                }
                dt { "Policy" } dd { "version " (reported.policy_version) }
                dt { "State" }
                dd { (reported.applied_version) " of " (device.desired_version) " in force" }
                dt { "Answered" }
                dd { (reported.activity.answered) ", refused " (reported.activity.refused) }
            }
            @if let Some(transfer) = &reported.transfer {
                h3 { "Fetching " (transfer.target) }
                (picture::progress("Transfer", transfer.percent(), "accent"))
                p.small {
                    (transfer.percent()) " % of " (format::bytes(transfer.total_bytes)) ", "
                    (format::bytes(transfer.bytes_per_second)) "/s from " (format::shown(&transfer.source, 120))
                    @if let Some(waiting) = &transfer.waiting_for { "; waits: " (format::shown(waiting, 200)) }
                }
            }
            @if !reported.reasons.is_empty() {
                h3 { "Not in force, because" }
                ul.reasons {
                    @for reason in &reported.reasons {
                        li {
                            (badge("warn", &format::shown(&reason.subject, 120)))
                            span { (format::shown(&reason.detail, MOST_TEXT)) }
                        }
                    }
                }
            }
        }
    }
}

fn resources(measured: &Measurements, now_s: i64) -> Markup {
    let used = measured.memory_total_bytes.saturating_sub(measured.memory_available_bytes);
    let percent = u128::from(used) * 100 / u128::from(measured.memory_total_bytes.max(1));
    html! {
        section.card {
            h2 { "Measured " span.unit { (format::from_now(measured.measured_at_s, now_s)) } }
            (picture::progress("Memory in use", u8::try_from(percent).unwrap_or(100), "accent"))
            dl {
                dt { "Memory" }
                dd {
                    (format::bytes(measured.memory_available_bytes)) " free of "
                    (format::bytes(measured.memory_total_bytes))
                }
                dt { "Disk free" } dd { (format::bytes(measured.disk_free_bytes)) }
                dt { "Memory speed" } dd { (format::bytes(measured.memory_read_bytes_per_second)) "/s" }
                dt { "Processor" } dd { (format::shown(&measured.cpu, 120)) ", " (measured.cores) " cores" }
            }
        }
    }
}

fn identity(view: &DeviceView) -> Markup {
    let device = &view.summary;
    html! {
        section.card {
            h2 { "Identity" }
            dl {
                dt { "Enrolled" } dd { (format::time(device.enrolled_s)) }
                @if let Some(revoked_s) = device.revoked_s { dt { "Revoked" } dd { (format::time(revoked_s)) } }
                dt { "Certificate" }
                dd {
                    @match view.certificate_end_s {
                        Some(end_s) if end_s <= view.now_s => {
                            (badge("bad", "expired")) " " (format::from_now(end_s, view.now_s))
                        },
                        Some(end_s) => { "ends " (format::from_now(end_s, view.now_s)) ", " (format::time(end_s)) },
                        None => "none that counts",
                    }
                }
                dt { "Agent" } dd { (format::shown(&device.agent, 120)) }
                dt { "Audit key" } dd.code { (format::shown(&device.audit_key, 200)) }
            }
        }
    }
}

fn audit(view: &DeviceView) -> Markup {
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
                        @if let Some(reported) = mirror.reported { " of " (reported) }
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

fn commands(view: &DeviceView) -> Markup {
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

fn events(view: &DeviceView) -> Markup {
    html! {
        section.card.wide {
            h2 { "Last events" }
            @if view.events.is_empty() { p.small { "None was told." } }
            ol.events {
                @for event in view.events.iter().take(NEWEST) {
                    li {
                        span.when { (format::time(event.at_s)) }
                        (badge("dim", &format::shown(&event.kind, 40)))
                        span { (format::shown(&event.text, MOST_TEXT)) }
                    }
                }
            }
        }
    }
}

fn actions(view: &DeviceView, viewer: &Viewer) -> Markup {
    let device = &view.summary;
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
