//! `/v1/events`: what happened in the fleet, in order; `/v1/webhooks`: who is sent it.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ApiError;
use super::identity::Operator;
use super::page::{self, Listed};
use crate::db::{DeadEvent, Delivery, Webhook};
use crate::fleet::Fleet;
use crate::people::Act;
use crate::signals::{Deliveries, EventPage, NewWebhook};

/// Events of a page if nothing is said.
const PER_PAGE: u32 = 100;

/// Which events are wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WantedEvents {
    #[serde(default)]
    after: i64,
    limit: Option<u32>,
    /// `device.lost`, or `device`.
    #[serde(default)]
    kind: String,
}

/// The text format that every Prometheus reads.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `GET /metrics`, for whoever may see devices.
pub(crate) async fn metrics(Operator(actor): Operator, State(fleet): State<Fleet>) -> Result<Response, ApiError> {
    fleet.run_as(actor, Act::See, "metrics", |_| Ok(())).await?;
    Ok(([(CONTENT_TYPE, TEXT)], fleet.metrics_page().await?).into_response())
}

pub(crate) async fn events(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    wanted: Result<Query<WantedEvents>, QueryRejection>,
) -> Result<Json<EventPage>, ApiError> {
    let Query(WantedEvents { after, limit, kind }) = wanted?;
    let limit = limit.unwrap_or(PER_PAGE);
    let read = move |fleet: &Fleet| fleet.fleet_events(after.max(0), &kind, limit);
    Ok(Json(fleet.run_as(actor, Act::See, "events", read).await?))
}

/// An address can hold a secret of its receiver: not for everybody who may see devices.
pub(crate) async fn webhooks(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    asked: page::Asked<String>,
) -> Result<Json<Listed<Webhook>>, ApiError> {
    let (after, limit) = page::wanted(asked)?;
    let hooks = fleet.run_as(actor, Act::Administer, "webhooks", Fleet::webhooks).await?;
    Ok(Json(Listed::cut(hooks, after.as_deref(), limit, |hook| hook.name.clone())))
}

pub(crate) async fn add_webhook(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    new: Result<Json<NewWebhook>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let Json(new) = new?;
    let name = new.name.clone();
    let secret = fleet.run_as(actor, Act::Administer, &new.name.clone(), move |fleet| fleet.add_webhook(&new)).await?;
    Ok((StatusCode::CREATED, Json(json!({ "name": name, "secret": secret }))))
}

pub(crate) async fn remove_webhook(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let Path(name) = name?;
    fleet.run_as(actor, Act::Administer, &name.clone(), move |fleet| fleet.remove_webhook(&name)).await?;
    Ok(Json(json!({ "removed": true })))
}

pub(crate) async fn pause_webhook(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let Path(name) = name?;
    let person = actor.name.clone();
    let pause = {
        let name = name.clone();
        move |fleet: &Fleet| fleet.pause_webhook(&name, &person)
    };
    fleet.run_as(actor, Act::Administer, name, pause).await?;
    Ok(Json(json!({ "paused": true })))
}

pub(crate) async fn retry_webhook(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let Path(name) = name?;
    fleet.run_as(actor, Act::Administer, &name.clone(), move |fleet| fleet.retry_webhook(&name)).await?;
    Ok(Json(json!({ "retried": true })))
}

/// Sends `webhook.test`; a receiver that fails is told in the answer, not by its status.
pub(crate) async fn test_webhook(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Delivery>, ApiError> {
    let Path(name) = name?;
    fleet.run_as(actor, Act::Administer, &name, |_| Ok(())).await?;
    Ok(Json(fleet.test_webhook(&name).await?))
}

/// Attempts of a hook, and what was given up for it.
#[derive(Debug, Serialize)]
pub(crate) struct Delivered {
    #[serde(flatten)]
    attempts: Listed<Delivery>,
    /// Events that it will not get any more, whatever the page.
    dead: Vec<DeadEvent>,
}

pub(crate) async fn deliveries(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    name: Result<Path<String>, PathRejection>,
    asked: page::Asked<String>,
) -> Result<Json<Delivered>, ApiError> {
    let (Path(name), (after, limit)) = (name?, page::wanted(asked)?);
    let read = {
        let name = name.clone();
        move |fleet: &Fleet| fleet.webhook_deliveries(&name)
    };
    let Deliveries { attempts, dead } = fleet.run_as(actor, Act::Administer, name, read).await?;
    let attempts = Listed::cut(attempts, after.as_deref(), limit, |one| one.attempt.to_string());
    Ok(Json(Delivered { attempts, dead }))
}
