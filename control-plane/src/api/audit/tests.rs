//! The routes of events, webhooks, metrics and the audit desk: who gets in, and what comes out.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode};
use serde_json::Value;
use tower::ServiceExt as _;

use crate::clock::Clock;
use crate::config::Config;
use crate::fleet::Fleet;
use crate::shares::{Rates, Shares};

/// Method, path, and whether somebody who may only `see` gets past the rules.
const ROUTES: [(Method, &str, bool); 17] = [
    (Method::GET, "/metrics", true),
    (Method::GET, "/v1/events", true),
    (Method::GET, "/v1/webhooks", false),
    (Method::POST, "/v1/webhooks", false),
    (Method::DELETE, "/v1/webhooks/pager", false),
    (Method::POST, "/v1/webhooks/pager/test", false),
    (Method::POST, "/v1/webhooks/pager/pause", false),
    (Method::POST, "/v1/webhooks/pager/retry", false),
    (Method::GET, "/v1/webhooks/pager/deliveries", false),
    (Method::GET, "/v1/audit", true),
    (Method::GET, "/v1/audit/devices/till-1", true),
    (Method::GET, "/v1/audit/search", false),
    (Method::GET, "/v1/audit/report", false),
    (Method::GET, "/v1/audit/devices/till-1/incidents", false),
    (Method::GET, "/v1/audit/devices/till-1/incidents/1", false),
    (Method::GET, "/v1/audit/devices/till-1/incidents/1/held.note", false),
    (Method::GET, "/console/report", false),
];

const HOOK: &str = r#"{"name":"pager","url":"https://pager.example/secret-path","kinds":["device.*"]}"#;

struct Desk {
    router: Router,
    fleet: Fleet,
    token: String,
    _directory: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let made = Fleet::init(Config::new(directory.path().join("state")), Clock::fixed(1_800_000_000)).unwrap();
        let enrol = "INSERT INTO devices (device, enrolled_s, key_sha256, audit_key, agent) VALUES ('till-1', 5, x'00', '', '0')";
        made.fleet.inner.database.write(|connection| Ok(connection.execute(enrol, [])?)).unwrap();
        let router = crate::api::router(made.fleet.clone(), Shares::new(Rates::default(), |_| None));
        Self { router, fleet: made.fleet, token: made.admin_token, _directory: directory }
    }

    async fn ask(&self, method: &Method, path: &str, token: Option<&str>, body: &str) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let request = match token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        };
        let response = self.router.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
        let status = response.status();
        (status, String::from_utf8(to_bytes(response.into_body(), 1 << 22).await.unwrap().to_vec()).unwrap())
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let (status, body) = self.ask(&Method::GET, path, Some(&self.token), "").await;
        (status, serde_json::from_str(&body).unwrap_or_default())
    }
}

#[tokio::test]
async fn nobody_gets_in_without_an_identity_and_who_may_see_gets_no_further() {
    let desk = Desk::new();
    let viewer = desk.fleet.create_api_token("viewer", &["viewer".to_owned()], &[], 1).unwrap();
    for (method, path, may_see) in ROUTES {
        let (status, body) = desk.ask(&method, path, None, HOOK).await;
        let is_sent_away = status == StatusCode::UNAUTHORIZED || status == StatusCode::SEE_OTHER;
        assert!(is_sent_away, "{method} {path}: {status} {body}");
        let (status, body) = desk.ask(&method, path, Some(&viewer), HOOK).await;
        let expected = if may_see { StatusCode::OK } else { StatusCode::FORBIDDEN };
        assert_eq!(status, expected, "{method} {path}: {body}");
    }
    assert_eq!(desk.fleet.webhooks().unwrap(), []);
}

