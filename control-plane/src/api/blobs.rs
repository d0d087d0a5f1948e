//! `/v1/blobs/{blake3}` and `/v1/chunks/{blake3}`: the bytes that devices fetch over HTTPS, whole or in a range.

use std::fs::File;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, FromRequestParts, Path};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_RANGE, RANGE,
};
use axum::http::header::{HeaderName, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use outpost_contract::limits::CATALOGUE_BYTES;
use outpost_contract::{Blake3, DeviceId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::ApiError;
use super::identity::Device;
use crate::blobs::{BlobError, Blobs, Downloads, Extent, Requested, requested, stream};
use crate::fleet::{Fleet, FleetError};
use crate::http::{Life, Peer};
use crate::shares::{Priority, Shares};

/// Seconds after which a device may ask again when too many download at once.
const PAUSE_S: u32 = 2;

/// A device that asks for bytes, and how.
pub(crate) struct Asked {
    device: DeviceId,
    id: Blake3,
    fleet: Fleet,
    shares: Shares,
    life: Arc<Life>,
    headers: HeaderMap,
}

impl FromRequestParts<Fleet> for Asked {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, fleet: &Fleet) -> Result<Self, Response> {
        type All = (Device, Extension<Shares>, Extension<Peer>, Result<Path<Blake3>, PathRejection>, HeaderMap);
        let (Device(device), Extension(shares), Extension(peer), id, headers) =
            <All as FromRequestParts<Fleet>>::from_request_parts(parts, fleet).await?;
        let Path(id) = id.map_err(|rejection| ApiError::from(rejection).into_response())?;
        Ok(Self { device, id, fleet: fleet.clone(), shares, life: Arc::clone(&peer.life), headers })
    }
}

/// What was found, and how urgent it is.
type Found = (File, Extent, Priority);

/// A whole file, or a range of it. axum answers HEAD by the same route, without the body.
pub(crate) async fn blob(asked: Asked) -> Result<Response, ApiError> {
    let find = |blobs: &Blobs, id: &Blake3| {
        let small = |whole: &Extent| if whole.bytes < CATALOGUE_BYTES { Priority::Small } else { Priority::Model };
        Ok(blobs.open_blob(id)?.map(|(file, whole)| (file, whole, small(&whole))))
    };
    download(asked, find).await
}

/// One chunk, wherever it lies, or a range of it.
pub(crate) async fn chunk(asked: Asked) -> Result<Response, ApiError> {
    let find = |blobs: &Blobs, id: &Blake3| {
        let priority = blobs.weight(id)?.map_or(Priority::Model, |weight| weight.priority);
        Ok(blobs.open_chunk(id)?.map(|(file, whole)| (file, whole, priority)))
    };
    download(asked, find).await
}

async fn download(
    asked: Asked,
    find: impl FnOnce(&Blobs, &Blake3) -> Result<Option<Found>, BlobError> + Send + 'static,
) -> Result<Response, ApiError> {
    let Asked { device, id, fleet, shares, life, headers } = asked;
    let place = place(&fleet)?;
    let found = fleet.run(move |fleet| find(&fleet.inner.blobs, &id)).await.map_err(FleetError::from)?;
    let (file, whole, priority) = found.ok_or(ApiError::NoSuchBlob)?;
    Ok(answer(id, (file, whole), &headers, Pass { device, shares, priority, life, place }))
}

/// What a body needs to go on: its share of the line, a connection that lives, a place among the downloads.
struct Pass {
    device: DeviceId,
    shares: Shares,
    priority: Priority,
    life: Arc<Life>,
    /// Given back when the body is done with.
    place: OwnedSemaphorePermit,
}

impl Pass {
    async fn block(self: Arc<Self>, bytes: u32) {
        self.life.touch();
        self.shares.take(&self.device, bytes, self.priority).await;
        // The place is held for as long as a block may come.
        let _ = &self.place;
    }
}

/// A place among the downloads, or word to come again.
fn place(fleet: &Fleet) -> Result<OwnedSemaphorePermit, ApiError> {
    let Downloads(places) = &fleet.inner.downloads;
    Semaphore::try_acquire_owned(Arc::clone(places)).map_err(|_| ApiError::Busy { retry_after_s: PAUSE_S })
}

fn answer(id: Blake3, (file, whole): (File, Extent), headers: &HeaderMap, pass: Pass) -> Response {
    let tag = format!("\"{id}\"");
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    // A range of something else than the caller knows would be useless.
    let range = text(RANGE).filter(|_| text(IF_RANGE).is_none_or(|wanted| wanted == tag));
    let (status, part, content_range) = match requested(range, whole.bytes) {
        Requested::Whole => (StatusCode::OK, whole, None),
        Requested::Part { first, bytes } => {
            let last = first + bytes - 1;
            let part = Extent { start: whole.start + first, bytes };
            (StatusCode::PARTIAL_CONTENT, part, Some(format!("bytes {first}-{last}/{}", whole.bytes)))
        }
        Requested::Nothing => {
            let headers = [(CONTENT_RANGE, format!("bytes */{}", whole.bytes)), (ETAG, tag)];
            return (StatusCode::RANGE_NOT_SATISFIABLE, headers).into_response();
        }
    };
    let pass = Arc::new(pass);
    let body = Body::from_stream(stream(file, part, move |bytes| Arc::clone(&pass).block(bytes)));
    let mut response = (status, body).into_response();
    let answered = response.headers_mut();
    answered.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    answered.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    answered.insert(CACHE_CONTROL, HeaderValue::from_static("private, immutable"));
    answered.insert(CONTENT_LENGTH, part.bytes.into());
    for (name, value) in [(ETAG, Some(tag)), (CONTENT_RANGE, content_range)] {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            answered.insert(name, value);
        }
    }
    response
}

/// `Retry-After`, in seconds.
pub(super) fn retry_after(seconds: u32) -> (HeaderName, HeaderValue) {
    (RETRY_AFTER, seconds.into())
}
