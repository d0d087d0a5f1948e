//! Who asks: an operator by bearer token, or a device by client certificate.

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use outpost_contract::DeviceId;

use super::ApiError;
use crate::fleet::Fleet;
use crate::http::Peer;

/// Proof that the caller showed the operators' token. Handlers of operator routes take one.
#[derive(Debug)]
pub(crate) struct Operator(());

/// The enrolled device whose certificate was shown.
#[derive(Debug)]
pub(crate) struct Device(pub(crate) DeviceId);

/// Longer than any token of ours.
const MOST_TOKEN_BYTES: usize = 256;

impl FromRequestParts<Fleet> for Operator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, fleet: &Fleet) -> Result<Self, ApiError> {
        let value = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = value.and_then(|value| value.strip_prefix("Bearer "));
        let token = token.filter(|token| token.len() <= MOST_TOKEN_BYTES).map(str::to_owned);
        let token = token.ok_or(ApiError::Unauthenticated("send the operators' token as `Authorization: Bearer …`"))?;
        if fleet.run(move |fleet| fleet.is_admin_token(&token)).await? {
            Ok(Self(()))
        } else {
            Err(ApiError::Unauthenticated("the token is not the operators' token of this control plane"))
        }
    }
}

impl FromRequestParts<Fleet> for Device {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, fleet: &Fleet) -> Result<Self, ApiError> {
        let device = parts.extensions.get::<Peer>().and_then(|peer| peer.device.clone());
        let device = device.ok_or(ApiError::Unauthenticated("show the device's client certificate"))?;
        let name = device.clone();
        let admitted = fleet.run(move |fleet| fleet.inner.database.is_admitted(&name)).await;
        if admitted.map_err(crate::fleet::FleetError::from)? {
            Ok(Self(device))
        } else {
            Err(ApiError::Unauthenticated("this device is not enrolled, or was revoked; ask the operator"))
        }
    }
}
