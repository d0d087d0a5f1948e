//! Whether an ID token says what it must (OpenID Connect Core 1.0, section 3.1.3.7); every check fails closed.
//!
//! ```text
//! size ─► header: an algorithm that is allowed, a key by its name ─► the key's own algorithm ─► signature, iss
//!      ─► aud: this client, and nobody unknown ─► azp ─► exp, nbf, iat by our clock ─► nonce ─► sub
//! ```
//!
//! `jku`, `jwk` and `x5u` of a header are never looked at.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::keys::{ALGORITHMS, KEY_ID_BYTES, Keys};

/// Largest token.
pub(super) const TOKEN_BYTES: usize = 64 * 1024;

/// Largest `sub` (OpenID Connect Core 1.0, section 2).
const SUBJECT_BYTES: usize = 255;

/// How far the provider's clock and ours may differ, seconds.
const LEEWAY_S: i64 = 60;

/// How long ago a token may have been issued, seconds: it comes straight from the provider.
const MOST_AGE_S: i64 = 10 * 60;

/// What is claimed, once it was checked.
pub(super) type Claims = Map<String, Value>;

/// What a token must say.
#[derive(Debug)]
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    /// Whom it may be for, too.
    pub(super) audiences: &'a [String],
    pub(super) nonce: &'a str,
    pub(super) now_s: i64,
}

/// The part of a header that is looked at.
#[derive(Debug, Deserialize)]
struct RawHeader {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

/// What a header says, if a token with it can be accepted at all.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) key_id: String,
    algorithm: Algorithm,
}

impl Header {
    pub(super) fn read(token: &str) -> Result<Self, &'static str> {
        if token.len() > TOKEN_BYTES {
            return Err("the token is too large");
        }
        let parts: Vec<&str> = token.split('.').collect();
        let [header, _, _] = parts.as_slice() else { return Err("the token is none") };
        let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| "the token is none")?;
        let header: RawHeader = serde_json::from_slice(&header).map_err(|_| "the token is none")?;
        let known = ALGORITHMS.into_iter().find(|(name, _)| *name == header.alg);
        let (_, algorithm) = known.ok_or("the token is signed in a way that is not accepted")?;
        if header.crit.is_some() {
            return Err("the token demands extensions (`crit`) that are unknown here");
        }
        let key_id = header.kid.filter(|kid| (1..=KEY_ID_BYTES).contains(&kid.len()));
        Ok(Self { key_id: key_id.ok_or("the token does not name its key (`kid`)")?, algorithm })
    }
}

/// The claims of a token that says what it must.
pub(super) fn verify(
    token: &str,
    header: &Header,
    keys: &Keys,
    expected: &Expected<'_>,
) -> Result<Claims, &'static str> {
    if !keys.know(&header.key_id) {
        return Err("the token is signed by a key that is not the provider's");
    }
    let mut refusal = "the token is signed in a way that its key is not for";
    for key in keys.find(&header.key_id, header.algorithm) {
        match decode(token, header.algorithm, &key, expected.issuer) {
            Ok(claims) => return check(claims, expected),
            Err(why) => refusal = why,
        }
    }
    Err(refusal)
}

fn decode(token: &str, algorithm: Algorithm, key: &DecodingKey, issuer: &str) -> Result<Claims, &'static str> {
    use jsonwebtoken::errors::ErrorKind;
    let mut validation = Validation::new(algorithm);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.set_issuer(&[issuer]);
    // Looked at below: times with our clock, and of the audience more than the library does.
    (validation.validate_aud, validation.validate_exp, validation.validate_nbf) = (false, false, false);
    let decoded = jsonwebtoken::decode::<Claims>(token, key, &validation);
    decoded.map(|decoded| decoded.claims).map_err(|error| match error.kind() {
        ErrorKind::InvalidSignature => "the token's signature does not hold",
        ErrorKind::InvalidIssuer => "the token is by another issuer",
        _ => "the token's claims are not what they have to be",
    })
}

