//! Renewal: `POST /v1/self/renew` for a device that shows its certificate; `GET /v1/renew/nonce` and `POST /v1/renew` for one
//! whose certificate has expired.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use outpost_contract::{LateRenewRequest, RenewNonce, RenewRequest};

use super::ApiError;
use super::enrol::refusal;
use super::identity::DeviceCertificate;
use crate::fleet::Fleet;
use crate::http::Peer;

pub(crate) async fn renew(
    DeviceCertificate(shown): DeviceCertificate,
    State(fleet): State<Fleet>,
    request: Result<Json<RenewRequest>, JsonRejection>,
) -> Result<Response, ApiError> {
    let Json(request) = request?;
    Ok(match fleet.run(move |fleet| fleet.renew(&shown, &request.certificate_request)).await {
        Ok(renewed) => Json(renewed).into_response(),
        Err(error) => refusal(error),
    })
}

pub(crate) async fn nonce(State(fleet): State<Fleet>) -> Result<Json<RenewNonce>, ApiError> {
    Ok(Json(fleet.renewal_nonce()?))
}

pub(crate) async fn renew_late(
    State(fleet): State<Fleet>,
    Extension(peer): Extension<Peer>,
    request: Result<Json<LateRenewRequest>, JsonRejection>,
) -> Result<Response, ApiError> {
    let Json(request) = request?;
    Ok(match fleet.run(move |fleet| fleet.renew_late(&request, peer.address.ip())).await {
        Ok(renewed) => Json(renewed).into_response(),
        Err(error) => refusal(error),
    })
}
