//! The border: every refusal as JSON, `{"error": {"code", "message"}}`; what is inside stays in the log.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection, StringRejection};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use outpost_rollout::Refusal;
use serde_json::json;

use crate::fleet::FleetError;
use crate::onefile::FleetFileError;

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
    /// The route is there, and does not answer this method.
    NoSuchMethod,
    /// What the client makes the request depend on is not so, or cannot be judged.
    Condition(&'static str),
    /// The key of a request that may be sent again was used otherwise, or is in use.
    Idempotency { status: StatusCode, code: &'static str, message: &'static str },
    /// There are no such bytes.
    NoSuchBlob,
    /// Too many download at once.
    Busy { retry_after_s: u32 },
    /// It took too long.
    TooSlow,
    /// The fleet refused or failed.
    Fleet(FleetError),
}

impl ApiError {
    /// The request says what cannot be.
    pub(crate) fn bad_request(message: String) -> Self {
        Self::BadRequest { status: StatusCode::BAD_REQUEST, message }
    }
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

impl From<StringRejection> for ApiError {
    fn from(rejection: StringRejection) -> Self {
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
            Self::NoSuchRoute => (
                StatusCode::NOT_FOUND,
                "not_found",
                "there is no such route; `/v1/openapi.json` describes those there are".to_owned(),
            ),
            Self::NoSuchMethod => {
                let message = "the route does not answer this method; `Allow` names those that it answers".to_owned();
                (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
            }
            Self::Condition(message) => (StatusCode::PRECONDITION_FAILED, "precondition_failed", message.to_owned()),
            Self::Idempotency { status, code, message } => (status, code, message.to_owned()),
            Self::NoSuchBlob => (
                StatusCode::NOT_FOUND,
                "not_found",
                "no catalogue here names such bytes; fetch the newest catalogue".to_owned(),
            ),
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
        if status == StatusCode::CONFLICT && code == "in_flight" {
            response.headers_mut().extend([super::blobs::retry_after(1)]);
        }
        response.headers_mut().extend(pause.map(super::blobs::retry_after));
        response
    }
}

/// How a refusal or failure of the fleet is told: status, code, words.
pub(crate) fn from_fleet(error: FleetError) -> (StatusCode, &'static str, String) {
    let (status, code) = match &error {
        FleetError::Changed => (StatusCode::PRECONDITION_FAILED, "precondition_failed"),
        FleetError::Model(error) => error.status(),
        FleetError::UnknownDevice(_) => (StatusCode::NOT_FOUND, "unknown_device"),
        FleetError::UnknownCommand(_) => (StatusCode::NOT_FOUND, "unknown_command"),
        FleetError::BadCommand(_) => (StatusCode::BAD_REQUEST, "bad_command"),
        FleetError::UnknownModel(_) => (StatusCode::NOT_FOUND, "unknown_model"),
        FleetError::UnknownBuild(_) => (StatusCode::NOT_FOUND, "unknown_build"),
        FleetError::AgentTooOld(_) => (StatusCode::CONFLICT, "agent_too_old"),
        FleetError::NoCatalogue | FleetError::NoRoot => (StatusCode::CONFLICT, "not_ready"),
        FleetError::KeyTaken { .. } | FleetError::NameTaken(_) => (StatusCode::CONFLICT, "taken"),
        FleetError::Forbidden(_) => (StatusCode::FORBIDDEN, "forbidden"),
        FleetError::Person(_) => (StatusCode::BAD_REQUEST, "bad_request"),
        FleetError::UnknownPerson(_) => (StatusCode::NOT_FOUND, "unknown_person"),
        FleetError::NoSession(_) => (StatusCode::NOT_FOUND, "unknown_session"),
        FleetError::NoRequest(_) => (StatusCode::NOT_FOUND, "unknown_request"),
        FleetError::UnknownRollout(_) => (StatusCode::NOT_FOUND, "unknown_rollout"),
        FleetError::RolloutRequest(_) => (StatusCode::BAD_REQUEST, "bad_request"),
        FleetError::RolloutBusy(_) => (StatusCode::CONFLICT, "busy"),
        FleetError::Rollout(refusal) => of_rollout(refusal),
        FleetError::UnknownGroup(_) => (StatusCode::NOT_FOUND, "unknown_group"),
        FleetError::Selector(_) => (StatusCode::BAD_REQUEST, "bad_selector"),
        FleetError::FleetFile(FleetFileError::Moved) => (StatusCode::CONFLICT, "changed_meanwhile"),
        FleetError::FleetFile(FleetFileError::TooLarge) => (StatusCode::PAYLOAD_TOO_LARGE, "bad_fleet_file"),
        FleetError::FleetFile(_) => (StatusCode::BAD_REQUEST, "bad_fleet_file"),
        FleetError::Groups(_) | FleetError::Inventory(_) => (StatusCode::BAD_REQUEST, "bad_request"),
        FleetError::UnknownIncident(..) => (StatusCode::NOT_FOUND, "unknown_incident"),
        FleetError::Search(_) => (StatusCode::BAD_REQUEST, "bad_search"),
        FleetError::Webhook(_) | FleetError::WebhookField { .. } => (StatusCode::BAD_REQUEST, "bad_webhook"),
        FleetError::UnknownWebhook(_) => (StatusCode::NOT_FOUND, "unknown_webhook"),
        FleetError::Outgoing(_) => (StatusCode::BAD_REQUEST, "bad_address"),
        FleetError::NoAllowedKey(_) => (StatusCode::NOT_FOUND, "unknown_key"),
        FleetError::NoCode => (StatusCode::NOT_FOUND, "unknown_code"),
        FleetError::List(_) => (StatusCode::BAD_REQUEST, "bad_list"),
        FleetError::ReservedName(_) | FleetError::CodeValidity(_) | FleetError::Token(_) | FleetError::Site(_) => {
            (StatusCode::BAD_REQUEST, "bad_request")
        }
        FleetError::Desk(error) => error.told(),
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
