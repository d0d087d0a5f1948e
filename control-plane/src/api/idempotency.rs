//! `Idempotency-Key`: a POST that may be sent again, because its answer was lost on the way, and is done once.
//!
//! ```text
//! key + body ──► begun, durable ──► done, even if the client hangs up ──► answer, sealed and durable ──► client
//!                  ├ same key, same body, answered ──► that answer again, `idempotency-replayed: true`
//!                  ├ same key, same body, being done ──► 409
//!                  └ same key, another body ──► 422
//! ```
//!
//! A key is bound to who asks, and to the route, for 24 hours. A refusal (4xx, 503) did nothing and leaves its key free. What a
//! server was doing when it ended is not done again: 409 says so for as long as the key is kept, since nobody knows how far it
//! came. Answers can hold secrets that are shown once, and the database holds none in clear: an answer is sealed under the
//! credential with which it was asked for.

use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};

use super::ApiError;
use super::identity::{Operator, cookie};
use crate::db::{Bounds, Keyed, Standing};
use crate::fleet::{Fleet, FleetError};
use crate::tokens::random;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Longest key.
const KEY_BYTES: usize = 255;

/// Largest body of a request with a key; each route has its own, smaller limit.
const BODY_BYTES: usize = crate::onefile::FLEET_FILE_BYTES;

/// Largest answer that is kept. A longer one is given this once: sent again, the request is told that nobody knows.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// Largest answer that there is.
const LONGEST_ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// How long a key is kept, seconds.
const KEPT_S: i64 = 24 * 60 * 60;

/// Keys of one actor, and bytes of the answers to them.
const KEYS: i64 = 10_000;
const BYTES: i64 = 64 * 1024 * 1024;

/// After so long nobody does it any more: every answer comes within half of that.
const GIVEN_UP: Duration = Duration::from_secs(60);

/// Routes of devices, which have their own ways of being asked twice, and change nothing that somebody else could have seen.
pub(super) const OF_DEVICES: [&str; 3] = ["/v1/enrol", "/v1/renew", "/v1/self/renew"];

/// Does a request with a key once.
pub(crate) async fn once(State(fleet): State<Fleet>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_ours = request.method() == Method::POST && path.starts_with("/v1/") && !OF_DEVICES.contains(&path);
    if !is_ours || !request.headers().contains_key(KEY) {
        return next.run(request).await;
    }
    match begin(&fleet, request).await {
        // In a task of its own: a client that hangs up does not end it half-way.
        Ok(Begun { keyed, seal, request }) => {
            let run = async move { finish(&fleet, keyed, seal, next.run(request).await).await };
            tokio::spawn(run).await.unwrap_or_else(|_| failed())
        }
        Err(answer) => answer,
    }
}

/// A request that nobody else does.
struct Begun {
    keyed: Keyed,
    seal: Seal,
    request: Request,
}

async fn begin(fleet: &Fleet, request: Request) -> Result<Begun, Response> {
    let (mut parts, body) = request.into_parts();
    let Operator(actor) = Operator::from_request_parts(&mut parts, fleet).await.map_err(IntoResponse::into_response)?;
    let key = key(&parts).ok_or_else(|| {
        let message = format!("`Idempotency-Key` is one value of 1 to {KEY_BYTES} printable ASCII characters");
        ApiError::bad_request(message).into_response()
    })?;
    let body = axum::body::to_bytes(body, BODY_BYTES).await.map_err(|_| {
        let message = format!("the body is larger than {BODY_BYTES} bytes, or broke off");
        ApiError::BadRequest { status: StatusCode::PAYLOAD_TOO_LARGE, message }.into_response()
    })?;
    // Without scheme and host, which one version of HTTP sends and the other does not.
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let route = format!("{} {path}", parts.method);
    let seal = Seal::new(&parts, &route, &key);
    let keyed = Keyed {
        actor: format!("{} {}", actor.means.name(), actor.name),
        route,
        key: hex::encode(Sha256::digest(&key)),
        request: digest(&parts, &body),
    };
    let asked = keyed.clone();
    let standing = fleet.run(move |fleet| {
        let now_s = fleet.now_s();
        let bounds = Bounds { forgotten_s: now_s - KEPT_S, keys: KEYS, bytes: BYTES };
        fleet.inner.database.begin_keyed(&asked, bounds, now_s)
    });
    let standing = standing.await.map_err(|error| ApiError::from(FleetError::from(error)).into_response())?;
    match standing {
        Standing::Begun => Ok(Begun { keyed, seal, request: Request::from_parts(parts, Body::from(body)) }),
        Standing::Answered(sealed) => Err(seal.open(sealed).map_or_else(elsewhere, |kept| replay(&kept))),
        Standing::InFlight { since_s } => Err(in_flight(fleet.now_s() - since_s)),
        Standing::Other => Err(ApiError::Idempotency {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            code: "key_reused",
            message: "this `Idempotency-Key` came with another body before; choose a new one for a new request",
        }
        .into_response()),
        Standing::TooMany => Err(ApiError::Idempotency {
            status: StatusCode::TOO_MANY_REQUESTS,
            code: "too_many_keys",
            message: "too many `Idempotency-Key`s within 24 hours; wait, or leave it out where sending twice does no harm",
        }
        .into_response()),
    }
}

