//! The keys of an OIDC provider: read from a JWK set under limits, and kept after their removal for as long as tokens that
//! they signed may live.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::{Deserialize, Serialize};

/// Largest key set that is read, bytes.
pub const JWKS_BYTES: usize = 256 * 1024;

/// Most keys in one.
const KEYS: usize = 64;

/// Largest `kid`.
pub(super) const KEY_ID_BYTES: usize = 128;

/// RSA moduli, bytes: 2048 to 8192 bits.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// The keys of a provider as they are kept on disk, so that tokens can be checked without a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderKeys {
    /// When the set was last read from the provider, seconds since 1970-01-01 UTC.
    pub fetched_s: i64,
    keys: Vec<KeptKey>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptKey {
    jwk: Jwk,
    /// Since when the provider no longer lists it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    removed_s: Option<i64>,
}

/// The part of a JWK (RFC 7517) that is looked at; nothing private, nothing that points elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Jwk {
    kty: String,
    #[serde(default)]
    kid: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alg: Option<String>,
    #[serde(default, rename = "use", skip_serializing_if = "Option::is_none")]
    purpose: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crv: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    e: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    y: Option<String>,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

/// A key set cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the key set cannot be used: {0}")]
pub struct InvalidKeys(String);

impl ProviderKeys {
    /// The keys after the provider was read again: those it lists, and those it no longer lists for `keep_s` more.
    ///
    /// # Errors
    /// If the set is too large, not one, or has no usable key: then what was there stays.
    pub fn updated(&self, jwks: &[u8], now_s: i64, keep_s: i64) -> Result<Self, InvalidKeys> {
        if jwks.len() > JWKS_BYTES {
            return Err(InvalidKeys(format!("it has {} bytes, more than {JWKS_BYTES}", jwks.len())));
        }
        let set: Set = serde_json::from_slice(jwks).map_err(|error| InvalidKeys(error.to_string()))?;
        if set.keys.len() > KEYS {
            return Err(InvalidKeys(format!("it has {} keys, more than {KEYS}", set.keys.len())));
        }
        // A key that cannot be read, or that is of a kind that is never accepted, is skipped as RFC 7517 §5 says.
        let listed = set.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        let mut keys: Vec<_> =
            listed.filter(|jwk| !jwk.usable().is_empty()).map(|jwk| KeptKey { jwk, removed_s: None }).collect();
        if keys.is_empty() {
            return Err(InvalidKeys("it has no key of RSA (2048 bits or more), P-256, P-384 or Ed25519".to_owned()));
        }
        for old in &self.keys {
            let removed = KeptKey { jwk: old.jwk.clone(), removed_s: Some(old.removed_s.unwrap_or(now_s)) };
            let is_listed = keys.iter().any(|key| key.jwk.kid == old.jwk.kid);
            if !is_listed && removed.counts(now_s, keep_s) && keys.len() < 2 * KEYS {
                keys.push(removed);
            }
        }
        Ok(Self { fetched_s: now_s, keys })
    }

    /// Without the keys that left the provider's set `keep_s` ago: for the time in which the set cannot be read.
    #[must_use]
    pub fn without_expired(&self, now_s: i64, keep_s: i64) -> Self {
        let keys = self.keys.iter().filter(|key| key.counts(now_s, keep_s)).cloned();
        Self { fetched_s: self.fetched_s, keys: keys.collect() }
    }

    /// Each key with each algorithm that it may be used with, and since when it is removed.
    pub(super) fn usable(&self) -> impl Iterator<Item = (&str, Algorithm, DecodingKey, Option<i64>)> {
        self.keys.iter().take(2 * KEYS).flat_map(|kept| {
            let pairs = kept.jwk.usable().into_iter();
            pairs.map(move |(algorithm, key)| (kept.jwk.kid.as_str(), algorithm, key, kept.removed_s))
        })
    }
}

impl KeptKey {
    fn counts(&self, now_s: i64, keep_s: i64) -> bool {
        self.removed_s.is_none_or(|removed_s| removed_s.saturating_add(keep_s) > now_s)
    }
}

impl Jwk {
    /// The algorithms by the type of the key, never by a token; a key that names its algorithm has that one alone.
    fn usable(&self) -> Vec<(Algorithm, DecodingKey)> {
        let signs = self.purpose.as_deref().is_none_or(|purpose| purpose == "sig");
        if !signs || self.kid.is_empty() || self.kid.len() > KEY_ID_BYTES {
            return Vec::new();
        }
        let key = || match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => {
                let (modulus, exponent) = (self.n.as_deref()?, self.e.as_deref()?);
                let bytes = URL_SAFE_NO_PAD.decode(modulus).ok()?;
                let strong = MODULUS_BYTES.contains(&bytes.len()) && bytes[0] & 0x80 != 0;
                strong.then(|| DecodingKey::from_rsa_components(modulus, exponent).ok()).flatten()
            }
            ("EC", Some("P-256" | "P-384")) => {
                DecodingKey::from_ec_components(self.x.as_deref()?, self.y.as_deref()?).ok()
            }
            ("OKP", Some("Ed25519")) => {
                let x = self.x.as_deref()?;
                let is_whole = URL_SAFE_NO_PAD.decode(x).is_ok_and(|bytes| bytes.len() == 32);
                is_whole.then(|| DecodingKey::from_ed_components(x).ok()).flatten()
            }
            _ => None,
        };
        let algorithms: &[Algorithm] = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => &[Algorithm::RS256, Algorithm::PS256],
            ("EC", Some("P-256")) => &[Algorithm::ES256],
            ("EC", Some("P-384")) => &[Algorithm::ES384],
            ("OKP", Some("Ed25519")) => &[Algorithm::EdDSA],
            _ => &[],
        };
        let named = |algorithm: &Algorithm| self.alg.as_deref().is_none_or(|alg| alg == word(*algorithm));
        algorithms.iter().copied().filter(named).filter_map(|algorithm| Some((algorithm, key()?))).collect()
    }
}

