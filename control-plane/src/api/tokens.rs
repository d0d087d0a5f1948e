//! `POST /v1/tokens`: a token for a person or service.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use serde::{Deserialize, Serialize};

use super::ApiError;
use super::identity::Operator;
use crate::fleet::Fleet;
use crate::people::Act;

/// A token's life if nothing is said: 8 hours, in seconds.
const VALID_S: i64 = 8 * 60 * 60;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    subject: String,
    roles: Vec<String>,
    valid_s: Option<i64>,
}

#[derive(Serialize)]
pub(crate) struct Issued {
    token: String,
}

pub(crate) async fn issue(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    wanted: Result<Json<Wanted>, JsonRejection>,
) -> Result<Json<Issued>, ApiError> {
    let Json(wanted) = wanted?;
    let valid_s = wanted.valid_s.unwrap_or(VALID_S);
    let subject = wanted.subject.clone();
    let issue = move |fleet: &Fleet| fleet.issue_token(&wanted.subject, &wanted.roles, valid_s);
    let token = fleet.run_as(actor, Act::IssueToken, subject, issue).await?;
    Ok(Json(Issued { token }))
}
