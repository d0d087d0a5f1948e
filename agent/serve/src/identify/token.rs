//! Signed tokens: JWT by an issuer that the catalogue's authority names (EdDSA), or by a customer's OIDC provider.
//!
//! The order of checks, each of which fails closed:
//!
//! 1. size, before anything is decoded (8 KiB; `kid` 128 bytes);
//! 2. the header: a signature algorithm and no shared secret, no `crit`; `jku`, `jwk`, `x5u`, `x5c` are never looked at;
//! 3. the key, by `kid` as an opaque word, and its algorithm, which is the key's and not the token's;
//! 4. signature, `iss`, `aud`, and that what must be there is: the library, one `Validation` per key and algorithm;
//! 5. `exp` and `nbf` here, with the device's clock: the library would ask the system's, and panics before 1970.

use std::sync::Arc;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use outpost_policies::{AuthMethod, Network, Principal, PrincipalKind};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::jwks::{self, KEY_ID_BYTES};
use super::provider::Provider;
use super::{Caller, Unidentified};

/// Largest token that is looked at.
const TOKEN_BYTES: usize = 8 * 1024;

/// Largest `sub` and role, and most roles.
const SUBJECT_BYTES: usize = 256;
const ROLE_BYTES: usize = 64;
const ROLES: usize = 32;

/// What a token may be signed with; never with a shared secret.
const ALGORITHMS: [&str; 5] = ["EdDSA", "ES256", "ES384", "PS256", "RS256"];

/// How far the issuer's clock and this device's may differ.
const LEEWAY_S: i64 = 60;

/// Somebody who issues tokens for people and services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenIssuer {
    /// The `iss` claim, compared exactly.
    pub issuer: String,
    /// The `aud` claim that tokens must carry.
    pub audience: String,
    /// The `kid` header.
    pub key_id: String,
    /// Ed25519 public key, 64 hexadecimal digits.
    pub public_key: String,
}

/// An issuer cannot be trusted, for want of a usable key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the token issuer `{issuer}` cannot be used: {because}")]
pub struct InvalidIssuer {
    /// Which.
    pub issuer: String,
    /// What is wrong with it.
    pub because: String,
}

/// A key with the one algorithm that it is used with, and what its tokens must say.
pub(super) struct TrustedKey {
    pub(super) key_id: String,
    pub(super) issuer: String,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
    pub(super) validation: Validation,
}

impl std::fmt::Debug for TrustedKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TrustedKey").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl TrustedKey {
    /// The key of an issuer that the control plane names.
    pub(super) fn new(issuer: &TokenIssuer) -> Result<Self, InvalidIssuer> {
        let invalid = |because: &str| InvalidIssuer { issuer: issuer.issuer.clone(), because: because.to_owned() };
        if issuer.issuer.is_empty() || issuer.audience.is_empty() {
            return Err(invalid("its name or its audience is empty"));
        }
        if issuer.key_id.is_empty() || issuer.key_id.len() > KEY_ID_BYTES {
            return Err(invalid("its key id is empty or longer than 128 bytes"));
        }
        let mut public_key = [0_u8; 32];
        hex::decode_to_slice(&issuer.public_key, &mut public_key)
            .map_err(|_| invalid("its public key is not 64 hexadecimal digits"))?;
        UnparsedPublicKey::new(&ED25519, public_key)
            .parse()
            .map_err(|_| invalid("its public key is no Ed25519 key"))?;
        let key = DecodingKey::from_ed_components(&URL_SAFE_NO_PAD.encode(public_key))
            .map_err(|_| invalid("its public key is no Ed25519 key"))?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        // All of them: a claim that is not required and cannot be parsed is skipped by the library.
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        validation.set_issuer(&[&issuer.issuer]);
        validation.set_audience(&[&issuer.audience]);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let (key_id, issuer) = (issuer.key_id.clone(), issuer.issuer.clone());
        Ok(Self { key_id, issuer, algorithm: Algorithm::EdDSA, key, validation })
    }
}

/// The part of a header that is looked at.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<serde_json::Value>,
}

