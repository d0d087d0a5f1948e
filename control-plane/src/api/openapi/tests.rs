//! The description against the routes: the same list, and nothing answered but as it says.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::*;
use crate::api::caller::{Answer, Caller};

fn document() -> Value {
    serde_json::from_slice(DOCUMENT.as_ref().unwrap()).unwrap()
}

/// The document as the clients are generated from it. With `OUTPOST_WRITE=1` this test writes it anew.
#[test]
fn the_document_that_clients_are_generated_from_is_this_one() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("client/openapi.json");
    let now = format!("{}\n", serde_json::to_string_pretty(&document()).unwrap());
    if std::env::var_os("OUTPOST_WRITE").is_some() {
        crate::files::write(&path, now.as_bytes()).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == now,
        "`client/openapi.json` is of another day: run this test with `OUTPOST_WRITE=1`, then `outpost-client`'s"
    );
}

/// What a test of this file need not hold, since a browser shows it to people.
fn is_page(path: &str) -> bool {
    !path.starts_with("/v1/") && path != "/health"
}

#[test]
fn every_route_is_described_and_nothing_else_is() {
    let routes = crate::api::routes();
    let described: BTreeSet<_> = operations().iter().map(|one| (one.path, one.word)).collect();
    let served: BTreeSet<_> =
        routes.listed().iter().filter(|one| !is_page(one.path)).map(|one| (one.path, one.method)).collect();
    assert_eq!(served.difference(&described).collect::<Vec<_>>(), Vec::<&(&str, &str)>::new(), "not described");
    assert_eq!(described.difference(&served).collect::<Vec<_>>(), Vec::<&(&str, &str)>::new(), "not served");
    let conditional: BTreeSet<_> =
        operations().iter().filter(|one| one.is_conditional).map(|one| (one.path, one.word)).collect();
    let honoured = routes.listed().iter().filter(|one| one.is_conditional && one.method != "GET");
    let honoured: BTreeSet<_> = honoured.map(|one| (one.path, one.method)).collect();
    assert_eq!(conditional, honoured, "`If-Match` is honoured where it is described");
}

#[test]
fn every_operation_has_a_name_of_its_own_and_every_reference_leads_somewhere() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "`{id}` names two operations");
            assert!(!operation["summary"].as_str().unwrap().is_empty(), "{method} {path}");
        }
    }
    let mut references = Vec::new();
    collect(&document, &mut references);
    for reference in references {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
}

fn collect<'a>(value: &'a Value, references: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            references.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|field| collect(field, references));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}

/// Every list answers in the same form, and takes the same questions. What happens in the fleet is no list but a stream, which
/// has no last page; what is kept of a device's events is one page.
#[test]
fn lists_are_alike() {
    let document = document();
    let mut lists = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let get = &item["get"];
        let schema = &get["responses"]["200"]["content"]["application/json"]["schema"];
        assert_ne!(schema["type"], "array", "{path} answers more than it can say the next page of");
        let parameters = get["parameters"].as_array().into_iter().flatten();
        let names: BTreeSet<_> = parameters.filter_map(|one| one["name"].as_str()).collect();
        let is_called_so = get["operationId"].as_str().is_some_and(|id| id.starts_with("list_"));
        let is_list = is_called_so || names.contains("after") || schema["properties"]["entries"].is_object();
        if !is_list || ["/v1/events", "/v1/devices/{device}/events"].contains(&path.as_str()) {
            continue;
        }
        lists += 1;
        assert!(names.contains("after") && names.contains("limit"), "{path}: {names:?}");
        let properties = &schema["properties"];
        assert!(properties["entries"]["type"] == "array" && properties["next"].is_object(), "{path}");
    }
    assert!(lists > 20, "{lists}");
}

/// Holds answers to what is promised.
struct Promise {
    document: Value,
    held: BTreeMap<(String, String), BTreeSet<u16>>,
}

