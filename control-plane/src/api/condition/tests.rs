//! What is read once is not sent twice, and nobody overwrites what they have not seen.

use axum::http::StatusCode;
use serde_json::json;

use super::*;
use crate::api::caller::Caller;

#[tokio::test]
async fn what_is_known_is_not_sent_again_until_it_changes() {
    let caller = Caller::new();
    caller.crowd(3);
    for path in ["/v1/devices", "/v1/inventory/box-00001", "/v1/devices/box-00001/labels", "/v1/groups", "/v1/overview"]
    {
        let first = caller.get(path).await;
        assert_eq!(first.status, StatusCode::OK, "{path}: {}", first.text);
        let tag = first.tag().to_owned();
        assert_eq!(first.headers["cache-control"], "private, no-cache", "{path}");
        for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
            let again = caller.ask("GET", path, &[("if-none-match", &known)], "").await;
            assert_eq!((again.status, again.text.as_str()), (StatusCode::NOT_MODIFIED, ""), "{path}: {known}");
            assert_eq!(again.tag(), tag, "{path}");
        }
        let other = caller.ask("GET", path, &[("if-none-match", "\"x\"")], "").await;
        assert_eq!((other.status, &other.text), (StatusCode::OK, &first.text), "{path}");
        let head = caller.ask("HEAD", path, &[], "").await;
        assert_eq!((head.status, head.text.as_str()), (StatusCode::OK, ""), "{path}");
        assert_eq!(head.tag(), tag, "{path}");
    }
    let before = caller.get("/v1/devices/box-00001/labels").await.tag().to_owned();
    caller.ask("PATCH", "/v1/devices/box-00001/labels", &[], r#"{"stage": "canary"}"#).await;
    let after = caller.ask("GET", "/v1/devices/box-00001/labels", &[("if-none-match", &before)], "").await;
    assert_eq!((after.status, &after.json["stage"]), (StatusCode::OK, &json!("canary")));
}

#[tokio::test]
async fn strangers_learn_nothing_by_tags() {
    let caller = Caller::new();
    for (method, headers) in
        [("GET", ("if-none-match", "*")), ("PATCH", ("if-match", "*")), ("POST", ("if-match", "*"))]
    {
        let path = if method == "POST" { "/v1/codes" } else { "/v1/devices/box-00001/labels" };
        let answer = caller.ask_as("not the token", method, path, &[headers], "{}").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method}");
    }
}

#[tokio::test]
async fn a_change_by_somebody_who_saw_an_older_state_is_refused_everywhere() {
    let caller = Caller::new();
    caller.crowd(2);
    caller.ask("POST", "/v1/groups", &[], r#"{"name": "canary", "selector": "site = a"}"#).await;
    caller.ask("POST", "/v1/people", &[], r#"{"name": "ada", "roles": ["viewer"]}"#).await;
    caller.ask("POST", "/v1/api-tokens", &[], r#"{"name": "ci", "roles": ["viewer"]}"#).await;
    for (method, path, body) in [
        ("PUT", "/v1/devices/box-00001/site", r#"{"site": "store-9"}"#),
        ("PATCH", "/v1/devices/box-00001/labels", r#"{"stage": "beta"}"#),
        ("PUT", "/v1/groups/canary", r#"{"name": "canary", "selector": "site = b"}"#),
        ("PATCH", "/v1/people/ada", r#"{"roles": ["auditor"]}"#),
        ("DELETE", "/v1/groups/canary", ""),
        ("DELETE", "/v1/api-tokens/ci", ""),
        ("DELETE", "/v1/people/ada", ""),
    ] {
        let seen = caller.get(path).await;
        let weak = format!("W/{}", seen.tag());
        for stale in ["\"0123\"", "", weak.as_str()] {
            let refused = caller.ask(method, path, &[("if-match", stale)], body).await;
            assert_eq!(refused.status, StatusCode::PRECONDITION_FAILED, "{method} {path} {stale}: {}", refused.text);
            assert_eq!(refused.code(), "precondition_failed");
        }
        assert_eq!(caller.get(path).await.text, seen.text, "{path}: a refused change changes nothing");
        let either = format!("\"x\", {}", seen.tag());
        let done = caller.ask(method, path, &[("if-match", &either)], body).await;
        assert_eq!(done.status, StatusCode::OK, "{method} {path}: {}", done.text);
        let again = caller.ask(method, path, &[("if-match", &either)], body).await;
        let gone = [StatusCode::PRECONDITION_FAILED, StatusCode::NOT_FOUND];
        assert!(gone.contains(&again.status), "{method} {path}: {}", again.text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_change_the_same_state_one_is_heard() {
    let caller = Caller::new();
    caller.crowd(1);
    for round in 0..5 {
        let seen = caller.get("/v1/devices/box-00000/site").await;
        let tag = seen.tag().to_owned();
        let changes = (0..8).map(|writer| {
            let (router, token, tag) = (caller.router.clone(), caller.token.clone(), tag.clone());
            tokio::spawn(async move {
                let body = format!(r#"{{"site": "store-{round}-{writer}"}}"#);
                let path = "/v1/devices/box-00000/site";
                crate::api::caller::ask(&router, Some(&token), "PUT", path, &[("if-match", &tag)], &body).await.status
            })
        });
        let mut heard = 0;
        for change in changes.collect::<Vec<_>>() {
            match change.await.unwrap() {
                StatusCode::OK => heard += 1,
                status => assert_eq!(status, StatusCode::PRECONDITION_FAILED),
            }
        }
        assert_eq!(heard, 1, "round {round}");
    }
}

#[tokio::test]
async fn where_no_condition_can_be_kept_none_is_overlooked() {
    let caller = Caller::new();
    for (method, path, body) in [
        ("POST", "/v1/codes", r#"{"device": "till-7"}"#),
        ("POST", "/v1/groups", r#"{"name": "canary", "selector": "all"}"#),
        ("DELETE", "/v1/sessions", ""),
    ] {
        let refused = caller.ask(method, path, &[("if-match", "*")], body).await;
        assert_eq!(refused.status, StatusCode::PRECONDITION_FAILED, "{method} {path}");
    }
    // What is not there is refused as such.
    for (method, path, status) in [("POST", "/v1/devices/box-1/site", 405), ("PUT", "/v1/nothing", 404)] {
        assert_eq!(caller.ask(method, path, &[("if-match", "*")], "{}").await.status.as_u16(), status, "{path}");
    }
    assert_eq!(caller.get("/v1/enrolment/codes").await.json["entries"], json!([]));
    assert_eq!(caller.get("/v1/groups/canary").await.status, StatusCode::NOT_FOUND);
}

#[test]
fn headers_of_any_form_are_read_and_only_the_strong_tag_itself_holds() {
    let strategy = ("[ -~]{0,40}", proptest::collection::vec(proptest::num::u8::ANY, 0..64));
    proptest::proptest!(|((text, body) in strategy)| {
        let mut headers = HeaderMap::new();
        headers.insert(IF_MATCH, HeaderValue::from_str(&text).unwrap());
        match Condition::read(&headers) {
            Condition::None => proptest::prop_assert!(false, "the header is there"),
            Condition::Exists => proptest::prop_assert!(text.contains('*')),
            condition => proptest::prop_assert!(!condition.holds(&body)),
        }
        let ours = tag(&body);
        headers.insert(IF_MATCH, HeaderValue::from_str(&ours).unwrap());
        proptest::prop_assert!(Condition::read(&headers).holds(&body));
    });
}
