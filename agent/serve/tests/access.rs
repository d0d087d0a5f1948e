//! Who gets in: identities, roles, and what is recorded of those who do not.

mod support;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use outpost_policies::BreakGlass;
use outpost_serve::identify::{NewApiKey, Scope};
use outpost_serve::{LocalUsers, ModelCard, Served, routes};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

use support::{CHAT, Fixture, KEY_ID, NOW_S, Options, question};

#[tokio::test]
async fn every_route_but_health_refuses_a_caller_without_identity() {
    let fixture = Fixture::start().await;
    for route in routes() {
        let (method, path) = (route.method, route.path);
        let path = path.replace("{id}", "demo");
        let reply = fixture.call(method, &path, &[("content-type", "application/json")], "{}").await;
        if route.identified {
            assert_eq!((reply.status, reply.code().as_str()), (401, "missing_credential"), "{method} {path}");
            assert_eq!(reply.header("www-authenticate"), "Bearer");
        } else {
            assert_eq!((reply.status, reply.text.as_str()), (200, r#"{"status":"ok"}"#), "{method} {path}");
        }
    }
    assert_eq!(fixture.get("/nowhere", "nobody").await.status, 401, "a path that is not there gives nothing away");
}

#[tokio::test]
async fn rules_are_asked_about_the_variant_that_answers_whatever_name_it_was_called_by() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    let sha256 = "cd".repeat(32);
    let large = ModelCard {
        id: "demo:q8_0".to_owned(),
        variant: "Q8_0".to_owned(),
        family: "llama".to_owned(),
        licence: "Apache-2.0".to_owned(),
        parameters: 5_000_000,
        file_sha256: sha256.clone(),
        ..ModelCard::default()
    };
    fixture.backend.more.lock().unwrap().push(large);
    let served = Served { model: "demo".to_owned(), variant: "Q8_0".to_owned(), file_sha256: sha256 };
    *fixture.backend.instead.lock().unwrap() = Some(served);
    let vectors = json!({ "model": "vectors", "input": "hello" });
    assert_eq!(fixture.post(CHAT, &token, &question("hello")).await.status, 200, "the same rule allows both");
    assert_eq!(fixture.post("/v1/embeddings", &token, &vectors).await.status, 200);

    let forbid = r#"
        @id("no-large-variants") @title("None of the large ones") @reason("They are too slow here.")
        forbid (principal, action, resource) when { resource is Model && resource.quantisation == "Q8_0" };"#;
    fixture.change(|bundle| bundle.policies.get_mut("operator.cedar").unwrap().push_str(forbid));
    for (path, body) in [(CHAT, &question("hello")), ("/v1/embeddings", &vectors)] {
        let reply = fixture.post(path, &token, body).await;
        assert_eq!((reply.status, reply.code().as_str()), (403, "denied_by_policy"), "{path}: {}", reply.text);
        assert!(reply.text.contains("no-large-variants") && !reply.text.contains("wörld"), "{}", reply.text);
        let denied = fixture.records(&["infer.denied"]).pop().unwrap();
        assert_eq!(denied["dec"]["rules"], json!(["no-large-variants"]), "{denied}");
    }

    // Other terms than those that were kept on the way.
    fixture.change(|bundle| {
        let rules = bundle.policies.get_mut("operator.cedar").unwrap();
        rules.push_str(
            r#"
            @id("large-ones-are-kept") @title("What large ones are asked") @reason("It is looked at.") @audit("request")
            permit (principal in Role::"operator", action == Action::"infer", resource)
            when { resource is Model && resource.quantisation == "Q8_0" };"#,
        );
    });
    let reply = fixture.post(CHAT, &token, &question("hello")).await;
    assert_eq!((reply.status, reply.code().as_str()), (403, "not_offered"), "{}", reply.text);
    assert!(reply.text.contains("demo:q8_0"), "{}", reply.text);
}

#[tokio::test]
async fn an_operators_token_opens_what_its_role_may() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    assert_eq!(fixture.post(CHAT, &token, &question("hello")).await.status, 200);
    assert_eq!(fixture.get("/v1/models", &token).await.json()["data"][0]["id"], "demo");
    assert_eq!(fixture.get("/v1/models/demo", &token).await.json()["meta"]["variant"], "Q4_0");
    assert_eq!(fixture.get("/v1/models/other", &token).await.code(), "model_not_found");
    assert_eq!(fixture.get("/outpost/status", &token).await.json()["policy_version"], 1);
    assert_eq!(fixture.get("/outpost/audit/checkpoint", &token).await.status, 403);
}

