//! Who asks: an operator by bearer token or by the cookie of a session, or a device by client certificate.

use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, COOKIE as COOKIES, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri};
use outpost_contract::DeviceId;

use super::ApiError;
use crate::certificate::ShownCertificate;
use crate::db::Entrance;
use crate::fleet::{Fleet, FleetError};
use crate::http::Peer;
use crate::people::{Actor, COOKIE};

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
        // Who shows a token is known by the token alone, whatever cookie the browser adds.
        if let (None, Some(cookie)) = (parts.headers.get(AUTHORIZATION), cookie(&parts.headers)) {
            if !parts.method.is_safe() {
                same_origin(&parts.headers)?;
            }
            let cookie = cookie.to_owned();
            let actor = fleet.run(move |fleet| fleet.session(&cookie)).await?;
            return actor.map(Self).ok_or(ApiError::Unauthenticated("the session is over; sign in again at `/login`"));
        }
        let value = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = value.and_then(|value| value.strip_prefix("Bearer "));
        let token = token.filter(|token| token.len() <= MOST_TOKEN_BYTES).map(str::to_owned);
        let token = token.ok_or(ApiError::Unauthenticated("send the operators' token as `Authorization: Bearer …`"))?;
        let actor = fleet.run(move |fleet| fleet.bearer(&token)).await?;
        actor.map(Self).ok_or(ApiError::Unauthenticated(
            "the token is none of this control plane, or ended; `outpost-control token create` makes one",
        ))
    }
}

/// The session's cookie, if one of the right form was sent; more than one is none.
pub(crate) fn cookie(headers: &HeaderMap) -> Option<&str> {
    cookie_named(headers, COOKIE)
}

/// A secret of ours in a cookie of this name; more than one is none.
pub(super) fn cookie_named<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    let sent = headers.get_all(COOKIES).iter().filter_map(|value| value.to_str().ok());
    let mut ours = sent.flat_map(|value| value.split(';')).filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == wanted).then_some(value)
    });
    let first = ours.next()?;
    (ours.next().is_none() && first.len() == 64).then_some(first)
}

/// Refuses what another site made a browser send: by fetch metadata, and where there is none by the origin.
pub(super) fn same_origin(headers: &HeaderMap) -> Result<(), ApiError> {
    let said = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("unreadable"));
    let ours = match (said("sec-fetch-site"), said(ORIGIN.as_str())) {
        (Some(site), _) => site == "same-origin",
        (None, Some(origin)) => {
            let origin: Option<Uri> = origin.parse().ok();
            let from = origin.filter(|uri| uri.scheme_str() == Some("https"));
            let from = from.and_then(|uri| uri.authority().map(ToString::to_string));
            from.is_some() && from.as_deref() == said(HOST.as_str())
        }
        (None, None) => false,
    };
    if ours {
        Ok(())
    } else {
        Err(ApiError::Fleet(FleetError::Forbidden("the request comes from another site".to_owned())))
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
