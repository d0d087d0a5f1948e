//! Every route there is, walked by everybody who should not get in.
//!
//! The routes come from [`routes`]: one that is added is walked from then on, with nothing to be changed here.

mod support;

use std::sync::atomic::Ordering;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use outpost_serve::{Route, routes};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use support::{Fixture, KEY_ID, NOW_S};

/// A body that most routes could answer.
const BODY: &str = r#"{"model":"demo","messages":[{"role":"user","content":"hello"}],"prompt":"hello","input":"hello","max_tokens":8}"#;

/// Seconds since 1970 of the clocks that a box with a dead battery, or an attacker, may show.
const CLOCKS: [(&str, i64); 6] = [
    ("1969", -31_536_000),
    ("1970", 0),
    ("the first minute of 1970", 30),
    ("2038", 2_147_483_648),
    ("2100", 4_102_444_800),
    ("the end of time", i64::MAX),
];

fn identified() -> impl Iterator<Item = &'static Route> {
    routes().filter(|route| route.identified)
}

/// A path that the route answers.
fn path(route: &Route) -> String {
    let fill = |segment: &str| if segment.starts_with('{') { "demo".to_owned() } else { segment.to_owned() };
    route.path.split('/').map(fill).collect::<Vec<_>>().join("/")
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// Credentials that nobody should get in with, by what is wrong with them.
fn wrong_credentials(fixture: &Fixture, stranger: &Fixture) -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let header = json!({ "alg": "EdDSA", "kid": KEY_ID });
    let with = |claim: &str, value: Value| {
        let mut claims = fixture.claims("admin");
        claims[claim] = value;
        fixture.signed(&header, &claims)
    };
    let unsigned = |algorithm: &str| {
        format!("{}.{}", encode(&json!({ "alg": algorithm, "kid": KEY_ID })), encode(&fixture.claims("admin")))
    };
    let confused = |secret: &[u8]| {
        let body = unsigned("HS256");
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), body.as_bytes());
        format!("{body}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
    };
    let bearer = |token: String| vec![("authorization", format!("Bearer {token}"))];
    let valid = fixture.token("admin");
    vec![
        ("no identity", Vec::new()),
        ("another audience", bearer(with("aud", json!("another-fleet")))),
        ("another issuer", bearer(with("iss", json!("https://evil.example")))),
        ("expired", bearer(with("exp", json!(NOW_S - 3600)))),
        ("not valid yet", bearer(with("nbf", json!(NOW_S + 3600)))),
        ("expires as a text", bearer(with("exp", json!("tomorrow")))),
        ("alg none", bearer(format!("{}.", unsigned("none")))),
        ("alg nOnE", bearer(format!("{}.", unsigned("nOnE")))),
        ("key confusion, raw", bearer(confused(&fixture.public_key()))),
        ("key confusion, hexadecimal", bearer(confused(hex::encode(fixture.public_key()).as_bytes()))),
        ("an RSA algorithm over an Ed25519 key", bearer(format!("{}.AAAA", unsigned("RS256")))),
        ("no signature", bearer(format!("{}.", unsigned("EdDSA")))),
        ("a stranger's signature", bearer(stranger.token("admin"))),
        (
            "an unknown key",
            bearer(fixture.signed(&json!({ "alg": "EdDSA", "kid": "2020-01" }), &fixture.claims("admin"))),
        ),
        (
            "a critical extension",
            bearer(
                fixture.signed(&json!({ "alg": "EdDSA", "kid": KEY_ID, "crit": ["b64"] }), &fixture.claims("admin")),
            ),
        ),
        ("a huge token", bearer(with("more", json!("x".repeat(12 * 1024))))),
        ("garbage", bearer("\u{7f}garbage".replace('\u{7f}', "~~~"))),
        ("an API key that is none", bearer(format!("opk_00000000_{}", "0".repeat(64)))),
        ("an API key that is none, the other way", vec![("x-api-key", "opk_00000000_00".to_owned())]),
        ("a password", vec![("authorization", "Basic YWRtaW46YWRtaW4=".to_owned())]),
        (
            "two authorizations",
            vec![("authorization", format!("Bearer {valid}")), ("authorization", format!("Bearer {valid}"))],
        ),
        ("two credentials", vec![("authorization", format!("Bearer {valid}")), ("x-api-key", "opk_1_2".to_owned())]),
        (
            "a user that a front end names",
            vec![("x-openwebui-user-id", "ada".to_owned()), ("x-forwarded-user", "ada".to_owned())],
        ),
    ]
}

