//! `/v1/enrolment/…`: who may enrol. Codes, allowed keys and requests in pages; lists of many devices as people write them.
//!
//! A page is `?after=…&limit=…`; its answer's `next` is the `after` of the page that follows, and none after the last.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use outpost_contract::{DeviceId, Fingerprint};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ApiError;
use super::identity::Operator;
use crate::db::{AllowedKey, EnrolmentRequest, OpenCode, Page};
use crate::fleet::Fleet;
use crate::people::Act;

/// Largest body of a list: 2 MiB are 10,000 long names with their keys, and more.
pub(crate) const LIST_BYTES: usize = 2 * 1024 * 1024;

/// Entries of a page if nothing is said, and at most.
const ENTRIES: u32 = 100;
const MOST_ENTRIES: u32 = 1000;

/// Which page is wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WantedPage {
    after: Option<Fingerprint>,
    #[serde(default = "entries")]
    limit: u32,
}

fn entries() -> u32 {
    ENTRIES
}

/// A page of a list.
#[derive(Debug, Serialize)]
pub(crate) struct Listed<T> {
    entries: Vec<T>,
    /// Where the next page begins; none if this is the last.
    next: Option<String>,
}

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

type PageQuery = Result<Query<WantedPage>, QueryRejection>;
type KeyPath = Result<Path<Fingerprint>, PathRejection>;

/// The page that is wanted, one entry longer: that shows whether another one follows.
fn wanted(query: PageQuery) -> Result<Page, ApiError> {
    let Query(WantedPage { after, limit }) = query?;
    if !(1..=MOST_ENTRIES).contains(&limit) {
        let message = format!("`limit` is 1 to {MOST_ENTRIES}, not {limit}");
        return Err(ApiError::BadRequest { status: axum::http::StatusCode::BAD_REQUEST, message });
    }
    Ok(Page { after: after.map(|after| after.0), limit: limit + 1 })
}

fn listed<T>(page: &Page, mut entries: Vec<T>, name: impl Fn(&T) -> String) -> Json<Listed<T>> {
    let most = page.limit as usize - 1;
    let more = entries.len() > most;
    entries.truncate(most);
    let next = entries.last().filter(|_| more).map(name);
    Json(Listed { entries, next })
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
    let create = move |fleet: &Fleet| fleet.create_listed_codes(&list, valid_s);
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
    let allowed = fleet.run_as(actor, Act::Enrol, "keys", move |fleet| fleet.allow_listed_keys(&list)).await?;
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

pub(crate) async fn set_site(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    device: Result<Path<DeviceId>, PathRejection>,
    at: Result<Json<AtSite>, JsonRejection>,
) -> Result<Json<Value>, ApiError> {
    let (Path(device), Json(AtSite { site })) = (device?, at?);
    let answer = json!({ "device": device, "site": site });
    let set = {
        let device = device.clone();
        move |fleet: &Fleet| fleet.set_site(&device, site.as_deref())
    };
    fleet.run_as(actor, Act::Assign, device, set).await?;
    Ok(Json(answer))
}

#[cfg(test)]
mod tests;
