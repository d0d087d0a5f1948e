//! `/v1/enrolment/…`: who may enrol. Codes, allowed keys and requests in pages; lists of many devices as people write them.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use outpost_contract::{DeviceId, Fingerprint};
use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiError;
use super::condition::Condition;
use super::identity::Operator;
use super::page::{self, Listed};
use crate::db::{AllowedKey, EnrolmentRequest, OpenCode, Page};
use crate::fleet::{Fleet, FleetError};
use crate::people::Act;

/// Largest body of a list: 2 MiB are 10,000 long names with their keys, and more.
pub(crate) const LIST_BYTES: usize = 2 * 1024 * 1024;

/// A list as it stands in a file: lines of names, or of names and fingerprints.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct List {
    list: String,
}

/// The same, for codes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CodeList {
    list: String,
    #[serde(default = "an_hour")]
    valid_s: i64,
}

fn an_hour() -> i64 {
    60 * 60
}

/// Whom a request is accepted as.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Accepted {
    device: DeviceId,
}

/// Where a device is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AtSite {
    /// `null` is no site; to leave it out is a mistake.
    #[serde(deserialize_with = "Option::deserialize")]
    site: Option<String>,
}

type PageQuery = page::Asked<Fingerprint>;
type KeyPath = Result<Path<Fingerprint>, PathRejection>;

/// The page that is wanted, one entry longer: that shows whether another one follows.
fn wanted(query: PageQuery) -> Result<Page, ApiError> {
    let (after, limit) = page::wanted(query)?;
    Ok(Page { after: after.map(|after| after.0), limit: limit + 1 })
}

fn listed<T>(page: &Page, entries: Vec<T>, name: impl Fn(&T) -> String) -> Json<Listed<T>> {
    Json(Listed::of(entries, page.limit - 1, name))
}

pub(crate) async fn codes(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    query: PageQuery,
) -> Result<Json<Listed<OpenCode>>, ApiError> {
    let page = wanted(query)?;
    let found = fleet.run_as(actor, Act::Enrol, "codes", move |fleet| fleet.open_codes(&page)).await?;
    Ok(listed(&page, found, |code| code.id.clone()))
}

pub(crate) async fn create_codes(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    wish: Result<Json<CodeList>, JsonRejection>,
) -> Result<Json<Value>, ApiError> {
    let Json(CodeList { list, valid_s }) = wish?;
    let by = actor.clone();
    let create = move |fleet: &Fleet| fleet.create_listed_codes(&by, &list, valid_s);
    let made = fleet.run_as(actor, Act::Enrol, "codes", create).await?;
    let made: Vec<_> = made.iter().map(|(device, code)| json!({ "device": device, "code": code })).collect();
    Ok(Json(json!({ "entries": made, "valid_s": valid_s })))
}

pub(crate) async fn withdraw_code(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    id: KeyPath,
) -> Result<Json<Value>, ApiError> {
    // A code's name has the form of a fingerprint: 32 bytes.
    let Path(Fingerprint(hash)) = id?;
    let subject = format!("code {}", hex::encode(hash));
    fleet.run_as(actor, Act::Enrol, subject, move |fleet| fleet.withdraw_code(&hash)).await?;
    Ok(Json(json!({ "withdrawn": true })))
}

pub(crate) async fn keys(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    query: PageQuery,
) -> Result<Json<Listed<AllowedKey>>, ApiError> {
    let page = wanted(query)?;
    let found = fleet.run_as(actor, Act::Enrol, "keys", move |fleet| fleet.allowed_keys(&page)).await?;
    Ok(listed(&page, found, |key| hex::encode(key.fingerprint.0)))
}

pub(crate) async fn allow_keys(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    list: Result<Json<List>, JsonRejection>,
) -> Result<Json<Value>, ApiError> {
    let Json(List { list }) = list?;
    let by = actor.clone();
    let allow = move |fleet: &Fleet| fleet.allow_listed_keys(&by, &list);
    let allowed = fleet.run_as(actor, Act::Enrol, "keys", allow).await?;
    let allowed: Vec<_> = allowed.iter().map(|(device, key)| json!({ "device": device, "fingerprint": key })).collect();
    Ok(Json(json!({ "entries": allowed })))
}

pub(crate) async fn forbid_key(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    key: KeyPath,
) -> Result<Json<Value>, ApiError> {
    let Path(key) = key?;
    let device = fleet.run_as(actor, Act::Enrol, key, move |fleet| fleet.forbid_key(&key)).await?;
    Ok(Json(json!({ "forbidden": key, "device": device })))
}

pub(crate) async fn requests(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    query: PageQuery,
) -> Result<Json<Listed<EnrolmentRequest>>, ApiError> {
    let page = wanted(query)?;
    let found = fleet.run_as(actor, Act::Enrol, "requests", move |fleet| fleet.requests(&page)).await?;
    Ok(listed(&page, found, |request| hex::encode(request.fingerprint.0)))
}

pub(crate) async fn accept(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    key: KeyPath,
    accepted: Result<Json<Accepted>, JsonRejection>,
) -> Result<Json<Value>, ApiError> {
    let (Path(key), Json(Accepted { device })) = (key?, accepted?);
    let accept = {
        let device = device.clone();
        move |fleet: &Fleet| fleet.accept_request(&key, &device)
    };
    fleet.run_as(actor, Act::Enrol, &device, accept).await?;
    Ok(Json(json!({ "accepted": key, "device": device })))
}

pub(crate) async fn reject(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    key: KeyPath,
) -> Result<Json<Value>, ApiError> {
    let Path(key) = key?;
    fleet.run_as(actor, Act::Enrol, key, move |fleet| fleet.reject_request(&key)).await?;
    Ok(Json(json!({ "rejected": key })))
}

pub(crate) async fn site(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    device: Result<Path<DeviceId>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let Path(device) = device?;
    Ok(Json(fleet.run_as(actor, Act::See, device.clone(), move |fleet| at_site(fleet, &device)).await?))
}

pub(crate) async fn set_site(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    condition: Condition,
    device: Result<Path<DeviceId>, PathRejection>,
    at: Result<Json<AtSite>, JsonRejection>,
) -> Result<Json<Value>, ApiError> {
    let (Path(device), Json(AtSite { site })) = (device?, at?);
    let subject = device.clone();
    let set = move |fleet: &Fleet| {
        let current = |fleet: &Fleet| at_site(fleet, &device);
        fleet.change_if(&condition, current, |fleet| fleet.set_site(&device, site.as_deref()))?;
        at_site(fleet, &device)
    };
    Ok(Json(fleet.run_as(actor, Act::Assign, subject, set).await?))
}

/// Where a device is, as it is shown.
fn at_site(fleet: &Fleet, device: &DeviceId) -> Result<Value, FleetError> {
    let site = fleet.device(device)?.site;
    Ok(json!({ "device": device, "site": site }))
}

#[cfg(test)]
mod tests;
