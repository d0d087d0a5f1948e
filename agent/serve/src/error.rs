//! Refusals as callers see them: an error object in the shape that the clients of a path read.

use axum::Json;
use axum::http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use outpost_audit::{AuditError, VaultError};
use serde_json::{Value, json};

use crate::api::Family;
use crate::{BackendError, GovernanceError};

/// Seconds after which a client that found no free slot may ask again, where nothing better is known.
const RETRY_AFTER_S: u32 = 1;

/// A refusal: what the caller is told. What only the operator should know goes to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    kind: &'static str,
    pub(crate) code: &'static str,
    param: Option<Box<str>>,
    message: Box<str>,
    rules: Box<[String]>,
    retry_after_s: Option<u32>,
    allow: Option<&'static str>,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into().into_boxed_str();
        Self { status, kind, code, param: None, message, rules: Box::default(), retry_after_s: None, allow: None }
    }

    /// The same, where what the border to the engine calls `from` is the caller's `to`.
    pub(crate) fn renamed(self, from: &str, to: &str) -> Self {
        if self.param.as_deref() == Some(from) { Self { param: Some(to.into()), ..self } } else { self }
    }

    /// 404 for a stored response.
    pub(crate) fn no_response(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", "response_not_found", message)
    }

    /// 400: the request itself, at `param`.
    pub(crate) fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", "invalid_value", message);
        Self { param: Some(param.into().into_boxed_str()), ..error }
    }

    /// 400: a field that would change the answer, and that this server does not implement.
    pub(crate) fn unsupported(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: "unsupported_parameter", ..Self::invalid(param, message) }
    }

    /// 400: the body is no JSON object.
    pub(crate) fn not_json(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", "invalid_json", message)
    }

    /// 401.
    pub(crate) fn unidentified(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "authentication_error", code, message)
    }

    /// 403 by policy.
    pub(crate) fn denied(rules: Vec<String>, message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::FORBIDDEN, "permission_error", "denied_by_policy", message);
        Self { rules: rules.into(), ..error }
    }

    /// 403 for what is done for nobody.
    pub(crate) fn not_offered(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "permission_error", "not_offered", message)
    }

    /// 403 for a model that the fleet withdrew: asking again does not help.
    pub(crate) fn withdrawn(message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::FORBIDDEN, "permission_error", "model_withdrawn", message);
        Self { param: Some("model".into()), ..error }
    }

    /// 403 for a document without the signatures that it needs.
    pub(crate) fn not_approved(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "permission_error", "not_approved", message)
    }

    /// 403 for a web page that may not call.
    pub(crate) fn cross_site(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "permission_error", "cross_site", message)
    }

    /// 421.
    pub(crate) fn misdirected(message: impl Into<String>) -> Self {
        Self::new(StatusCode::MISDIRECTED_REQUEST, "invalid_request_error", "unknown_host", message)
    }

    /// 404 for a path.
    pub(crate) fn no_route(path: &str) -> Self {
        let path: String = path.chars().take(100).collect();
        let message = format!("there is nothing at `{path}`; the API begins at `/v1/`");
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", "not_found", message)
    }

    /// 404 for a model.
    pub(crate) fn no_model(message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::NOT_FOUND, "invalid_request_error", "model_not_found", message);
        Self { param: Some("model".into()), ..error }
    }

    /// 404 for sealed content.
    pub(crate) fn no_content(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", "content_not_found", message)
    }

    /// 409.
    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "invalid_request_error", "conflict", message)
    }

    /// 405.
    pub(crate) fn wrong_method(allow: &'static str) -> Self {
        let message = format!("this path answers {allow} only; a GET never changes anything here");
        let error = Self::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", "method_not_allowed", message);
        Self { allow: Some(allow), ..error }
    }

    /// 408.
    pub(crate) fn too_slow() -> Self {
        let message = "the body did not arrive in time; send it again";
        Self::new(StatusCode::REQUEST_TIMEOUT, "timeout_error", "request_timeout", message)
    }

    /// 413.
    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("the body is larger than the {limit} bytes that are accepted");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", "request_too_large", message)
    }

    /// 415.
    pub(crate) fn wrong_content_type() -> Self {
        let message = "send JSON, and say so: `Content-Type: application/json`";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request_error", "unsupported_media_type", message)
    }

    /// 403 because of what a text contains; the message names classes only.
    pub(crate) fn content_blocked(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "permission_error", "content_blocked", message)
    }

    /// 429: a limit of the caller's own, with a time to come back.
    pub(crate) fn limited(code: &'static str, retry_after_s: u32, message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", code, message);
        Self { retry_after_s: Some(retry_after_s.max(RETRY_AFTER_S)), ..error }
    }

    /// 503 with a time to come back.
    pub(crate) fn busy(retry_after_s: u32, message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable_error", "busy", message);
        Self { retry_after_s: Some(retry_after_s.max(RETRY_AFTER_S)), ..error }
    }

    /// 503 because nothing leaves that cannot be recorded.
    pub(crate) fn unrecorded(error: &AuditError) -> Self {
        let reason = match error {
            AuditError::Full { .. } => "the device's disk is full",
            AuditError::NoRoom { .. } => "the audit log has too little room for new requests",
            AuditError::Latched { .. } => "the device's disk failed, and is looked at again by itself",
            AuditError::Busy { .. } => "more is waiting to be recorded than the disk can take",
            AuditError::Closed => "the device is shutting down",
            _ => "the audit log does not accept records; an operator has to look at the device",
        };
        let message = format!("nothing is answered that cannot be recorded: {reason}");
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable_error", "audit_unavailable", message);
        Self { retry_after_s: Some(10), ..error }
    }

    /// 503 for the time being.
    pub(crate) fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable_error", code, message)
    }

    /// 503, and in how many seconds to ask again.
    pub(crate) fn unavailable_for(seconds: u32, code: &'static str, message: impl Into<String>) -> Self {
        Self { retry_after_s: Some(seconds), ..Self::unavailable(code, message) }
    }

    /// 500. The cause is in the log, under the request id.
    pub(crate) fn internal() -> Self {
        let message = "something went wrong in the device; its log has the cause under this request id";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "internal_error", message)
    }

    /// Status and code of what panicked, for records.
    pub(crate) fn panicked() -> (u16, &'static str) {
        let error = Self::internal();
        (error.status.as_u16(), error.code)
    }

    /// The error object as clients of a family read it.
    pub(crate) fn to_json(&self, family: Family) -> Value {
        match family {
            Family::OpenAi => {
                let mut error = json!({
                    "message": self.message, "type": self.kind, "param": self.param, "code": self.code,
                });
                if !self.rules.is_empty() {
                    error["rules"] = json!(self.rules);
                }
                json!({ "error": error })
            }
            Family::Ollama => json!({ "error": self.message, "code": self.code }),
            Family::Anthropic => {
                let kind = match self.status.as_u16() {
                    400 | 405 | 409 | 415 | 421 => "invalid_request_error",
                    401 => "authentication_error",
                    403 => "permission_error",
                    404 => "not_found_error",
                    408 => "timeout_error",
                    413 => "request_too_large",
                    429 => "rate_limit_error",
                    503 => "overloaded_error",
                    _ => "api_error",
                };
                json!({ "type": "error", "error": { "type": kind, "message": self.message, "code": self.code } })
            }
        }
    }

    /// The refusal as clients of a family read it.
    pub(crate) fn respond(self, family: Family) -> Response {
        let mut response = (self.status, Json(self.to_json(family))).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        response
    }
}

