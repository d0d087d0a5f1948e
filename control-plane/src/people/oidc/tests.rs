//! A provider in this process, with real keys, that says what a test wants.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub(crate) const CLIENT: &str = "outpost";
pub(crate) const SECRET: &str = "s:cret & more";

/// A key that signs, and what the provider publishes of it.
pub(crate) struct Signer {
    pub(crate) kid: String,
    pub(crate) public: Vec<u8>,
    algorithm: Algorithm,
    key: EncodingKey,
    jwk: Value,
}

impl Signer {
    pub(crate) fn p256(kid: &str) -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let public = pair.public_key_raw().to_vec();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&public[1..33]), URL_SAFE_NO_PAD.encode(&public[33..]));
        let jwk = json!({ "kty": "EC", "crv": "P-256", "kid": kid, "use": "sig", "alg": "ES256", "x": x, "y": y });
        let key = EncodingKey::from_ec_der(&pair.serialize_der());
        Self { kid: kid.to_owned(), public, algorithm: Algorithm::ES256, key, jwk }
    }

    pub(crate) fn ed25519(kid: &str) -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let public = pair.public_key_raw().to_vec();
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": URL_SAFE_NO_PAD.encode(&public) });
        let key = EncodingKey::from_ed_der(&pair.serialize_der());
        Self { kid: kid.to_owned(), public, algorithm: Algorithm::EdDSA, key, jwk }
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        let mut header = jsonwebtoken::Header::new(self.algorithm);
        header.kid = Some(self.kid.clone());
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }

    /// A token whose header is anything at all, over a signature that holds.
    pub(crate) fn sign_under(&self, header: &Value, claims: &Value) -> String {
        let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encoded(header), encoded(claims));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }
}

/// A token that is signed with a secret, or not at all.
pub(crate) fn sign_with_secret(kid: &str, secret: Option<&[u8]>, claims: &Value) -> String {
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let alg = if secret.is_some() { "HS256" } else { "none" };
    let message = format!("{}.{}", encoded(&json!({ "alg": alg, "kid": kid })), encoded(claims));
    let signature = secret.map(|secret| {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
        URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&key, message.as_bytes()))
    });
    format!("{message}.{}", signature.unwrap_or_default())
}

/// What the provider answers, and what it was asked.
#[derive(Default)]
pub(crate) struct Says {
    pub(crate) document: Value,
    pub(crate) keys: Vec<Value>,
    /// Tokens by code, each for whoever knows the verifier of this challenge.
    grants: HashMap<String, (String, String)>,
    /// Sends whoever asks for its keys elsewhere.
    pub(crate) keys_elsewhere: bool,
    pub(crate) asked_for_keys: usize,
    pub(crate) asked_for_itself: usize,
}

#[derive(Clone)]
pub(crate) struct Issuer {
    pub(crate) url: String,
    pub(crate) says: Arc<Mutex<Says>>,
}

impl Issuer {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let document = json!({
            "issuer": url, "authorization_endpoint": format!("{url}/authorize?theme=dark"),
            "token_endpoint": format!("{url}/token"), "jwks_uri": format!("{url}/keys"),
            "code_challenge_methods_supported": ["plain", "S256"],
            "authorization_response_iss_parameter_supported": true,
        });
        let says = Arc::new(Mutex::new(Says { document, ..Says::default() }));
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(itself))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .with_state(Arc::clone(&says));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, says }
    }

    /// Publishes these keys and no other.
    pub(crate) fn publish(&self, signers: &[&Signer]) {
        self.says.lock().keys = signers.iter().map(|signer| signer.jwk.clone()).collect();
    }

    /// A person agreed: this code is good for that token, once.
    pub(crate) fn grant(&self, code: &str, challenge: &str, token: String) {
        self.says.lock().grants.insert(code.to_owned(), (challenge.to_owned(), token));
    }
}

async fn itself(State(says): State<Arc<Mutex<Says>>>) -> Response {
    let mut says = says.lock();
    says.asked_for_itself += 1;
    axum::Json(says.document.clone()).into_response()
}

async fn keys(State(says): State<Arc<Mutex<Says>>>) -> Response {
    let mut says = says.lock();
    says.asked_for_keys += 1;
    if says.keys_elsewhere {
        return (StatusCode::FOUND, [(header::LOCATION, "/keys")]).into_response();
    }
    axum::Json(json!({ "keys": says.keys })).into_response()
}

async fn token(State(says): State<Arc<Mutex<Says>>>, headers: HeaderMap, body: Bytes) -> Response {
    let fields: HashMap<String, String> = url::form_urlencoded::parse(&body).into_owned().collect();
    let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
    let encoded: String = url::form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
    let expected = format!("Basic {}", STANDARD.encode(format!("{CLIENT}:{encoded}")));
    let refused = |error: &str| (StatusCode::BAD_REQUEST, axum::Json(json!({ "error": error }))).into_response();
    if headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) != Some(expected.as_str()) {
        return refused("invalid_client");
    }
    if field("grant_type") != "authorization_code" || field("redirect_uri") != "https://fleet.example/login/oidc/back" {
        return refused("invalid_request");
    }
    match says.lock().grants.remove(field("code")) {
        Some((challenge, token)) if challenge == URL_SAFE_NO_PAD.encode(Sha256::digest(field("code_verifier"))) => {
            axum::Json(json!({ "access_token": "none", "token_type": "Bearer", "id_token": token })).into_response()
        }
        _ => refused("invalid_grant"),
    }
}

proptest::proptest! {
    #[test]
    fn any_query_is_an_answer_or_refused(query in "\\PC{0,200}|((state|code|iss|error)=[a-z%0-9]{0,12}&){0,5}") {
        let count = |key: &str| url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == key).count();
        let is_doubled = ["state", "code", "iss", "error"].into_iter().any(|key| count(key) > 1);
        proptest::prop_assert_eq!(super::Answer::read(&query).is_err(), is_doubled);
    }
}
