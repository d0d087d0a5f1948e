//! The credential of a request: one, however it is shown, and never two that differ.
//!
//! `Authorization: Bearer …` is the usual place. Clients of Anthropic say `x-api-key: …`, clients of Azure `api-key: …`; all
//! three count on every route. The same credential shown twice in two places is one; two different ones are refused
//! rather than chosen between.

use axum::http::header::{AUTHORIZATION, HeaderName};
use axum::http::{HeaderMap, HeaderValue};

use super::Unidentified;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const API_KEY: HeaderName = HeaderName::from_static("api-key");

/// What the caller shows, if it shows anything.
pub(super) fn shown(headers: &HeaderMap) -> Result<Option<&str>, Unidentified> {
    let authorization = single(headers, &AUTHORIZATION)?.map(|header| {
        bearer(header.as_bytes())
            .ok_or_else(|| malformed("the `Authorization` header is not `Bearer <token or API key>`"))
    });
    let keys = [X_API_KEY, API_KEY].map(|name| {
        single(headers, &name)?
            .map(|header| plain(header.as_bytes()).ok_or_else(|| malformed("the API key header is not plain text")))
            .transpose()
    });
    let [x_api_key, api_key] = keys;
    let mut credentials = [authorization.transpose()?, x_api_key?, api_key?].into_iter().flatten();
    let first = credentials.next();
    if credentials.any(|other| Some(other) != first) {
        return Err(malformed("two different credentials are shown: send one"));
    }
    Ok(first)
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Unidentified> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(malformed(format!("more than one `{name}` header")));
    }
    Ok(first)
}

fn malformed(message: impl Into<String>) -> Unidentified {
    Unidentified::new("malformed_credential", message)
}

/// The credential of a bearer header (RFC 6750 §2.1); its scheme's case does not matter.
fn bearer(header: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(header).ok()?;
    let (scheme, credential) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| plain(credential.as_bytes())).flatten()
}

fn plain(header: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(header).ok()?.trim();
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(shown_headers: &[(&'static str, &'static str)]) -> Result<Option<String>, &'static str> {
        let mut headers = HeaderMap::new();
        for (name, value) in shown_headers {
            headers.append(*name, HeaderValue::from_static(value));
        }
        shown(&headers).map(|shown| shown.map(str::to_owned)).map_err(|error| error.code)
    }

    #[test]
    fn one_credential_counts_wherever_it_is_shown() {
        assert_eq!(of(&[]), Ok(None));
        for header in [("authorization", "bearer k"), ("x-api-key", "k"), ("api-key", " k ")] {
            assert_eq!(of(&[header]), Ok(Some("k".to_owned())), "{header:?}");
        }
        assert_eq!(of(&[("authorization", "Bearer k"), ("x-api-key", "k")]), Ok(Some("k".to_owned())));
    }

    #[test]
    fn two_that_differ_or_one_header_twice_are_refused() {
        for headers in [
            &[("authorization", "Bearer a"), ("x-api-key", "b")][..],
            &[("x-api-key", "a"), ("api-key", "b")],
            &[("authorization", "Bearer a"), ("authorization", "Bearer a")],
            &[("x-api-key", "a"), ("x-api-key", "a")],
            &[("authorization", "Basic a")],
            &[("authorization", "Bearer ")],
            &[("x-api-key", "")],
            &[("x-api-key", "a b")],
        ] {
            assert_eq!(of(headers), Err("malformed_credential"), "{headers:?}");
        }
    }
}
