//! `/login`, `/login/first`, `/logout`: signing in with a browser.

pub(crate) mod provider;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::ApiError;
use super::identity::{Operator, cookie, same_origin};
use crate::console;
use crate::fleet::{Fleet, FleetError};
use crate::http::Peer;
use crate::people::pages::{self, Look};
use crate::people::{COOKIE, SESSION_S, Typed};

/// The form that signs in.
pub(crate) async fn form(State(fleet): State<Fleet>, headers: HeaderMap) -> Response {
    page(StatusCode::OK, pages::sign_in(look(&fleet, &headers, "")))
}

/// The form that sets a password.
pub(crate) async fn first_form(State(fleet): State<Fleet>, headers: HeaderMap) -> Response {
    page(StatusCode::OK, pages::first(look(&fleet, &headers, "")))
}

/// Signs in, and leads to the console.
pub(crate) async fn sign_in(
    State(fleet): State<Fleet>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    same_origin(&headers)?;
    let (typed, address, before) = (typed(&body), peer.address.ip(), cookie(&headers).map(str::to_owned));
    match fleet.run(move |fleet| fleet.sign_in(&typed, address, before.as_deref())).await {
        Ok(secret) => Ok(lead("/console", &set_cookie(&secret, SESSION_S))),
        Err(error) => said(&fleet, &headers, error, pages::sign_in),
    }
}

/// Sets a password with a one-time code, and leads to the form that signs in.
pub(crate) async fn first(
    State(fleet): State<Fleet>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    same_origin(&headers)?;
    let (typed, address) = (typed(&body), peer.address.ip());
    match fleet.run(move |fleet| fleet.set_password(&typed, address)).await {
        Ok(()) => Ok(lead("/login", &set_cookie("", 0))),
        Err(error) => said(&fleet, &headers, error, pages::first),
    }
}

/// Ends the session.
pub(crate) async fn sign_out(
    Operator(actor): Operator,
    State(fleet): State<Fleet>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if let Some(cookie) = cookie(&headers).map(str::to_owned) {
        fleet.run(move |fleet| fleet.sign_out(&actor, &cookie, peer.address.ip())).await?;
    }
    Ok(lead("/login", &set_cookie("", 0)))
}

fn typed(body: &[u8]) -> Typed {
    let mut typed = Typed::default();
    for (key, value) in url::form_urlencoded::parse(body) {
        // Longer than anything that could be right.
        let value: String = value.chars().take(512).collect();
        match &*key {
            "name" => typed.name = value,
            "password" => typed.password = value,
            "code" => typed.code = value,
            _ => {}
        }
    }
    typed
}

/// What somebody who signs in can act on stands on the page; everything else is an error as elsewhere.
fn said(
    fleet: &Fleet,
    headers: &HeaderMap,
    error: FleetError,
    form: fn(Look<'_>) -> String,
) -> Result<Response, ApiError> {
    let status = match &error {
        FleetError::SignIn => StatusCode::UNAUTHORIZED,
        FleetError::HeldBack(_) => StatusCode::TOO_MANY_REQUESTS,
        FleetError::Person(_) => StatusCode::BAD_REQUEST,
        _ => return Err(error.into()),
    };
    Ok(page(status, form(look(fleet, headers, &error.to_string()))))
}

fn look<'a>(fleet: &'a Fleet, headers: &HeaderMap, message: &'a str) -> Look<'a> {
    Look { theme: console::theme(headers), message, provider: fleet.login_label() }
}

fn set_cookie(secret: &str, age_s: i64) -> String {
    format!("{COOKIE}={secret}; Path=/; Max-Age={age_s}; Secure; HttpOnly; SameSite=Strict")
}

fn lead(to: &'static str, cookie: &str) -> Response {
    let mut response =
        (StatusCode::SEE_OTHER, [(header::LOCATION, to), (header::CACHE_CONTROL, "no-store")]).into_response();
    // Hexadecimal digits and words of ours: always a valid value.
    response.headers_mut().extend(HeaderValue::from_str(cookie).ok().map(|value| (header::SET_COOKIE, value)));
    response
}

fn page(status: StatusCode, html: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, pages::POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (status, headers, html).into_response()
}

#[cfg(test)]
mod tests;