#[tokio::test]
async fn an_auditor_is_refused_with_the_rule_and_the_denial_is_on_record_before_the_answer() {
    let fixture = Fixture::start().await;
    let reply = fixture.post(CHAT, &fixture.token("auditor"), &question("hello")).await;
    assert_eq!((reply.status, reply.code().as_str()), (403, "denied_by_policy"));
    assert_eq!(reply.json()["error"]["rules"], json!(["auditors-do-not-ask"]));
    assert!(reply.message().contains("Auditors read the record"), "{}", reply.text);
    let denied = fixture.records(&["infer.denied"]);
    assert_eq!(denied.len(), 1);
    assert_eq!(denied[0]["dec"]["rules"], json!(["auditors-do-not-ask"]));
    assert_eq!(denied[0]["dec"]["effect"], "deny");
    assert_eq!(denied[0]["req"], reply.header("x-request-id"));
    assert_eq!(denied[0]["who"]["roles"], json!(["auditor"]));
    assert!(!denied[0].to_string().contains("ada"), "the record holds a pseudonym");
    assert!(fixture.backend.started.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_auditor_reads_the_checkpoint_and_that_is_recorded() {
    let fixture = Fixture::start().await;
    let reply = fixture.get("/outpost/audit/checkpoint", &fixture.token("auditor")).await;
    assert_eq!(reply.status, 200);
    assert!(reply.text.starts_with("audit.test/device/1\n"), "{}", reply.text);
    assert_eq!(fixture.records(&["audit.read"]).len(), 1);
}

/// Refused with 401 and this code, and on record.
async fn refused(fixture: &Fixture, token: &str, code: &str) {
    let reply = fixture.post(CHAT, token, &question("hello")).await;
    assert_eq!((reply.status, reply.code().as_str()), (401, code), "{}", reply.text);
}

#[tokio::test]
async fn a_token_that_expired_is_refused() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    fixture.now_s.store(NOW_S + 600 + 59, Ordering::SeqCst);
    assert_eq!(fixture.get("/v1/models", &token).await.status, 200, "within the leeway");
    fixture.now_s.store(NOW_S + 600 + 60, Ordering::SeqCst);
    refused(&fixture, &token, "token_expired").await;
    let failures = fixture.records(&["auth.fail"]);
    assert_eq!(failures[0]["res"]["err"], "token_expired");
    assert_eq!(failures[0]["detail"]["source"], "127.0.0.1");
}

#[tokio::test]
async fn a_token_that_is_not_valid_yet_is_refused() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    fixture.now_s.store(NOW_S - 10 - 61, Ordering::SeqCst);
    refused(&fixture, &token, "token_not_yet_valid").await;
}

#[tokio::test]
async fn no_clock_makes_a_token_check_panic() {
    let fixture = Fixture::start().await;
    let token = fixture.token("operator");
    for now_s in [i64::MIN, -1, 0, 30, i64::from(i32::MAX) + 1, 4_102_444_800, i64::MAX] {
        fixture.now_s.store(now_s, Ordering::SeqCst);
        assert_eq!(fixture.get("/v1/models", &token).await.status, 401, "{now_s}");
    }
    fixture.now_s.store(NOW_S, Ordering::SeqCst);
    let mut claims = fixture.claims("operator");
    (claims["exp"], claims["nbf"]) = (json!(i64::MAX), json!(0));
    let header = json!({ "alg": "EdDSA", "kid": KEY_ID });
    assert_eq!(fixture.get("/v1/models", &fixture.signed(&header, &claims)).await.status, 200);
}

#[tokio::test]
async fn a_token_for_another_audience_or_by_another_issuer_is_refused() {
    let fixture = Fixture::start().await;
    let header = json!({ "alg": "EdDSA", "kid": KEY_ID });
    let with = |claim: &str, value: Value| {
        let mut claims = fixture.claims("operator");
        claims[claim] = value;
        fixture.signed(&header, &claims)
    };
    refused(&fixture, &with("aud", json!("another-fleet")), "token_audience").await;
    refused(&fixture, &with("iss", json!("https://evil.example")), "token_issuer").await;
    let both = with("aud", json!(["another-fleet", support::AUDIENCE]));
    assert_eq!(fixture.get("/v1/models", &both).await.status, 200);
}

