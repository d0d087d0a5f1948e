//! `/v1/devices`: who is there, what they report, what they should run; `/v1/self` for a device about itself.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use outpost_contract::DeviceId;
use serde_json::{Value, json};

use super::ApiError;
use super::identity::{Device, Operator};
use super::inventory::Wanted;
use crate::db::{Assignment, DeviceSummary};
use crate::fleet::Fleet;
use crate::people::Act;

/// All devices; with `limit`, `after` or `where`, some of them, and where the next are.
pub(crate) async fn list(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(wanted) = wanted?;
    if wanted.is_all() {
        return Ok(Json(fleet.run_as(actor, Act::See, "devices", Fleet::devices).await?).into_response());
    }
    let asked = wanted.clone();
    let page = fleet
        .run_as(actor, Act::See, "devices", move |fleet| {
            fleet.summaries(&asked.selector(fleet)?, asked.after.as_ref(), asked.limit())
        })
        .await?;
    Ok(wanted.answer("/v1/devices", page))
}

pub(crate) async fn show(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    device: Result<Path<DeviceId>, PathRejection>,
) -> Result<Json<DeviceSummary>, ApiError> {
    let Path(device) = device?;
    Ok(Json(fleet.run_as(actor, Act::See, &device.clone(), move |fleet| fleet.device(&device)).await?))
}

pub(crate) async fn assign(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    device: Result<Path<DeviceId>, PathRejection>,
    assignment: Result<Json<Assignment>, JsonRejection>,
) -> Result<Json<Value>, ApiError> {
    let (Path(device), Json(assignment)) = (device?, assignment?);
    let assign = {
        let device = device.clone();
        move |fleet: &Fleet| fleet.assign(&device, &assignment)
    };
    let version = fleet.run_as(actor, Act::Assign, device, assign).await?;
    Ok(Json(json!({ "desired_version": version })))
}

pub(crate) async fn revoke(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    device: Result<Path<DeviceId>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let Path(device) = device?;
    fleet.run_as(actor, Act::Revoke, &device.clone(), move |fleet| fleet.revoke(&device)).await?;
    Ok(Json(json!({ "revoked": true })))
}

pub(crate) async fn own(Device(device): Device, State(fleet): State<Fleet>) -> Result<Json<DeviceSummary>, ApiError> {
    Ok(Json(fleet.run(move |fleet| fleet.device(&device)).await?))
}
