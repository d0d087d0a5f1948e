//! The border: every refusal as JSON, `{"error": {"code", "message"}}`; what is inside stays in the log.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use outpost_rollout::Refusal;
use serde_json::json;

use crate::fleet::FleetError;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// No identity, or none that counts here.
    Unauthenticated(&'static str),
    /// The device was revoked.
    Revoked,
    /// The request cannot be read.
    BadRequest { status: StatusCode, message: String },
    /// There is no such route.
    NoSuchRoute,
    /// There are no such bytes.
    NoSuchBlob,
    /// Too many download at once.
    Busy { retry_after_s: u32 },
    /// It took too long.
    TooSlow,
    /// The fleet refused or failed.
    Fleet(FleetError),
}

impl From<FleetError> for ApiError {
    fn from(error: FleetError) -> Self {
        Self::Fleet(error)
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        Self::BadRequest { status: rejection.status(), message: rejection.body_text() }
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        Self::BadRequest { status: rejection.status(), message: rejection.body_text() }
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::BadRequest { status: rejection.status(), message: rejection.body_text() }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let pause = if let Self::Busy { retry_after_s } = &self { Some(*retry_after_s) } else { None };
        let (status, code, message) = match self {
            Self::Unauthenticated(message) => (StatusCode::UNAUTHORIZED, "unauthenticated", message.to_owned()),
            Self::Revoked => (StatusCode::FORBIDDEN, "revoked", "this device was revoked; ask the operator".to_owned()),
            Self::BadRequest { status, message } => (status, "bad_request", message),
            Self::NoSuchRoute => (StatusCode::NOT_FOUND, "not_found", "there is no such route".to_owned()),
            Self::NoSuchBlob => (StatusCode::NOT_FOUND, "not_found", "no catalogue here names such bytes".to_owned()),
            Self::Busy { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "busy", "too many devices download at once; ask again".to_owned())
            }
            Self::TooSlow => (StatusCode::SERVICE_UNAVAILABLE, "timeout", "it took too long; try again".to_owned()),
            Self::Fleet(error) => from_fleet(error),
        };
        let body = Json(json!({ "error": { "code": code, "message": message } }));
        let mut response = (status, body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = header::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response.headers_mut().extend(pause.map(super::blobs::retry_after));
        response
    }
}

/// How a refusal or failure of the fleet is told: status, code, words.
pub(crate) fn from_fleet(error: FleetError) -> (StatusCode, &'static str, String) {
    let (status, code) = match &error {
        FleetError::UnknownDevice(_) => (StatusCode::NOT_FOUND, "unknown_device"),
        FleetError::UnknownCommand(_) => (StatusCode::NOT_FOUND, "unknown_command"),
        FleetError::BadCommand(_) => (StatusCode::BAD_REQUEST, "bad_command"),
        FleetError::UnknownModel(_) => (StatusCode::NOT_FOUND, "unknown_model"),
        FleetError::NoCatalogue | FleetError::NoRoot => (StatusCode::CONFLICT, "not_ready"),
        FleetError::KeyTaken { .. } | FleetError::NameTaken(_) => (StatusCode::CONFLICT, "taken"),
        FleetError::Forbidden(_) => (StatusCode::FORBIDDEN, "forbidden"),
        FleetError::Person(_) => (StatusCode::BAD_REQUEST, "bad_request"),
        FleetError::UnknownPerson(_) => (StatusCode::NOT_FOUND, "unknown_person"),
        FleetError::NoRequest(_) => (StatusCode::NOT_FOUND, "unknown_request"),
        FleetError::UnknownRollout(_) => (StatusCode::NOT_FOUND, "unknown_rollout"),
        FleetError::RolloutRequest(_) => (StatusCode::BAD_REQUEST, "bad_request"),
        FleetError::RolloutBusy(_) => (StatusCode::CONFLICT, "busy"),
        FleetError::Rollout(refusal) => of_rollout(refusal),
        FleetError::UnknownGroup(_) => (StatusCode::NOT_FOUND, "unknown_group"),
        FleetError::Selector(_) => (StatusCode::BAD_REQUEST, "bad_selector"),
        FleetError::Groups(_) | FleetError::Inventory(_) => (StatusCode::BAD_REQUEST, "bad_request"),
        FleetError::NoAllowedKey(_) => (StatusCode::NOT_FOUND, "unknown_key"),
        FleetError::NoCode => (StatusCode::NOT_FOUND, "unknown_code"),
        FleetError::List(_) => (StatusCode::BAD_REQUEST, "bad_list"),
        FleetError::ReservedName(_) | FleetError::CodeValidity(_) | FleetError::Token(_) | FleetError::Site(_) => {
            (StatusCode::BAD_REQUEST, "bad_request")
        }
        _ => {
            tracing::error!(%error, "a request failed");
            let message = "the control plane failed; its log says why".to_owned();
            return (StatusCode::INTERNAL_SERVER_ERROR, "internal", message);
        }
    };
    (status, code, error.to_string())
}

/// What a rollout refuses: the order cannot be carried out at all, or not now.
fn of_rollout(refusal: &Refusal) -> (StatusCode, &'static str) {
    let status = match refusal {
        Refusal::InvalidSpec { .. } | Refusal::NoDevices | Refusal::EmptyWave { .. } | Refusal::Nameless => {
            StatusCode::BAD_REQUEST
        }
        Refusal::Unknown { .. } => StatusCode::NOT_FOUND,
        Refusal::AuthorMayNotApprove { .. } => StatusCode::FORBIDDEN,
        _ => StatusCode::CONFLICT,
    };
    (status, refusal.code())
}
