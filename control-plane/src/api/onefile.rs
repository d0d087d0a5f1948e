//! `/v1/fleet/…`: the fleet as one file. Bodies are the file itself; each thing that it changes must be permitted.

use axum::Json;
use axum::extract::rejection::{QueryRejection, StringRejection};
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::ApiError;
use super::identity::Operator;
use crate::fleet::{Fleet, FleetError};
use crate::onefile::{FleetFile, FleetFileError, FleetPlan, Reality};
use crate::people::{Act, Actor};

/// What records call it.
const SUBJECT: &str = "fleet file";

/// How a file is meant.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Manner {
    prune: bool,
    dry_run: bool,
    reported: bool,
}

/// How the fleet differs.
#[derive(Debug, Serialize)]
pub(crate) struct Difference {
    #[serde(flatten)]
    plan: FleetPlan,
    /// Devices that report something else, where that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    reported: Option<Vec<Reality>>,
    /// True if it was done.
    applied: bool,
}

type Body = Result<String, StringRejection>;
type Asked = Result<Query<Manner>, QueryRejection>;

pub(crate) async fn diff(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    asked: Asked,
    body: Body,
) -> Result<Json<Difference>, ApiError> {
    let (Query(asked), body) = (asked?, whole(body)?);
    let look = move |fleet: &Fleet, actor: &Actor| {
        let file = understood(fleet, actor, &body)?;
        let reported = if asked.reported { Some(fleet.file_drift(&file)?) } else { None };
        Ok(Difference { plan: fleet.plan_file(&file, asked.prune)?, reported, applied: false })
    };
    looking(&fleet, actor, look).await
}

pub(crate) async fn apply(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    asked: Asked,
    body: Body,
) -> Result<Json<Difference>, ApiError> {
    let (Query(asked), body) = (asked?, whole(body)?);
    let apply = move |fleet: &Fleet, actor: &Actor| {
        let file = understood(fleet, actor, &body)?;
        let plan = match asked.dry_run {
            true => fleet.plan_file(&file, asked.prune)?,
            false => fleet.apply_as(actor, &file, asked.prune)?,
        };
        Ok(Difference { plan, reported: None, applied: !asked.dry_run })
    };
    looking(&fleet, actor, apply).await
}

/// The file; people and tokens are in it for those who may administer them.
pub(crate) async fn export(Operator(actor): Operator, State(fleet): State<Fleet>) -> Result<Response, ApiError> {
    let with_people = actor.may(Act::Administer);
    let text = fleet.run_as(actor, Act::See, SUBJECT, move |fleet| fleet.export_file(with_people)).await?;
    Ok(([(header::CONTENT_TYPE, "application/toml")], text).into_response())
}

async fn looking<T: Send + 'static>(
    fleet: &Fleet,
    actor: Actor,
    look: impl FnOnce(&Fleet, &Actor) -> Result<T, FleetError> + Send + 'static,
) -> Result<Json<T>, ApiError> {
    let looker = actor.clone();
    Ok(Json(fleet.run_as(actor, Act::See, SUBJECT, move |fleet| look(fleet, &looker)).await?))
}

/// A body as it was sent; a longer one than any file is told as such.
fn whole(body: Body) -> Result<String, ApiError> {
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => FleetError::from(FleetFileError::TooLarge).into(),
        _ => rejection.into(),
    })
}

/// Reads a body. What is said of people is compared with what is so: that is for those who administer them.
fn understood(fleet: &Fleet, actor: &Actor, body: &str) -> Result<FleetFile, FleetError> {
    let file = FleetFile::read(body)?;
    if file.concerns_people() {
        let _permit = fleet.permit(actor, Act::Administer, SUBJECT)?;
    }
    Ok(file)
}
