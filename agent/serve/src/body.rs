//! Reading a body: JSON, whole, bounded in size and time.

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Map, Value};

use crate::Limits;
use crate::error::ApiError;

/// Reads a JSON object.
///
/// # Errors
/// 415, 413, 408 or 400.
pub(crate) async fn read_object(
    headers: &HeaderMap,
    body: Body,
    limits: &Limits,
) -> Result<Map<String, Value>, ApiError> {
    match serde_json::from_slice(&read_json(headers, body, limits).await?) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(ApiError::not_json("the body is JSON, but not an object: send `{…}`")),
        Err(error) => Err(ApiError::not_json(format!("the body is not JSON: {error}"))),
    }
}

/// Reads a body that says that it is JSON; whether it is, its reader sees.
///
/// # Errors
/// 415, 413, 408 or 400.
pub(crate) async fn read_json(headers: &HeaderMap, body: Body, limits: &Limits) -> Result<Bytes, ApiError> {
    if !is_json(headers) {
        return Err(ApiError::wrong_content_type());
    }
    let claimed = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if claimed.is_some_and(|claimed| claimed > limits.body_bytes as u64) {
        return Err(ApiError::too_large(limits.body_bytes));
    }
    let collecting = Limited::new(body, limits.body_bytes).collect();
    match tokio::time::timeout(limits.body_timeout, collecting).await {
        Err(_) => Err(ApiError::too_slow()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::too_large(limits.body_bytes)),
        Ok(Err(_)) => Err(ApiError::not_json("the body broke off before its end")),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
    }
}

/// Anything but JSON is what a web page can send without asking first.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(value)) = headers.get(CONTENT_TYPE).map(|value| value.to_str()) else { return false };
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}
