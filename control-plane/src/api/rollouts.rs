//! `/v1/rollouts`: staged changes, and what people do with them.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use outpost_contract::DeviceId;
use serde::Deserialize;

use super::ApiError;
use super::identity::Operator;
use super::page::{self, Listed};
use crate::fleet::{Fleet, FleetError};
use crate::people::{Act, Actor};
use crate::rollouts::{MemberView, RolloutRequest, RolloutView};

/// Which devices of a rollout are wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WantedDevices {
    limit: Option<u32>,
    after: Option<DeviceId>,
    status: Option<String>,
}

/// Which wave somebody agrees to, from 1; without it, the one that waits.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Approved {
    wave: Option<usize>,
}

/// How a rollout is ended.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Aborted {
    /// Devices that were changed get back what they had.
    #[serde(default = "yes")]
    roll_back: bool,
}

fn yes() -> bool {
    true
}

impl Default for Aborted {
    fn default() -> Self {
        Self { roll_back: yes() }
    }
}

pub(crate) async fn list(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    asked: page::Asked<String>,
) -> Result<Json<Listed<RolloutView>>, ApiError> {
    let (after, limit) = page::wanted(asked)?;
    let read = move |fleet: &Fleet| fleet.rollouts(after.as_deref(), limit as usize);
    let (entries, is_more) = fleet.run_as(actor, Act::See, "rollouts", read).await?;
    let next = entries.last().filter(|_| is_more).map(|rollout| rollout.name.clone());
    Ok(Json(Listed { entries, next }))
}

pub(crate) async fn start(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    request: Result<Json<RolloutRequest>, JsonRejection>,
) -> Result<Json<RolloutView>, ApiError> {
    let Json(request) = request?;
    let (author, name) = (actor.name.clone(), request.name.clone());
    let start = move |fleet: &Fleet| fleet.start_rollout(&author, &request);
    Ok(Json(fleet.run_as(actor, Act::Rollout, name, start).await?))
}