async fn call(fixture: &Fixture, route: &Route, headers: &[(&'static str, String)]) -> support::Reply {
    let mut all = vec![("content-type", "application/json")];
    all.extend(headers.iter().map(|(name, value)| (*name, value.as_str())));
    fixture.call(route.method, &path(route), &all, BODY).await
}

/// How many failures the record counts.
fn counted(fixture: &Fixture) -> i64 {
    fixture.records(&["auth.fail"]).iter().map(|record| record["detail"]["count"].as_i64().unwrap()).sum()
}

#[tokio::test]
async fn nobody_gets_in_on_any_route_with_a_wrong_credential_and_each_try_is_counted() {
    let (mut fixture, stranger) = (Fixture::start().await, Fixture::start().await);
    let mut tries = 0;
    for (what, headers) in wrong_credentials(&fixture, &stranger) {
        for route in identified() {
            let reply = call(&fixture, route, &headers).await;
            assert_eq!(reply.status, 401, "{what}: {} {}: {}", route.method, route.path, reply.text);
            assert!(reply.text.len() < 1000 && !reply.text.contains(fixture.directory.path().to_str().unwrap()));
            tries += 1;
        }
    }
    assert!(fixture.backend.started.lock().unwrap().is_empty());
    assert!(fixture.backend.acts.lock().unwrap().is_empty());
    fixture.stop().await;
    assert_eq!(counted(&fixture), tries, "every try is in the record, alone or counted");
}

#[tokio::test]
async fn a_head_larger_than_the_limit_is_refused_on_every_route_and_counted() {
    let mut fixture = Fixture::start().await;
    let huge = "x".repeat(512 * 1024);
    let mut tries = 0;
    for route in identified() {
        let head = format!(
            "{} {} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {huge}\r\n\r\n",
            route.method,
            path(route)
        );
        let mut stream = TcpStream::connect(fixture.address).await.unwrap();
        // The server stops reading in the middle and closes, which may take its own answer along: only an answer is judged.
        let _ = stream.write_all(head.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431 "), "{} {}", route.method, route.path);
        tries += 1;
    }
    fixture.stop().await;
    assert_eq!(counted(&fixture), tries);
}

#[tokio::test]
async fn a_token_of_today_opens_no_route_while_the_clock_is_wrong() {
    let mut fixture = Fixture::start().await;
    let bearer = vec![("authorization", format!("Bearer {}", fixture.token("admin")))];
    let mut tries = 0;
    for (what, now_s) in CLOCKS {
        fixture.now_s.store(now_s, Ordering::SeqCst);
        for route in identified() {
            let reply = call(&fixture, route, &bearer).await;
            assert_eq!(reply.status, 401, "{what}: {} {}: {}", route.method, route.path, reply.text);
            tries += 1;
        }
    }
    assert!(fixture.backend.started.lock().unwrap().is_empty());
    fixture.stop().await;
    assert_eq!(counted(&fixture), tries);
}

#[tokio::test]
async fn a_role_that_may_nothing_is_refused_on_every_route_and_each_denial_is_on_record() {
    let fixture = Fixture::start().await;
    let bearer = vec![("authorization", format!("Bearer {}", fixture.token("nobody")))];
    let mut denials = 0;
    for route in identified() {
        let reply = call(&fixture, route, &bearer).await;
        // A body that the route does not understand is told so first; nothing is done either way.
        assert!(
            matches!(reply.status, 400 | 403 | 404),
            "{} {}: {} {}",
            route.method,
            route.path,
            reply.status,
            reply.text
        );
        // What is done for nobody is no decision of a policy.
        denials += usize::from(reply.status == 403 && reply.code() != "not_offered");
    }
    assert!(denials > 0);
    assert!(fixture.backend.started.lock().unwrap().is_empty());
    assert!(fixture.backend.acts.lock().unwrap().is_empty());
    let recorded = fixture.records(&["infer.denied", "admin.act", "audit.read"]);
    assert_eq!(recorded.iter().filter(|record| record["dec"]["effect"] == "deny").count(), denials);
}

#[tokio::test]
async fn no_route_answers_a_page_of_another_site_or_a_rebound_name_and_no_answer_says_star() {
    let fixture = Fixture::start().await;
    let token = format!("Bearer {}", fixture.token("admin"));
    for route in routes() {
        for (header, value, status) in [
            ("host", "evil.example", 421),
            ("origin", "https://evil.example", 403),
            ("origin", "null", 403),
            ("sec-fetch-site", "cross-site", 403),
        ] {
            let headers = [("authorization", token.as_str()), ("content-type", "application/json"), (header, value)];
            for method in [route.method, "OPTIONS"] {
                let reply = fixture.call(method, &path(route), &headers, BODY).await;
                assert_eq!(reply.status, status, "{method} {} with {header}: {value}", route.path);
                assert!(reply.headers.keys().all(|name| !name.as_str().starts_with("access-control-")));
            }
        }
    }
    assert!(fixture.backend.started.lock().unwrap().is_empty());
    assert!(fixture.backend.acts.lock().unwrap().is_empty());
}