#[derive(Clone, Deserialize)]
struct Claims {
    exp: i64,
    nbf: i64,
    sub: String,
    #[serde(default)]
    roles: Vec<String>,
    /// `user` or `service`; a person unless the issuer says otherwise.
    #[serde(default)]
    kind: Option<String>,
    /// Which token, for a lock on it.
    #[serde(default)]
    jti: Option<String>,
}

/// Everybody whose tokens count.
#[derive(Debug, Default)]
pub(super) struct Trusted<'a> {
    pub(super) issuers: &'a [TrustedKey],
    pub(super) providers: &'a [Arc<Provider>],
}

pub(super) fn identify(
    token: &str,
    trusted: &Trusted<'_>,
    now_s: i64,
    network: Network,
) -> Result<Caller, Unidentified> {
    if token.len() > TOKEN_BYTES {
        let message = format!("the token has {} bytes, more than the {TOKEN_BYTES} that one may have", token.len());
        return Err(Unidentified::new("token_too_large", message));
    }
    let (key_id, algorithm) = check_header(token)?;
    let issuers = trusted.issuers.iter().map(|key| (key, None));
    let provided =
        trusted.providers.iter().flat_map(|provider| provider.keys.iter().map(move |key| (key, Some(&**provider))));
    let mut refusal = unknown_key(trusted, now_s);
    for (key, provider) in issuers.chain(provided).filter(|(key, _)| key.key_id == key_id) {
        if jwks::word(key.algorithm) != algorithm {
            let message = format!("the token says it is signed with `{algorithm}`, which its key is not for");
            refusal = Unidentified::new("token_algorithm", message);
            continue;
        }
        let outcome = match provider {
            None => decode::<Claims>(token, key).map(|claims| admit(claims, key, now_s, network)),
            Some(provider) => decode::<Map<String, Value>>(token, key)
                .map(|claims| admit_provided(claims, key, provider, now_s, network)),
        };
        match outcome {
            Ok(outcome) => return outcome,
            Err(error) => refusal = error,
        }
    }
    Err(refusal)
}

fn decode<C: serde::de::DeserializeOwned + Clone>(token: &str, key: &TrustedKey) -> Result<C, Unidentified> {
    let decoded = jsonwebtoken::decode::<C>(token, &key.key, &key.validation);
    decoded.map(|decoded| decoded.claims).map_err(|error| describe(error.kind()))
}

/// Said of a token whose key is not known: is it nobody's, or could it be newer than what this device could read?
fn unknown_key(trusted: &Trusted<'_>, now_s: i64) -> Unidentified {
    if trusted.providers.iter().any(|provider| provider.may_lack_keys(now_s)) {
        return Unidentified::new(
            "unknown_kid_offline",
            "the token is signed by a key that this device does not know, and it could not read its provider's keys \
             lately: connect it, or use an API key",
        );
    }
    Unidentified::new(
        "unknown_token_key",
        "the token is signed by a key that this device does not trust: get one from this device's fleet",
    )
}

/// The `kid` and the algorithm, if the header is one that can be accepted at all.
fn check_header(token: &str) -> Result<(String, String), Unidentified> {
    let malformed = || {
        Unidentified::new("malformed_token", "the credential is neither an API key of this device nor a signed token")
    };
    let mut parts = token.split('.');
    let (Some(header), Some(_), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(malformed());
    };
    let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| malformed())?;
    let header: Header = serde_json::from_slice(&header).map_err(|_| malformed())?;
    if !ALGORITHMS.contains(&header.alg.as_str()) {
        let shown: String = header.alg.chars().take(16).filter(|letter| letter.is_ascii_graphic()).collect();
        let message =
            format!("the token says it is signed with `{shown}`; only {} are accepted", ALGORITHMS.join(", "));
        return Err(Unidentified::new("token_algorithm", message));
    }
    if header.crit.is_some() {
        return Err(Unidentified::new(
            "malformed_token",
            "the token demands extensions (`crit`) that are unknown here",
        ));
    }
    match header.kid {
        Some(kid) if (1..=KEY_ID_BYTES).contains(&kid.len()) => Ok((kid, header.alg)),
        _ => Err(Unidentified::new("malformed_token", "the token does not name its key (`kid`, 1 to 128 bytes)")),
    }
}