#[tokio::test]
async fn the_secret_is_answered_once_and_an_address_inside_is_refused() {
    let desk = Desk::new();
    let post = |body: &'static str| desk.ask(&Method::POST, "/v1/webhooks", Some(&desk.token), body);
    let (status, body) = post(HOOK).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    let secret = serde_json::from_str::<Value>(&body).unwrap()["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("whsec_"));
    let (_, listed) = desk.ask(&Method::GET, "/v1/webhooks", Some(&desk.token), "").await;
    assert!(listed.contains("pager.example") && !listed.contains(&secret), "{listed}");
    for inside in [
        r#"{"name":"a","url":"https://169.254.169.254/latest/"}"#,
        r#"{"name":"a","url":"https://2130706433/"}"#,
        r#"{"name":"a","url":"http://pager.example/"}"#,
        r#"{"name":"a","url":"https://pager.example@127.0.0.1/"}"#,
    ] {
        let (status, body) = post(inside).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{inside}: {body}");
        assert!(body.contains("bad_address"), "{body}");
    }
    let more = r#"{"name":"a","url":"https://pager.example/","delivered":0}"#;
    assert!(post(more).await.0.is_client_error(), "nothing else can be set");
    let (status, _) = desk.ask(&Method::DELETE, "/v1/webhooks/pager", Some(&desk.token), "").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(desk.get("/v1/webhooks/pager/deliveries").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn webhooks_and_the_logs_of_devices_are_walked_page_by_page() {
    let desk = Desk::new();
    for name in ["a", "b", "c"] {
        let hook = HOOK.replace("pager\",", &format!("{name}\","));
        assert_eq!(desk.ask(&Method::POST, "/v1/webhooks", Some(&desk.token), &hook).await.0, StatusCode::CREATED);
    }
    desk.fleet.add_crowd(5).unwrap();
    for (path, key, wanted) in [
        ("/v1/webhooks", "name", vec!["a", "b", "c"]),
        ("/v1/audit", "device", vec!["box-00000", "box-00001", "box-00002", "box-00003", "box-00004", "till-1"]),
    ] {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let (status, page) = desk.get(&format!("{path}?limit=2{after}")).await;
            assert_eq!(status, StatusCode::OK, "{page}");
            let entries = page["entries"].as_array().unwrap();
            assert!((1..=2).contains(&entries.len()), "{page}");
            seen.extend(entries.iter().map(|entry| entry[key].as_str().unwrap().to_owned()));
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert_eq!(seen, wanted, "{path}");
    }
}

#[tokio::test]
async fn the_audit_desk_answers_what_it_is_asked_and_says_what_it_cannot_read() {
    let desk = Desk::new();
    let (status, page) = desk.get("/v1/audit?limit=1").await;
    assert_eq!((status, page["entries"][0]["device"].as_str()), (StatusCode::OK, Some("till-1")));
    let (status, found) = desk.get("/v1/audit/search?effect=deny").await;
    assert_eq!((status, found["not_looked"][0].as_str()), (StatusCode::OK, Some("no record of `till-1` has arrived")));
    let (status, events) = desk.get("/v1/events?after=0&limit=10&kind=device").await;
    assert_eq!((status, events["events"].as_array().map(Vec::len)), (StatusCode::OK, Some(0)));
    for (path, wanted) in [
        ("/v1/audit/search?effect=maybe", StatusCode::BAD_REQUEST),
        ("/v1/audit/search?after=..%2F..%2Fx", StatusCode::BAD_REQUEST),
        ("/v1/audit/search?unknown=1", StatusCode::BAD_REQUEST),
        ("/v1/audit?limit=-1", StatusCode::BAD_REQUEST),
        ("/v1/audit/devices/..%2Fself", StatusCode::BAD_REQUEST),
        ("/v1/audit/devices/till-9", StatusCode::NOT_FOUND),
        ("/v1/audit/devices/till-1/incidents/7", StatusCode::NOT_FOUND),
        ("/v1/audit/devices/till-1/incidents/7/held.note", StatusCode::NOT_FOUND),
        ("/v1/events?after=x", StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(desk.get(path).await.0, wanted, "{path}");
    }
    let (status, html) = desk.ask(&Method::GET, "/v1/audit/report", Some(&desk.token), "").await;
    assert!(status == StatusCode::OK && html.contains("Audit report of a fleet"), "{status}");
}
