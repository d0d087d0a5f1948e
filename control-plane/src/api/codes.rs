//! `POST /v1/codes`: a one-time enrolment code for a device.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use outpost_contract::DeviceId;
use serde::{Deserialize, Serialize};

use super::ApiError;
use super::identity::Operator;
use crate::fleet::Fleet;
use crate::people::Act;

/// A code's life if nothing is said: an hour, in seconds.
const VALID_S: i64 = 60 * 60;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    device: DeviceId,
    valid_s: Option<i64>,
}

#[derive(Serialize)]
pub(crate) struct Made {
    device: DeviceId,
    code: String,
    valid_s: i64,
}

pub(crate) async fn create(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    wanted: Result<Json<Wanted>, JsonRejection>,
) -> Result<Json<Made>, ApiError> {
    let Json(Wanted { device, valid_s }) = wanted?;
    let valid_s = valid_s.unwrap_or(VALID_S);
    let name = device.clone();
    let create = move |fleet: &Fleet| fleet.create_code(&name, valid_s);
    let code = fleet.run_as(actor, Act::Enrol, &device, create).await?;
    Ok(Json(Made { device, code, valid_s }))
}
