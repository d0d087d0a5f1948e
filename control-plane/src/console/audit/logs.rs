//! The logs of one device: how complete each is, what is missing, and what was found against them.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{Html, Response};
use maud::{Markup, html};
use outpost_contract::DeviceId;

use crate::api::{ApiError, incident_file};
use crate::audit::{DeviceLogs, IncidentReport, LogState};
use crate::console::layout::{self, Section, badge};
use crate::console::viewer::{PageError, Viewer};
use crate::console::{format, picture};
use crate::fleet::{Fleet, FleetError};
use crate::people::Act;

/// Longest note that is shown, characters.
const NOTE: usize = 4000;

pub(crate) async fn show(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    device: Result<Path<DeviceId>, PathRejection>,
) -> Result<Html<String>, PageError> {
    let Path(device) = device?;
    let title = format!("Audit logs of {device}");
    let read = {
        let device = device.clone();
        move |fleet: &Fleet| fleet.audit_of(&device)
    };
    let logs = fleet.run_as(viewer.actor.clone(), Act::See, device, read).await?;
    let now_s = fleet.run(Fleet::now_s).await;
    let may_read = viewer.may(Act::ReadRecords);
    Ok(layout::page(&viewer, &title, Section::Audit, render(&logs, now_s, may_read)))
}

pub(in crate::console) fn render(logs: &DeviceLogs, now_s: i64, may_read: bool) -> Markup {
    let device = &logs.device;
    let seen = logs.seen_s.map_or_else(|| "never".to_owned(), |seen_s| format::from_now(seen_s, now_s));
    html! {
        p {
            a href={"/console/devices/" (device)} { (device) }
            @if logs.online { ", connected" } @else { ", last heard of " (seen) }
            @if logs.revoked_s.is_some() { " " (badge("bad", "revoked")) }
        }
        @if !logs.incidents.is_empty() {
            section.card.danger {
                h2 { "Incidents" }
                @if may_read {
                    ul {
                        @for number in &logs.incidents {
                            li { a href={"/console/audit/" (device) "/incident/" (number)} { "Incident " (number) } }
                        }
                    }
                } @else {
                    p { (logs.incidents.len()) " were found; whoever may read records sees them." }
                }
            }
        }
        section.card.flush {
            h2 { "Logs" }
            @if logs.logs.is_empty() {
                p.empty-state { "No record of this device has arrived." }
            } @else {
                div.scroll tabindex="0" role="group" aria-label="Table of logs" { (table(&logs.logs)) }
            }
        }
        @if may_read {
            p { a.button href={"/console/records?device=" (device)} { "Search the records of " (device) } }
        }
    }
}

fn table(logs: &[LogState]) -> Markup {
    const COLUMNS: [&str; 8] = [
        "Log",
        "Complete",
        "From record",
        "Mirrored",
        "On the device only",
        "Cosigned",
        "Oldest record",
        "Newest record",
    ];
    html! {
        table {
            thead { tr { @for name in COLUMNS { th scope="col" { (name) } } } }
            tbody {
                @for log in logs.iter().rev() {
                    @let whole = log.reported.unwrap_or(log.mirrored).max(log.mirrored).max(1);
                    @let percent = u8::try_from(u128::from(log.mirrored) * 100 / u128::from(whole)).unwrap_or(100);
                    @let tone = if log.missing.unwrap_or(0) > 0 { "warn" } else { "good" };
                    tr {
                        th scope="row" { (format::shown(&log.origin, 120)) }
                        td { (picture::progress("Mirrored", percent, tone)) }
                        td.number { (log.first) }
                        td.number { (log.mirrored) }
                        td.number { @if let Some(missing) = log.missing { (missing) } @else { "–" } }
                        td.number { (log.cosigned) }
                        td { (log.made_ms.map_or_else(|| "–".to_owned(), |(oldest, _)| format::time(oldest / 1000))) }
                        td { (log.made_ms.map_or_else(|| "–".to_owned(), |(_, newest)| format::time(newest / 1000))) }
                    }
                }
            }
        }
    }
}

/// Reads an incident, on record.
async fn read(viewer: &Viewer, fleet: &Fleet, device: DeviceId, number: i64) -> Result<IncidentReport, FleetError> {
    let read = {
        let device = device.clone();
        move |fleet: &Fleet| fleet.incident(&device, number)
    };
    fleet.run_as(viewer.actor.clone(), Act::ReadRecords, device, read).await
}

pub(crate) async fn incident(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    place: Result<Path<(DeviceId, i64)>, PathRejection>,
) -> Result<Html<String>, PageError> {
    let Path((device, number)) = place?;
    let title = format!("Incident {number} of {device}");
    let incident = read(&viewer, &fleet, device, number).await?;
    Ok(layout::page(&viewer, &title, Section::Audit, render_incident(&incident)))
}

pub(in crate::console) fn render_incident(incident: &IncidentReport) -> Markup {
    let IncidentReport { number, device, .. } = incident;
    let found_s = i64::try_from(incident.found_s).unwrap_or(i64::MAX);
    let names = incident.files().map(|(name, _)| name);
    html! {
        section.card.danger {
            p.lead {
                @match incident.kind {
                    "fork" => "The log signed two heads of one size that are not the same: it has two pasts.",
                    _ => "The log showed a head, and no proof that it continues the one that was cosigned.",
                }
            }
            dl {
                dt { "Log" } dd.code { (format::shown(&incident.origin, 200)) }
                dt { "Found" } dd { (format::time(found_s)) }
                dt { "Looked at again" }
                dd { @if incident.convicts { "The two notes alone convict the log." } @else { "The notes alone convict nobody." } }
            }
            p { a href={"/console/audit/" (device)} { "All logs of " (device) } }
        }
        section.card {
            h2 { "Evidence" }
            p.small { "Signed notes: they verify by the log's key, without this control plane." }
            ul {
                @for name in names {
                    li { a href={"/console/audit/" (device) "/incident/" (number) "/" (name)} download { (name) } }
                }
            }
            h3 { "The head that was cosigned" }
            pre { (format::shown(&incident.held, NOTE)) }
            h3 { "The head that was refused" }
            pre { (format::shown(&incident.offered, NOTE)) }
        }
    }
}

pub(crate) async fn evidence(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    place: Result<Path<(DeviceId, i64, String)>, PathRejection>,
) -> Result<Response, PageError> {
    let Path((device, number, name)) = place?;
    let incident = read(&viewer, &fleet, device, number).await?;
    incident_file(&incident, &name).ok_or(PageError::Api(ApiError::NoSuchRoute))
}
