//! People, liars and other sites, against a provider with real keys.

use axum::Router;
use axum::http::StatusCode;
use serde_json::{Value, json};
use url::Url;

use crate::api::caller::{Answer, ask};
use crate::clock::Clock;
use crate::config::Config;
use crate::fleet::{Fleet, FleetError};
use crate::people::oidc::tests::{CLIENT, Issuer, SECRET, Signer, sign_with_secret};
use crate::shares::{Rates, Shares};

const NOW_S: i64 = 1_800_000_000;

/// A link on our own page.
const OURS: (&str, &str) = ("sec-fetch-site", "same-origin");

struct Stage {
    _directory: tempfile::TempDir,
    clock: Clock,
    fleet: Fleet,
    router: Router,
    issuer: Issuer,
    signer: Signer,
}

/// A browser on its way.
struct Way {
    cookie: String,
    state: String,
    nonce: String,
    challenge: String,
}

impl Stage {
    async fn new() -> Self {
        Self::with("").await
    }

    async fn with(more: &str) -> Self {
        let (issuer, signer) = (Issuer::start().await, Signer::p256("first"));
        issuer.publish(&[&signer]);
        let directory = tempfile::tempdir().unwrap();
        let secret = directory.path().join("secret");
        crate::files::write_private(&secret, format!("{SECRET}\n").as_bytes()).unwrap();
        let mut config = Config::new(directory.path().join("state"));
        let settings = format!(
            "url = \"https://fleet.example\"\n[oidc]\nissuer = \"{}\"\nclient_id = \"{CLIENT}\"\nclient_secret_file = {secret:?}\n\
             roles_claim = \"groups\"\n{more}\n[oidc.roles]\nadmins = [\"administrator\"]\nguests = [\"viewer\"]\n",
            issuer.url
        );
        config.login = Some(toml::from_str(&settings).unwrap());
        let clock = Clock::fixed(NOW_S);
        let fleet = Fleet::init(config, clock.clone()).unwrap().fleet;
        let shares = Shares::new(Rates::default(), |_: &outpost_contract::DeviceId| None);
        let router = crate::api::router(fleet.clone(), shares);
        Self { _directory: directory, clock, fleet, router, issuer, signer }
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        ask(&self.router, None, "GET", path, headers, "").await
    }

    async fn begin(&self, headers: &[(&str, &str)]) -> Way {
        let answer = self.get("/login/oidc", headers).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        let place: Url = answer.headers["location"].to_str().unwrap().parse().unwrap();
        assert!(place.as_str().starts_with(&format!("{}/authorize?theme=dark&", self.issuer.url)), "{place}");
        let said = |name: &str| place.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned();
        assert_eq!((said("response_type"), said("client_id")), ("code".to_owned(), CLIENT.to_owned()));
        assert_eq!(said("redirect_uri"), "https://fleet.example/login/oidc/back");
        assert_eq!(
            (said("scope"), said("code_challenge_method")),
            ("openid profile email".to_owned(), "S256".to_owned())
        );
        let cookie = cookie(&answer, "__Host-outpost-login").unwrap();
        for part in ["; Path=/;", "Max-Age=600", "Secure", "HttpOnly", "SameSite=Lax"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        let cookie = cookie.split(';').next().unwrap().to_owned();
        Way { cookie, state: said("state"), nonce: said("nonce"), challenge: said("code_challenge") }
    }

    /// The provider sends a browser back with these words.
    async fn back(&self, way: &Way, words: &str) -> Answer {
        let path = format!("/login/oidc/back?state={}&{words}", way.state);
        self.get(&path, &[("cookie", &way.cookie), ("sec-fetch-site", "cross-site")]).await
    }

    fn words(&self) -> String {
        let issuer: String = url::form_urlencoded::byte_serialize(self.issuer.url.as_bytes()).collect();
        format!("code=c0de&iss={issuer}")
    }

    fn claims(&self, way: &Way, groups: &[&str]) -> Value {
        json!({
            "iss": self.issuer.url, "aud": CLIENT, "sub": "0001", "nonce": way.nonce, "iat": NOW_S, "exp": NOW_S + 300,
            "preferred_username": "ada", "groups": groups,
        })
    }

    /// All of it, with the token that the provider makes.
    async fn sign_in(&self, token: impl FnOnce(&Way) -> String) -> Answer {
        let way = self.begin(&[OURS]).await;
        self.issuer.grant("c0de", &way.challenge, token(&way));
        self.back(&way, &self.words()).await
    }

    async fn sign_in_as(&self, groups: &[&str]) -> Answer {
        self.sign_in(|way| self.signer.sign(&self.claims(way, groups))).await
    }

    async fn may(&self, session: &str, path: &str) -> StatusCode {
        self.get(path, &[("cookie", session)]).await.status
    }

    /// `by act effect error` of each sign-in on record.
    fn records(&self) -> Vec<String> {
        let part = |leaf: &Value, path| leaf.pointer(path).and_then(Value::as_str).unwrap_or("-").to_owned();
        let records = self.fleet.own_records(1000).unwrap();
        let ours = records.iter().filter(|record| record.leaf["act"] == "sign_in");
        ours.map(|record| {
            ["/detail/by", "/who/auth", "/dec/effect", "/res/err"].map(|path| part(&record.leaf, path)).join(" ")
        })
        .collect()
    }
}

fn cookie(answer: &Answer, name: &str) -> Option<String> {
    let cookies = answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap());
    cookies.filter(|cookie| cookie.starts_with(&format!("{name}="))).map(str::to_owned).next()
}

