//! Hostile callers, one trick a test: other tenants' things, fields nobody asked for, other methods, other content types, names
//! that are paths, errors that tell too much.

use axum::http::StatusCode;
use serde_json::Value;

use super::caller::{Caller, ask};

/// Two fleets, each with a device, a person, a token, a group, a code and a key of the same names.
async fn two_fleets() -> (Caller, Caller) {
    let fleets = (Caller::new(), Caller::new());
    for caller in [&fleets.0, &fleets.1] {
        caller.crowd(2);
        for (path, body) in [
            ("/v1/people", r#"{"name": "ada", "roles": ["viewer"]}"#),
            ("/v1/groups", r#"{"name": "canary", "members": ["box-00001"]}"#),
            ("/v1/codes", r#"{"device": "till-7"}"#),
            ("/v1/devices/box-00001/commands", r#"{"op": "probe"}"#),
        ] {
            let made = caller.ask("POST", path, &[], body).await;
            assert!(made.status.is_success(), "{path}: {}", made.text);
        }
    }
    fleets
}

#[tokio::test]
async fn what_opens_one_fleet_opens_nothing_of_another() {
    let (ours, theirs) = two_fleets().await;
    let token = ours.token_of("ci", "administrator");
    let command = theirs.get("/v1/devices/box-00001/commands").await.json["entries"][0]["id"].clone();
    let code = theirs.get("/v1/enrolment/codes").await.json["entries"][0]["id"].clone();
    let (command, code) = (command.as_str().unwrap(), code.as_str().unwrap());
    let before = theirs.get("/v1/own-records?limit=1000").await.json["entries"].as_array().unwrap().len();
    for secret in [&token, &ours.token] {
        for one in super::routes().listed() {
            let path = one.path.replace("{device}", "box-00001").replace("{group}", "canary").replace("{name}", "ada");
            let id = if path.contains("/commands/") { command } else { code };
            let path = path.replace("{id}", id).replace("{fingerprint}", code).replace("{blake3}", code);
            if !path.starts_with("/v1/") || ["/v1/enrol", "/v1/renew", "/v1/renew/nonce"].contains(&path.as_str()) {
                continue;
            }
            let answer = theirs.ask_as(secret, one.method, &path, &[], "{}").await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{} {path}", one.method);
        }
    }
    // The names of one fleet's things name nothing in the other.
    let elsewhere = [
        ("GET", format!("/v1/devices/box-00001/commands/{command}")),
        ("DELETE", format!("/v1/enrolment/codes/{code}")),
    ];
    for (method, path) in elsewhere {
        assert_eq!(ours.ask(method, &path, &[], "").await.status, StatusCode::NOT_FOUND, "{method} {path}");
    }
    assert_eq!(theirs.get("/v1/enrolment/codes").await.json["entries"].as_array().unwrap().len(), 1);
    let after = theirs.get("/v1/own-records?limit=1000").await.json["entries"].as_array().unwrap().len();
    // Looking at codes is recorded, and reading the record.
    assert_eq!(after, before + 2, "nothing else was done");
}

#[tokio::test]
async fn within_a_fleet_a_thing_of_one_device_is_not_found_under_another() {
    let caller = Caller::new();
    caller.crowd(2);
    let made = caller.ask("POST", "/v1/devices/box-00000/commands", &[], r#"{"op": "probe"}"#).await;
    let id = made.json["id"].as_str().unwrap();
    assert_eq!(caller.get(&format!("/v1/devices/box-00000/commands/{id}")).await.status, StatusCode::OK);
    let other = caller.get(&format!("/v1/devices/box-00001/commands/{id}")).await;
    assert_eq!((other.status, other.code()), (StatusCode::NOT_FOUND, "unknown_command"));
}

#[tokio::test]
async fn fields_that_nobody_asked_for_are_refused_and_set_nothing() {
    let caller = Caller::new();
    caller.crowd(1);
    caller.ask("POST", "/v1/people", &[], r#"{"name": "ada", "roles": ["viewer"]}"#).await;
    for (method, path, body) in [
        ("POST", "/v1/people", r#"{"name": "eve", "roles": ["viewer"], "password": "x"}"#),
        ("POST", "/v1/people", r#"{"name": "eve", "roles": ["viewer"], "has_totp": false}"#),
        ("PATCH", "/v1/people/ada", r#"{"name": "administrator"}"#),
        ("PATCH", "/v1/people/ada", r#"{"disabled_s": null, "created_s": 0}"#),
        ("POST", "/v1/api-tokens", r#"{"name": "ci", "roles": ["viewer"], "expires_s": 99999999999}"#),
        ("POST", "/v1/api-tokens", r#"{"name": "ci", "roles": ["viewer"], "token": "opc_00"}"#),
        ("POST", "/v1/codes", r#"{"device": "till-7", "code": "AAAA"}"#),
        ("POST", "/v1/tokens", r#"{"subject": "ada", "roles": ["admin"], "iss": "me"}"#),
        ("POST", "/v1/groups", r#"{"name": "all", "selector": "all", "owner": "me"}"#),
        ("PUT", "/v1/devices/box-00000/site", r#"{"site": null, "revoked_s": null}"#),
        ("POST", "/v1/devices/box-00000/commands", r#"{"op": "probe", "id": "00000000000000000000000000000000"}"#),
        ("POST", "/v1/what-if", r#"{"model": "m", "devices": []}"#),
    ] {
        let answer = caller.ask(method, path, &[], body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{method} {path} {body}: {}", answer.text);
        assert!(answer.json["error"]["message"].as_str().unwrap().contains("unknown field"), "{}", answer.text);
    }
    // Twice the same field is no way around either.
    let twice = r#"{"name": "eve", "roles": ["viewer"], "roles": ["administrator"]}"#;
    assert_eq!(caller.ask("POST", "/v1/people", &[], twice).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let people = caller.get("/v1/people").await;
    assert_eq!(people.json["entries"].as_array().unwrap().len(), 1);
    assert_eq!(caller.get("/v1/api-tokens").await.json["entries"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn bodies_have_limits_everywhere() {
    let caller = Caller::new();
    caller.crowd(1);
    let large = format!(r#"{{"name": "{}"}}"#, "x".repeat(3 << 20));
    for one in super::routes().listed().iter().filter(|one| !matches!(one.method, "GET" | "DELETE")) {
        let path = one.path.replace("{device}", "box-00000").replace("{group}", "g").replace("{name}", "ada");
        let path = path.replace("{id}", &"0".repeat(64)).replace("{fingerprint}", &"0".repeat(64));
        for keyed in [&[][..], &[("idempotency-key", "k")]] {
            let answer = caller.ask(one.method, &path, keyed, &large).await;
            assert!(
                answer.status.is_client_error() || answer.status == StatusCode::SEE_OTHER || takes_no_body(one.path),
                "{path}: {}",
                answer.status
            );
        }
    }
    // Deep nesting is refused by the reader, not by the stack.
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    for (method, path) in [("POST", "/v1/codes"), ("PATCH", "/v1/devices/box-00000/labels"), ("POST", "/v1/what-if")] {
        let refused = caller.ask(method, path, &[], &deep).await;
        assert!([400, 422].contains(&refused.status.as_u16()), "{path}: {}", refused.text);
    }
}

/// Routes that never look at a body.
fn takes_no_body(path: &str) -> bool {
    path.ends_with("/revoke") || path.ends_with("/reject") || path.ends_with("/code") || path == "/logout"
}

#[tokio::test]
async fn no_header_or_field_makes_one_method_another() {
    let caller = Caller::new();
    caller.crowd(1);
    let viewer = caller.token_of("eve", "viewer");
    for (name, value) in [
        ("x-http-method-override", "DELETE"),
        ("x-http-method", "DELETE"),
        ("x-method-override", "PUT"),
        ("x-original-url", "/v1/people"),
        ("x-rewrite-url", "/v1/people"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-user", "administrator"),
        ("x-remote-user", "administrator"),
    ] {
        let plain = caller.ask_as(&viewer, "GET", "/v1/devices/box-00000", &[], "").await;
        let tried = caller.ask_as(&viewer, "GET", "/v1/devices/box-00000", &[(name, value)], "").await;
        assert_eq!((tried.status, &tried.text), (plain.status, &plain.text), "{name}");
        let nobody = ask(&caller.router, None, "GET", "/v1/people", &[(name, value)], "").await;
        assert_eq!(nobody.status, StatusCode::UNAUTHORIZED, "{name}");
    }
    let posted = caller.ask("POST", "/v1/devices/box-00000?_method=DELETE", &[], "_method=DELETE").await;
    assert_eq!((posted.status, posted.code()), (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"));
    assert!(posted.headers["allow"].to_str().unwrap().contains("GET"), "{:?}", posted.headers);
    for method in ["TRACE", "CONNECT", "PROPFIND", "OPTIONS"] {
        let answer = caller.ask(method, "/v1/devices", &[], "").await;
        assert!(answer.status.is_client_error(), "{method}: {}", answer.status);
        let stranger = ask(&caller.router, None, method, "/v1/devices", &[], "").await;
        assert_eq!(stranger.status, StatusCode::UNAUTHORIZED, "{method}");
    }
}

#[tokio::test]
async fn what_is_not_said_to_be_json_is_not_read_as_json() {
    let caller = Caller::new();
    caller.crowd(1);
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain; application/json",
        "application/jsonp",
        "",
    ] {
        for (method, path, body) in [
            ("POST", "/v1/codes", r#"{"device": "till-7"}"#),
            ("PATCH", "/v1/devices/box-00000/labels", r#"{"a": "b"}"#),
            ("PUT", "/v1/devices/box-00000/site", r#"{"site": "x"}"#),
            ("POST", "/v1/people", r#"{"name": "eve", "roles": ["viewer"]}"#),
        ] {
            let answer = caller.ask(method, path, &[("content-type", kind)], body).await;
            assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{path}: `{kind}`");
            assert_eq!(answer.headers["content-type"], "application/json", "{path}");
        }
    }
    // A browser cannot be made to run what is answered.
    let answer = caller.get("/v1/groups/%3Cscript%3Ealert(1)%3C%2Fscript%3E").await;
    assert_eq!(
        (answer.status, answer.headers["content-type"].to_str().unwrap()),
        (StatusCode::NOT_FOUND, "application/json")
    );
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
}

#[tokio::test]
async fn names_that_are_paths_lead_nowhere() {
    let caller = Caller::new();
    caller.crowd(1);
    for trick in [
        "..%2F..%2Fetc%2Fpasswd",
        "%2e%2e%2f%2e%2e%2f",
        "..",
        "..%5c..%5c",
        "box-00000%00",
        "box-00000%2f..%2fbox-00000",
        "%ff%fe",
        "box-00000;x=1",
        "box-00000%20",
        "BOX-00000",
        "box-00000%0d%0aset-cookie:%20a=b",
        "%252e%252e%252f",
        "'%20OR%201=1--",
        "%E2%80%AEbox",
    ] {
        for path in [
            format!("/v1/devices/{trick}"),
            format!("/v1/devices/{trick}/labels"),
            format!("/v1/devices/{trick}/commands"),
            format!("/v1/inventory/{trick}"),
            format!("/v1/groups/{trick}"),
            format!("/v1/people/{trick}"),
            format!("/v1/api-tokens/{trick}"),
            format!("/v1/blobs/{trick}"),
            format!("/v1/enrolment/codes/{trick}"),
        ] {
            for method in ["GET", "DELETE"] {
                let answer = caller.ask(method, &path, &[], "").await;
                let refused = [400, 401, 404, 405].contains(&answer.status.as_u16());
                assert!(refused, "{method} {path}: {} {}", answer.status, answer.text);
                assert!(answer.json["error"]["code"].is_string(), "{method} {path}: {}", answer.text);
                assert!(!answer.headers.contains_key("set-cookie"), "{path}");
                let stranger = ask(&caller.router, None, method, &path, &[], "").await;
                assert_eq!(stranger.status, StatusCode::UNAUTHORIZED, "{method} {path}");
            }
        }
    }
    assert_eq!(caller.get("/v1/devices/box-00000").await.status, StatusCode::OK);
}

#[tokio::test]
async fn errors_tell_no_secret_no_path_and_nothing_of_the_inside() {
    let caller = Caller::new();
    let state = caller.directory.path().display().to_string();
    let secret = "opc_5ec4e7".to_owned() + &"0".repeat(58);
    let mut answers = Vec::new();
    for one in super::routes().listed().iter().filter(|one| one.path.starts_with("/v1/")) {
        let path = one.path.replace(['{', '}'], "");
        for body in ["{", "", r#"{"password": "hunter22", "token": "hunter22"}"#] {
            answers.push((one.path, caller.ask_as(&secret, one.method, &path, &[], body).await));
            answers.push((one.path, caller.ask(one.method, &path, &[("idempotency-key", "hunter22")], body).await));
        }
    }
    // A database that fails.
    caller.crowd(1);
    let broken = "DROP TABLE labels";
    caller.fleet.inner.database.write(|connection| Ok(connection.execute_batch(broken)?)).unwrap();
    let failed = caller.get("/v1/devices/box-00000/labels").await;
    assert_eq!((failed.status, failed.code()), (StatusCode::INTERNAL_SERVER_ERROR, "internal"));
    answers.push(("/v1/devices/{device}/labels", failed));
    for (path, answer) in answers {
        let text = answer.text.to_lowercase();
        for told in [&secret[4..], "hunter22", state.as_str(), &caller.token, "sqlite", "select ", "panicked", ".rs:"] {
            assert!(!text.contains(&told.to_lowercase()), "{path} tells `{told}`: {}", answer.text);
        }
        if answer.status.is_client_error() && !matches!(path, "/v1/enrol" | "/v1/renew" | "/v1/self/renew") {
            let error: &Value = &answer.json["error"];
            assert!(error["code"].is_string() && error["message"].is_string(), "{path}: {}", answer.text);
        }
    }
}
