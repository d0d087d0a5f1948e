//! Every route with what it is for, and with what it is not for.

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::clock::Clock;
use crate::config::Config;
use crate::db::{Asking, Entered, Redeemed};
use crate::fleet::Fleet;
use crate::shares::{Rates, Shares};

/// A control plane that is asked without a network.
struct Desk {
    router: Router,
    fleet: Fleet,
    token: String,
    _dir: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = Fleet::init(Config::new(dir.path().join("state")), Clock::fixed(1_000_000)).unwrap();
        let rates = Rates { fleet: 0, site: 0, device: 0 };
        let router = crate::api::router(made.fleet.clone(), Shares::new(rates, |_| None));
        Self { router, fleet: made.fleet, token: made.admin_token, _dir: dir }
    }

    async fn send(&self, method: Method, path: &str, token: Option<&str>, body: Option<&Value>) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 4 << 20).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.send(Method::GET, path, Some(&self.token), None).await
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        self.send(Method::POST, path, Some(&self.token), Some(&body)).await
    }

    async fn delete(&self, path: &str) -> (StatusCode, Value) {
        self.send(Method::DELETE, path, Some(&self.token), None).await
    }

    /// All entries of a list, fetched in pages of two.
    async fn pages(&self, path: &str) -> Vec<Value> {
        let (mut entries, mut after) = (Vec::new(), String::new());
        loop {
            let (status, page) = self.get(&format!("{path}?limit=2{after}")).await;
            assert_eq!(status, StatusCode::OK, "{page}");
            let found = page["entries"].as_array().unwrap();
            assert!(found.len() <= 2);
            entries.extend(found.iter().cloned());
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return entries,
            }
        }
    }

    fn ask(&self, key: u8, name: &str) {
        let asking = Asking { key_sha256: [key; 32], wished_name: name, address: "10.0.0.1", agent: "1" };
        self.fleet.inner.database.note_request(&asking, 999_000).unwrap();
    }

    /// Enters a device by a code that it redeems.
    fn enrol(&self, name: &str) {
        let hash = [0xee; 32];
        let database = &self.fleet.inner.database;
        database.add_codes(&[(hash, &name.parse().unwrap())], 999_000, 2_000_000).unwrap();
        let entered = Entered { key_sha256: [9; 32], serial: "09", not_after_s: 2_000_000, audit_key: "", agent: "" };
        database.redeem(&Redeemed { hash, entered }, 999_000).unwrap().unwrap();
    }
}

fn hex(byte: u8) -> String {
    hex::encode([byte; 32])
}

fn code(answer: &Value) -> &str {
    answer["error"]["code"].as_str().unwrap_or("none")
}

