//! Signed tokens: JWT with EdDSA, by an issuer that the catalogue's authority names.
//!
//! The order of checks, each of which fails closed:
//!
//! 1. size, before anything is decoded (8 KiB; `kid` 128 bytes);
//! 2. the header: EdDSA and nothing else, no `crit`; `jku`, `jwk`, `x5u`, `x5c` are never looked at;
//! 3. the key, by `kid` as an opaque word;
//! 4. signature, `iss`, `aud`, and that `exp nbf iss aud sub` are all there: the library, one `Validation` per key;
//! 5. `exp` and `nbf` here, with the device's clock: the library would ask the system's, and panics before 1970.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use outpost_policies::{AuthMethod, Network, Principal, PrincipalKind};
use serde::Deserialize;

use super::{Caller, Unidentified};

/// Largest token that is looked at.
const TOKEN_BYTES: usize = 8 * 1024;

/// Largest `kid`.
const KEY_ID_BYTES: usize = 128;

/// Largest `sub` and role, and most roles.
const SUBJECT_BYTES: usize = 256;
const ROLE_BYTES: usize = 64;
const ROLES: usize = 32;

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

/// An issuer with its key and what its tokens must say.
pub(super) struct TrustedIssuer {
    key_id: String,
    issuer: String,
    key: DecodingKey,
    validation: Validation,
}

impl std::fmt::Debug for TrustedIssuer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TrustedIssuer").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl TrustedIssuer {
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
        Ok(Self { key_id: issuer.key_id.clone(), issuer: issuer.issuer.clone(), key, validation })
    }
}

/// The part of a header that is looked at.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Claims {
    exp: i64,
    nbf: i64,
    sub: String,
    #[serde(default)]
    roles: Vec<String>,
    /// `user` or `service`; a person unless the issuer says otherwise.
    #[serde(default)]
    kind: Option<String>,
}

pub(super) fn identify(
    token: &str,
    issuers: &[TrustedIssuer],
    now_s: i64,
    network: Network,
) -> Result<Caller, Unidentified> {
    if token.len() > TOKEN_BYTES {
        let message = format!("the token has {} bytes, more than the {TOKEN_BYTES} that one may have", token.len());
        return Err(Unidentified::new("token_too_large", message));
    }
    let key_id = check_header(token)?;
    let mut refusal = Unidentified::new(
        "unknown_token_key",
        "the token is signed by a key that this device does not trust: get one from this device's fleet",
    );
    for issuer in issuers.iter().filter(|issuer| issuer.key_id == key_id) {
        match jsonwebtoken::decode::<Claims>(token, &issuer.key, &issuer.validation) {
            Ok(decoded) => return admit(decoded.claims, issuer, now_s, network),
            Err(error) => refusal = describe(error.kind()),
        }
    }
    Err(refusal)
}

/// The `kid`, if the header is one that can be accepted at all.
fn check_header(token: &str) -> Result<String, Unidentified> {
    let malformed = || {
        Unidentified::new("malformed_token", "the credential is neither an API key of this device nor a signed token")
    };
    let mut parts = token.split('.');
    let (Some(header), Some(_), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(malformed());
    };
    let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| malformed())?;
    let header: Header = serde_json::from_slice(&header).map_err(|_| malformed())?;
    if header.alg != "EdDSA" {
        let shown: String = header.alg.chars().take(16).filter(|letter| letter.is_ascii_graphic()).collect();
        let message = format!("the token says it is signed with `{shown}`; only `EdDSA` is accepted");
        return Err(Unidentified::new("token_algorithm", message));
    }
    if header.crit.is_some() {
        return Err(Unidentified::new(
            "malformed_token",
            "the token demands extensions (`crit`) that are unknown here",
        ));
    }
    match header.kid {
        Some(kid) if (1..=KEY_ID_BYTES).contains(&kid.len()) => Ok(kid),
        _ => Err(Unidentified::new("malformed_token", "the token does not name its key (`kid`, 1 to 128 bytes)")),
    }
}

fn admit(claims: Claims, issuer: &TrustedIssuer, now_s: i64, network: Network) -> Result<Caller, Unidentified> {
    if now_s.saturating_sub(LEEWAY_S) >= claims.exp {
        let message = "the token has expired: get a new one (if it is fresh, this device's clock may be ahead)";
        return Err(Unidentified::new("token_expired", message));
    }
    if now_s.saturating_add(LEEWAY_S) < claims.nbf {
        let message = "the token is not valid yet: check the clocks of the issuer and of this device";
        return Err(Unidentified::new("token_not_yet_valid", message));
    }
    let plain = |text: &str, most: usize| (1..=most).contains(&text.len()) && !text.chars().any(char::is_control);
    let roles_are_plain = claims.roles.len() <= ROLES && claims.roles.iter().all(|role| plain(role, ROLE_BYTES));
    if !plain(&claims.sub, SUBJECT_BYTES) || !roles_are_plain {
        return Err(Unidentified::new(
            "malformed_token",
            "the token's `sub` or `roles` are too long or not plain text",
        ));
    }
    let kind = match claims.kind.as_deref() {
        None | Some("user") => PrincipalKind::User,
        Some("service") => PrincipalKind::Service,
        Some(_) => {
            return Err(Unidentified::new("malformed_token", "the token's `kind` is neither `user` nor `service`"));
        }
    };
    Ok(Caller {
        // Two issuers may use one name for two people.
        principal: Principal { kind, id: format!("{}|{}", issuer.issuer, claims.sub), roles: claims.roles },
        method: AuthMethod::Token,
        network,
        credential: issuer.key_id.clone(),
    })
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
