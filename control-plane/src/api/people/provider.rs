//! `/login/oidc`, `/login/oidc/back`: to the provider and back.

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::super::ApiError;
use super::super::identity::{cookie, cookie_named};
use super::{look, page, set_cookie};
use crate::fleet::{Fleet, FleetError};
use crate::http::Peer;
use crate::people::oidc::{Answer, LOGIN_COOKIE, LOGIN_S};
use crate::people::{LoginError, SESSION_S, pages};

/// Leads to the provider. Another site's page may not send anybody there.
pub(crate) async fn begin(
    State(fleet): State<Fleet>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let from = headers.get("sec-fetch-site").map(|site| site.to_str().unwrap_or_default());
    if from.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return Err(FleetError::Forbidden("the request comes from another site; begin at `/login`".to_owned()).into());
    }
    match fleet.begin_login(peer.address.ip(), cookie(&headers)).await {
        Ok(begun) => {
            let place = HeaderValue::from_str(&begun.address)
                .map_err(|_| FleetError::Login(LoginError::Provider("its address is none".to_owned())))?;
            let mut response = (StatusCode::SEE_OTHER, [(header::CACHE_CONTROL, "no-store")]).into_response();
            response.headers_mut().insert(header::LOCATION, place);
            response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
            Ok(with_cookies(response, &[login_cookie(&begun.cookie, LOGIN_S)]))
        }
        Err(error) => said(&fleet, &headers, error),
    }
}

/// What the provider answers. Its cookie is used up, whatever comes of it.
pub(crate) async fn back(
    State(fleet): State<Fleet>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let ended = match Answer::read(query.as_deref().unwrap_or_default()) {
        Ok(answer) => fleet.end_login(answer, cookie_named(&headers, LOGIN_COOKIE), peer.address.ip()).await,
        Err(error) => Err(error.into()),
    };
    let over = login_cookie("", 0);
    match ended {
        Ok(secret) => {
            let response = page(StatusCode::OK, pages::welcome(look(&fleet, &headers, "")));
            Ok(with_cookies(response, &[set_cookie(&secret, SESSION_S), over]))
        }
        Err(error) => Ok(with_cookies(said(&fleet, &headers, error)?, &[over])),
    }
}

/// The page that signs in, with what went wrong.
fn said(fleet: &Fleet, headers: &HeaderMap, error: FleetError) -> Result<Response, ApiError> {
    let (status, message) = match &error {
        FleetError::Login(LoginError::Off) => (StatusCode::NOT_FOUND, error.to_string()),
        FleetError::Login(LoginError::Provider(how)) => {
            tracing::warn!(error = how, "the provider of `[login.oidc]` cannot be used");
            (StatusCode::BAD_GATEWAY, LoginError::Provider(String::new()).told())
        }
        FleetError::Login(told @ LoginError::Answer(_)) => (StatusCode::BAD_REQUEST, told.told()),
        FleetError::Login(told @ LoginError::Refused { .. }) => (StatusCode::FORBIDDEN, told.told()),
        FleetError::HeldBack(_) => (StatusCode::TOO_MANY_REQUESTS, error.to_string()),
        _ => return Err(error.into()),
    };
    Ok(page(status, pages::sign_in(look(fleet, headers, &message))))
}

/// Sent when the provider's page leads back, which is another site's: `Lax`, not `Strict`.
fn login_cookie(value: &str, age_s: i64) -> String {
    format!("{LOGIN_COOKIE}={value}; Path=/; Max-Age={age_s}; Secure; HttpOnly; SameSite=Lax")
}

fn with_cookies(mut response: Response, cookies: &[String]) -> Response {
    for cookie in cookies {
        // Hexadecimal digits and words of ours: always a valid value.
        if let Ok(cookie) = HeaderValue::from_str(cookie) {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
    }
    response
}

#[cfg(test)]
mod tests;