/// The session that an answer begins.
fn session(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let cookie = cookie(answer, "__Host-outpost").unwrap();
    assert!(cookie.contains("SameSite=Strict") && cookie.contains("HttpOnly") && cookie.contains("Secure"), "{cookie}");
    cookie.split(';').next().unwrap().to_owned()
}

fn refused(answer: &Answer, status: u16, says: &str) {
    assert_eq!(answer.status.as_u16(), status, "{says}: {}", answer.text);
    assert!(answer.text.contains(says), "{says}: {}", answer.text);
    assert!(answer.text.contains("role=\"alert\"") && cookie(answer, "__Host-outpost").is_none(), "{says}");
}

#[tokio::test]
async fn whoever_the_provider_vouches_for_has_the_roles_that_it_says_now() {
    let stage = Stage::new().await;
    assert!(stage.get("/login", &[]).await.text.contains("href=\"/login/oidc\""));
    let answer = stage.sign_in_as(&["admins", "others"]).await;
    assert!(answer.text.contains("http-equiv=\"refresh\" content=\"0;url=/console\""));
    assert!(cookie(&answer, "__Host-outpost-login").unwrap().contains("Max-Age=0"), "its cookie is used up");
    let first = session(&answer);
    assert_eq!(stage.may(&first, "/v1/people").await, StatusCode::OK);
    let people = stage.get("/v1/people", &[("cookie", &first)]).await;
    assert_eq!(
        (&people.json["entries"][0]["name"], &people.json["entries"][0]["has_password"]),
        (&json!("ada"), &json!(false))
    );

    let second = session(&stage.sign_in_as(&["guests"]).await);
    for session in [&first, &second] {
        assert_eq!(stage.may(session, "/v1/people").await, StatusCode::FORBIDDEN, "no administrator any more");
        assert_eq!(stage.may(session, "/v1/devices").await, StatusCode::OK);
    }
    refused(&stage.sign_in_as(&["others"]).await, 403, "gives you no role here");
    for session in [&first, &second] {
        assert_eq!(stage.may(session, "/v1/devices").await, StatusCode::UNAUTHORIZED, "nor a session");
    }
    let records = stage.records();
    assert_eq!(records[..2], ["ada oidc - -", "ada oidc - -"]);
    assert!(records[2].starts_with("ada oidc deny you are not let in"), "{records:?}");
}

