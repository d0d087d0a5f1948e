//! Who asks: an operator by bearer token, or a device by client certificate.

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use outpost_contract::DeviceId;

use super::ApiError;
use crate::certificate::ShownCertificate;
use crate::db::Entrance;
use crate::fleet::{Fleet, FleetError};
use crate::http::Peer;
use crate::people::Actor;

/// The person or service that calls. Handlers of operator routes take one, and ask [`Fleet::permit`] before they act.
#[derive(Debug)]
pub(crate) struct Operator(pub(crate) Actor);

/// The enrolled device whose certificate was shown.
#[derive(Debug)]
pub(crate) struct Device(pub(crate) DeviceId);

/// The certificate that an enrolled device has shown.
#[derive(Debug)]
pub(crate) struct DeviceCertificate(pub(crate) ShownCertificate);

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
            Ok(Self(Actor::administrator()))
        } else {
            Err(ApiError::Unauthenticated("the token is not the operators' token of this control plane"))
        }
    }
}

impl FromRequestParts<Fleet> for Device {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, fleet: &Fleet) -> Result<Self, ApiError> {
        let DeviceCertificate(shown) = DeviceCertificate::from_request_parts(parts, fleet).await?;
        Ok(Self(shown.device))
    }
}

impl FromRequestParts<Fleet> for DeviceCertificate {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, fleet: &Fleet) -> Result<Self, ApiError> {
        let shown = parts.extensions.get::<Peer>().and_then(|peer| peer.certificate.clone());
        let shown = shown.ok_or(ApiError::Unauthenticated("show the device's client certificate"))?;
        let (device, serial) = (shown.device.clone(), shown.serial.clone());
        let entrance = fleet.run(move |fleet| fleet.inner.database.enter(&device, &serial, fleet.now_s())).await;
        match entrance.map_err(FleetError::from)? {
            Entrance::Admitted => Ok(Self(shown)),
            Entrance::Revoked => Err(ApiError::Revoked),
            Entrance::Unknown => Err(ApiError::Unauthenticated(
                "this device is not enrolled, or a newer certificate has replaced this one; ask the operator",
            )),
        }
    }
}
