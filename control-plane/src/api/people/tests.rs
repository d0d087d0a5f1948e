//! Cookies, origins and tokens, as a browser and an attacker send them.

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use sha2::{Digest as _, Sha256};
use tower::ServiceExt as _;

use crate::clock::Clock;
use crate::config::Config;
use crate::fleet::Fleet;
use crate::http::Peer;
use crate::shares::{Rates, Shares};

const PASSWORD: &str = "correct horse battery";

struct Stage {
    _directory: tempfile::TempDir,
    fleet: Fleet,
    admin_token: String,
}

impl Stage {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let made = Fleet::init(Config::new(directory.path()), Clock::fixed(1_800_000_000)).unwrap();
        Self { _directory: directory, fleet: made.fleet, admin_token: made.admin_token }
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response<Body> {
        let shares = Shares::new(Rates::default(), |_: &outpost_contract::DeviceId| None);
        let router = crate::api::router(self.fleet.clone(), shares);
        let mut request = Request::builder().method(method).uri(path).header("host", "fleet.example");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let peer = Peer::stranger("192.0.2.7:4000".parse().unwrap());
        router.oneshot(request.extension(peer).body(Body::from(body.to_owned())).unwrap()).await.unwrap()
    }

    /// Ada, who may administer, signed in: her cookie as the browser sends it.
    async fn signed_in(&self, role: &str) -> String {
        let code = self.fleet.add_person("ada", &[role.to_owned()]).unwrap();
        let ours = [("sec-fetch-site", "same-origin")];
        let first = self.ask("POST", "/login/first", &ours, &format!("name=ada&code={code}&password={PASSWORD}")).await;
        assert_eq!(first.status(), StatusCode::SEE_OTHER);
        let answer = self.ask("POST", "/login", &ours, &format!("name=ada&password={PASSWORD}")).await;
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        let cookie = answer.headers()["set-cookie"].to_str().unwrap();
        for part in ["__Host-outpost=", "; Path=/;", "Secure", "HttpOnly", "SameSite=Strict"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        cookie.split(';').next().unwrap().to_owned()
    }
}

const CODE: &str = r#"{"device": "till-7"}"#;

#[tokio::test]
async fn another_site_cannot_act_with_the_cookie() {
    let stage = Stage::new();
    let cookie = stage.signed_in("administrator").await;
    assert_eq!(stage.ask("GET", "/v1/devices", &[("cookie", &cookie)], "").await.status(), StatusCode::OK);
    for (headers, is_ours) in [
        (vec![], false),
        (vec![("sec-fetch-site", "cross-site")], false),
        (vec![("sec-fetch-site", "same-site")], false),
        (vec![("sec-fetch-site", "cross-site"), ("origin", "https://fleet.example")], false),
        (vec![("origin", "https://evil.example")], false),
        (vec![("origin", "http://fleet.example")], false),
        (vec![("origin", "null")], false),
        (vec![("origin", "https://fleet.example")], true),
        (vec![("sec-fetch-site", "same-origin")], true),
    ] {
        let mut sent = vec![("cookie", cookie.as_str()), ("content-type", "application/json")];
        sent.extend(headers.iter().copied());
        let status = stage.ask("POST", "/v1/codes", &sent, CODE).await.status();
        assert_eq!(status.is_success(), is_ours, "{headers:?}: {status}");
        assert!(is_ours || status == StatusCode::FORBIDDEN, "{headers:?}: {status}");
    }
    let planted = format!("{cookie}; __Host-outpost={}", "0".repeat(64));
    let two = stage.ask("GET", "/v1/devices", &[("cookie", &planted)], "").await;
    assert_eq!(two.status(), StatusCode::UNAUTHORIZED, "of two cookies neither counts");
}

#[tokio::test]
async fn signing_out_ends_the_session() {
    let stage = Stage::new();
    let cookie = stage.signed_in("viewer").await;
    let ours = [("cookie", cookie.as_str()), ("sec-fetch-site", "same-origin")];
    assert_eq!(stage.ask("POST", "/v1/codes", &ours, CODE).await.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let typed = [ours[0], ours[1], ("content-type", "application/json")];
    assert_eq!(
        stage.ask("POST", "/v1/codes", &typed, CODE).await.status(),
        StatusCode::FORBIDDEN,
        "a viewer only sees"
    );
    assert_eq!(stage.ask("POST", "/logout", &ours, "").await.status(), StatusCode::SEE_OTHER);
    assert_eq!(stage.ask("GET", "/v1/devices", &ours, "").await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_record_of_an_act_holds_the_digest_of_what_was_sent() {
    let stage = Stage::new();
    let bearer = format!("Bearer {}", stage.admin_token);
    let typed = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let with_key = [typed[0], typed[1], ("idempotency-key", "k")];
    for headers in [&typed[..], &with_key] {
        assert!(stage.ask("POST", "/v1/codes", headers, CODE).await.status().is_success());
    }
    assert!(stage.ask("GET", "/v1/people", &typed[..1], "").await.status().is_success());
    let expected = hex::encode(Sha256::digest(CODE));
    let records = stage.fleet.own_records(100).unwrap();
    let of = |act: &str| -> Vec<_> {
        let ours = records.iter().filter(|record| record.leaf["act"] == act);
        ours.map(|record| record.leaf["detail"]["sent_sha256"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(of("enrol"), [expected.clone(), expected]);
    assert_eq!(of("administer"), [""], "nothing was sent");
    // What somebody signs in with is nowhere, not as a digest either.
    stage.signed_in("viewer").await;
    let records = stage.fleet.own_records(100).unwrap();
    let signing =
        records.iter().filter(|record| record.leaf["act"] == "sign_in" || record.leaf["act"] == "set_password");
    assert!(
        signing.clone().count() == 2
            && signing.clone().all(|record| record.leaf["detail"].get("sent_sha256").is_none())
    );
}

#[tokio::test]
async fn a_token_counts_in_its_header_only() {
    let stage = Stage::new();
    let token = stage.fleet.create_api_token("ci", &["viewer".to_owned()], &[], 1).unwrap();
    for token in [&token, &stage.admin_token] {
        let bearer = format!("Bearer {token}");
        assert_eq!(stage.ask("GET", "/v1/devices", &[("authorization", &bearer)], "").await.status(), StatusCode::OK);
        for path in [format!("/v1/devices?access_token={token}"), format!("/v1/devices?token={token}")] {
            assert_eq!(stage.ask("GET", &path, &[], "").await.status(), StatusCode::UNAUTHORIZED, "{path}");
        }
    }
    let wrong = [("authorization", "Bearer opc_0000")];
    assert_eq!(stage.ask("GET", "/v1/devices", &wrong, "").await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_pages_of_signing_in_are_strict_and_give_no_cookie_to_a_stranger() {
    let stage = Stage::new();
    for path in ["/login", "/login/first"] {
        let page = stage.ask("GET", path, &[], "").await;
        assert_eq!(page.status(), StatusCode::OK);
        assert!(page.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
        assert!(!page.headers().contains_key("set-cookie"));
        let elsewhere = [("origin", "https://evil.example")];
        let forced = stage.ask("POST", path, &elsewhere, "name=ada&password=x").await;
        assert_eq!(forced.status(), StatusCode::FORBIDDEN, "{path}");
    }
    let ours = [("sec-fetch-site", "same-origin")];
    let wrong = stage.ask("POST", "/login", &ours, "name=<script>&password=x").await;
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    assert!(!wrong.headers().contains_key("set-cookie"));
}

#[tokio::test]
async fn a_person_looks_after_their_account_without_a_script() {
    let stage = Stage::new();
    let cookie = stage.signed_in("viewer").await;
    let ours = [("cookie", cookie.as_str()), ("sec-fetch-site", "same-origin"), FORM];
    let text = async |response: Response<Body>| {
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    };
    let page = text(stage.ask("GET", "/console/account", &ours[..1], "").await).await;
    for shown in ["My account", "this browser", "/console/account/password", "/console/account/authenticator\""] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    assert!(!page.contains("/console/account/codes"), "no authenticator, no recovery codes");
    let wrong = stage.ask("POST", "/console/account/authenticator", &ours, "current=wrong").await;
    assert_eq!(wrong.status(), StatusCode::BAD_REQUEST);
    let page = text(wrong).await;
    assert!(
        page.contains("aria-describedby=\"problem-authenticator\"") && page.contains("id=\"problem-authenticator\"")
    );
    let offered = stage.ask("POST", "/console/account/authenticator", &ours, &format!("current={PASSWORD}")).await;
    assert!(text(offered).await.contains("otpauth://totp/outpost:ada?secret="));
    let new = format!("current={PASSWORD}&new=seven mild otters");
    let elsewhere = [ours[0], ("sec-fetch-site", "cross-site"), FORM];
    assert_eq!(stage.ask("POST", "/console/account/password", &elsewhere, &new).await.status(), StatusCode::FORBIDDEN);
    let changed = stage.ask("POST", "/console/account/password", &ours, &new).await;
    assert_eq!(changed.headers()["location"], "/console/account?done=password-changed");
    let none = format!("id={}", "0".repeat(64));
    assert_eq!(stage.ask("POST", "/console/account/sessions/end", &ours, &none).await.status(), StatusCode::NOT_FOUND);
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
