//! `/v1/inventory`, `/v1/overview`, `/v1/groups`, labels, previews of selectors, and what-if.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use outpost_contract::DeviceId;
use outpost_selector::Selector;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ApiError;
use super::condition::Condition;
use super::identity::Operator;
use super::page::{self, Listed};
use crate::fleet::{Fleet, FleetError};
use crate::inventory::{DeviceView, Group, MOST_PER_PAGE, Overview, Page, Preview, Question, WhatIf};
use crate::people::Act;

/// Which part of a list is wanted.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    #[serde(rename = "where")]
    selector: Option<String>,
    limit: Option<u32>,
    pub(crate) after: Option<DeviceId>,
}

impl Wanted {
    pub(crate) fn selector(&self, fleet: &Fleet) -> Result<Selector, FleetError> {
        self.selector.as_deref().map_or(Ok(Selector::all()), |text| fleet.selector(text))
    }

    pub(crate) fn limit(&self) -> Result<u32, ApiError> {
        page::entries(self.limit)
    }

    /// The page, and in `Link` where the next one is.
    pub(crate) fn answer<T: Serialize>(&self, path: &str, limit: u32, page: Page<T>) -> Response {
        let next = page.next.as_ref().map(|after| {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.append_pair("limit", &limit.to_string()).append_pair("after", after.as_str());
            if let Some(selector) = &self.selector {
                query.append_pair("where", selector);
            }
            format!("<{path}?{}>; rel=\"next\"", query.finish())
        });
        let listed = Listed { entries: page.devices, next: page.next.map(String::from) };
        let mut response = Json(listed).into_response();
        if let Some(link) = next.and_then(|next| HeaderValue::try_from(next).ok()) {
            response.headers_mut().insert(header::LINK, link);
        }
        response
    }
}

pub(crate) async fn list(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(wanted) = wanted?;
    let (asked, limit) = (wanted.clone(), wanted.limit()?);
    let page = fleet
        .run_as(actor, Act::See, "devices", move |fleet| {
            fleet.views(&asked.selector(fleet)?, asked.after.as_ref(), limit as usize)
        })
        .await?;
    Ok(wanted.answer("/v1/inventory", limit, page))
}

pub(crate) async fn show(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    device: Result<Path<DeviceId>, PathRejection>,
) -> Result<Json<DeviceView>, ApiError> {
    let Path(device) = device?;
    Ok(Json(fleet.run_as(actor, Act::See, device.clone(), move |fleet| fleet.view(&device)).await?))
}

pub(crate) async fn overview(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
) -> Result<Json<Overview>, ApiError> {
    Ok(Json(fleet.run_as(actor, Act::See, "devices", Fleet::overview).await?))
}

/// A selector that is tried while it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tried {
    #[serde(rename = "where")]
    selector: String,
}

pub(crate) async fn preview(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    tried: Result<Query<Tried>, QueryRejection>,
) -> Result<Json<Preview>, ApiError> {
    let Query(Tried { selector }) = tried?;
    Ok(Json(fleet.run_as(actor, Act::See, "devices", move |fleet| fleet.preview(&selector)).await?))
}

pub(crate) async fn labels(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    device: Result<Path<DeviceId>, PathRejection>,
) -> Result<Json<BTreeMap<String, String>>, ApiError> {
    let Path(device) = device?;
    Ok(Json(fleet.run_as(actor, Act::See, device.clone(), move |fleet| fleet.labels(&device)).await?))
}

/// Labels to set, by their keys; `null` removes one; the others stay.
pub(crate) async fn set_labels(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    condition: Condition,
    device: Result<Path<DeviceId>, PathRejection>,
    labels: Result<Json<BTreeMap<String, Option<String>>>, JsonRejection>,
) -> Result<Json<BTreeMap<String, String>>, ApiError> {
    let (Path(device), Json(labels)) = (device?, labels?);
    let remove: Vec<String> = labels.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| key.clone()).collect();
    let set = labels.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    let subject = device.clone();
    let act = move |fleet: &Fleet| {
        let current = |fleet: &Fleet| fleet.labels(&device);
        fleet.change_if(&condition, current, |fleet| fleet.set_labels(&device, &set, &remove))
    };
    Ok(Json(fleet.run_as(actor, Act::Assign, subject, act).await?))
}