#[tokio::test]
async fn a_token_that_lies_signs_nobody_in() {
    let stage = Stage::with("audiences = [\"api://fleet\"]").await;
    let other = Signer::p256("first");
    let change = |way: &Way, key: &str, value: Value| {
        let mut claims = stage.claims(way, &["admins"]);
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(key)),
            value => claims[key] = value,
        }
        claims
    };
    let lies: Vec<(&str, Value, &str)> = vec![
        ("iss", json!("https://evil.example"), "another issuer"),
        ("iss", json!([stage.issuer.url, "https://evil.example"]), "token"),
        ("iss", json!(format!("{}/", stage.issuer.url)), "another issuer"),
        ("iss", Value::Null, "claims are not what they have to be"),
        ("aud", json!("somebody"), "for somebody else"),
        ("aud", json!(["api://fleet"]), "for somebody else"),
        ("aud", json!([CLIENT, "somebody"]), "does not name"),
        ("aud", json!([CLIENT, "api://fleet"]), "another client"),
        ("aud", json!([CLIENT, 7]), "token"),
        ("aud", Value::Null, "claims are not what they have to be"),
        ("azp", json!("somebody"), "another client"),
        ("azp", json!(["outpost"]), "another client"),
        ("nonce", json!("0".repeat(64)), "another sign-in"),
        ("nonce", Value::Null, "another sign-in"),
        ("exp", json!(NOW_S - 60), "has expired"),
        ("exp", json!("never"), "claims are not what they have to be"),
        ("exp", Value::Null, "claims are not what they have to be"),
        ("iat", json!(NOW_S + 61), "of the future"),
        ("iat", json!(NOW_S - 661), "too long ago"),
        ("iat", Value::Null, "when it was issued"),
        ("nbf", json!(NOW_S + 61), "of the future"),
        ("nbf", json!("now"), "not a number"),
        ("sub", json!(""), "whom it is about"),
        ("sub", json!("x".repeat(256)), "whom it is about"),
        ("sub", Value::Null, "claims are not what they have to be"),
    ];
    for (key, value, says) in lies {
        let token = |way: &Way| stage.signer.sign(&change(way, key, value.clone()));
        refused(&stage.sign_in(token).await, 400, says);
        stage.forgive();
    }
    let headers = [
        (json!({ "alg": "ES256" }), "does not name its key"),
        (json!({ "alg": "ES256", "kid": "first", "crit": ["x"] }), "extensions"),
        (json!({ "alg": "ES384", "kid": "first" }), "its key is not for"),
        (json!({ "alg": "EdDSA", "kid": "first" }), "its key is not for"),
        (json!({ "alg": "HS256", "kid": "first" }), "not accepted"),
        (json!({ "alg": "ES256", "kid": "second" }), "not the provider"),
        (json!({ "alg": "ES256", "kid": "x".repeat(129) }), "does not name its key"),
    ];
    for (header, says) in headers {
        let token = |way: &Way| stage.signer.sign_under(&header, &stage.claims(way, &["admins"]));
        refused(&stage.sign_in(token).await, 400, says);
        stage.forgive();
    }
    let sign = |way: &Way, secret: Option<&[u8]>| sign_with_secret("first", secret, &stage.claims(way, &["admins"]));
    refused(&stage.sign_in(|way| sign(way, None)).await, 400, "not accepted");
    refused(&stage.sign_in(|way| sign(way, Some(&stage.signer.public))).await, 400, "not accepted");
    refused(&stage.sign_in(|way| sign(way, Some(SECRET.as_bytes()))).await, 400, "not accepted");
    refused(&stage.sign_in(|way| other.sign(&stage.claims(way, &["admins"]))).await, 400, "signature does not hold");
    let cut = |way: &Way| stage.signer.sign(&stage.claims(way, &[])).rsplit_once('.').unwrap().0.to_owned();
    refused(&stage.sign_in(cut).await, 400, "the token is none");
    refused(&stage.sign_in(|_| "x".repeat(64 * 1024 + 1)).await, 400, "too large");
    assert!(stage.records().iter().all(|record| record.starts_with(" oidc - ") || record.starts_with("- oidc - ")));
    assert!(stage.fleet.people().unwrap().is_empty(), "nobody was entered");

    stage.forgive();
    let several = json!([CLIENT, "api://fleet"]);
    let honest = |way: &Way| {
        let mut claims = change(way, "aud", several);
        (claims["azp"], claims["exp"], claims["iat"]) = (json!(CLIENT), json!(NOW_S - 59), json!(NOW_S + 60));
        stage.signer.sign(&claims)
    };
    session(&stage.sign_in(honest).await);
}

impl Stage {
    /// As if the address had never failed.
    fn forgive(&self) {
        let forget = |connection: &crate::db::sql::Connection| connection.execute("DELETE FROM sign_in_failures", []);
        self.fleet.inner.database.write(|transaction| Ok(forget(transaction)?)).unwrap();
    }
}