impl From<BackendError> for ApiError {
    fn from(error: BackendError) -> Self {
        let message = error.to_string();
        match error {
            BackendError::UnknownModel { .. } => Self::no_model(message),
            BackendError::NotReady { .. } => {
                Self { retry_after_s: Some(5), ..Self::unavailable("model_loading", message) }
            }
            BackendError::Busy { retry_after_s } => Self::busy(retry_after_s, message),
            BackendError::TooLong { .. } => {
                Self { code: "context_length_exceeded", ..Self::invalid("messages", message) }
            }
            BackendError::NoRoom { retry_after_s, .. } => {
                Self { code: "no_room", ..Self::busy(retry_after_s, message) }
            }
            BackendError::Unsuitable { field, .. } => Self::invalid(field, message),
            BackendError::Conflict { .. } => Self::conflict(message),
            BackendError::Withdrawn { .. } => Self::withdrawn(message),
            BackendError::Failed { .. } => Self::internal(),
        }
    }
}

impl From<AuditError> for ApiError {
    fn from(error: AuditError) -> Self {
        match &error {
            AuditError::Vault(VaultError::NothingSealed { .. } | VaultError::Destroyed { .. }) => {
                Self::no_content(error.to_string())
            }
            AuditError::Vault(_) => {
                tracing::error!(%error, "sealed content cannot be used");
                Self::internal()
            }
            _ => Self::unrecorded(&error),
        }
    }
}

impl From<GovernanceError> for ApiError {
    fn from(error: GovernanceError) -> Self {
        match error {
            GovernanceError::Invalid(message) => {
                Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", "invalid_document", message)
            }
            GovernanceError::NotApproved(message) => Self::not_approved(message),
            GovernanceError::Conflict(message) => Self::conflict(message),
            GovernanceError::Failed(_) => Self::internal(),
        }
    }
}

impl IntoResponse for ApiError {
    /// Carries the error to [`handle`](crate::handle), which knows who reads it and writes the answer.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_withdrawn_model_is_refused_with_a_code_of_its_own_and_nobody_is_told_to_come_back() {
        let error = ApiError::from(BackendError::Withdrawn { detail: "`a` was withdrawn: it leaks".into() });
        assert_eq!((error.status.as_u16(), error.retry_after_s), (403, None));
        let shown = error.to_json(Family::OpenAi);
        assert_eq!((&shown["error"]["code"], &shown["error"]["param"]), (&json!("model_withdrawn"), &json!("model")));
        assert_eq!(shown["error"]["message"], "`a` was withdrawn: it leaks");
    }
}