#[tokio::test]
async fn a_token_that_says_none_or_a_shared_secret_is_refused() {
    let fixture = Fixture::start().await;
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let body = |algorithm: &str| {
        format!("{}.{}", encode(&json!({ "alg": algorithm, "kid": KEY_ID })), encode(&fixture.claims("admin")))
    };
    for algorithm in ["none", "None", "NONE", "nOnE"] {
        refused(&fixture, &format!("{}.", body(algorithm)), "token_algorithm").await;
    }
    // Key confusion: the public key, which everybody knows, used as the secret of an HMAC.
    let hs256 = body("HS256");
    let secret = hmac::Key::new(hmac::HMAC_SHA256, &fixture.public_key());
    let tag = hmac::sign(&secret, hs256.as_bytes());
    refused(&fixture, &format!("{hs256}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref())), "token_algorithm").await;
    refused(&fixture, &format!("{}.", body("EdDSA")), "token_signature").await;
}

#[tokio::test]
async fn a_token_that_was_changed_or_signed_by_a_stranger_is_refused() {
    let (fixture, stranger) = (Fixture::start().await, Fixture::start().await);
    refused(&fixture, &stranger.token("operator"), "token_signature").await;
    let (mine, admin) = (fixture.token("operator"), fixture.token("admin"));
    let mut parts: Vec<&str> = mine.split('.').collect();
    parts[1] = admin.split('.').nth(1).unwrap();
    refused(&fixture, &parts.join("."), "token_signature").await;
    let unknown = fixture.signed(&json!({ "alg": "EdDSA", "kid": "2020-01" }), &fixture.claims("operator"));
    refused(&fixture, &unknown, "unknown_token_key").await;
}

#[tokio::test]
async fn a_token_with_a_missing_or_confused_claim_is_refused() {
    let fixture = Fixture::start().await;
    let header = json!({ "alg": "EdDSA", "kid": KEY_ID });
    for claim in ["exp", "nbf", "iss", "aud", "sub"] {
        for value in [None, Some(json!({})), Some(json!(true)), Some(json!([1])), Some(Value::Null)] {
            let mut claims = fixture.claims("operator");
            match value {
                None => drop(claims.as_object_mut().unwrap().remove(claim)),
                Some(value) => claims[claim] = value,
            }
            assert_eq!(fixture.get("/v1/models", &fixture.signed(&header, &claims)).await.status, 401, "{claims}");
        }
    }
    for (claim, value) in [
        ("roles", json!("admin")),
        ("roles", json!([1])),
        ("roles", json!(vec!["operator"; 33])),
        ("sub", json!("")),
        ("sub", json!("a\nb")),
        ("sub", json!("x".repeat(257))),
        ("kind", json!("device")),
    ] {
        let mut claims = fixture.claims("operator");
        claims[claim] = value;
        refused(&fixture, &fixture.signed(&header, &claims), "malformed_token").await;
    }
}

#[tokio::test]
async fn a_token_too_large_or_with_a_strange_header_is_refused() {
    let fixture = Fixture::start().await;
    let mut claims = fixture.claims("operator");
    claims["more"] = json!("x".repeat(8 * 1024));
    refused(&fixture, &fixture.signed(&json!({ "alg": "EdDSA", "kid": KEY_ID }), &claims), "token_too_large").await;
    for header in [
        json!({ "alg": "EdDSA" }),
        json!({ "alg": "EdDSA", "kid": "" }),
        json!({ "alg": "EdDSA", "kid": "k".repeat(129) }),
        json!({ "alg": "EdDSA", "kid": KEY_ID, "crit": ["exp"] }),
        json!({ "kid": KEY_ID }),
        json!(["EdDSA"]),
    ] {
        refused(&fixture, &fixture.signed(&header, &fixture.claims("operator")), "malformed_token").await;
    }
    for text in ["x", "a.b", "a.b.c", "a.b.c.d", "...", "opk", "ö.ö.ö", "a.b c"] {
        let reply = fixture.get("/v1/models", text).await;
        assert_eq!(reply.status, 401, "{text}");
    }
}

#[tokio::test]
async fn the_key_in_a_tokens_own_header_is_not_believed() {
    let (fixture, stranger) = (Fixture::start().await, Fixture::start().await);
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(stranger.public_key()) });
    let header = json!({ "alg": "EdDSA", "kid": KEY_ID, "jwk": jwk, "jku": "http://127.0.0.1:1/keys" });
    refused(&fixture, &stranger.signed(&header, &fixture.claims("admin")), "token_signature").await;
}

#[tokio::test]
async fn an_api_key_works_until_it_is_revoked() {
    let fixture = Fixture::start().await;
    let key = fixture.api_key("operator");
    assert_eq!(fixture.post(CHAT, &key, &question("hello")).await.status, 200);
    let ended = fixture.records(&["infer.end"]);
    assert_eq!((ended[0]["who"]["auth"].as_str(), ended[0]["who"]["kind"].as_str()), (Some("key"), Some("service")));
    fixture.keys.revoke(&fixture.keys.list().unwrap()[0].id, NOW_S).unwrap();
    refused(&fixture, &key, "api_key_revoked").await;
    refused(&fixture, "opk_00000000_00", "invalid_api_key").await;
}

