//! The policy desk over HTTP.

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
        let config = Config { two_persons: Some(true), ..Config::new(dir.path().join("state")) };
        let made = Fleet::init(config, Clock::fixed(1_800_000_000)).unwrap();
        Self { fleet: made.fleet, token: made.admin_token, _dir: dir }
    }

    async fn ask(&self, method: Method, path: &str, body: &Value, token: &str) -> (StatusCode, Value) {
        let shares = Shares::new(self.fleet.config().rates, |_| None);
        let request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {token}"));
        let request = request.header("content-type", "application/json").body(Body::from(body.to_string())).unwrap();
        let response = super::super::router(self.fleet.clone(), shares).oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 24).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    async fn as_admin(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        self.ask(method, path, &body, &self.token).await
    }
}

#[tokio::test]
async fn a_draft_is_saved_looked_at_compared_approved_and_dropped() {
    let house = House::new();
    let bundle: Value = serde_json::from_slice(&Bundle::default_bundle().to_bytes()).unwrap();
    let (status, draft) = house.as_admin(Method::PUT, "/v1/policies/first", json!({ "bundle": bundle })).await;
    assert_eq!((status, &draft["state"]), (StatusCode::OK, &json!("waiting")), "{draft}");
    let (status, again) = house.as_admin(Method::GET, "/v1/policies/first", Value::Null).await;
    assert_eq!((status, &again), (StatusCode::OK, &draft));

    let mut files: BundleFiles = serde_json::from_value(draft["files"].clone()).unwrap();
    files = files.with("limits.toml", "[operator]\nmax_token = 1\n").unwrap();
    let body = json!({ "files": files, "revision": 1 });
    let (status, faulty) = house.as_admin(Method::PUT, "/v1/policies/first", body.clone()).await;
    assert_eq!((status, &faulty["state"]), (StatusCode::OK, &json!("faulty")));
    assert_eq!((&faulty["found"][0]["file"], &faulty["found"][0]["line"]), (&json!("limits.toml"), &json!(2)));
    let (status, late) =
        house.as_admin(Method::PUT, "/v1/policies/first", json!({ "bundle": bundle, "revision": 1 })).await;
    assert_eq!((status, &late["error"]["code"]), (StatusCode::CONFLICT, &json!("changed")));
    let (_, draft) =
        house.as_admin(Method::PUT, "/v1/policies/first", json!({ "bundle": bundle, "revision": 2 })).await;

    let (status, diff) = house.as_admin(Method::GET, "/v1/policies/first/diff", Value::Null).await;
    assert_eq!((status, &diff["from"], &diff["to"]), (StatusCode::OK, &Value::Null, &json!(1)));
    assert!(diff["words"].as_array().unwrap().len() > 5, "{diff}");
    let (status, told) = house.as_admin(Method::POST, "/v1/policies/first/simulate", json!({ "days": 7 })).await;
    assert_eq!((status, &told["decisions"]), (StatusCode::OK, &json!(0)), "{told}");

    let digest = json!({ "digest": draft["digest"] });
    let (status, own) = house.as_admin(Method::POST, "/v1/policies/first/approve", digest.clone()).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{own}");
    let token = house.fleet.create_api_token("ci", &["administrator".to_owned()], &[], 1).unwrap();
    let (status, program) = house.ask(Method::POST, "/v1/policies/first/approve", &digest, &token).await;
    assert_eq!((status, &program["error"]["code"]), (StatusCode::FORBIDDEN, &json!("forbidden")));
    house.fleet.approve_policy_locally("bo", "first", draft["digest"].as_str().unwrap()).unwrap();
    let (_, board) = house.as_admin(Method::GET, "/v1/policies", Value::Null).await;
    assert_eq!(board["drafts"][0]["approvals"][0]["person"], "local:bo", "{board}");
    assert_eq!((&board["two_persons"], &board["drafts"][0]["state"]), (&json!(true), &json!("ready")));

    let (status, _) = house.as_admin(Method::DELETE, "/v1/policies/first", Value::Null).await;
    assert_eq!(status, StatusCode::OK);
    let (status, gone) = house.as_admin(Method::GET, "/v1/policies/first", Value::Null).await;
    assert_eq!((status, &gone["error"]["code"]), (StatusCode::NOT_FOUND, &json!("unknown_policy")));
}

#[tokio::test]
async fn whoever_may_not_changes_nothing_and_what_cannot_be_read_is_refused() {
    let house = House::new();
    let viewer = house.fleet.create_api_token("eye", &["viewer".to_owned()], &[], 1).unwrap();
    let draft = json!({ "files": {} });
    for (method, path, body) in [
        (Method::PUT, "/v1/policies/x", &draft),
        (Method::DELETE, "/v1/policies/x", &Value::Null),
        (Method::POST, "/v1/policies/x/simulate", &json!({})),
    ] {
        let (status, _) = house.ask(method.clone(), path, body, &viewer).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{method} {path}");
        let (status, _) = house.ask(method.clone(), path, body, "nobody").await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path}");
    }
    for (path, body) in [
        ("/v1/policies/x", json!({})),
        ("/v1/policies/x", json!({ "files": {}, "bundle": {} })),
        ("/v1/policies/x", json!({ "files": { "../x.cedar": "" } })),
        ("/v1/policies/x", json!({ "bundle": { "v": 1 } })),
        ("/v1/policies/X%2F..", json!({ "files": {} })),
    ] {
        let (status, refused) = house.as_admin(Method::PUT, path, body).await;
        assert!(status.is_client_error(), "{path}: {status} {refused}");
    }
    assert_eq!(house.fleet.policy_board().unwrap().drafts, []);
}
