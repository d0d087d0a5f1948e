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
use crate::db::{Account, ApiToken, Database, DbError};
use crate::fleet::{Fleet, FleetError};
use crate::people::{Act, Actor};

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

/// A page of a list that is kept by name, for those who administer.
async fn list<T: Send + 'static>(
    (actor, fleet): (Actor, Fleet),
    what: &'static str,
    asked: page::Asked<String>,
    read: fn(&Database, &str, u32) -> Result<Vec<T>, DbError>,
    name: fn(&T) -> &String,
) -> Result<Json<Listed<T>>, ApiError> {
    let (after, limit) = page::wanted(asked)?;
    let list = move |fleet: &Fleet| Ok(read(&fleet.inner.database, &after.unwrap_or_default(), limit + 1)?);
    let found = fleet.run_as(actor, Act::Administer, what, list).await?;
    Ok(Json(Listed::of(found, limit, |one| name(one).clone())))
}

/// Does something to whoever or whatever is called so, for those who administer; on record under that name.
async fn to<T: Send + 'static>(
    (actor, fleet): (Actor, Fleet),
    name: String,
    act: impl FnOnce(&Fleet, &str) -> Result<T, FleetError> + Send + 'static,
) -> Result<T, ApiError> {
    let subject = shown(&name);
    Ok(fleet.run_as(actor, Act::Administer, subject, move |fleet| act(fleet, &name)).await?)
}

pub(crate) async fn people(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    asked: page::Asked<String>,
) -> Result<Json<Listed<Account>>, ApiError> {
    list((actor, fleet), "people", asked, Database::accounts, |account| &account.name).await
}

pub(crate) async fn add_person(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    person: Result<Json<NewPerson>, JsonRejection>,
) -> Result<(StatusCode, Json<PersonCode>), ApiError> {
    let Json(NewPerson { name, roles }) = person?;
    let add = move |fleet: &Fleet, name: &str| fleet.add_person(name, &roles);
    let code = to((actor, fleet), name.clone(), add).await?;
    Ok((StatusCode::CREATED, Json(PersonCode { name, code })))
}

pub(crate) async fn person(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    name: Name,
) -> Result<Json<Account>, ApiError> {
    Ok(Json(to((actor, fleet), name?.0, account).await?))
}

pub(crate) async fn change_person(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    condition: Condition,
    name: Name,
    change: Result<Json<Change>, JsonRejection>,
) -> Result<Json<Account>, ApiError> {
    let (Path(name), Json(wanted)) = (name?, change?);
    let change = move |fleet: &Fleet, name: &str| {
        let change = |fleet: &Fleet| {
            fleet.inner.database.together(|| {
                account(fleet, name)?;
                if let Some(roles) = &wanted.roles {
                    fleet.set_person_roles(name, roles)?;
                }
                match wanted.disabled {
                    Some(disabled) => fleet.disable_person(name, disabled),
                    None => Ok(()),
                }
            })
        };
        fleet.change_if(&condition, |fleet| account(fleet, name), change)?;
        account(fleet, name)
    };
    Ok(Json(to((actor, fleet), name, change).await?))
}

pub(crate) async fn remove_person(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    condition: Condition,
    name: Name,
) -> Result<Json<Value>, ApiError> {
    let remove = move |fleet: &Fleet, name: &str| {
        fleet.change_if(&condition, |fleet| account(fleet, name), |fleet| fleet.remove_person(name))
    };
    to((actor, fleet), name?.0, remove).await?;
    Ok(Json(json!({ "removed": true })))
}

/// A new code; those before count no more.
pub(crate) async fn reset_person(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    name: Name,
) -> Result<(StatusCode, Json<PersonCode>), ApiError> {
    let Path(name) = name?;
    let code = to((actor, fleet), name.clone(), Fleet::reset_person).await?;
    Ok((StatusCode::CREATED, Json(PersonCode { name, code })))
}

pub(crate) async fn tokens(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    asked: page::Asked<String>,
) -> Result<Json<Listed<ApiToken>>, ApiError> {
    list((actor, fleet), "api-tokens", asked, Database::api_tokens_after, |token| &token.name).await
}

pub(crate) async fn make_token(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    token: Result<Json<NewToken>, JsonRejection>,
) -> Result<(StatusCode, Json<MadeToken>), ApiError> {
    let Json(NewToken { name, roles, scope, days }) = token?;
    let make = move |fleet: &Fleet, name: &str| {
        let token = fleet.create_api_token(name, &roles, &scope, days)?;
        Ok(MadeToken { token, kept: token_named(fleet, name)? })
    };
    Ok((StatusCode::CREATED, Json(to((actor, fleet), name, make).await?)))
}

pub(crate) async fn token(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    name: Name,
) -> Result<Json<ApiToken>, ApiError> {
    Ok(Json(to((actor, fleet), name?.0, token_named).await?))
}

pub(crate) async fn revoke_token(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    condition: Condition,
    name: Name,
) -> Result<Json<Value>, ApiError> {
    let revoke = move |fleet: &Fleet, name: &str| {
        fleet.change_if(&condition, |fleet| token_named(fleet, name), |fleet| fleet.revoke_api_token(name))
    };
    to((actor, fleet), name?.0, revoke).await?;
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