impl Promise {
    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        let reference = value["$ref"].as_str();
        reference.map_or(value, |reference| self.document.pointer(reference.trim_start_matches('#')).unwrap())
    }

    fn hold(&mut self, method: &str, path: &str, answer: &Answer) {
        let (status, text) = (answer.status.as_u16(), &answer.text);
        let what = format!("{method} {path}: {status} {text}");
        let response = &self.document["paths"][path][method.to_lowercase()]["responses"][status.to_string()];
        assert!(response.is_object(), "a status that is not described: {what}");
        let response = self.resolve(response);
        if status == 304 {
            assert!(text.is_empty(), "{what}");
        } else {
            let schema = &response["content"]["application/json"]["schema"];
            let schema = json!({ "allOf": [schema], "components": self.document["components"] });
            let validator = jsonschema::validator_for(&schema).unwrap();
            let errors: Vec<_> = validator.iter_errors(&answer.json).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{errors:?}: {what}");
        }
        self.held.entry((method.to_owned(), path.to_owned())).or_default().insert(status);
    }
}

/// One call of each operation that an operator can make here, in an order that makes sense.
const CALLS: &[(&str, &str, &str, &str)] = &[
    ("GET", "/health", "/health", ""),
    ("GET", "/v1/catalogue", "/v1/catalogue?limit=5", ""),
    ("POST", "/v1/tokens", "/v1/tokens", r#"{"subject": "ada", "roles": ["operator"]}"#),
    ("POST", "/v1/codes", "/v1/codes", r#"{"device": "till-7"}"#),
    ("GET", "/v1/enrolment/codes", "/v1/enrolment/codes", ""),
    ("POST", "/v1/enrolment/codes", "/v1/enrolment/codes", r#"{"list": "till-8\ntill-9\n"}"#),
    ("GET", "/v1/enrolment/keys", "/v1/enrolment/keys", ""),
    ("POST", "/v1/enrolment/keys", "/v1/enrolment/keys", r#"{"list": "till-6,FINGERPRINT"}"#),
    ("GET", "/v1/enrolment/keys", "/v1/enrolment/keys?limit=1", ""),
    ("DELETE", "/v1/enrolment/keys/{fingerprint}", "/v1/enrolment/keys/FINGERPRINT", ""),
    ("GET", "/v1/enrolment/requests", "/v1/enrolment/requests", ""),
    (
        "POST",
        "/v1/enrolment/requests/{fingerprint}/accept",
        "/v1/enrolment/requests/ASKED/accept",
        r#"{"device": "till-5"}"#,
    ),
    ("POST", "/v1/enrolment/requests/{fingerprint}/reject", "/v1/enrolment/requests/ASKING/reject", ""),
    ("GET", "/v1/renew/nonce", "/v1/renew/nonce", ""),
    ("GET", "/v1/devices", "/v1/devices?limit=2", ""),
    ("GET", "/v1/devices/{device}", "/v1/devices/box-00001", ""),
    ("GET", "/v1/devices/{device}/assignment", "/v1/devices/box-00001/assignment", ""),
    ("GET", "/v1/devices/{device}/site", "/v1/devices/box-00001/site", ""),
    ("PUT", "/v1/devices/{device}/site", "/v1/devices/box-00001/site", r#"{"site": "store-12"}"#),
    ("PATCH", "/v1/devices/{device}/labels", "/v1/devices/box-00001/labels", r#"{"stage": "canary", "x": null}"#),
    ("GET", "/v1/devices/{device}/labels", "/v1/devices/box-00001/labels", ""),
    ("POST", "/v1/devices/{device}/commands", "/v1/devices/box-00001/commands", r#"{"op": "probe"}"#),
    ("POST", "/v1/devices/{device}/commands", "/v1/devices/box-00001/commands", r#"{"op": {"drain": {"seconds": 5}}}"#),
    ("GET", "/v1/devices/{device}/commands", "/v1/devices/box-00001/commands?limit=1", ""),
    ("GET", "/v1/devices/{device}/events", "/v1/devices/box-00001/events", ""),
    ("GET", "/v1/inventory", "/v1/inventory?limit=40", ""),
    ("GET", "/v1/inventory/{device}", "/v1/inventory/box-00002", ""),
    ("GET", "/v1/overview", "/v1/overview", ""),
    ("POST", "/v1/groups", "/v1/groups", r#"{"name": "canary", "selector": "label.stage = canary"}"#),
    ("PUT", "/v1/groups/{group}", "/v1/groups/few", r#"{"name": "few", "members": ["box-00001"]}"#),
    ("GET", "/v1/groups", "/v1/groups?limit=1", ""),
    ("GET", "/v1/groups/{group}", "/v1/groups/few", ""),
    ("DELETE", "/v1/groups/{group}", "/v1/groups/few", ""),
    ("GET", "/v1/selectors/preview", "/v1/selectors/preview?where=group%3Dcanary", ""),
    ("POST", "/v1/devices/{device}/revoke", "/v1/devices/box-00003/revoke", ""),
    ("POST", "/v1/people", "/v1/people", r#"{"name": "ada", "roles": ["viewer"]}"#),
    ("GET", "/v1/people", "/v1/people", ""),
    ("GET", "/v1/people/{name}", "/v1/people/ada", ""),
    ("PATCH", "/v1/people/{name}", "/v1/people/ada", r#"{"roles": ["auditor"], "disabled": true}"#),
    ("POST", "/v1/people/{name}/code", "/v1/people/ada/code", ""),
    ("DELETE", "/v1/people/{name}", "/v1/people/ada", ""),
    ("POST", "/v1/api-tokens", "/v1/api-tokens", r#"{"name": "ci", "roles": ["viewer"], "scope": ["see"], "days": 1}"#),
    ("GET", "/v1/api-tokens", "/v1/api-tokens", ""),
    ("GET", "/v1/api-tokens/{name}", "/v1/api-tokens/ci", ""),
    ("DELETE", "/v1/api-tokens/{name}", "/v1/api-tokens/ci", ""),
    ("GET", "/v1/own-records", "/v1/own-records?limit=3", ""),
    ("GET", "/v1/rollouts", "/v1/rollouts?limit=3", ""),
    ("GET", "/v1/approvals/models", "/v1/approvals/models", ""),
    ("GET", "/v1/models/{model}/approvals", "/v1/models/alpha/approvals?after=none", ""),
    ("GET", "/v1/withdrawals", "/v1/withdrawals?limit=1000", ""),
    (
        "POST",
        "/v1/webhooks",
        "/v1/webhooks",
        r#"{"name": "pager", "url": "https://pager.example/a", "kinds": ["device.*"]}"#,
    ),
    ("GET", "/v1/webhooks", "/v1/webhooks?limit=1", ""),
    ("GET", "/v1/webhooks/{name}/deliveries", "/v1/webhooks/pager/deliveries", ""),
    ("GET", "/v1/audit", "/v1/audit?limit=7", ""),
    ("GET", "/v1/audit/search", "/v1/audit/search?limit=5", ""),
    ("GET", "/v1/audit/devices/{device}/incidents", "/v1/audit/devices/box-00001/incidents", ""),
    ("GET", "/v1/openapi.json", "/v1/openapi.json", ""),
];

/// What cannot be answered with success here: devices show a certificate, browsers a cookie, and there is no catalogue.
const ELSEWHERE: [&str; 13] = [
    "POST /v1/enrol",
    "GET /v1/self",
    "POST /v1/self/renew",
    "POST /v1/renew",
    "GET /v1/blobs/{blake3}",
    "GET /v1/chunks/{blake3}",
    "GET /v1/sessions",
    "DELETE /v1/sessions",
    "DELETE /v1/sessions/{id}",
    "PUT /v1/devices/{device}/assignment",
    "POST /v1/what-if",
    "DELETE /v1/enrolment/codes/{id}",
    "GET /v1/devices/{device}/commands/{id}",
];

#[tokio::test]
async fn answers_and_refusals_have_the_form_that_is_promised() {
    let caller = Caller::new();
    caller.crowd(60);
    let mut promise = Promise { document: document(), held: BTreeMap::new() };
    let hex = |byte: u8| hex::encode([byte; 32]);
    for key in [7, 8] {
        let asking = crate::db::Asking { key_sha256: [key; 32], wished_name: "a", address: "10.0.0.1", agent: "1" };
        caller.fleet.inner.database.note_request(&asking, 1).unwrap();
    }
    let filled = |text: &str| text.replace("FINGERPRINT", &hex(3)).replace("ASKED", &hex(7)).replace("ASKING", &hex(8));
    for (method, path, call, body) in CALLS {
        let answer = caller.ask(method, &filled(call), &[], &filled(body)).await;
        assert!(answer.status.is_success(), "{method} {call}: {} {}", answer.status, answer.text);
        promise.hold(method, path, &answer);
        if *method == "GET" {
            let known = answer.headers.get("etag").map(|tag| tag.to_str().unwrap().to_owned());
            if let Some(known) = known {
                promise.hold(method, path, &caller.ask("GET", &filled(call), &[("if-none-match", &known)], "").await);
            }
        }
    }
    // What follows one of another.
    let code = caller.get("/v1/enrolment/codes?limit=1").await.json["entries"][0]["id"].as_str().unwrap().to_owned();
    let withdrawn = caller.ask("DELETE", &format!("/v1/enrolment/codes/{code}"), &[], "").await;
    promise.hold("DELETE", "/v1/enrolment/codes/{id}", &withdrawn);
    let commands = caller.get("/v1/devices/box-00001/commands").await;
    let command = commands.json["entries"][0]["id"].as_str().unwrap();
    let shown = caller.get(&format!("/v1/devices/box-00001/commands/{command}")).await;
    promise.hold("GET", "/v1/devices/{device}/commands/{id}", &shown);
    let called = [
        super::fleet::operations(),
        super::enrolment::operations(),
        super::devices::operations(),
        super::inventory::operations(),
        super::people::operations(),
    ];
    let called = called.into_iter().flatten();
    let described: BTreeSet<_> = called.map(|one| (one.word.to_owned(), one.path.to_owned())).collect();
    for (method, path) in &described {
        let reached = promise.held.contains_key(&(method.clone(), path.clone()));
        let is_elsewhere = ELSEWHERE.contains(&format!("{method} {path}").as_str());
        assert!(reached || is_elsewhere, "{method} {path} is called by nobody here");
    }
    // Refusals of every kind.
    for (method, path) in &described {
        let filled = path.replace("{device}", "nobody").replace("{group}", "nobody").replace("{name}", "nobody");
        let filled = filled.replace("{id}", &hex(9)).replace("{fingerprint}", &hex(9)).replace("{blake3}", &hex(9));
        for (headers, body) in [
            (vec![], "{"),
            (vec![], "[]"),
            (vec![("content-type", "text/plain")], "{}"),
            (vec![("if-match", "\"x\"")], "{}"),
            (vec![], r#"{"list": "", "model": "m", "device": "control-plane", "roles": []}"#),
        ] {
            let answer = caller.ask(method, &filled, &headers, body).await;
            assert!(!answer.status.is_server_error(), "{method} {path}: {}", answer.text);
            promise.hold(method, path, &answer);
        }
        let answer = caller.ask_as("opc_0000", method, &filled, &[], "").await;
        promise.hold(method, path, &answer);
    }
}

#[tokio::test]
async fn the_description_is_for_those_who_have_an_identity() {
    let caller = Caller::new();
    let stranger = caller.ask_as("no", "GET", "/v1/openapi.json", &[], "").await;
    assert_eq!(stranger.status, StatusCode::UNAUTHORIZED);
    let viewer = caller.token_of("eve", "viewer");
    let shown = caller.ask_as(&viewer, "GET", "/v1/openapi.json", &[], "").await;
    assert_eq!((shown.status, &shown.json["openapi"]), (StatusCode::OK, &json!("3.1.0")));
}