pub(crate) async fn show(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<RolloutView>, ApiError> {
    let Path(name) = name?;
    Ok(Json(fleet.run_as(actor, Act::See, name.clone(), move |fleet| fleet.rollout(&name)).await?))
}

pub(crate) async fn devices(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    name: Result<Path<String>, PathRejection>,
    wanted: Result<Query<WantedDevices>, QueryRejection>,
) -> Result<Json<Listed<MemberView>>, ApiError> {
    let (Path(name), Query(WantedDevices { limit, after, status })) = (name?, wanted?);
    let (limit, of) = (page::entries(limit)?, name.clone());
    let read = move |fleet: &Fleet| fleet.rollout_devices(&of, status.as_deref(), after.as_ref(), limit as usize);
    let (entries, is_more) = fleet.run_as(actor, Act::See, name, read).await?;
    let next = entries.last().filter(|_| is_more).map(|member| member.device.to_string());
    Ok(Json(Listed { entries, next }))
}

/// The two-person rule and the record are in [`Fleet::approve_rollout`].
pub(crate) async fn approve(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    name: Result<Path<String>, PathRejection>,
    approved: Result<Option<Json<Approved>>, JsonRejection>,
) -> Result<Json<RolloutView>, ApiError> {
    let (Path(name), approved) = (name?, approved?);
    let wave = approved.and_then(|Json(approved)| approved.wave);
    Ok(Json(fleet.run(move |fleet| fleet.approve_rollout(&actor, &name, wave)).await?))
}

pub(crate) async fn pause(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<RolloutView>, ApiError> {
    act(actor, fleet, name, Fleet::pause_rollout).await
}

pub(crate) async fn resume(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<RolloutView>, ApiError> {
    act(actor, fleet, name, Fleet::resume_rollout).await
}

pub(crate) async fn retry(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<RolloutView>, ApiError> {
    act(actor, fleet, name, Fleet::retry_rollout).await
}

pub(crate) async fn abort(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    name: Result<Path<String>, PathRejection>,
    aborted: Result<Option<Json<Aborted>>, JsonRejection>,
) -> Result<Json<RolloutView>, ApiError> {
    let Aborted { roll_back } = aborted?.map(|Json(aborted)| aborted).unwrap_or_default();
    act(actor, fleet, name, move |fleet, name| fleet.abort_rollout(name, roll_back)).await
}

async fn act(
    actor: Actor,
    fleet: Fleet,
    name: Result<Path<String>, PathRejection>,
    run: impl FnOnce(&Fleet, &str) -> Result<RolloutView, FleetError> + Send + 'static,
) -> Result<Json<RolloutView>, ApiError> {
    let Path(name) = name?;
    Ok(Json(fleet.run_as(actor, Act::Rollout, name.clone(), move |fleet| run(fleet, &name)).await?))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::{Method, Request, StatusCode};
    use serde_json::{Value, json};
    use tower::ServiceExt as _;

    use crate::clock::Clock;
    use crate::config::Config;
    use crate::fleet::Fleet;
    use crate::shares::Shares;

    async fn ask(fleet: &Fleet, method: Method, path: &str, body: &str, token: &str) -> (StatusCode, Value) {
        let router = crate::api::router(fleet.clone(), Shares::new(fleet.config().rates, |_| None));
        let request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {token}"));
        let request = request.header("content-type", "application/json").body(Body::from(body.to_owned())).unwrap();
        let response = router.oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn every_route_is_behind_an_identity_and_says_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let made = Fleet::init(Config::new(dir.path().join("state")), Clock::fixed(1_800_000_000)).unwrap();
        let march = |act: &str| format!("/v1/rollouts/march{act}");
        let unknown = (StatusCode::NOT_FOUND, "unknown_rollout");
        let wrong = |status: u16, code: &'static str| (StatusCode::from_u16(status).unwrap(), code);
        for (method, path, body, said) in [
            (Method::POST, "/v1/rollouts".to_owned(), "{}", wrong(422, "bad_request")),
            (Method::POST, "/v1/rollouts".to_owned(), "{", wrong(400, "bad_request")),
            (Method::POST, "/v1/rollouts".to_owned(), r#"{"name": "march"}"#, wrong(400, "invalid_spec")),
            (Method::POST, "/v1/rollouts".to_owned(), r#"{"name": "m", "model": "x"}"#, wrong(404, "unknown_model")),
            (Method::POST, "/v1/rollouts".to_owned(), r#"{"name": "M!", "model": "x"}"#, wrong(400, "bad_request")),
            (Method::GET, "/v1/rollouts?limit=x".to_owned(), "", wrong(400, "bad_request")),
            (Method::GET, "/v1/rollouts?limit=0".to_owned(), "", wrong(400, "bad_request")),
            (Method::GET, march("/devices?limit=1001"), "", wrong(400, "bad_request")),
            (Method::GET, march(""), "", unknown),
            (Method::GET, march("/devices?status=failed"), "", unknown),
            (Method::POST, march("/approve"), "{}", unknown),
            (Method::POST, march("/pause"), "", unknown),
            (Method::POST, march("/resume"), "", unknown),
            (Method::POST, march("/retry"), "", unknown),
            (Method::POST, march("/abort"), r#"{"roll_back": false}"#, unknown),
            (Method::POST, march("/abort"), r#"{"roll_back": 7}"#, wrong(422, "bad_request")),
        ] {
            let (status, answer) = ask(&made.fleet, method.clone(), &path, body, &made.admin_token).await;
            assert_eq!((status, answer["error"]["code"].as_str().unwrap()), said, "{path} {body}: {answer}");
            let (status, _) = ask(&made.fleet, method, &path, body, "not the token").await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
        }
        let (status, list) = ask(&made.fleet, Method::GET, "/v1/rollouts", "", &made.admin_token).await;
        assert_eq!((status, list), (StatusCode::OK, json!({"entries": [], "next": null})));
    }
}