/// Keeps an answer that says that something was done, or may have been.
async fn finish(fleet: &Fleet, keyed: Keyed, seal: Seal, response: Response) -> Response {
    let status = response.status();
    let refused = status.is_client_error() || status == StatusCode::SERVICE_UNAVAILABLE;
    let (parts, body) = response.into_parts();
    let Ok(body) = axum::body::to_bytes(body, LONGEST_ANSWER_BYTES).await else { return failed() };
    let sealed = if refused || body.len() > ANSWER_BYTES { None } else { seal.close(status, &body) };
    let kept = fleet.run(move |fleet| match sealed {
        Some(sealed) => fleet.inner.database.answer_keyed(&keyed, &sealed),
        None if refused => fleet.inner.database.free_keyed(&keyed),
        None => Ok(()),
    });
    // It is done: the client learns it now even if it could not learn it again.
    if let Err(error) = kept.await {
        tracing::error!(%error, "the answer to a request with an idempotency key cannot be kept");
    }
    Response::from_parts(parts, Body::from(body))
}

/// What was answered.
struct Kept {
    status: StatusCode,
    body: Vec<u8>,
}

fn replay(kept: &Kept) -> Response {
    let headers = [(CONTENT_TYPE, "application/json"), (REPLAYED, "true")];
    (kept.status, headers, Bytes::copy_from_slice(&kept.body)).into_response()
}

fn in_flight(since_s: i64) -> Response {
    let is_given_up = Duration::from_secs(u64::try_from(since_s).unwrap_or(0)) > GIVEN_UP;
    let (code, message) = if is_given_up {
        (
            "outcome_unknown",
            "the control plane ended while it did this; look whether it is done, and ask with a new `Idempotency-Key` if not",
        )
    } else {
        ("in_flight", "a request with this `Idempotency-Key` is being done; ask again in a second")
    };
    ApiError::Idempotency { status: StatusCode::CONFLICT, code, message }.into_response()
}

fn elsewhere() -> Response {
    ApiError::Idempotency {
        status: StatusCode::CONFLICT,
        code: "key_of_another_credential",
        message: "this `Idempotency-Key` was answered to another token or session of yours; look whether it is done, and choose a new one",
    }
    .into_response()
}

fn failed() -> Response {
    ApiError::from(FleetError::Record("the answer to a request with an idempotency key".to_owned())).into_response()
}

/// The key, if it is one.
fn key(parts: &Parts) -> Option<Vec<u8>> {
    let mut sent = parts.headers.get_all(KEY).iter();
    let (first, second) = (sent.next()?.as_bytes(), sent.next());
    let is_plain = (1..=KEY_BYTES).contains(&first.len()) && first.iter().all(u8::is_ascii_graphic);
    (second.is_none() && is_plain).then(|| first.to_vec())
}

/// What makes a body the same: its bytes, and what they are said to be.
fn digest(parts: &Parts, body: &[u8]) -> [u8; 32] {
    let kind = parts.headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let mut hasher = Sha256::new();
    hasher.update((kind.len() as u64).to_le_bytes());
    hasher.update(kind);
    hasher.update(body);
    hasher.finalize().into()
}

/// Seals answers under the credential of the caller, which the database has by its hash only.
struct Seal {
    key: LessSafeKey,
}

impl Seal {
    fn new(parts: &Parts, route: &str, key: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"outpost idempotent answer 1");
        let token = parts.headers.get(AUTHORIZATION).map_or(&b""[..], HeaderValue::as_bytes);
        let session = cookie(&parts.headers).unwrap_or_default();
        for part in [token, session.as_bytes(), route.as_bytes(), key] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let key = UnboundKey::new(&AES_256_GCM, &hasher.finalize()).expect("a digest has the length of a key");
        Self { key: LessSafeKey::new(key) }
    }

    fn close(&self, status: StatusCode, body: &[u8]) -> Option<Vec<u8>> {
        let nonce = random::<12>().ok()?;
        let mut sealed = [&status.as_u16().to_le_bytes()[..], body].concat();
        let unique = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(unique, Aad::empty(), &mut sealed).ok()?;
        Some([&nonce[..], &sealed].concat())
    }

    fn open(&self, sealed: Vec<u8>) -> Option<Kept> {
        let (nonce, sealed) = sealed.split_first_chunk::<12>()?;
        let mut opened = sealed.to_vec();
        let opened = self.key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::empty(), &mut opened).ok()?;
        let (status, body) = opened.split_first_chunk::<2>()?;
        let status = StatusCode::from_u16(u16::from_le_bytes(*status)).ok()?;
        Some(Kept { status, body: body.to_vec() })
    }
}

#[cfg(test)]
mod tests;
