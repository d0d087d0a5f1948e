//! `/v1/models/…`, `/v1/withdrawals`, `/v1/catalogue/…`, bills of materials: deciding on models and choosing among them.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use outpost_contract::{DeviceId, ModelId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiError;
use super::identity::Operator;
use super::page::{self, Listed};
use crate::db::{ModelApproval, StoredWithdrawal};
use crate::fleet::Fleet;
use crate::models::{ApprovalRequest, ApprovalView, CatalogueEntry, Comparison, Filter, WithdrawalRequest, bom};
use crate::people::Act;

pub(crate) async fn all_approvals(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    asked: page::Asked<String>,
) -> Result<Json<Listed<ApprovalView>>, ApiError> {
    let (after, limit) = page::wanted(asked)?;
    let approvals = fleet.run_as(actor, Act::See, "approvals", |fleet| fleet.model_approvals(None)).await?;
    Ok(Json(Listed::cut(approvals, after.as_deref(), limit, |one| one.approval.id.clone())))
}

pub(crate) async fn approvals(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    model: Result<Path<ModelId>, PathRejection>,
    asked: page::Asked<String>,
) -> Result<Json<Listed<ApprovalView>>, ApiError> {
    let (Path(model), (after, limit)) = (model?, page::wanted(asked)?);
    let read = {
        let model = model.clone();
        move |fleet: &Fleet| fleet.model_approvals(Some(&model))
    };
    let approvals = fleet.run_as(actor, Act::See, model, read).await?;
    Ok(Json(Listed::cut(approvals, after.as_deref(), limit, |one| one.approval.id.clone())))
}

pub(crate) async fn approve(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    model: Result<Path<ModelId>, PathRejection>,
    request: Result<Json<ApprovalRequest>, JsonRejection>,
) -> Result<Json<ModelApproval>, ApiError> {
    let (Path(model), Json(request)) = (model?, request?);
    let (person, subject) = (actor.name.clone(), model.clone());
    let approve = move |fleet: &Fleet| fleet.approve_model(&model, &request, &person);
    Ok(Json(fleet.run_as(actor, Act::ApproveModel, subject, approve).await?))
}

pub(crate) async fn revoke(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let Path(id) = id?;
    let person = actor.name.clone();
    let subject: String = id.chars().take(40).collect();
    let revoke = move |fleet: &Fleet| fleet.revoke_model_approval(&id, &person);
    fleet.run_as(actor, Act::ApproveModel, subject, revoke).await?;
    Ok(Json(json!({ "revoked": true })))
}

pub(crate) async fn withdraw(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    model: Result<Path<ModelId>, PathRejection>,
    request: Result<Json<WithdrawalRequest>, JsonRejection>,
) -> Result<Json<StoredWithdrawal>, ApiError> {
    let (Path(model), Json(request)) = (model?, request?);
    let (person, subject) = (actor.name.clone(), model.clone());
    let withdraw = move |fleet: &Fleet| fleet.withdraw_model(&model, &request, &person);
    Ok(Json(fleet.run_as(actor, Act::WithdrawModel, subject, withdraw).await?))
}

pub(crate) async fn restore(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    model: Result<Path<ModelId>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let Path(model) = model?;
    fleet.run_as(actor, Act::WithdrawModel, &model.clone(), move |fleet| fleet.restore_model(&model)).await?;
    Ok(Json(json!({ "restored": true })))
}

pub(crate) async fn withdrawals(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    asked: page::Asked<String>,
) -> Result<Json<Listed<StoredWithdrawal>>, ApiError> {
    let (after, limit) = page::wanted(asked)?;
    let withdrawals = fleet.run_as(actor, Act::See, "withdrawals", Fleet::withdrawals).await?;
    let name = |one: &StoredWithdrawal| format!("{} {}", one.model, one.target).trim_end().to_owned();
    Ok(Json(Listed::cut(withdrawals, after.as_deref(), limit, name)))
}

/// Which variants are wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    #[serde(default, rename = "where")]
    filter: String,
    after: Option<String>,
    limit: Option<u32>,
}

pub(crate) async fn entries(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Listed<CatalogueEntry>>, ApiError> {
    let Query(Wanted { filter, after, limit }) = wanted?;
    let limit = page::entries(limit)?;
    let list = move |fleet: &Fleet| fleet.entries(&filter.parse::<Filter>()?);
    let entries = fleet.run_as(actor, Act::See, "catalogue", list).await?;
    Ok(Json(Listed::cut(entries, after.as_deref(), limit, |entry| entry.target.to_string())))
}

/// Which variants are put side by side.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Compared {
    a: String,
    b: String,
    c: Option<String>,
}

pub(crate) async fn compare(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    asked: Result<Query<Compared>, QueryRejection>,
) -> Result<Json<Comparison>, ApiError> {
    let Query(Compared { a, b, c }) = asked?;
    let names: Vec<String> = [Some(a), Some(b), c].into_iter().flatten().collect();
    Ok(Json(fleet.run_as(actor, Act::See, "catalogue", move |fleet| fleet.compare(&names)).await?))
}

pub(crate) async fn bom(Operator(actor): Operator, State(fleet): State<Fleet>) -> Result<Response, ApiError> {
    let bom = fleet.run_as(actor, Act::See, "bom", Fleet::bom_of_fleet).await?;
    Ok(([(CONTENT_TYPE, bom::MEDIA_TYPE)], bom.to_string()).into_response())
}

