//! `POST /v1/enrol`: a certificate request with a one-time code, or with a key that may enrol, in; an identity out.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use outpost_contract::{EnrolRefusal, EnrolRequest};

use super::ApiError;
use crate::enrol::EnrolError;
use crate::fleet::Fleet;
use crate::http::Peer;

pub(crate) async fn enrol(
    State(fleet): State<Fleet>,
    Extension(peer): Extension<Peer>,
    request: Result<Json<EnrolRequest>, JsonRejection>,
) -> Response {
    let request = match request {
        Ok(Json(request)) => request,
        Err(rejection) => {
            let refusal = EnrolRefusal { code: "bad_request".to_owned(), message: rejection.body_text() };
            return (rejection.status(), Json(refusal)).into_response();
        }
    };
    match fleet.run(move |fleet| fleet.enrol(&request, peer.address.ip())).await {
        Ok(identity) => Json(identity).into_response(),
        Err(error) => refusal(error),
    }
}

/// The answer to a device that gets no certificate.
pub(super) fn refusal(error: EnrolError) -> Response {
    match error {
        EnrolError::Refused(refusal) => (status(&refusal.code), Json(refusal)).into_response(),
        EnrolError::Failed(error) => ApiError::from(error).into_response(),
    }
}

fn status(code: &str) -> StatusCode {
    match code {
        "pending" => StatusCode::ACCEPTED,
        "wrong_code" | "not_allowed" | "renewal_refused" | "revoked" => StatusCode::FORBIDDEN,
        "code_used" => StatusCode::CONFLICT,
        "code_expired" => StatusCode::GONE,
        "too_many_attempts" => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::BAD_REQUEST,
    }
}
