//! The routes: who may look, who may change what, and what stands on record.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use serde_json::Value;
use tower::ServiceExt as _;

use super::*;
use crate::shares::Shares;

const FILE: &str =
    "[[device]]\nid = \"till-1\"\nsite = \"store-1\"\n[[device]]\nid = \"vault-1\"\nsite = \"store-1\"\n";

async fn ask(house: &House, method: Method, path: &str, token: &str, body: &str) -> (StatusCode, String) {
    let shares = Shares::new(house.fleet.config().rates, |_| None);
    let request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {token}"));
    let request = request.body(Body::from(body.to_owned())).unwrap();
    let response = crate::api::router(house.fleet.clone(), shares).oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 24).await.unwrap();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

async fn post(house: &House, path: &str, token: &str, body: &str) -> (StatusCode, Value) {
    let (status, text) = ask(house, Method::POST, path, token, body).await;
    (status, serde_json::from_str(&text).unwrap())
}

fn token(house: &House, role: &str, scope: &[&str]) -> String {
    let scope: Vec<String> = scope.iter().map(|act| (*act).to_owned()).collect();
    let name = format!("{role}{}", scope.len());
    house.fleet.create_api_token(&name, &[role.to_owned()], &scope, 30).unwrap()
}

/// Acts on record, with their effect and what they were done to.
fn recorded(house: &House) -> Vec<String> {
    house.fleet.own_records(100).unwrap().iter().map(|record| record.leaf.to_string()).collect()
}

#[tokio::test]
async fn a_file_is_compared_applied_and_exported_over_the_api() {
    let house = House::new();
    let (status, told) = post(&house, "/v1/fleet/diff", &house.token, FILE).await;
    assert_eq!((status, &told["applied"]), (StatusCode::OK, &Value::Bool(false)));
    assert_eq!(told["changes"].as_array().unwrap().len(), 4);
    let change = &told["changes"][1];
    assert_eq!(
        (&change["act"], &change["subject"], &change["field"]),
        (&"assign".into(), &"till-1".into(), &"site".into())
    );
    assert_eq!((&change["before"], &change["after"]), (&Value::Null, &"store-1".into()));
    assert_eq!(change["words"], "till-1: site none → store-1");
    let (status, told) = post(&house, "/v1/fleet/apply?dry_run=true", &house.token, FILE).await;
    assert_eq!((status, &told["applied"]), (StatusCode::OK, &Value::Bool(false)));
    let (status, told) = post(&house, "/v1/fleet/apply", &house.token, FILE).await;
    assert_eq!((status, &told["applied"]), (StatusCode::OK, &Value::Bool(true)));
    let (_, told) = post(&house, "/v1/fleet/diff?reported=true", &house.token, FILE).await;
    assert_eq!((told["changes"].as_array().unwrap().len(), told["reported"].as_array().unwrap().len()), (0, 0));
    let (status, text) = ask(&house, Method::GET, "/v1/fleet/export", &house.token, "").await;
    assert_eq!((status, text), (StatusCode::OK, house.export()));
    let records = recorded(&house).join("\n");
    assert!(records.contains("till-1 vault-1"), "each is on record by name: {records}");

    let (status, told) = post(&house, "/v1/fleet/apply", &house.token, "[[divice]]").await;
    assert_eq!((status, &told["error"]["code"]), (StatusCode::BAD_REQUEST, &"bad_fleet_file".into()));
    assert!(told["error"]["message"].as_str().unwrap().contains("line 1: unknown section `divice`"), "{told}");
    assert_eq!(post(&house, "/v1/fleet/apply?pruen=true", &house.token, FILE).await.0, StatusCode::BAD_REQUEST);
    let large = "#".repeat(FLEET_FILE_BYTES + 1);
    assert_eq!(post(&house, "/v1/fleet/diff", &house.token, &large).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    for (method, path) in
        [(Method::POST, "/v1/fleet/diff"), (Method::POST, "/v1/fleet/apply"), (Method::GET, "/v1/fleet/export")]
    {
        assert_eq!(ask(&house, method, path, "not the token", FILE).await.0, StatusCode::UNAUTHORIZED, "{path}");
    }
}

#[tokio::test]
async fn each_kind_of_change_needs_its_own_permission_and_one_refusal_refuses_all() {
    let house = House::new();
    let before = house.export();
    let (viewer, operator) = (token(&house, "viewer", &[]), token(&house, "operator", &[]));
    let narrow = token(&house, "operator", &["see", "assign"]);
    let people = "[[person]]\nname = \"mallory\"\nroles = [\"administrator\"]\n";
    let both = format!("{FILE}{people}");
    assert_eq!(post(&house, "/v1/fleet/diff", &viewer, FILE).await.0, StatusCode::OK);
    for (path, token, body) in [
        ("/v1/fleet/apply", &viewer, FILE),
        ("/v1/fleet/apply", &narrow, FILE),
        ("/v1/fleet/apply", &operator, people),
        ("/v1/fleet/apply", &operator, both.as_str()),
        ("/v1/fleet/diff", &operator, people),
        ("/v1/fleet/apply?dry_run=true", &operator, people),
    ] {
        let (status, told) = post(&house, path, token, body).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path} {body}: {told}");
    }
    let without_tokens = |file: &str| file.split("\n[[token]]").next().unwrap().to_owned();
    assert_eq!(without_tokens(&house.export()), before.trim_end_matches('\n').to_owned() + "\n");
    assert!(recorded(&house).iter().any(|record| record.contains("deny")), "refusals are on record");

    let (status, _) = post(&house, "/v1/fleet/apply", &operator, FILE).await;
    assert_eq!(status, StatusCode::OK);
    let (_, text) = ask(&house, Method::GET, "/v1/fleet/export", &operator, "").await;
    assert!(text.contains("till-1") && !text.contains("[[token]]"), "{text}");
    assert_eq!(post(&house, "/v1/fleet/diff", &operator, &text).await.1["changes"], Value::Array(Vec::new()));
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a test's file needs to survive no power cut")]
async fn a_rule_about_one_device_counts_inside_a_file_too() {
    let House { fleet, dir, token } = House::new();
    let rules = r#"@id("all") @reason("All.") permit (principal, action, resource);
        @id("vault") @reason("The vault stays as it is.")
        forbid (principal, action == Action::"assign", resource) when { resource.name == "vault-1" };"#;
    let config = fleet.config().clone();
    std::fs::write(config.state_dir.join("control.cedar"), rules).unwrap();
    drop(fleet);
    let house = House { fleet: Fleet::open(config, Clock::fixed(NOW_S)).unwrap(), dir, token };
    let before = house.export();
    let (status, told) = post(&house, "/v1/fleet/apply", &house.token, FILE).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(told["error"]["message"].as_str().unwrap().contains("`vault-1`: The vault stays as it is."), "{told}");
    assert_eq!(house.export(), before, "till-1 stays as it is with it");
}
