//! `/v1/audit`: how complete the devices' logs are, what was found against them, search over records, the fleet's report.

#[cfg(test)]
mod tests;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};
use outpost_contract::DeviceId;
use serde::Deserialize;

use super::ApiError;
use super::identity::Operator;
use super::page::{self, Listed};
use crate::audit::{DeviceLogs, Found, IncidentReport, ReportRequest, SearchRequest};
use crate::fleet::Fleet;
use crate::people::Act;

/// Devices of a page at most: the logs of each are opened.
const MOST_PER_PAGE: usize = 200;

pub(crate) async fn list(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    asked: page::Asked<DeviceId>,
) -> Result<Json<Listed<DeviceLogs>>, ApiError> {
    let (after, limit) = page::wanted(asked)?;
    let read = move |fleet: &Fleet| fleet.audit_page(after.as_ref(), MOST_PER_PAGE.min(limit as usize));
    let page = fleet.run_as(actor, Act::See, "audit", read).await?;
    Ok(Json(Listed { entries: page.devices, next: page.next.map(String::from) }))
}

pub(crate) async fn show(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    device: Result<Path<DeviceId>, PathRejection>,
) -> Result<Json<DeviceLogs>, ApiError> {
    let Path(device) = device?;
    Ok(Json(fleet.run_as(actor, Act::See, device.clone(), move |fleet| fleet.audit_of(&device)).await?))
}

pub(crate) async fn incidents(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    device: Result<Path<DeviceId>, PathRejection>,
    asked: page::Asked<String>,
) -> Result<Json<Listed<IncidentReport>>, ApiError> {
    let (Path(device), (after, limit)) = (device?, page::wanted(asked)?);
    let read = {
        let device = device.clone();
        move |fleet: &Fleet| fleet.incidents(&device)
    };
    let incidents = fleet.run_as(actor, Act::ReadRecords, device, read).await?;
    Ok(Json(Listed::cut(incidents, after.as_deref(), limit, |one| one.number.to_string())))
}

pub(crate) async fn incident(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    place: Result<Path<(DeviceId, i64)>, PathRejection>,
) -> Result<Json<IncidentReport>, ApiError> {
    let Path((device, number)) = place?;
    let read = {
        let device = device.clone();
        move |fleet: &Fleet| fleet.incident(&device, number)
    };
    Ok(Json(fleet.run_as(actor, Act::ReadRecords, device, read).await?))
}

pub(crate) async fn evidence(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    place: Result<Path<(DeviceId, i64, String)>, PathRejection>,
) -> Result<Response, ApiError> {
    let Path((device, number, name)) = place?;
    let read = {
        let device = device.clone();
        move |fleet: &Fleet| fleet.incident(&device, number)
    };
    let incident = fleet.run_as(actor, Act::ReadRecords, device, read).await?;
    incident_file(&incident, &name).ok_or(ApiError::NoSuchRoute)
}

/// A file of an incident as an answer that browsers keep and do not show; none of another name.
pub(crate) fn incident_file(incident: &IncidentReport, name: &str) -> Option<Response> {
    let text = incident.file(name)?;
    let kind = if name.ends_with(".json") { "application/json" } else { "text/plain; charset=utf-8" };
    // The name of a device and that of a file of ours need no quoting.
    let name = format!("attachment; filename=\"{}-incident-{}-{name}\"", incident.device, incident.number);
    let headers =
        [(CONTENT_TYPE, kind.to_owned()), (CONTENT_DISPOSITION, name), (X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned())];
    Some((headers, text).into_response())
}

pub(crate) async fn search(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    request: Result<Query<SearchRequest>, QueryRejection>,
) -> Result<Json<Found>, ApiError> {
    let Query(request) = request?;
    let subject = request.device.as_ref().map_or_else(|| "records".to_owned(), ToString::to_string);
    let read = move |fleet: &Fleet| fleet.search_records(&request);
    Ok(Json(fleet.run_as(actor, Act::ReadRecords, subject, read).await?))
}

/// The range of a report.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Range {
    since_ms: Option<i64>,
    before_ms: Option<i64>,
}

pub(crate) async fn report(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    range: Result<Query<Range>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(Range { since_ms, before_ms }) = range?;
    let request = ReportRequest { since_ms, before_ms, ..ReportRequest::quick() };
    let read = move |fleet: &Fleet| fleet.fleet_report(&request);
    Ok(report_file(fleet.run_as(actor, Act::ReadRecords, "audit report", read).await?))
}

/// A report as an answer that browsers keep: it brings its own style, which no page of ours may.
pub(crate) fn report_file(html: String) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_DISPOSITION, "attachment; filename=\"fleet-audit-report.html\""),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, html).into_response()
}
