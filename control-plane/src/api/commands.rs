//! `/v1/devices/{device}/commands`: what a device is asked to do now, and what it answers; `/events`: what happened on it.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use outpost_contract::{CommandId, DeviceId, Operation};
use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiError;
use super::identity::Operator;
use super::page::{self, Listed};
use crate::db::{CommandRecord, StoredEvent};
use crate::fleet::Fleet;
use crate::people::Act;

/// A command as it is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wish {
    op: Operation,
    #[serde(default = "ten_minutes")]
    valid_s: i64,
}

fn ten_minutes() -> i64 {
    600
}

pub(crate) async fn give(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    device: Result<Path<DeviceId>, PathRejection>,
    wish: Result<Json<Wish>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let (Path(device), Json(wish)) = (device?, wish?);
    // Who asked goes into the device's own record: nobody says that of himself.
    let (subject, by) = (device.clone(), actor.name.clone());
    let give = move |fleet: &Fleet| fleet.command(&device, wish.op, wish.valid_s, &by);
    let id = fleet.run_as(actor, Act::Command, subject, give).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "id": id }))))
}

/// A page of the commands that are remembered, newest first.
pub(crate) async fn list(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    device: Result<Path<DeviceId>, PathRejection>,
    asked: page::Asked<CommandId>,
) -> Result<Json<Listed<CommandRecord>>, ApiError> {
    let (Path(device), (after, limit)) = (device?, page::wanted(asked)?);
    let all = fleet.run_as(actor, Act::See, &device.clone(), move |fleet| fleet.commands(&device)).await?;
    let after = after.as_ref().map(CommandId::as_str);
    Ok(Json(Listed::cut(all, after, limit, |record| record.id.as_str().to_owned())))
}

pub(crate) async fn show(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    names: Result<Path<(DeviceId, CommandId)>, PathRejection>,
) -> Result<Json<CommandRecord>, ApiError> {
    let Path((device, id)) = names?;
    let subject = device.clone();
    Ok(Json(fleet.run_as(actor, Act::See, subject, move |fleet| fleet.command_record(&device, &id)).await?))
}

/// The events that are kept of a device, newest first: so few that they are one page.
pub(crate) async fn events(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    device: Result<Path<DeviceId>, PathRejection>,
) -> Result<Json<Listed<StoredEvent>>, ApiError> {
    let Path(device) = device?;
    let entries = fleet.run_as(actor, Act::See, &device.clone(), move |fleet| fleet.events(&device)).await?;
    Ok(Json(Listed { entries, next: None }))
}