fn check(claims: Claims, expected: &Expected<'_>) -> Result<Claims, &'static str> {
    let Expected { issuer, client_id, audiences, nonce, now_s } = *expected;
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let is_whole = |name: &str| claims.get(name).is_none_or(Value::is_string);
    // The library takes a list of issuers, too; there is one.
    if text("iss") != Some(issuer) {
        return Err("the token is by another issuer");
    }
    let audience: Vec<&str> = match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) if several.iter().all(Value::is_string) => {
            several.iter().filter_map(Value::as_str).collect()
        }
        _ => return Err("the token does not say whom it is for"),
    };
    if !audience.contains(&client_id) {
        return Err("the token is for somebody else");
    }
    if audience.iter().any(|one| *one != client_id && !audiences.iter().any(|allowed| allowed == one)) {
        return Err("the token is for others, too, whom `audiences` of `[login.oidc]` does not name");
    }
    if !is_whole("azp") || text("azp").map_or(audience.len() > 1, |party| party != client_id) {
        return Err("the token was given to another client (`azp`)");
    }
    let time = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_i64().map(Some).ok_or("a time in the token is not a number of seconds"),
    };
    let expires_s = time("exp")?.ok_or("the token does not say when it expires")?;
    let issued_s = time("iat")?.ok_or("the token does not say when it was issued")?;
    if expires_s <= now_s.saturating_sub(LEEWAY_S) {
        return Err("the token has expired");
    }
    let latest_s = now_s.saturating_add(LEEWAY_S);
    if issued_s > latest_s || time("nbf")?.is_some_and(|from_s| from_s > latest_s) {
        return Err("the token is of the future; compare the clocks");
    }
    if issued_s < now_s.saturating_sub(MOST_AGE_S + LEEWAY_S) {
        return Err("the token was issued too long ago");
    }
    if text("nonce") != Some(nonce) {
        return Err("the token answers another sign-in (`nonce`)");
    }
    match text("sub") {
        Some(subject) if (1..=SUBJECT_BYTES).contains(&subject.len()) && !subject.chars().any(char::is_control) => {}
        _ => return Err("the token does not say whom it is about (`sub`)"),
    }
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const EXPECTED: Expected<'_> =
        Expected { issuer: "https://a", client_id: "c", audiences: &[], nonce: "n", now_s: 1_800_000_000 };

    fn claims() -> Value {
        let now_s = EXPECTED.now_s;
        json!({ "iss": "https://a", "aud": ["c"], "sub": "1", "nonce": "n", "exp": now_s + 60, "iat": now_s })
    }

    fn checked(claims: &Value) -> Result<Claims, &'static str> {
        check(claims.as_object().cloned().unwrap_or_default(), &EXPECTED)
    }

    proptest! {
        #[test]
        fn any_text_is_a_header_or_refused(text in "\\PC{0,200}|[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,60}") {
            let _ = Header::read(&text);
        }

        #[test]
        fn one_claim_that_is_another_is_refused(
            name in "iss|aud|sub|nonce|exp|iat|nbf|azp",
            value in prop_oneof![
                Just(json!(null)), Just(json!([])), Just(json!({})), any::<bool>().prop_map(Value::from),
                "\\PC{0,20}".prop_map(Value::from), any::<i64>().prop_map(Value::from), any::<f64>().prop_map(Value::from),
            ],
        ) {
            prop_assert!(checked(&claims()).is_ok());
            let mut lie = claims();
            lie[name.as_str()] = value;
            // A subject is whatever the provider calls somebody, and what is not a lie here is not refused.
            if let Ok(claims) = checked(&lie) {
                prop_assert_eq!(&claims["iss"], "https://a");
                prop_assert_eq!(&claims["nonce"], "n");
                prop_assert!(claims["sub"].as_str().is_some_and(|subject| !subject.is_empty()));
                prop_assert!(claims["exp"].as_i64().unwrap() > EXPECTED.now_s - 60 && claims["iat"].is_i64());
                prop_assert!(name != "azp" || claims["azp"] == "c");
                prop_assert!(name != "aud" || claims["aud"] == "c");
            }
        }
    }
}
