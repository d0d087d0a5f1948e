//! `/v1/devices`: who is there, what they report, what they should run; `/v1/self` for a device about itself.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use outpost_contract::DeviceId;
use serde::Serialize;
use serde_json::{Value, json};

use super::ApiError;
use super::condition::Condition;
use super::identity::{Device, Operator};
use super::inventory::Wanted;
use crate::db::{Assignment, DeviceSummary};
use crate::fleet::{Fleet, FleetError};
use crate::people::Act;

/// A page of the devices, by name; with `where`, of those that a selector means.
pub(crate) async fn list(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(wanted) = wanted?;
    let (asked, limit) = (wanted.clone(), wanted.limit()?);
    let page = fleet
        .run_as(actor, Act::See, "devices", move |fleet| {
            fleet.summaries(&asked.selector(fleet)?, asked.after.as_ref(), limit as usize)
        })
        .await?;
    Ok(wanted.answer("/v1/devices", limit, page))
}

pub(crate) async fn show(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    device: Result<Path<DeviceId>, PathRejection>,
) -> Result<Json<DeviceSummary>, ApiError> {
    let Path(device) = device?;
    Ok(Json(fleet.run_as(actor, Act::See, &device.clone(), move |fleet| fleet.device(&device)).await?))
}

/// What a device should run, and which version of its desired state says so.
#[derive(Debug, Serialize)]
pub(crate) struct Assigned {
    assignment: Option<Assignment>,
    desired_version: u64,
}

impl Assigned {
    fn of(fleet: &Fleet, device: &DeviceId) -> Result<Self, FleetError> {
        let DeviceSummary { assignment, desired_version, .. } = fleet.device(device)?;
        Ok(Self { assignment, desired_version })
    }
}

pub(crate) async fn assigned(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    device: Result<Path<DeviceId>, PathRejection>,
) -> Result<Json<Assigned>, ApiError> {
    let Path(device) = device?;
    Ok(Json(fleet.run_as(actor, Act::See, &device.clone(), move |fleet| Assigned::of(fleet, &device)).await?))
}

pub(crate) async fn assign(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    condition: Condition,
    device: Result<Path<DeviceId>, PathRejection>,
    assignment: Result<Json<Assignment>, JsonRejection>,
) -> Result<Json<Assigned>, ApiError> {
    let (Path(device), Json(assignment)) = (device?, assignment?);
    let subject = device.clone();
    let assign = move |fleet: &Fleet| {
        let current = |fleet: &Fleet| Assigned::of(fleet, &device);
        let change = |fleet: &Fleet| fleet.assign(&device, &assignment);
        let desired_version = fleet.change_if(&condition, current, change)?;
        Ok(Assigned { assignment: Some(assignment), desired_version })
    };
    Ok(Json(fleet.run_as(actor, Act::Assign, subject, assign).await?))
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
