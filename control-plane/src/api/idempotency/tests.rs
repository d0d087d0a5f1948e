//! A request that is sent again, by one or by many, at once or after a restart.

use axum::http::StatusCode;

use super::*;
use crate::api::caller::{Caller, NOW_S, ask};
use crate::clock::Clock;

const CODE: &str = r#"{"device": "till-7"}"#;
const SENT: [(&str, &str); 1] = [("idempotency-key", "5f0c1a52-9f7c-4a86-8f1e-0d6c1d2b3a44")];

fn open_codes(caller: &Caller) -> usize {
    let page = crate::db::Page { after: None, limit: 100 };
    caller.fleet.open_codes(&page).unwrap().len()
}

#[tokio::test]
async fn a_request_that_is_sent_again_is_done_once_and_answered_alike() {
    let caller = Caller::new();
    let first = caller.ask("POST", "/v1/codes", &SENT, CODE).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.text);
    assert!(!first.headers.contains_key("idempotency-replayed"));
    for _ in 0..3 {
        let again = caller.ask("POST", "/v1/codes", &SENT, CODE).await;
        assert_eq!((again.status, &again.text), (StatusCode::OK, &first.text));
        assert_eq!(again.headers["idempotency-replayed"], "true");
        assert_eq!(again.headers["content-type"], "application/json");
    }
    assert_eq!(open_codes(&caller), 1);
    // Without the key, or with another one, it is another request.
    caller.ask("POST", "/v1/codes", &[], CODE).await;
    caller.ask("POST", "/v1/codes", &[("idempotency-key", "another")], CODE).await;
    assert_eq!(open_codes(&caller), 3);
    let other_body = caller.ask("POST", "/v1/codes", &SENT, r#"{"device": "till-8"}"#).await;
    assert_eq!((other_body.status, other_body.code()), (StatusCode::UNPROCESSABLE_ENTITY, "key_reused"));
    // A key belongs to its route.
    let elsewhere = caller.ask("POST", "/v1/groups", &SENT, r#"{"name": "all", "selector": "all"}"#).await;
    assert_eq!(elsewhere.status, StatusCode::OK, "{}", elsewhere.text);
}

#[tokio::test]
async fn a_key_belongs_to_who_asks_and_nobody_else_reads_the_answer() {
    let caller = Caller::new();
    let (ada, bob) = (caller.token_of("ada", "operator"), caller.token_of("bob", "operator"));
    let hers = caller.ask_as(&ada, "POST", "/v1/codes", &SENT, CODE).await;
    let his = caller.ask_as(&bob, "POST", "/v1/codes", &SENT, CODE).await;
    assert_eq!((hers.status, his.status), (StatusCode::OK, StatusCode::OK));
    assert_ne!(hers.json["code"], his.json["code"]);
    let stranger = caller.ask_as("not the token", "POST", "/v1/codes", &SENT, CODE).await;
    assert_eq!(stranger.status, StatusCode::UNAUTHORIZED);
    // Once she may not come in any more, her key opens nothing either.
    caller.fleet.revoke_api_token("ada").unwrap();
    let revoked = caller.ask_as(&ada, "POST", "/v1/codes", &SENT, CODE).await;
    assert_eq!(revoked.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_is_shown_once_does_not_lie_in_the_database() {
    let caller = Caller::new();
    let body = r#"{"name": "ci", "roles": ["viewer"]}"#;
    let made = caller.ask("POST", "/v1/api-tokens", &SENT, body).await;
    let secret = made.json["token"].as_str().unwrap().to_owned();
    let again = caller.ask("POST", "/v1/api-tokens", &SENT, body).await;
    assert_eq!((again.status, again.json["token"].as_str()), (StatusCode::CREATED, Some(secret.as_str())));
    let mut files = 0;
    for entry in std::fs::read_dir(caller.directory.path().join("state")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            files += 1;
            let bytes = std::fs::read(&path).unwrap();
            let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
            assert!(!holds(secret.as_bytes()), "{path:?} holds the token");
            assert!(!holds(SENT[0].1.as_bytes()), "{path:?} holds the key");
        }
    }
    assert!(files > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_on_two_servers_do_it_once() {
    let caller = Caller::new();
    let other = caller.another(Clock::fixed(NOW_S));
    for round in 0..5 {
        let key = format!("round-{round}");
        let asked = (0..12).map(|number| {
            let router = if number % 2 == 0 { caller.router.clone() } else { other.clone() };
            let (token, key) = (caller.token.clone(), key.clone());
            tokio::spawn(async move {
                ask(&router, Some(&token), "POST", "/v1/codes", &[("idempotency-key", &key)], CODE).await
            })
        });
        let mut codes = std::collections::BTreeSet::new();
        for answer in asked.collect::<Vec<_>>() {
            let answer = answer.await.unwrap();
            match answer.status {
                StatusCode::OK => {
                    codes.insert(answer.json["code"].as_str().unwrap().to_owned());
                }
                status => {
                    assert_eq!((status, answer.code()), (StatusCode::CONFLICT, "in_flight"), "{}", answer.text);
                    assert_eq!(answer.headers["retry-after"], "1");
                }
            }
        }
        assert_eq!(codes.len(), 1, "round {round}");
        assert_eq!(open_codes(&caller), round + 1);
        let later = caller.ask("POST", "/v1/codes", &[("idempotency-key", &key)], CODE).await;
        assert_eq!(later.json["code"].as_str(), codes.first().map(String::as_str));
    }
}

#[tokio::test]
async fn an_answer_outlives_its_server_and_not_its_day() {
    let caller = Caller::new();
    let first = caller.ask("POST", "/v1/codes", &SENT, CODE).await;
    let restarted = caller.another(Clock::fixed(NOW_S + KEPT_S - 1));
    let again = ask(&restarted, Some(&caller.token), "POST", "/v1/codes", &SENT, CODE).await;
    assert_eq!((again.status, &again.text), (StatusCode::OK, &first.text));
    let next_day = caller.another(Clock::fixed(NOW_S + KEPT_S + 1));
    let new = ask(&next_day, Some(&caller.token), "POST", "/v1/codes", &SENT, CODE).await;
    assert_eq!(new.status, StatusCode::OK);
    assert_ne!(new.json["code"], first.json["code"]);
}

#[tokio::test]
async fn what_a_server_left_half_done_is_not_done_again() {
    let caller = Caller::new();
    let mut request = axum::http::Request::builder().method("POST").uri("/v1/codes");
    for (name, value) in
        [("authorization", format!("Bearer {}", caller.token)), ("content-type", "application/json".to_owned())]
    {
        request = request.header(name, value);
    }
    let request = request.header(SENT[0].0, SENT[0].1).body(Body::from(CODE)).unwrap();
    // It begins, and its server ends.
    assert!(begin(&caller.fleet, request).await.is_ok());
    let soon = caller.ask("POST", "/v1/codes", &SENT, CODE).await;
    assert_eq!((soon.status, soon.code()), (StatusCode::CONFLICT, "in_flight"));
    let later = caller.another(Clock::fixed(NOW_S + 120));
    let late = ask(&later, Some(&caller.token), "POST", "/v1/codes", &SENT, CODE).await;
    assert_eq!((late.status, late.code()), (StatusCode::CONFLICT, "outcome_unknown"));
    assert_eq!(open_codes(&caller), 0);
}

#[tokio::test]
async fn a_refusal_did_nothing_and_leaves_its_key_free() {
    let caller = Caller::new();
    let wrong = caller.ask("POST", "/v1/codes", &SENT, r#"{"device": "Not A Name"}"#).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", wrong.text);
    assert_ne!(wrong.code(), "key_reused");
    assert_eq!(caller.ask("POST", "/v1/codes", &SENT, CODE).await.status, StatusCode::OK);
    let viewer = caller.token_of("eve", "viewer");
    let forbidden = caller.ask_as(&viewer, "POST", "/v1/codes", &SENT, CODE).await;
    assert_eq!(forbidden.status, StatusCode::FORBIDDEN);
    caller.fleet.revoke_api_token("eve").unwrap();
}

#[tokio::test]
async fn a_key_that_is_none_is_refused_before_anything_is_done() {
    let caller = Caller::new();
    let long = "k".repeat(KEY_BYTES + 1);
    for key in ["", "two words", "tab\tkey", long.as_str()] {
        let refused = caller.ask("POST", "/v1/codes", &[("idempotency-key", key)], CODE).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{key:?}");
    }
    let twice = [("idempotency-key", "a"), ("idempotency-key", "b")];
    assert_eq!(caller.ask("POST", "/v1/codes", &twice, CODE).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(open_codes(&caller), 0);
    let large = format!(r#"{{"list": "{}"}}"#, "x".repeat(BODY_BYTES));
    let refused = caller.ask("POST", "/v1/enrolment/codes", &SENT, &large).await;
    assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
    // Each route keeps its own, smaller limit.
    let large = format!(r#"{{"device": "till-7", "x": "{}"}}"#, "x".repeat(100_000));
    let refused = caller.ask("POST", "/v1/codes", &SENT, &large).await;
    assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[test]
fn a_sealed_answer_opens_under_its_own_credential_and_no_other() {
    let parts = |token: &str| {
        let request = axum::http::Request::builder().header("authorization", token).body(()).unwrap();
        request.into_parts().0
    };
    proptest::proptest!(|(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200), at in 0_usize..200)| {
        let seal = Seal::new(&parts("Bearer a"), "POST /v1/codes", b"key");
        let sealed = seal.close(StatusCode::CREATED, &body).unwrap();
        let kept = seal.open(sealed.clone()).unwrap();
        proptest::prop_assert_eq!((kept.status, &kept.body), (StatusCode::CREATED, &body));
        for other in [
            Seal::new(&parts("Bearer b"), "POST /v1/codes", b"key"),
            Seal::new(&parts("Bearer a"), "POST /v1/tokens", b"key"),
            Seal::new(&parts("Bearer a"), "POST /v1/codes", b"yek"),
        ] {
            proptest::prop_assert!(other.open(sealed.clone()).is_none());
        }
        let mut broken = sealed.clone();
        let at = at % broken.len();
        broken[at] ^= 1;
        proptest::prop_assert!(seal.open(broken).is_none());
        proptest::prop_assert!(seal.open(sealed[..at].to_vec()).is_none());
    });
}
