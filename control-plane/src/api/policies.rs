//! `/v1/policies`: drafts of policy bundles, their differences, simulations and approvals. Releasing one takes the offline
//! keys, which are at no server: `outpost-control policy publish`.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use outpost_policies::{Bundle, BundleFiles};
use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiError;
use super::identity::Operator;
use crate::fleet::{Fleet, FleetError};
use crate::people::Act;
use crate::policy_desk::{DeskError, PolicyBoard, PolicyDiff, PolicyDraft, Reach, Simulation};

/// Largest body of a draft: a bundle whose every character is escaped.
pub(crate) const DRAFT_BYTES: usize = 4 * 1024 * 1024;

/// A draft as it is brought: its files, or a bundle.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Brought {
    /// The files by name.
    files: Option<BundleFiles>,
    /// The bundle, instead.
    bundle: Option<Value>,
    /// The revision that its author saw, 0 for a new draft; without it whatever is there is replaced.
    revision: Option<i64>,
}

impl Brought {
    fn files(self) -> Result<BundleFiles, FleetError> {
        let bundle = match (self.files, self.bundle) {
            (Some(files), None) => return Ok(files),
            (None, Some(bundle)) => bundle,
            _ => return Err(DeskError::Bundle("bring either `files` or `bundle`".to_owned()).into()),
        };
        let bytes = serde_json::to_vec(&bundle).map_err(|error| DeskError::Bundle(error.to_string()))?;
        let bundle = Bundle::parse(&bytes).map_err(|error| DeskError::Bundle(error.to_string()))?;
        Ok(BundleFiles::of(&bundle).map_err(DeskError::Bundle)?)
    }
}

pub(crate) async fn board(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
) -> Result<Json<PolicyBoard>, ApiError> {
    Ok(Json(fleet.run_as(actor, Act::See, "policies", Fleet::policy_board).await?))
}

pub(crate) async fn show(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<PolicyDraft>, ApiError> {
    let Path(name) = name?;
    Ok(Json(fleet.run_as(actor, Act::See, name.clone(), move |fleet| fleet.policy_draft(&name)).await?))
}

pub(crate) async fn save(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    name: Result<Path<String>, PathRejection>,
    brought: Result<Json<Brought>, JsonRejection>,
) -> Result<Json<PolicyDraft>, ApiError> {
    let (Path(name), Json(brought)) = (name?, brought?);
    let (author, subject) = (actor.name.clone(), name.clone());
    let save = move |fleet: &Fleet| {
        let revision = brought.revision;
        fleet.save_policy_draft(&author, &name, &brought.files()?, revision)
    };
    Ok(Json(fleet.run_as(actor, Act::DraftPolicy, subject, save).await?))
}

pub(crate) async fn remove(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let Path(name) = name?;
    fleet.run_as(actor, Act::DraftPolicy, name.clone(), move |fleet| fleet.drop_policy_draft(&name)).await?;
    Ok(Json(json!({ "dropped": true })))
}

pub(crate) async fn diff(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<PolicyDiff>, ApiError> {
    let Path(name) = name?;
    Ok(Json(fleet.run_as(actor, Act::See, name.clone(), move |fleet| fleet.policy_diff(&name)).await?))
}

pub(crate) async fn simulate(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    name: Result<Path<String>, PathRejection>,
    reach: Result<Json<Reach>, JsonRejection>,
) -> Result<Json<Simulation>, ApiError> {
    let (Path(name), Json(reach)) = (name?, reach?);
    let simulate = move |fleet: &Fleet| fleet.simulate_policy(&name, &reach);
    Ok(Json(fleet.run_as(actor, Act::ReadRecords, "policy simulation", simulate).await?))
}

/// What is approved.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Approval {
    /// The digest that was looked at, or its first 12 digits or more.
    digest: String,
}

/// On record by itself, with whether it was let.
pub(crate) async fn approve(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    name: Result<Path<String>, PathRejection>,
    approval: Result<Json<Approval>, JsonRejection>,
) -> Result<Json<PolicyDraft>, ApiError> {
    let (Path(name), Json(approval)) = (name?, approval?);
    Ok(Json(fleet.run(move |fleet| fleet.approve_policy(&actor, &name, &approval.digest)).await?))
}

#[cfg(test)]
mod tests;