pub(crate) async fn groups(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    asked: page::Asked<String>,
) -> Result<Json<Listed<Group>>, ApiError> {
    let (after, limit) = page::wanted(asked)?;
    let groups = fleet.run_as(actor, Act::See, "groups", Fleet::groups).await?;
    Ok(Json(Listed::cut(groups, after.as_deref(), limit, |group| group.name.clone())))
}

pub(crate) async fn group(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Group>, ApiError> {
    let Path(name) = name?;
    Ok(Json(fleet.run_as(actor, Act::See, "groups", move |fleet| fleet.group(&name)).await?))
}

pub(crate) async fn keep_group(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    group: Result<Json<Group>, JsonRejection>,
) -> Result<Json<Group>, ApiError> {
    let Json(group) = group?;
    let subject = group.name.clone();
    let keep = move |fleet: &Fleet| {
        fleet.keep_group(&group)?;
        fleet.group(&group.name)
    };
    Ok(Json(fleet.run_as(actor, Act::Assign, subject, keep).await?))
}

/// Makes the group of this name, or puts it in the place of the one that was there.
pub(crate) async fn put_group(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    condition: Condition,
    name: Result<Path<String>, PathRejection>,
    group: Result<Json<Group>, JsonRejection>,
) -> Result<Json<Group>, ApiError> {
    let (Path(name), Json(group)) = (name?, group?);
    if group.name != name {
        return Err(ApiError::bad_request(
            "the path names another group than the body; name the same twice".to_owned(),
        ));
    }
    let subject = name.clone();
    let put = move |fleet: &Fleet| {
        fleet.change_if(&condition, |fleet| fleet.group(&name), |fleet| fleet.keep_group(&group))?;
        fleet.group(&name)
    };
    Ok(Json(fleet.run_as(actor, Act::Assign, subject, put).await?))
}

pub(crate) async fn remove_group(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    condition: Condition,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let Path(name) = name?;
    let subject = name.clone();
    let remove =
        move |fleet: &Fleet| fleet.change_if(&condition, |fleet| fleet.group(&name), |fleet| fleet.remove_group(&name));
    fleet.run_as(actor, Act::Assign, subject, remove).await?;
    Ok(Json(json!({ "removed": true })))
}

pub(crate) async fn what_if(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    question: Result<Json<Question>, JsonRejection>,
) -> Result<Json<WhatIf>, ApiError> {
    let Json(question) = question?;
    let question = Question { limit: question.limit.min(10 * MOST_PER_PAGE), ..question };
    Ok(Json(fleet.run_as(actor, Act::See, "what-if", move |fleet| fleet.what_if(&question)).await?))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::{Method, Request, StatusCode};
    use tower::ServiceExt as _;

    use super::*;
    use crate::clock::Clock;
    use crate::config::Config;
    use crate::shares::Shares;

    struct House {
        fleet: Fleet,
        token: String,
        _dir: tempfile::TempDir,
    }

    impl House {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let config = Config::new(dir.path().join("state"));
            let made = Fleet::init(config, Clock::fixed(1_800_000_000)).unwrap();
            made.fleet.add_crowd(60).unwrap();
            Self { fleet: made.fleet, token: made.admin_token, _dir: dir }
        }

        async fn ask(
            &self,
            method: Method,
            path: &str,
            body: &Value,
            token: &str,
        ) -> (StatusCode, Option<String>, Value) {
            let shares = Shares::new(self.fleet.config().rates, |_| None);
            let request = Request::builder().method(method).uri(path);
            let request = request.header("authorization", format!("Bearer {token}"));
            let request =
                request.header("content-type", "application/json").body(Body::from(body.to_string())).unwrap();
            let response = super::super::router(self.fleet.clone(), shares).oneshot(request).await.unwrap();
            let link = response.headers().get(header::LINK).map(|link| link.to_str().unwrap().to_owned());
            let status = response.status();
            let bytes = axum::body::to_bytes(response.into_body(), 1 << 24).await.unwrap();
            (status, link, serde_json::from_slice(&bytes).unwrap())
        }

        async fn get(&self, path: &str) -> (StatusCode, Option<String>, Value) {
            self.ask(Method::GET, path, &Value::Null, &self.token).await
        }
    }

    #[tokio::test]
    async fn links_and_next_lead_through_every_page() {
        let house = House::new();
        let (_, link, all) = house.get("/v1/devices").await;
        assert_eq!((all["entries"].as_array().unwrap().len(), link, &all["next"]), (60, None, &Value::Null));
        for list in ["/v1/devices", "/v1/inventory"] {
            let mut seen = Vec::new();
            let mut next = Some(format!("{list}?limit=7&where=name%3Dbox-000*+and+not+revoked"));
            while let Some(path) = next {
                let (status, link, page) = house.get(&path).await;
                assert_eq!(status, StatusCode::OK, "{path}: {page}");
                let last = page["next"].as_str();
                assert_eq!(
                    last.is_some(),
                    link.as_ref().is_some_and(|link| link.contains(last.unwrap_or("?"))),
                    "{page}"
                );
                let entries = page["entries"].as_array().unwrap();
                seen.extend(entries.iter().map(|one| one["device"].as_str().unwrap().to_owned()));
                next = link.map(|link| link.trim_start_matches('<').split('>').next().unwrap().to_owned());
            }
            assert_eq!(seen.len(), 60, "{list}");
            assert!(seen.is_sorted());
        }
    }

    #[tokio::test]
    async fn labels_groups_previews_and_what_cannot_be_read() {
        let house = House::new();
        let labels = json!({"stage": "canary", "role": null});
        let (status, _, labels) = house.ask(Method::PATCH, "/v1/devices/box-00001/labels", &labels, &house.token).await;
        assert_eq!((status, labels), (StatusCode::OK, json!({"stage": "canary"})));
        let group = json!({"name": "canary", "selector": "label.stage = canary"});
        let (status, _, group) = house.ask(Method::POST, "/v1/groups", &group, &house.token).await;
        assert_eq!((status, &group["selector"]), (StatusCode::OK, &json!("label.stage=canary")));
        let (_, _, preview) = house.get("/v1/selectors/preview?where=group%3Dcanary").await;
        assert_eq!((&preview["count"], &preview["first"]), (&json!(1), &json!(["box-00001"])));
        let (_, _, view) = house.get("/v1/inventory/box-00001").await;
        assert_eq!((&view["groups"], &view["drift"]["state"]), (&json!(["canary"]), &json!("in-step")));
        let (status, _, error) = house.get("/v1/selectors/preview?where=memry%3E1").await;
        assert_eq!((status, &error["error"]["code"]), (StatusCode::BAD_REQUEST, &json!("bad_selector")));
        assert!(error["error"]["message"].as_str().unwrap().contains("did you mean `memory`?"), "{error}");
        let (status, _, _) = house.get("/v1/devices?limit=lots").await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        let (status, _, _) = house.ask(Method::DELETE, "/v1/groups/canary", &Value::Null, &house.token).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(house.get("/v1/groups/canary").await.0, StatusCode::NOT_FOUND);
        let question = json!({"model": "nothing-of-the-kind"});
        let (status, _, _) = house.ask(Method::POST, "/v1/what-if", &question, &house.token).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_eq!(house.get("/v1/overview").await.2["devices"], json!(60));
    }

    #[tokio::test]
    async fn nothing_is_answered_without_the_token() {
        let house = House::new();
        for (method, path) in [
            (Method::GET, "/v1/devices?limit=1"),
            (Method::GET, "/v1/inventory"),
            (Method::GET, "/v1/inventory/box-00001"),
            (Method::GET, "/v1/overview"),
            (Method::GET, "/v1/groups"),
            (Method::POST, "/v1/groups"),
            (Method::GET, "/v1/groups/canary"),
            (Method::DELETE, "/v1/groups/canary"),
            (Method::GET, "/v1/selectors/preview?where=all"),
            (Method::GET, "/v1/devices/box-00001/labels"),
            (Method::PATCH, "/v1/devices/box-00001/labels"),
            (Method::POST, "/v1/what-if"),
        ] {
            let (status, _, _) = house.ask(method, path, &json!({}), "not the token").await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
        }
    }
}
