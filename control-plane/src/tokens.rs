//! Tokens for people and services (EdDSA JWT), and the operators' bearer token.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use outpost_contract::TokenIssuer;
use outpost_trust::SigningKey;
use outpost_trust::keys::KeyError;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Most that a token may be valid for: 30 days, in seconds. There is no list of revoked tokens yet, so age is the limit.
pub const MOST_TOKEN_S: i64 = 30 * 24 * 60 * 60;

/// A token cannot be issued.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Nobody to issue it for.
    #[error("a token needs a subject of 1 to 128 characters, and at least one role")]
    Subject,
    /// A role is none.
    #[error("`{0}` is not a role: expected 1 to 32 characters of a-z, 0-9, `-` and `_`")]
    Role(String),
    /// Too long a life.
    #[error("a token is valid for 1 to {MOST_TOKEN_S} seconds, not {0}")]
    Validity(i64),
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The library refused.
    #[error("cannot sign a token: {0}")]
    Sign(#[from] jsonwebtoken::errors::Error),
    /// The system gives no random numbers.
    #[error("no random numbers for a token: {0}")]
    Random(getrandom::Error),
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who issued it.
    pub iss: String,
    /// Whom it is for.
    pub aud: String,
    /// Who carries it.
    pub sub: String,
    /// When it expires, seconds since 1970-01-01 UTC.
    pub exp: i64,
    /// From when it counts.
    pub nbf: i64,
    /// When it was issued.
    pub iat: i64,
    /// Its number, 32 hexadecimal digits.
    pub jti: String,
    /// What its carrier may be.
    pub roles: Vec<String>,
}

/// Issues tokens with one key under one name.
#[derive(Debug)]
pub(crate) struct Issuer<'a> {
    pub(crate) key: &'a SigningKey,
    pub(crate) issuer: &'a str,
    pub(crate) audience: &'a str,
}

impl Issuer<'_> {
    /// A token for `subject`, valid from now for `valid_s` seconds.
    pub(crate) fn issue(
        &self,
        subject: &str,
        roles: &[String],
        valid_s: i64,
        now_s: i64,
    ) -> Result<String, TokenError> {
        let nameless = subject.is_empty() || subject.chars().count() > 128 || subject.chars().any(char::is_control);
        if nameless || roles.is_empty() {
            return Err(TokenError::Subject);
        }
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
        if let Some(role) = roles.iter().find(|role| !(1..=32).contains(&role.len()) || !role.chars().all(plain)) {
            return Err(TokenError::Role(role.chars().take(80).collect()));
        }
        if !(1..=MOST_TOKEN_S).contains(&valid_s) {
            return Err(TokenError::Validity(valid_s));
        }
        let claims = Claims {
            iss: self.issuer.to_owned(),
            aud: self.audience.to_owned(),
            sub: subject.to_owned(),
            exp: now_s + valid_s,
            nbf: now_s,
            iat: now_s,
            jti: hex::encode(random::<16>().map_err(TokenError::Random)?),
            roles: roles.to_vec(),
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(self.key.verifying_key().key_id());
        let key = EncodingKey::from_ed_der(&self.key.to_pkcs8()?);
        Ok(jsonwebtoken::encode(&header, &claims, &key)?)
    }

    /// What devices must know to believe these tokens; travels in the catalogue's authority document.
    pub(crate) fn described(&self) -> TokenIssuer {
        let public = self.key.verifying_key();
        TokenIssuer {
            issuer: self.issuer.to_owned(),
            audience: self.audience.to_owned(),
            key_id: public.key_id(),
            public_key: public.to_hex(),
        }
    }
}

/// A new bearer token for operators: 256 random bits, recognisable in a leak.
pub(crate) fn new_admin_token() -> Result<String, getrandom::Error> {
    Ok(format!("outpost-admin-{}", hex::encode(random::<32>()?)))
}

/// What is kept of a bearer token. A plain hash is enough: nobody guesses 256 random bits.
pub(crate) fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// Compares in constant time.
pub(crate) fn matches(secret: &str, kept: &[u8]) -> bool {
    verify_slices_are_equal(&hash(secret), kept).is_ok()
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{DecodingKey, Validation};

    #[test]
    fn a_token_is_signed_by_the_key_that_the_catalogue_names() {
        let key = SigningKey::generate().unwrap();
        let issuer = Issuer { key: &key, issuer: "control", audience: "outpost" };
        let now_s = Clock::system().now_s();
        let token = issuer.issue("ada", &["operator".into()], 60, now_s).unwrap();
        let described = issuer.described();
        let header = jsonwebtoken::decode_header(&token).unwrap();
        assert_eq!(header.kid.as_deref(), Some(described.key_id.as_str()));
        let public = hex::decode(&described.public_key).unwrap();
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&["outpost"]);
        validation.set_issuer(&["control"]);
        let claims = jsonwebtoken::decode::<Claims>(&token, &DecodingKey::from_ed_der(&public), &validation).unwrap();
        assert_eq!((claims.claims.sub.as_str(), claims.claims.exp), ("ada", now_s + 60));
    }

    #[test]
    fn a_token_for_nobody_or_for_ever_is_not_issued() {
        let key = SigningKey::generate().unwrap();
        let issuer = Issuer { key: &key, issuer: "control", audience: "outpost" };
        let operator = ["operator".to_owned()];
        assert!(matches!(issuer.issue("", &operator, 60, 1), Err(TokenError::Subject)));
        assert!(matches!(issuer.issue("ada", &[], 60, 1), Err(TokenError::Subject)));
        assert!(matches!(issuer.issue("ada", &["Big Boss".into()], 60, 1), Err(TokenError::Role(_))));
        assert!(matches!(issuer.issue("ada", &operator, MOST_TOKEN_S + 1, 1), Err(TokenError::Validity(_))));
    }

    use crate::clock::Clock;
}