fn admit(claims: Claims, key: &TrustedKey, now_s: i64, network: Network) -> Result<Caller, Unidentified> {
    check_times(claims.exp, Some(claims.nbf), now_s)?;
    let kind = match claims.kind.as_deref() {
        None | Some("user") => PrincipalKind::User,
        Some("service") => PrincipalKind::Service,
        Some(_) => {
            return Err(Unidentified::new("malformed_token", "the token's `kind` is neither `user` nor `service`"));
        }
    };
    caller(key, &claims.sub, claims.roles, kind, claims.jti, network)
}

/// A provider's claims: only those that are configured mean anything.
fn admit_provided(
    mut claims: Map<String, Value>,
    key: &TrustedKey,
    provider: &Provider,
    now_s: i64,
    network: Network,
) -> Result<Caller, Unidentified> {
    if provider.is_too_old(now_s) {
        let message = "this device could not read its provider's keys for longer than it may go without: connect it, \
                       or use an API key";
        return Err(Unidentified::new("provider_keys_too_old", message));
    }
    let time = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_i64().map(Some).ok_or_else(|| {
            Unidentified::new("malformed_token", format!("the token's `{name}` is not a number of seconds"))
        }),
    };
    let expires_s =
        time("exp")?.ok_or_else(|| Unidentified::new("malformed_token", "the token has no usable `exp`"))?;
    check_times(expires_s, time("nbf")?, now_s)?;
    let roles = provider.roles(&claims)?;
    let mut text = |name: &str| match claims.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    let token_id = text("jti");
    let subject = text("sub").unwrap_or_default();
    let caller = caller(key, &subject, roles, provider.settings.kind, token_id, network)?;
    Ok(Caller { keys_age_s: provider.age_s(now_s), ..caller })
}

fn check_times(expires_s: i64, not_before_s: Option<i64>, now_s: i64) -> Result<(), Unidentified> {
    if now_s.saturating_sub(LEEWAY_S) >= expires_s {
        let message = "the token has expired: get a new one (if it is fresh, this device's clock may be ahead)";
        return Err(Unidentified::new("token_expired", message));
    }
    if not_before_s.is_some_and(|not_before_s| now_s.saturating_add(LEEWAY_S) < not_before_s) {
        let message = "the token is not valid yet: check the clocks of the issuer and of this device";
        return Err(Unidentified::new("token_not_yet_valid", message));
    }
    Ok(())
}

fn caller(
    key: &TrustedKey,
    subject: &str,
    roles: Vec<String>,
    kind: PrincipalKind,
    token_id: Option<String>,
    network: Network,
) -> Result<Caller, Unidentified> {
    let plain = |text: &str, most: usize| (1..=most).contains(&text.len()) && !text.chars().any(char::is_control);
    let roles_are_plain = roles.len() <= ROLES && roles.iter().all(|role| plain(role, ROLE_BYTES));
    if !plain(subject, SUBJECT_BYTES) || !roles_are_plain {
        return Err(Unidentified::new(
            "malformed_token",
            "the token's `sub` or `roles` are too long or not plain text",
        ));
    }
    // Two issuers may use one name for two people.
    let principal = Principal { kind, id: format!("{}|{subject}", key.issuer), roles };
    Ok(Caller { token_id, credential: key.key_id.clone(), ..Caller::new(principal, AuthMethod::Token, network) })
}

fn describe(error: &ErrorKind) -> Unidentified {
    match error {
        ErrorKind::InvalidSignature => Unidentified::new(
            "token_signature",
            "the token's signature does not hold: it was changed or is another key's",
        ),
        ErrorKind::InvalidAudience => {
            Unidentified::new("token_audience", "the token is for another audience: get one for this fleet's devices")
        }
        ErrorKind::InvalidIssuer => {
            Unidentified::new("token_issuer", "the token is by another issuer than its key belongs to")
        }
        ErrorKind::MissingRequiredClaim(claim) => {
            Unidentified::new("malformed_token", format!("the token has no usable `{claim}`"))
        }
        _ => Unidentified::new("malformed_token", "the token cannot be read: its claims are not what they have to be"),
    }
}
