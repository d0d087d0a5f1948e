//! `/v1/inventory`, `/v1/overview`, `/v1/groups`, labels, previews of selectors, and what-if.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use outpost_contract::DeviceId;
use outpost_selector::Selector;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ApiError;
use super::identity::Operator;
use crate::fleet::{Fleet, FleetError};
use crate::inventory::{DeviceView, Group, MOST_PER_PAGE, Overview, Page, Preview, Question, WhatIf};
use crate::people::Act;

/// Devices of a page if nothing is said.
const PER_PAGE: usize = 100;

/// Which part of a list is wanted.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    #[serde(rename = "where")]
    selector: Option<String>,
    limit: Option<usize>,
    pub(crate) after: Option<DeviceId>,
}

impl Wanted {
    /// True if nothing was said.
    pub(crate) fn is_all(&self) -> bool {
        self.selector.is_none() && self.limit.is_none() && self.after.is_none()
    }

    pub(crate) fn selector(&self, fleet: &Fleet) -> Result<Selector, FleetError> {
        self.selector.as_deref().map_or(Ok(Selector::all()), |text| fleet.selector(text))
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit.unwrap_or(PER_PAGE).clamp(1, MOST_PER_PAGE)
    }

    /// The devices as a list, and in `Link` where the next ones are.
    pub(crate) fn answer<T: Serialize>(&self, path: &str, page: Page<T>) -> Response {
        let next = page.next.map(|after| {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.append_pair("limit", &self.limit().to_string()).append_pair("after", after.as_str());
            if let Some(selector) = &self.selector {
                query.append_pair("where", selector);
            }
            format!("<{path}?{}>; rel=\"next\"", query.finish())
        });
        let mut response = Json(page.devices).into_response();
        if let Some(link) = next.and_then(|next| HeaderValue::try_from(next).ok()) {
            response.headers_mut().insert(header::LINK, link);
        }
        response
    }
}

pub(crate) async fn list(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(wanted) = wanted?;
    let asked = wanted.clone();
    let page = fleet
        .run_as(actor, Act::See, "devices", move |fleet| {
            fleet.views(&asked.selector(fleet)?, asked.after.as_ref(), asked.limit())
        })
        .await?;
    Ok(wanted.answer("/v1/inventory", page))
}

pub(crate) async fn show(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    device: Result<Path<DeviceId>, PathRejection>,
) -> Result<Json<DeviceView>, ApiError> {
    let Path(device) = device?;
    Ok(Json(fleet.run_as(actor, Act::See, device.clone(), move |fleet| fleet.view(&device)).await?))
}

pub(crate) async fn overview(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
) -> Result<Json<Overview>, ApiError> {
    Ok(Json(fleet.run_as(actor, Act::See, "devices", Fleet::overview).await?))
}

/// A selector that is tried while it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tried {
    #[serde(rename = "where")]
    selector: String,
}

pub(crate) async fn preview(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    tried: Result<Query<Tried>, QueryRejection>,
) -> Result<Json<Preview>, ApiError> {
    let Query(Tried { selector }) = tried?;
    Ok(Json(fleet.run_as(actor, Act::See, "devices", move |fleet| fleet.preview(&selector)).await?))
}

pub(crate) async fn labels(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    device: Result<Path<DeviceId>, PathRejection>,
) -> Result<Json<BTreeMap<String, String>>, ApiError> {
    let Path(device) = device?;
    Ok(Json(fleet.run_as(actor, Act::See, device.clone(), move |fleet| fleet.labels(&device)).await?))
}

/// Labels to set, by their keys; `null` removes one; the others stay.
pub(crate) async fn set_labels(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    device: Result<Path<DeviceId>, PathRejection>,
    labels: Result<Json<BTreeMap<String, Option<String>>>, JsonRejection>,
) -> Result<Json<BTreeMap<String, String>>, ApiError> {
    let (Path(device), Json(labels)) = (device?, labels?);
    let remove: Vec<String> = labels.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| key.clone()).collect();
    let set = labels.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    let act = move |fleet: &Fleet| fleet.set_labels(&device, &set, &remove);
    Ok(Json(fleet.run_as(actor, Act::Assign, "labels", act).await?))
}

pub(crate) async fn groups(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
) -> Result<Json<Vec<Group>>, ApiError> {
    Ok(Json(fleet.run_as(actor, Act::See, "groups", Fleet::groups).await?))
}

pub(crate) async fn group(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Group>, ApiError> {
    let Path(name) = name?;
    Ok(Json(fleet.run_as(actor, Act::See, "groups", move |fleet| fleet.group(&name)).await?))
}

pub(crate) async fn keep_group(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    group: Result<Json<Group>, JsonRejection>,
) -> Result<Json<Group>, ApiError> {
    let Json(group) = group?;
    let keep = move |fleet: &Fleet| {
        fleet.keep_group(&group)?;
        fleet.group(&group.name)
    };
    Ok(Json(fleet.run_as(actor, Act::Assign, "groups", keep).await?))
}

pub(crate) async fn remove_group(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let Path(name) = name?;
    fleet.run_as(actor, Act::Assign, "groups", move |fleet| fleet.remove_group(&name)).await?;
    Ok(Json(json!({ "removed": true })))
}

pub(crate) async fn what_if(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    question: Result<Json<Question>, JsonRejection>,
) -> Result<Json<WhatIf>, ApiError> {
    let Json(question) = question?;
    let question = Question { limit: question.limit.min(10 * MOST_PER_PAGE), ..question };
    Ok(Json(fleet.run_as(actor, Act::See, "what-if", move |fleet| fleet.what_if(&question)).await?))
}