#[tokio::test]
async fn the_agents_own_account_is_an_admin_on_the_unix_socket_without_a_token() {
    let fixture = Fixture::start().await;
    // No browser reaches a Unix socket, so the host does not matter there.
    let headers = [("host", "anything.example"), ("content-type", "application/json")];
    let reply = fixture.call_unix("POST", CHAT, &headers, question("hello").to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let ended = fixture.records(&["infer.end"]);
    assert_eq!((ended[0]["who"]["auth"].as_str(), ended[0]["who"]["roles"][0].as_str()), (Some("uds"), Some("admin")));
}

#[tokio::test]
async fn an_account_without_a_role_is_refused_on_the_unix_socket_and_a_shown_token_counts_instead() {
    let fixture = Fixture::start_with(Options { local: LocalUsers::none(), ..Options::default() }).await;
    let reply = fixture.call_unix("GET", "/v1/models", &[], "").await;
    assert_eq!((reply.status, reply.code().as_str()), (401, "unknown_account"));
    let bearer = format!("Bearer {}", fixture.token("operator"));
    assert_eq!(fixture.call_unix("GET", "/v1/models", &[("authorization", &bearer)], "").await.status, 200);
}

#[tokio::test]
async fn a_wrong_token_on_the_unix_socket_does_not_fall_back_to_the_account() {
    let fixture = Fixture::start().await;
    let reply = fixture.call_unix("GET", "/v1/models", &[("authorization", "Bearer a.b.c")], "").await;
    assert_eq!(reply.status, 401);
}

#[tokio::test]
async fn a_thousand_knocks_are_a_few_records_that_count_them_all() {
    let mut fixture = Fixture::start().await;
    for _ in 0..50 {
        assert_eq!(fixture.get("/v1/models", "nobody").await.status, 401);
    }
    assert_eq!(fixture.records(&["auth.fail"]).len(), 1);
    fixture.stop().await;
    let counted: i64 =
        fixture.records(&["auth.fail"]).iter().map(|record| record["detail"]["count"].as_i64().unwrap()).sum();
    assert_eq!(counted, 50);
}

#[tokio::test]
async fn a_key_for_one_action_is_refused_another_and_that_is_on_record() {
    let fixture = Fixture::start().await;
    let new = NewApiKey { name: "vectors".to_owned(), roles: vec!["operator".to_owned()], expires_s: None };
    let scope = Scope { actions: vec!["embed".to_owned()], ..Scope::default() };
    let (_, key) = fixture.keys.create_scoped(&new, &scope, NOW_S).unwrap();
    let reply = fixture.post(CHAT, &key, &question("hello")).await;
    assert_eq!((reply.status, reply.code().as_str()), (403, "denied_by_policy"), "{}", reply.text);
    assert_eq!(fixture.records(&["infer.denied"])[0]["dec"]["rules"], json!(["api-key-scope"]));
    let key = fixture.api_key("operator");
    let headers = [("x-api-key", key.as_str()), ("content-type", "application/json")];
    assert_eq!(fixture.call("POST", CHAT, &headers, question("hello").to_string()).await.status, 200);
}

#[tokio::test]
async fn an_open_override_gives_its_roles_marks_every_record_and_ends_by_itself() {
    let fixture = Fixture::start().await;
    let token = fixture.token("nobody");
    assert_eq!(fixture.post(CHAT, &token, &question("hello")).await.status, 403);
    let glass = BreakGlass {
        id: "fire-1".to_owned(),
        roles: vec!["operator".to_owned()],
        user: Some(format!("{}|ada", support::ISSUER)),
        device: None,
        from_s: NOW_S,
        until_s: NOW_S + 300,
        reason: "nobody can be reached".to_owned(),
        sealed_by: vec!["grace".to_owned()],
    };
    fixture.identities.set_break_glass(Some(glass)).unwrap();
    assert_eq!(fixture.post(CHAT, &token, &question("hello")).await.status, 200);
    let started = fixture.records(&["infer.start"]);
    assert!(started[0]["dec"]["rules"].as_array().unwrap().contains(&json!("break-glass:fire-1")), "{}", started[0]);
    assert_eq!(started[0]["who"]["roles"], json!(["nobody"]), "the record shows who the caller is");
    let status = fixture.call_unix("GET", "/outpost/status", &[], "").await.json();
    assert_eq!(status["access"]["break_glass"]["id"], "fire-1");
    fixture.now_s.store(NOW_S + 300, Ordering::SeqCst);
    assert_eq!(fixture.post(CHAT, &token, &question("hello")).await.status, 403);
    let status = fixture.call_unix("GET", "/outpost/status", &[], "").await.json();
    assert!(status["access"]["break_glass"].is_null());
}