pub(crate) async fn bom_of_device(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    device: Result<Path<DeviceId>, PathRejection>,
) -> Result<Response, ApiError> {
    let Path(device) = device?;
    let bom = fleet.run_as(actor, Act::See, &device.clone(), move |fleet| fleet.bom_of_device(&device)).await?;
    Ok(([(CONTENT_TYPE, bom::MEDIA_TYPE)], bom.to_string()).into_response())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::{Method, Request, StatusCode};
    use tower::ServiceExt as _;

    use super::*;
    use crate::models::tests::{House, rules};
    use crate::shares::Shares;

    async fn ask(house: &House, method: Method, path: &str, body: &Value, token: &str) -> (StatusCode, Value) {
        let shares = Shares::new(house.fleet.config().rates, |_| None);
        let request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {token}"));
        let request = request.header("content-type", "application/json").body(Body::from(body.to_string())).unwrap();
        let response = super::super::router(house.fleet.clone(), shares).oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 24).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn a_model_is_approved_assigned_and_withdrawn_over_the_api_and_refusals_say_what_is_missing() {
        let house = House::new(rules(true, &[], &["cc-by-nc-4.0"]));
        let with = |method: Method, path: &'static str, body: Value| {
            let house = &house;
            async move { ask(house, method, path, &body, &house.token).await }
        };
        let assignment = json!({"model": "alpha", "minimum_context_tokens": 512});
        let (status, error) = with(Method::PUT, "/v1/devices/box-00001/assignment", assignment.clone()).await;
        assert_eq!((status, &error["error"]["code"]), (StatusCode::FORBIDDEN, &json!("not_approved")), "{error}");
        let until_s = house.fleet.now_s() + 86_400;
        let approval = json!({"until_s": until_s, "where": "name=box-0000*"});
        let (status, approved) = with(Method::POST, "/v1/models/alpha/approvals", approval).await;
        assert_eq!((status, &approved["person"]), (StatusCode::OK, &json!("administrator")), "{approved}");
        assert_eq!(with(Method::PUT, "/v1/devices/box-00001/assignment", assignment.clone()).await.0, StatusCode::OK);
        let (_, all) = with(Method::GET, "/v1/approvals/models", Value::Null).await;
        let all = &all["entries"];
        assert_eq!((&all[0]["state"], &all[0]["model"]), (&json!("counts"), &json!("alpha")));
        let withdrawal = json!({"reason": "it leaks", "deadline_s": 3600});
        assert_eq!(with(Method::POST, "/v1/models/alpha/withdraw", withdrawal).await.0, StatusCode::OK);
        let (status, error) = with(Method::PUT, "/v1/devices/box-00002/assignment", assignment).await;
        assert_eq!((status, &error["error"]["code"]), (StatusCode::CONFLICT, &json!("withdrawn")), "{error}");
        let (_, entries) =
            with(Method::GET, "/v1/catalogue/models?where=model%3Dalpha+and+bits%3C5", Value::Null).await;
        let entries = &entries["entries"];
        assert_eq!((&entries[0]["target"], &entries[0]["withdrawn"]), (&json!("alpha.Q4_0"), &json!("it leaks")));
        let (status, both) = with(Method::GET, "/v1/catalogue/compare?a=alpha.Q4_0&b=beta.Q4_0", Value::Null).await;
        assert_eq!((status, both["entries"].as_array().unwrap().len()), (StatusCode::OK, 2));
        let (status, error) = with(Method::GET, "/v1/catalogue/models?where=colour%3Dred", Value::Null).await;
        assert_eq!((status, &error["error"]["code"]), (StatusCode::BAD_REQUEST, &json!("bad_request")));
        assert_eq!(with(Method::POST, "/v1/models/alpha/restore", Value::Null).await.0, StatusCode::OK);
        assert_eq!(with(Method::POST, "/v1/models/alpha/restore", Value::Null).await.0, StatusCode::NOT_FOUND);
        assert_eq!(with(Method::GET, "/v1/devices/box-00001/bom", Value::Null).await.1["specVersion"], "1.6");
        assert_eq!(with(Method::GET, "/v1/devices/nobody/bom", Value::Null).await.0, StatusCode::NOT_FOUND);
        assert_eq!(with(Method::DELETE, "/v1/approvals/models/none", Value::Null).await.0, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn nothing_is_answered_without_the_token_and_nothing_decided_by_who_may_only_look() {
        let house = House::new(rules(true, &[], &[]));
        let viewer = house.fleet.create_api_token("ci", &["viewer".to_owned()], &[], 1).unwrap();
        for (method, path, looks) in [
            (Method::GET, "/v1/approvals/models", true),
            (Method::GET, "/v1/models/alpha/approvals", true),
            (Method::POST, "/v1/models/alpha/approvals", false),
            (Method::DELETE, "/v1/approvals/models/x", false),
            (Method::POST, "/v1/models/alpha/withdraw", false),
            (Method::POST, "/v1/models/alpha/restore", false),
            (Method::GET, "/v1/withdrawals", true),
            (Method::GET, "/v1/catalogue/models", true),
            (Method::GET, "/v1/catalogue/compare?a=alpha.Q4_0&b=beta.Q4_0", true),
            (Method::GET, "/v1/bom", true),
            (Method::GET, "/v1/devices/box-00001/bom", true),
        ] {
            let body = json!({"until_s": 1_800_086_400, "reason": "x"});
            let body = if path.ends_with("withdraw") { json!({"reason": "x"}) } else { body };
            let body = if path.ends_with("approvals") { json!({"until_s": 1_800_086_400}) } else { body };
            let (status, _) = ask(&house, method.clone(), path, &body, "not the token").await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
            let (status, answer) = ask(&house, method, path, &body, &viewer).await;
            assert_eq!(status, if looks { StatusCode::OK } else { StatusCode::FORBIDDEN }, "{path}: {answer}");
        }
        assert!(house.fleet.withdrawals().unwrap().is_empty());
    }
}