#[tokio::test]
async fn codes_are_made_from_a_list_paged_through_and_withdrawn() {
    let desk = Desk::new();
    let list = json!({ "list": "name,place\ntill-1,Lyon\ntill-2,Nice\ntill-3,Brest\n", "valid_s": 60 });
    let (status, made) = desk.post("/v1/enrolment/codes", list).await;
    assert_eq!((status, made["entries"].as_array().unwrap().len()), (StatusCode::OK, 3), "{made}");
    let codes = desk.pages("/v1/enrolment/codes").await;
    let mut devices: Vec<_> = codes.iter().map(|code| code["device"].as_str().unwrap()).collect();
    devices.sort_unstable();
    assert_eq!(devices, ["till-1", "till-2", "till-3"]);
    // The list never holds what opens the door.
    let secret = made["entries"][0]["code"].as_str().unwrap();
    assert!(!json!(codes).to_string().contains(secret));

    let path = format!("/v1/enrolment/codes/{}", codes[0]["id"].as_str().unwrap());
    assert_eq!(desk.delete(&path).await.0, StatusCode::OK);
    let (status, again) = desk.delete(&path).await;
    assert_eq!((status, code(&again)), (StatusCode::NOT_FOUND, "unknown_code"));
    assert_eq!(desk.pages("/v1/enrolment/codes").await.len(), 2);
    // A code that was used is not open, and cannot be taken back.
    desk.enrol("till-9");
    assert_eq!(desk.pages("/v1/enrolment/codes").await.len(), 2);
    assert_eq!(desk.delete(&format!("/v1/enrolment/codes/{}", hex(0xee))).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a test's file needs to survive no power cut")]
async fn a_list_is_no_way_around_a_rule_about_one_device() {
    let Desk { fleet, token, _dir, .. } = Desk::new();
    let rules = r#"@id("all") @reason("All.") permit (principal, action, resource);
        @id("plc") @reason("Machines are enrolled by hand.")
        forbid (principal, action == Action::"enrol", resource) when { resource.name like "plc-*" };"#;
    let config = fleet.config().clone();
    std::fs::write(config.state_dir.join("control.cedar"), rules).unwrap();
    drop(fleet);
    let fleet = Fleet::open(config, Clock::fixed(1_000_000)).unwrap();
    let shares = Shares::new(Rates { fleet: 0, site: 0, device: 0 }, |_| None);
    let desk = Desk { router: crate::api::router(fleet.clone(), shares), fleet, token, _dir };
    let lists = [("codes", "till-1\nplc-1".to_owned()), ("keys", format!("till-1,{}\nplc-1,{}", hex(1), hex(2)))];
    for (kind, list) in lists {
        let path = format!("/v1/enrolment/{kind}");
        let (status, told) = desk.post(&path, json!({ "list": list })).await;
        assert_eq!((status, code(&told)), (StatusCode::FORBIDDEN, "forbidden"), "{told}");
        assert!(told.to_string().contains("`plc-1`: Machines are enrolled by hand."), "{told}");
        assert!(desk.pages(&path).await.is_empty(), "all or none");
    }
    assert_eq!(desk.post("/v1/enrolment/codes", json!({ "list": "till-1" })).await.0, StatusCode::OK);
}

#[tokio::test]
async fn keys_are_allowed_from_a_list_paged_through_and_forbidden() {
    let desk = Desk::new();
    let lines: Vec<_> = (1..=5).map(|number| format!("till-{number},{}", hex(number))).collect();
    assert_eq!(desk.post("/v1/enrolment/keys", json!({ "list": lines.join("\n") })).await.0, StatusCode::OK);
    let keys = desk.pages("/v1/enrolment/keys").await;
    let devices: Vec<_> = keys.iter().map(|key| key["device"].as_str().unwrap()).collect();
    assert_eq!(devices, ["till-1", "till-2", "till-3", "till-4", "till-5"]);

    // Named as the list shows it, with its hyphens.
    let path = format!("/v1/enrolment/keys/{}", keys[2]["fingerprint"].as_str().unwrap());
    let (status, forbidden) = desk.delete(&path).await;
    assert_eq!((status, forbidden["device"].as_str()), (StatusCode::OK, Some("till-3")));
    let (status, again) = desk.delete(&path).await;
    assert_eq!((status, code(&again)), (StatusCode::NOT_FOUND, "unknown_key"));
    assert_eq!(desk.pages("/v1/enrolment/keys").await.len(), 4);
    assert_eq!(desk.fleet.inner.database.allowed_as(&[3; 32], 1_000_000).unwrap(), None);
    // All or none: one key of the list is another device's.
    let list = format!("till-6,{}\ntill-7,{}", hex(6), hex(1));
    let (status, taken) = desk.post("/v1/enrolment/keys", json!({ "list": list })).await;
    assert_eq!((status, code(&taken)), (StatusCode::CONFLICT, "taken"));
    assert_eq!(desk.pages("/v1/enrolment/keys").await.len(), 4);
}

#[tokio::test]
async fn requests_are_paged_through_accepted_and_rejected() {
    let desk = Desk::new();
    for key in 1..=3 {
        desk.ask(key, "a-till");
    }
    assert_eq!(desk.pages("/v1/enrolment/requests").await.len(), 3);
    let accept = |key: u8| format!("/v1/enrolment/requests/{}/accept", hex(key));
    let (status, accepted) = desk.post(&accept(1), json!({ "device": "till-1" })).await;
    assert_eq!((status, accepted["device"].as_str()), (StatusCode::OK, Some("till-1")), "{accepted}");
    let reject = format!("/v1/enrolment/requests/{}/reject", hex(2));
    assert_eq!(desk.post(&reject, json!({})).await.0, StatusCode::OK);
    let left = desk.pages("/v1/enrolment/requests").await;
    assert_eq!(left.iter().map(|request| request["rejected_s"].is_null()).collect::<Vec<_>>(), [false, true]);

    let (status, nobody) = desk.post(&accept(7), json!({ "device": "till-7" })).await;
    assert_eq!((status, code(&nobody)), (StatusCode::NOT_FOUND, "unknown_request"));
    let reserved = desk.post(&accept(3), json!({ "device": "control-plane" })).await;
    assert_eq!((reserved.0, code(&reserved.1)), (StatusCode::BAD_REQUEST, "bad_request"));
    let nobody = desk.post(&format!("/v1/enrolment/requests/{}/reject", hex(7)), json!({})).await;
    assert_eq!(nobody.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_device_is_put_at_a_site_and_at_none() {
    let desk = Desk::new();
    desk.enrol("till-1");
    let put = async |device: &str, body: Value| {
        desk.send(Method::PUT, &format!("/v1/devices/{device}/site"), Some(&desk.token), Some(&body)).await
    };
    assert_eq!(put("till-1", json!({ "site": "store-12" })).await.0, StatusCode::OK);
    assert_eq!(desk.get("/v1/devices/till-1").await.1["site"], "store-12");
    assert_eq!(put("till-1", json!({ "site": null })).await.0, StatusCode::OK);
    assert!(desk.get("/v1/devices/till-1").await.1["site"].is_null());
    let (status, bad) = put("till-1", json!({ "site": "../x" })).await;
    assert_eq!((status, code(&bad)), (StatusCode::BAD_REQUEST, "bad_request"));
    assert!(put("till-1", json!({})).await.0.is_client_error(), "to leave it out is no answer");
    assert_eq!(put("till-2", json!({ "site": "store-12" })).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_in_words_and_changes_nothing() {
    let desk = Desk::new();
    for path in ["codes", "keys", "requests"] {
        for query in ["limit=0", "limit=1001", "limit=x", "after=zz", "page=2"] {
            let (status, refused) = desk.get(&format!("/v1/enrolment/{path}?{query}")).await;
            assert_eq!((status, code(&refused)), (StatusCode::BAD_REQUEST, "bad_request"), "{path}?{query}");
        }
    }
    for (path, body, wanted) in [
        ("codes", json!({ "list": "till-1\n../x\n" }), "line 2"),
        ("codes", json!({ "list": "" }), "names no device"),
        ("keys", json!({ "list": "till-1,zz" }), "line 1"),
    ] {
        let (status, refused) = desk.post(&format!("/v1/enrolment/{path}"), body).await;
        assert_eq!((status, code(&refused)), (StatusCode::BAD_REQUEST, "bad_list"));
        assert!(refused["error"]["message"].as_str().unwrap().contains(wanted), "{refused}");
    }
    for body in [json!({}), json!({ "list": "till-1", "more": 1 }), json!({ "list": ["till-1"] })] {
        assert!(desk.post("/v1/enrolment/codes", body.clone()).await.0.is_client_error(), "{body}");
        assert!(desk.post("/v1/enrolment/keys", body.clone()).await.0.is_client_error(), "{body}");
    }
    let long = desk.post("/v1/enrolment/codes", json!({ "list": "till-1", "valid_s": 999_999_999 })).await;
    assert_eq!(long.0, StatusCode::BAD_REQUEST);
    for path in ["codes/zz", "keys/zz"] {
        assert_eq!(desk.delete(&format!("/v1/enrolment/{path}")).await.0, StatusCode::BAD_REQUEST, "{path}");
    }
    // Longer than other bodies may be, and then longer than a list.
    let lines =
        |count: usize| (0..count).map(|number| format!("a-very-long-name-for-a-till-{number}\n")).collect::<String>();
    assert_eq!(desk.post("/v1/enrolment/codes", json!({ "list": lines(3000) })).await.0, StatusCode::OK);
    let large = desk.post("/v1/enrolment/codes", json!({ "list": lines(80_000) })).await;
    assert_eq!(large.0, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(desk.fleet.allowed_keys(&crate::db::Page { after: None, limit: 9 }).unwrap().is_empty());
}

#[tokio::test]
async fn nobody_without_the_operators_token_learns_or_changes_anything() {
    let desk = Desk::new();
    desk.ask(1, "a-till");
    let key = hex(1);
    for (method, path) in [
        (Method::GET, "/v1/enrolment/codes".to_owned()),
        (Method::POST, "/v1/enrolment/codes".to_owned()),
        (Method::DELETE, format!("/v1/enrolment/codes/{key}")),
        (Method::GET, "/v1/enrolment/keys".to_owned()),
        (Method::POST, "/v1/enrolment/keys".to_owned()),
        (Method::DELETE, format!("/v1/enrolment/keys/{key}")),
        (Method::GET, "/v1/enrolment/requests".to_owned()),
        (Method::POST, format!("/v1/enrolment/requests/{key}/accept")),
        (Method::POST, format!("/v1/enrolment/requests/{key}/reject")),
        (Method::PUT, "/v1/devices/till-1/site".to_owned()),
    ] {
        for token in [None, Some("wrong")] {
            let answer = desk.send(method.clone(), &path, token, Some(&json!({}))).await;
            assert_eq!(answer.0, StatusCode::UNAUTHORIZED, "{method} {path}");
        }
    }
    assert!(desk.fleet.enrol_requests().unwrap()[0].rejected_s.is_none());
}