#[tokio::test]
async fn an_answer_counts_once_in_the_browser_that_began_and_for_ten_minutes() {
    let stage = Stage::new().await;
    let grant = |way: &Way| {
        let token = stage.signer.sign(&stage.claims(way, &["admins"]));
        stage.issuer.grant("c0de", &way.challenge, token);
    };
    // Sign-in forced on somebody: the answer is another browser's.
    let (mine, theirs) = (stage.begin(&[OURS]).await, stage.begin(&[OURS]).await);
    grant(&mine);
    let forced = Way { cookie: theirs.cookie.clone(), state: mine.state.clone(), ..stage.begin(&[OURS]).await };
    refused(&stage.back(&forced, &stage.words()).await, 400, "this browser did not begin it");
    let without = Way { cookie: "theme=dark".to_owned(), state: mine.state.clone(), ..stage.begin(&[OURS]).await };
    refused(&stage.back(&without, &stage.words()).await, 400, "this browser did not begin it");
    let twice = Way { cookie: format!("{}; {}", mine.cookie, theirs.cookie), ..stage.begin(&[OURS]).await };
    refused(&stage.back(&Way { state: mine.state.clone(), ..twice }, &stage.words()).await, 400, "did not begin it");
    let doubled = format!("{}&state={}", stage.words(), theirs.state);
    refused(&stage.back(&mine, &doubled).await, 400, "stands there twice");
    assert!(stage.records().is_empty(), "what nobody began is nobody's attempt");

    session(&stage.back(&mine, &stage.words()).await);
    grant(&mine);
    refused(&stage.back(&mine, &stage.words()).await, 400, "this browser did not begin it");
    let late = stage.begin(&[OURS]).await;
    grant(&late);
    stage.clock.advance(600);
    refused(&stage.back(&late, &stage.words()).await, 400, "or too long ago");
    // A code that the provider gave to somebody else's sign-in is of no use in mine.
    stage.clock.advance(-600);
    let (mine, theirs) = (stage.begin(&[OURS]).await, stage.begin(&[OURS]).await);
    grant(&theirs);
    refused(&stage.back(&mine, &stage.words()).await, 400, "does not accept the code");
}

#[tokio::test]
async fn an_answer_of_another_provider_is_not_taken_for_ours() {
    let stage = Stage::new().await;
    for words in ["code=c0de", "code=c0de&iss=https%3A%2F%2Fevil.example", "code=c0de&iss="] {
        let way = stage.begin(&[OURS]).await;
        let token = stage.signer.sign(&stage.claims(&way, &["admins"]));
        stage.issuer.grant("c0de", &way.challenge, token);
        refused(&stage.back(&way, words).await, 400, "from another provider");
    }
    let way = stage.begin(&[OURS]).await;
    let words = format!("{}&error=access_denied%3Cscript%3E&next=https://evil.example", stage.words());
    let answer = stage.back(&way, &words).await;
    refused(&answer, 403, "access_denied&lt;script&gt;");
    assert!(!answer.text.contains("evil.example") && !answer.headers.contains_key("location"));
    assert!(stage.records().iter().any(|record| record.contains("access_denied")));
}

#[tokio::test]
async fn another_site_sends_nobody_to_the_provider_and_an_earlier_session_ends() {
    let stage = Stage::new().await;
    for site in ["cross-site", "same-site"] {
        let answer = stage.get("/login/oidc", &[("sec-fetch-site", site)]).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert!(cookie(&answer, "__Host-outpost-login").is_none());
    }
    let first = session(&stage.sign_in_as(&["guests"]).await);
    let way = stage.begin(&[OURS, ("cookie", &first)]).await;
    stage.issuer.grant("c0de", &way.challenge, stage.signer.sign(&stage.claims(&way, &["guests"])));
    let planted = format!("__Host-outpost={}", "0".repeat(64));
    let both = Way { cookie: format!("{}; {planted}", way.cookie), ..way };
    let second = session(&stage.back(&both, &stage.words()).await);
    assert!(second != first && second != planted);
    assert_eq!(
        stage.may(&first, "/v1/devices").await,
        StatusCode::UNAUTHORIZED,
        "the browser's earlier session is over"
    );
    assert_eq!(stage.may(&planted, "/v1/devices").await, StatusCode::UNAUTHORIZED);
    assert_eq!(stage.may(&second, "/v1/devices").await, StatusCode::OK);
}

