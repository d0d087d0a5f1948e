//! What a request depends on: `ETag` of what is read, `If-None-Match` to read only what is new, `If-Match` to change only what
//! is still as it was read.
//!
//! The tag is a digest of the JSON that is answered, so two answers with one tag are equal byte by byte. A change compares
//! within its own transaction: between the look and the change nobody comes in.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::ApiError;
use super::idempotency::OF_DEVICES;
use super::identity::Operator;
use crate::fleet::{Fleet, FleetError};

/// Largest answer of which a tag is made; pages are far smaller.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// As `If-Match` says it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Condition {
    /// However it is now.
    #[default]
    None,
    /// If it is there.
    Exists,
    /// If it is as one of these tags says.
    Is(Vec<String>),
}

impl<S: Send + Sync> FromRequestParts<S> for Condition {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::read(&parts.headers))
    }
}

impl Condition {
    fn read(headers: &HeaderMap) -> Self {
        if !headers.contains_key(IF_MATCH) {
            return Self::None;
        }
        let tags = tags(headers, &IF_MATCH);
        if tags.iter().any(|tag| tag == "*") { Self::Exists } else { Self::Is(tags) }
    }

    fn holds(&self, current: &[u8]) -> bool {
        match self {
            Self::None | Self::Exists => true,
            // Weak tags are never the same here: they begin with `W/`.
            Self::Is(tags) => tags.contains(&tag(current)),
        }
    }
}

impl Fleet {
    /// Changes something if it is as the client knows it: `current` gives what a GET of the same path answers.
    ///
    /// # Errors
    /// [`FleetError::Changed`] if it is not; otherwise as `current` and `change`.
    pub(crate) fn change_if<T, S: Serialize>(
        &self,
        condition: &Condition,
        current: impl FnOnce(&Self) -> Result<S, FleetError>,
        change: impl FnOnce(&Self) -> Result<T, FleetError>,
    ) -> Result<T, FleetError> {
        if *condition == Condition::None {
            return change(self);
        }
        let changed = self.inner.database.together(|| {
            let json = serde_json::to_vec(&current(self)?);
            let json = json.map_err(|error| FleetError::Record(error.to_string()))?;
            if condition.holds(&json) { change(self) } else { Err(FleetError::Changed) }
        })?;
        // Whoever was woken within the transaction saw what was before it.
        self.touch();
        Ok(changed)
    }
}

/// What the layer knows of the routes.
#[derive(Debug, Clone)]
pub(crate) struct Conditional {
    pub(crate) fleet: Fleet,
    /// By method and path, whether `If-Match` is honoured there.
    pub(crate) routes: Arc<BTreeMap<(&'static str, &'static str), bool>>,
}

/// Tags what is read, and refuses `If-Match` where it would be overlooked.
pub(crate) async fn conditionally(State(known): State<Conditional>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_api = path.starts_with("/v1/") && !OF_DEVICES.contains(&path);
    if is_api && !request.method().is_safe() && request.headers().contains_key(IF_MATCH) {
        let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str).unwrap_or_default();
        // What is not listed is refused as such.
        if known.routes.get(&(request.method().as_str(), path)) == Some(&false) {
            let (mut parts, _) = request.into_parts();
            // Strangers are told nothing else.
            return match Operator::from_request_parts(&mut parts, &known.fleet).await {
                Ok(_) => ApiError::Condition("this route cannot be made conditional; leave `If-Match` out"),
                Err(stranger) => stranger,
            }
            .into_response();
        }
    }
    if !is_api || !matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    let known_tags = tags(request.headers(), &IF_NONE_MATCH);
    let response = next.run(request).await;
    let is_json =
        response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if response.status() != StatusCode::OK || !is_json || response.headers().contains_key(ETAG) {
        return response;
    }
    tagged(response, &known_tags).await
}

async fn tagged(response: Response, known: &[String]) -> Response {
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, ANSWER_BYTES).await else {
        return ApiError::TooSlow.into_response();
    };
    let tag = tag(&bytes);
    let is_known = known.iter().any(|known| known == "*" || known.trim_start_matches("W/") == tag);
    if let Ok(tag) = HeaderValue::try_from(tag) {
        parts.headers.insert(ETAG, tag);
    }
    // What is about people and devices is kept by the client alone, and asked for again each time.
    parts.headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("private, no-cache"));
    if is_known {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(CONTENT_TYPE);
        parts.headers.remove(axum::http::header::CONTENT_LENGTH);
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, Body::from(bytes))
}

/// The tag of an answer, with its quotation marks.
fn tag(json: &[u8]) -> String {
    let digest = Sha256::digest(json);
    format!("\"{}\"", hex::encode(&digest[..16]))
}

/// The tags of a header, as they are written.
fn tags(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|tag| tag.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests;
