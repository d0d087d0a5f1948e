//! People, tokens, sessions and the own log over the API.

use axum::http::StatusCode;
use serde_json::json;

use crate::api::caller::Caller;

#[tokio::test]
async fn people_are_entered_changed_and_forgotten() {
    let caller = Caller::new();
    let made = caller.ask("POST", "/v1/people", &[], r#"{"name": "ada", "roles": ["viewer"]}"#).await;
    assert_eq!((made.status, made.json["code"].as_str().unwrap().len()), (StatusCode::CREATED, 32), "{}", made.text);
    let again = caller.ask("POST", "/v1/people", &[], r#"{"name": "ada", "roles": ["viewer"]}"#).await;
    assert_eq!((again.status, again.code()), (StatusCode::BAD_REQUEST, "bad_request"));
    let changed = caller.ask("PATCH", "/v1/people/ada", &[], r#"{"roles": ["auditor", "viewer"]}"#).await;
    assert_eq!((changed.status, &changed.json["roles"]), (StatusCode::OK, &json!(["auditor", "viewer"])));
    assert!(changed.json["disabled_s"].is_null());
    let disabled = caller.ask("PATCH", "/v1/people/ada", &[], r#"{"disabled": true}"#).await;
    assert_eq!((&disabled.json["roles"], disabled.json["disabled_s"].is_i64()), (&json!(["auditor", "viewer"]), true));
    // All of a change or nothing of it.
    let half = caller.ask("PATCH", "/v1/people/ada", &[], r#"{"disabled": false, "roles": []}"#).await;
    assert_eq!(half.status, StatusCode::BAD_REQUEST);
    assert_eq!(caller.get("/v1/people/ada").await.text, disabled.text);
    let enabled = caller.ask("PATCH", "/v1/people/ada", &[], r#"{"disabled": false}"#).await;
    assert!(enabled.json["disabled_s"].is_null());
    assert_eq!(caller.ask("POST", "/v1/people/ada/code", &[], "").await.status, StatusCode::CREATED);
    assert_eq!(caller.ask("DELETE", "/v1/people/ada", &[], "").await.status, StatusCode::OK);
    for (method, path, body) in [
        ("GET", "/v1/people/ada", ""),
        ("PATCH", "/v1/people/ada", "{}"),
        ("DELETE", "/v1/people/ada", ""),
        ("POST", "/v1/people/ada/code", ""),
    ] {
        let gone = caller.ask(method, path, &[], body).await;
        assert_eq!((gone.status, gone.code()), (StatusCode::NOT_FOUND, "unknown_person"), "{method}");
    }
}

#[tokio::test]
async fn lists_of_people_and_tokens_come_in_pages_without_secrets() {
    let caller = Caller::new();
    let mut secrets = Vec::new();
    for number in 0..7 {
        let body = format!(r#"{{"name": "p{number}", "roles": ["viewer"]}}"#);
        secrets.push(caller.ask("POST", "/v1/people", &[], &body).await.json["code"].as_str().unwrap().to_owned());
        secrets.push(caller.ask("POST", "/v1/api-tokens", &[], &body).await.json["token"].as_str().unwrap().to_owned());
    }
    for list in ["/v1/people", "/v1/api-tokens"] {
        let (mut names, mut next) = (Vec::new(), Some(String::new()));
        while let Some(after) = next {
            let page = caller.get(&format!("{list}?limit=3&after={after}")).await;
            assert!(secrets.iter().all(|secret| !page.text.contains(secret.as_str())), "{}", page.text);
            names.extend(page.json["entries"].as_array().unwrap().iter().map(|one| one["name"].clone()));
            next = page.json["next"].as_str().map(str::to_owned);
        }
        assert_eq!(json!(names), json!(["p0", "p1", "p2", "p3", "p4", "p5", "p6"]), "{list}");
    }
}

#[tokio::test]
async fn a_token_that_is_made_works_until_it_is_revoked() {
    let caller = Caller::new();
    let body = r#"{"name": "ci", "roles": ["operator"], "scope": ["see"], "days": 7}"#;
    let made = caller.ask("POST", "/v1/api-tokens", &[], body).await;
    assert_eq!((made.status, &made.json["scope"]), (StatusCode::CREATED, &json!(["see"])), "{}", made.text);
    let token = made.json["token"].as_str().unwrap();
    assert_eq!(caller.ask_as(token, "GET", "/v1/devices", &[], "").await.status, StatusCode::OK);
    let code = caller.ask_as(token, "POST", "/v1/codes", &[], r#"{"device": "till-7"}"#).await;
    assert_eq!(code.status, StatusCode::FORBIDDEN, "its scope is narrower than its role");
    for wrong in [
        r#"{"name": "ci2", "roles": ["operator"], "scope": ["everything"]}"#,
        r#"{"name": "ci2", "roles": ["operator"], "days": 0}"#,
        r#"{"name": "ci2", "roles": []}"#,
        r#"{"name": "Ci 2", "roles": ["operator"]}"#,
    ] {
        assert_eq!(caller.ask("POST", "/v1/api-tokens", &[], wrong).await.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
    assert_eq!(caller.ask("DELETE", "/v1/api-tokens/ci", &[], "").await.status, StatusCode::OK);
    assert_eq!(caller.ask_as(token, "GET", "/v1/devices", &[], "").await.status, StatusCode::UNAUTHORIZED);
    assert!(caller.get("/v1/api-tokens/ci").await.json["revoked_s"].is_i64());
    let again = caller.ask("DELETE", "/v1/api-tokens/ci", &[], "").await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn only_those_who_administer_see_and_change_people_and_only_auditors_read_the_record() {
    let caller = Caller::new();
    let routes = [
        ("GET", "/v1/people", ""),
        ("POST", "/v1/people", r#"{"name": "mallory", "roles": ["administrator"]}"#),
        ("GET", "/v1/people/ada", ""),
        ("PATCH", "/v1/people/ada", r#"{"roles": ["administrator"]}"#),
        ("DELETE", "/v1/people/ada", ""),
        ("POST", "/v1/people/ada/code", ""),
        ("GET", "/v1/api-tokens", ""),
        ("POST", "/v1/api-tokens", r#"{"name": "mallory", "roles": ["administrator"]}"#),
        ("GET", "/v1/api-tokens/operator", ""),
        ("DELETE", "/v1/api-tokens/operator", ""),
    ];
    for role in ["viewer", "operator", "approver", "auditor"] {
        let token = caller.token_of(role, role);
        for (method, path, body) in routes {
            let answer = caller.ask_as(&token, method, path, &[], body).await;
            assert_eq!((answer.status, answer.code()), (StatusCode::FORBIDDEN, "forbidden"), "{role}: {method} {path}");
            let stranger = caller.ask_as("opc_00", method, path, &[], body).await;
            assert_eq!(stranger.status, StatusCode::UNAUTHORIZED, "{method} {path}");
        }
        let read = caller.ask_as(&token, "GET", "/v1/own-records", &[], "").await;
        assert_eq!(read.status == StatusCode::OK, role == "auditor", "{role}: {}", read.status);
    }
    // Each refusal is on record, and reading too.
    let (mut records, mut next) = (Vec::new(), Some(String::new()));
    while let Some(after) = next {
        let after = if after.is_empty() { after } else { format!("&after={after}") };
        let page = caller.get(&format!("/v1/own-records?limit=20{after}")).await;
        records.extend(page.json["entries"].as_array().unwrap().iter().cloned());
        next = page.json["next"].as_str().map(str::to_owned);
        assert!(records.len() < 500, "it ends");
    }
    let indices: Vec<_> = records.iter().map(|record| record["index"].as_u64().unwrap()).collect();
    assert!(indices.windows(2).all(|pair| pair[0] < pair[1]), "{indices:?}");
    let text = json!(records).to_string();
    assert!(text.contains("read_records") && text.contains("administer") && text.contains("deny"));
    assert!(!text.contains(&caller.token));
}

#[tokio::test]
async fn a_person_sees_and_ends_their_own_sessions_and_nobody_elses() {
    let caller = Caller::new();
    let ours = ("sec-fetch-site", "same-origin");
    let mut cookies = Vec::new();
    for name in ["ada", "bob"] {
        let code = caller.fleet.add_person(name, &["administrator".to_owned()]).unwrap();
        let form = ("content-type", "application/x-www-form-urlencoded");
        let typed = format!("name={name}&code={code}&password=correct horse battery");
        let router = &caller.router;
        let first = crate::api::caller::ask(router, None, "POST", "/login/first", &[ours, form], &typed).await;
        assert_eq!(first.status, StatusCode::SEE_OTHER);
        let typed = format!("name={name}&password=correct horse battery");
        let signed_in = crate::api::caller::ask(router, None, "POST", "/login", &[ours, form], &typed).await;
        let cookie = signed_in.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        cookies.push(cookie);
    }
    let ask = async |cookie: &str, method: &str, path: &str| {
        crate::api::caller::ask(&caller.router, None, method, path, &[ours, ("cookie", cookie)], "").await
    };
    let hers = ask(&cookies[0], "GET", "/v1/sessions").await;
    let his = ask(&cookies[1], "GET", "/v1/sessions").await;
    assert_eq!((hers.json["entries"].as_array().unwrap().len(), his.json["entries"].as_array().unwrap().len()), (1, 1));
    let secret = cookies[0].split('=').nth(1).unwrap();
    assert!(!hers.text.contains(secret), "the name of a session does not open it");
    let his_id = his.json["entries"][0]["id"].as_str().unwrap();
    let path = format!("/v1/sessions/{his_id}");
    assert_eq!(ask(&cookies[0], "DELETE", &path).await.status, StatusCode::NOT_FOUND);
    assert_eq!(ask(&cookies[1], "GET", "/v1/sessions").await.status, StatusCode::OK);
    // By the name alone nobody comes in.
    let forged = format!("__Host-outpost={his_id}");
    assert_eq!(ask(&forged, "GET", "/v1/sessions").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(&cookies[1], "DELETE", &path).await.status, StatusCode::OK);
    assert_eq!(ask(&cookies[1], "GET", "/v1/sessions").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(&cookies[0], "DELETE", "/v1/sessions").await.json, json!({"ended": 1}));
    assert_eq!(ask(&cookies[0], "GET", "/v1/sessions").await.status, StatusCode::UNAUTHORIZED);
    // A token has none, even one that is called like a person.
    let token = caller.token_of("ada", "administrator");
    assert_eq!(caller.ask_as(&token, "GET", "/v1/sessions", &[], "").await.status, StatusCode::FORBIDDEN);
}