#[tokio::test]
async fn keys_are_read_again_for_a_new_one_but_not_whenever_somebody_asks() {
    let stage = Stage::new().await;
    session(&stage.sign_in_as(&["guests"]).await);
    session(&stage.sign_in_as(&["guests"]).await);
    assert_eq!(stage.issuer.says.lock().asked_for_keys, 1);
    let next = Signer::ed25519("next");
    stage.issuer.publish(&[&next]);
    refused(&stage.sign_in(|way| next.sign(&stage.claims(way, &["guests"]))).await, 400, "not the provider");
    assert_eq!(stage.issuer.says.lock().asked_for_keys, 1, "read less than a minute ago");
    stage.clock.advance(60);
    session(&stage.sign_in(|way| next.sign(&stage.claims(way, &["guests"]))).await);
    assert_eq!(stage.issuer.says.lock().asked_for_keys, 2);
    refused(&stage.sign_in_as(&["guests"]).await, 400, "not the provider");
    let says = stage.issuer.says.lock();
    assert_eq!((says.asked_for_keys, says.asked_for_itself), (2, 1));
}

#[tokio::test]
async fn a_provider_that_is_not_what_it_should_be_is_told_in_the_log_alone() {
    let stage = Stage::new().await;
    let change = |key: &str, value: Value| stage.issuer.says.lock().document[key] = value;
    let honest = stage.issuer.says.lock().document.clone();
    for (key, value) in [
        ("issuer", json!("https://evil.example")),
        ("authorization_endpoint", json!("http://evil.example/authorize")),
        ("authorization_endpoint", json!("javascript:alert(1)")),
        ("token_endpoint", json!("http://169.254.169.254/")),
        ("jwks_uri", json!("file:///etc/passwd")),
        ("code_challenge_methods_supported", json!(["plain"])),
        ("padding", json!("x".repeat(256 * 1024))),
    ] {
        change(key, value);
        let answer = stage.get("/login/oidc", &[OURS]).await;
        refused(&answer, 502, "cannot be reached as it should be");
        assert!(!answer.text.contains("evil") && !answer.headers.contains_key("location"), "{key}");
        // A moment later it is not asked again, then it is.
        let asked = stage.issuer.says.lock().asked_for_itself;
        stage.get("/login/oidc", &[OURS]).await;
        assert_eq!(stage.issuer.says.lock().asked_for_itself, asked, "{key}");
        stage.issuer.says.lock().document = honest.clone();
        stage.clock.advance(5);
    }
    stage.issuer.says.lock().keys_elsewhere = true;
    refused(&stage.sign_in_as(&["guests"]).await, 502, "cannot be reached as it should be");
    assert!(stage.records().last().unwrap().contains("not followed"));
}

#[tokio::test]
async fn the_provider_makes_nobody_into_somebody_who_is_here_and_a_lock_here_counts() {
    let stage = Stage::new().await;
    let operator = ["operator".to_owned()];
    stage.fleet.add_person("ada", &operator).unwrap();
    refused(&stage.sign_in_as(&["admins"]).await, 403, "somebody else's name");
    assert_eq!(stage.fleet.people().unwrap()[0].roles, operator);
    stage.fleet.remove_person("ada").unwrap();
    let signed_in = session(&stage.sign_in_as(&["guests"]).await);
    // Whoever takes the name at the provider is somebody else.
    let other = |way: &Way| {
        let mut claims = stage.claims(way, &["admins"]);
        claims["sub"] = json!("0002");
        stage.signer.sign(&claims)
    };
    refused(&stage.sign_in(other).await, 403, "somebody else");
    // Whoever changes their name there is who they were.
    let renamed = |way: &Way| {
        let mut claims = stage.claims(way, &["guests"]);
        claims["preferred_username"] = json!("countess");
        stage.signer.sign(&claims)
    };
    session(&stage.sign_in(renamed).await);
    assert_eq!(stage.fleet.people().unwrap().len(), 1);
    for change in [
        stage.fleet.set_person_roles("ada", &operator),
        stage.fleet.reset_person("ada").map(drop),
        stage.fleet.give_authenticator("ada").map(drop),
    ] {
        assert!(matches!(&change, Err(FleetError::Person(why)) if why.contains("[login.oidc]")), "{change:?}");
    }
    stage.fleet.disable_person("ada", true).unwrap();
    assert_eq!(stage.may(&signed_in, "/v1/devices").await, StatusCode::UNAUTHORIZED);
    refused(&stage.sign_in_as(&["admins"]).await, 403, "locked you out");
    stage.fleet.disable_person("ada", false).unwrap();
    session(&stage.sign_in_as(&["guests"]).await);
}

#[tokio::test]
async fn without_a_provider_there_is_none() {
    let caller = crate::api::caller::Caller::new();
    let answer = ask(&caller.router, None, "GET", "/login/oidc", &[OURS], "").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert!(!ask(&caller.router, None, "GET", "/login", &[], "").await.text.contains("/login/oidc"));
}