/// The algorithm as a token's header spells it; only those that are ever accepted.
pub(super) fn word(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::RS256 => "RS256",
        Algorithm::PS256 => "PS256",
        Algorithm::ES256 => "ES256",
        Algorithm::ES384 => "ES384",
        Algorithm::EdDSA => "EdDSA",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn ed(kid: &str) -> serde_json::Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": URL_SAFE_NO_PAD.encode([9_u8; 32]) })
    }

    fn set(keys: &[serde_json::Value]) -> Vec<u8> {
        json!({ "keys": keys }).to_string().into_bytes()
    }

    fn ids(keys: &ProviderKeys) -> Vec<String> {
        keys.usable().map(|(kid, ..)| kid.to_owned()).collect()
    }

    #[test]
    fn a_rotated_key_stays_for_the_life_of_its_tokens_also_on_disk() {
        let first = ProviderKeys::default().updated(&set(&[ed("a")]), 1_000, 600).unwrap();
        let second = first.updated(&set(&[ed("b")]), 2_000, 600).unwrap();
        assert_eq!(ids(&second), ["b", "a"]);
        let kept: ProviderKeys = serde_json::from_str(&serde_json::to_string(&second).unwrap()).unwrap();
        assert_eq!(ids(&kept.updated(&set(&[ed("b")]), 2_599, 600).unwrap()), ["b", "a"]);
        assert_eq!(ids(&kept.updated(&set(&[ed("b")]), 2_600, 600).unwrap()), ["b"]);
        assert_eq!(ids(&kept.without_expired(2_599, 600)), ["b", "a"]);
        assert_eq!(ids(&kept.without_expired(2_600, 600)), ["b"], "also while the set cannot be read");
        assert_eq!(ids(&kept.updated(&set(&[ed("a")]), 2_600, 600).unwrap()), ["a", "b"], "a key may come back");
    }

    #[test]
    fn secrets_weak_keys_and_keys_for_encryption_are_no_keys() {
        let short = URL_SAFE_NO_PAD.encode([0xff_u8; 128]);
        for key in [
            json!({ "kty": "oct", "kid": "k", "k": "c2VjcmV0", "alg": "HS256" }),
            json!({ "kty": "RSA", "kid": "k", "n": short, "e": "AQAB" }),
            json!({ "kty": "OKP", "crv": "X25519", "kid": "k", "x": URL_SAFE_NO_PAD.encode([9_u8; 32]) }),
            json!({ "kty": "OKP", "crv": "Ed25519", "kid": "k", "x": "AA" }),
            json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode([9_u8; 32]) }),
            json!({ "kty": "OKP", "crv": "Ed25519", "kid": "k", "use": "enc", "x": URL_SAFE_NO_PAD.encode([9_u8; 32]) }),
            json!({ "kty": "OKP", "crv": "Ed25519", "kid": "k", "alg": "HS256", "x": URL_SAFE_NO_PAD.encode([9_u8; 32]) }),
        ] {
            assert!(ProviderKeys::default().updated(&set(std::slice::from_ref(&key)), 0, 0).is_err(), "{key}");
        }
        let rsa = json!({ "kty": "RSA", "kid": "k", "n": URL_SAFE_NO_PAD.encode([0xff_u8; 256]), "e": "AQAB" });
        let both = ProviderKeys::default().updated(&set(std::slice::from_ref(&rsa)), 0, 0).unwrap();
        assert_eq!(both.usable().map(|(_, algorithm, ..)| word(algorithm)).collect::<Vec<_>>(), ["RS256", "PS256"]);
    }

    #[test]
    fn too_many_and_too_large_are_refused() {
        assert!(ProviderKeys::default().updated(&set(&vec![ed("a"); KEYS + 1]), 0, 0).is_err());
        assert!(ProviderKeys::default().updated(&vec![b' '; JWKS_BYTES + 1], 0, 0).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_key_set_or_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = ProviderKeys::default().updated(&bytes, 0, 0);
        }

        #[test]
        fn any_member_of_a_key_makes_it_one_or_none_and_what_is_kept_can_be_read_again(
            member in "kty|kid|alg|use|crv|n|e|x|y",
            value in "(RSA|EC|P-256|EdDSA|sig|enc|AQAB)|\\PC{0,60}|[A-Za-z0-9_-]{43}",
            now_s: i64,
            keep_s: i64,
        ) {
            let mut key = ed("b");
            key[member] = json!(value);
            let known = ProviderKeys::default().updated(&set(&[ed("a")]), 0, 0).unwrap();
            let Ok(keys) = known.updated(&set(&[key]), now_s, keep_s) else { return Ok(()) };
            let kept: ProviderKeys = serde_json::from_str(&serde_json::to_string(&keys).unwrap()).unwrap();
            prop_assert_eq!(&kept, &keys);
            prop_assert!(!ids(&kept).is_empty());
        }
    }
}
