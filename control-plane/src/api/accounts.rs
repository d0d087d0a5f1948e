//! `/v1/people`, `/v1/api-tokens`: who administers the fleet, and with what. What proves who somebody is is shown once, when it
//! is made.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ApiError;
use super::condition::Condition;
use super::identity::Operator;
use super::page::{self, Listed};
use crate::db::{Account, ApiToken};
use crate::fleet::{Fleet, FleetError};
use crate::people::Act;

/// A person as they are entered.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPerson {
    name: String,
    roles: Vec<String>,
}

/// A code with which a person sets their password, once.
#[derive(Serialize)]
pub(crate) struct PersonCode {
    name: String,
    code: String,
}

/// What is to be different about a person; what is not said stays.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    roles: Option<Vec<String>>,
    disabled: Option<bool>,
}

/// An API token as it is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewToken {
    name: String,
    roles: Vec<String>,
    #[serde(default)]
    scope: Vec<String>,
    #[serde(default = "a_month")]
    days: u32,
}

fn a_month() -> u32 {
    30
}

/// An API token, this once.
#[derive(Serialize)]
pub(crate) struct MadeToken {
    token: String,
    #[serde(flatten)]
    kept: ApiToken,
}

type Name = Result<Path<String>, PathRejection>;

pub(crate) async fn people(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    asked: page::Asked<String>,
) -> Result<Json<Listed<Account>>, ApiError> {
    let (after, limit) = page::wanted(asked)?;
    let list = move |fleet: &Fleet| Ok(fleet.inner.database.accounts(&after.unwrap_or_default(), limit + 1)?);
    let found = fleet.run_as(actor, Act::Administer, "people", list).await?;
    Ok(Json(Listed::of(found, limit, |account| account.name.clone())))
}

pub(crate) async fn add_person(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    person: Result<Json<NewPerson>, JsonRejection>,
) -> Result<(StatusCode, Json<PersonCode>), ApiError> {
    let Json(NewPerson { name, roles }) = person?;
    let subject = shown(&name);
    let add = move |fleet: &Fleet| Ok(PersonCode { code: fleet.add_person(&name, &roles)?, name });
    Ok((StatusCode::CREATED, Json(fleet.run_as(actor, Act::Administer, subject, add).await?)))
}

pub(crate) async fn person(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    name: Name,
) -> Result<Json<Account>, ApiError> {
    let Path(name) = name?;
    Ok(Json(fleet.run_as(actor, Act::Administer, shown(&name), move |fleet| account(fleet, &name)).await?))
}

pub(crate) async fn change_person(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    condition: Condition,
    name: Name,
    change: Result<Json<Change>, JsonRejection>,
) -> Result<Json<Account>, ApiError> {
    let (Path(name), Json(wanted)) = (name?, change?);
    let subject = shown(&name);
    let change = move |fleet: &Fleet| {
        let change = |fleet: &Fleet| {
            fleet.inner.database.together(|| {
                account(fleet, &name)?;
                if let Some(roles) = &wanted.roles {
                    fleet.set_person_roles(&name, roles)?;
                }
                match wanted.disabled {
                    Some(disabled) => fleet.disable_person(&name, disabled),
                    None => Ok(()),
                }
            })
        };
        fleet.change_if(&condition, |fleet| account(fleet, &name), change)?;
        account(fleet, &name)
    };
    Ok(Json(fleet.run_as(actor, Act::Administer, subject, change).await?))
}

pub(crate) async fn remove_person(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    condition: Condition,
    name: Name,
) -> Result<Json<Value>, ApiError> {
    let Path(name) = name?;
    let subject = shown(&name);
    let remove = move |fleet: &Fleet| {
        fleet.change_if(&condition, |fleet| account(fleet, &name), |fleet| fleet.remove_person(&name))
    };
    fleet.run_as(actor, Act::Administer, subject, remove).await?;
    Ok(Json(json!({ "removed": true })))
}

/// A new code; those before count no more.
pub(crate) async fn reset_person(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    name: Name,
) -> Result<(StatusCode, Json<PersonCode>), ApiError> {
    let Path(name) = name?;
    let subject = shown(&name);
    let reset = move |fleet: &Fleet| Ok(PersonCode { code: fleet.reset_person(&name)?, name });
    Ok((StatusCode::CREATED, Json(fleet.run_as(actor, Act::Administer, subject, reset).await?)))
}

pub(crate) async fn tokens(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    asked: page::Asked<String>,
) -> Result<Json<Listed<ApiToken>>, ApiError> {
    let (after, limit) = page::wanted(asked)?;
    let list = move |fleet: &Fleet| Ok(fleet.inner.database.api_tokens_after(&after.unwrap_or_default(), limit + 1)?);
    let found = fleet.run_as(actor, Act::Administer, "api-tokens", list).await?;
    Ok(Json(Listed::of(found, limit, |token| token.name.clone())))
}

pub(crate) async fn make_token(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    token: Result<Json<NewToken>, JsonRejection>,
) -> Result<(StatusCode, Json<MadeToken>), ApiError> {
    let Json(NewToken { name, roles, scope, days }) = token?;
    let subject = shown(&name);
    let make = move |fleet: &Fleet| {
        let token = fleet.create_api_token(&name, &roles, &scope, days)?;
        Ok(MadeToken { token, kept: token_named(fleet, &name)? })
    };
    Ok((StatusCode::CREATED, Json(fleet.run_as(actor, Act::Administer, subject, make).await?)))
}

pub(crate) async fn token(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    name: Name,
) -> Result<Json<ApiToken>, ApiError> {
    let Path(name) = name?;
    Ok(Json(fleet.run_as(actor, Act::Administer, shown(&name), move |fleet| token_named(fleet, &name)).await?))
}

pub(crate) async fn revoke_token(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    condition: Condition,
    name: Name,
) -> Result<Json<Value>, ApiError> {
    let Path(name) = name?;
    let subject = shown(&name);
    let revoke = move |fleet: &Fleet| {
        fleet.change_if(&condition, |fleet| token_named(fleet, &name), |fleet| fleet.revoke_api_token(&name))
    };
    fleet.run_as(actor, Act::Administer, subject, revoke).await?;
    Ok(Json(json!({ "revoked": true })))
}

fn account(fleet: &Fleet, name: &str) -> Result<Account, FleetError> {
    fleet.inner.database.account(name)?.ok_or_else(|| FleetError::UnknownPerson(shown(name)))
}

fn token_named(fleet: &Fleet, name: &str) -> Result<ApiToken, FleetError> {
    fleet.inner.database.api_token(name)?.ok_or_else(|| FleetError::UnknownPerson(shown(name)))
}

/// A name as it stands in records and errors, whoever chose it.
fn shown(name: &str) -> String {
    name.chars().take(64).collect()
}

#[cfg(test)]
mod tests;
