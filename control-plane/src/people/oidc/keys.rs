//! The public keys of the provider, a JWK set (RFC 7517) under limits: each with the algorithms that its kind is good for, whatever
//! a token says.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

/// Largest set, bytes.
pub(super) const KEYS_BYTES: usize = 256 * 1024;

/// Most keys in one.
const MOST_KEYS: usize = 64;

/// Largest `kid`.
pub(super) const KEY_ID_BYTES: usize = 128;

/// RSA moduli, bytes: 2048 to 8192 bits.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// What tokens may be signed with: never a secret that both sides know.
pub(super) const ALGORITHMS: [(&str, Algorithm); 5] = [
    ("RS256", Algorithm::RS256),
    ("PS256", Algorithm::PS256),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

/// The keys of a set that are of use.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys(Vec<Jwk>);

/// The part of a key that is looked at: nothing private, nothing that points elsewhere.
#[derive(Debug, Clone, Deserialize)]
struct Jwk {
    kty: String,
    #[serde(default)]
    kid: String,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

impl Keys {
    /// Reads a set. A key that is of no use is skipped, as RFC 7517, section 5, says; a set without any other is an error.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > KEYS_BYTES {
            return Err(format!("its key set has more than {KEYS_BYTES} bytes"));
        }
        let set: Set = serde_json::from_slice(bytes).map_err(|error| format!("its key set cannot be read: {error}"))?;
        if set.keys.len() > MOST_KEYS {
            return Err(format!("its key set has more than {MOST_KEYS} keys"));
        }
        let keys = set.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        let keys: Vec<_> = keys.filter(|key| !key.algorithms().is_empty() && key.decoding().is_some()).collect();
        if keys.is_empty() {
            return Err("its key set has no key of RSA (2048 bits or more), P-256, P-384 or Ed25519".to_owned());
        }
        Ok(Self(keys))
    }

    /// Whether there is a key of this name.
    pub(super) fn know(&self, key_id: &str) -> bool {
        self.0.iter().any(|key| key.kid == key_id)
    }

    /// The keys of this name that are good for this algorithm.
    pub(super) fn find(&self, key_id: &str, algorithm: Algorithm) -> impl Iterator<Item = DecodingKey> {
        let named = self.0.iter().filter(move |key| key.kid == key_id && key.algorithms().contains(&algorithm));
        named.filter_map(Jwk::decoding)
    }
}

impl Jwk {
    /// By the kind of the key; one that names its algorithm is good for that alone.
    fn algorithms(&self) -> Vec<Algorithm> {
        let is_ours = self.purpose.as_deref().is_none_or(|purpose| purpose == "sig");
        if !is_ours || self.kid.is_empty() || self.kid.len() > KEY_ID_BYTES {
            return Vec::new();
        }
        let kind: &[&str] = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => &["RS256", "PS256"],
            ("EC", Some("P-256")) => &["ES256"],
            ("EC", Some("P-384")) => &["ES384"],
            ("OKP", Some("Ed25519")) => &["EdDSA"],
            _ => &[],
        };
        let fits = |name: &str| kind.contains(&name) && self.alg.as_deref().is_none_or(|alg| alg == name);
        ALGORITHMS.into_iter().filter(|(name, _)| fits(name)).map(|(_, algorithm)| algorithm).collect()
    }

    fn decoding(&self) -> Option<DecodingKey> {
        let is_long =
            |text: &str, bytes: usize| URL_SAFE_NO_PAD.decode(text).is_ok_and(|decoded| decoded.len() == bytes);
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => {
                let (modulus, exponent) = (self.n.as_deref()?, self.e.as_deref()?);
                let bytes = URL_SAFE_NO_PAD.decode(modulus).ok()?;
                let is_strong = MODULUS_BYTES.contains(&bytes.len()) && bytes.first()? & 0x80 != 0;
                is_strong.then(|| DecodingKey::from_rsa_components(modulus, exponent).ok()).flatten()
            }
            ("EC", Some(curve)) => {
                let (x, y) = (self.x.as_deref()?, self.y.as_deref()?);
                let bytes = if curve == "P-256" { 32 } else { 48 };
                let is_whole = is_long(x, bytes) && is_long(y, bytes);
                is_whole.then(|| DecodingKey::from_ec_components(x, y).ok()).flatten()
            }
            ("OKP", Some("Ed25519")) => {
                let x = self.x.as_deref()?;
                is_long(x, 32).then(|| DecodingKey::from_ed_components(x).ok()).flatten()
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(key: &Value) -> Result<Keys, String> {
        Keys::parse(json!({ "keys": [key] }).to_string().as_bytes())
    }

    fn ed() -> Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": "a", "x": URL_SAFE_NO_PAD.encode([9_u8; 32]) })
    }

    #[test]
    fn a_key_is_good_for_the_algorithms_of_its_kind_alone() {
        let keys = read(&ed()).unwrap();
        assert_eq!(keys.find("a", Algorithm::EdDSA).count(), 1);
        assert_eq!(keys.find("a", Algorithm::ES256).count() + keys.find("b", Algorithm::EdDSA).count(), 0);
        let mut rsa = json!({ "kty": "RSA", "kid": "r", "n": URL_SAFE_NO_PAD.encode([0xff_u8; 256]), "e": "AQAB" });
        assert_eq!(read(&rsa).unwrap().find("r", Algorithm::PS256).count(), 1);
        rsa["alg"] = json!("RS256");
        assert_eq!(read(&rsa).unwrap().find("r", Algorithm::PS256).count(), 0);
    }

    #[test]
    fn secrets_weak_keys_and_keys_for_encryption_are_of_no_use() {
        let with = |name: &str, value: Value| {
            let mut key = ed();
            key[name] = value;
            key
        };
        for key in [
            json!({ "kty": "oct", "kid": "k", "k": "c2VjcmV0", "alg": "HS256" }),
            json!({ "kty": "RSA", "kid": "k", "n": URL_SAFE_NO_PAD.encode([0xff_u8; 128]), "e": "AQAB" }),
            json!({ "kty": "EC", "crv": "P-256", "kid": "k", "x": "AA", "y": "AA" }),
            with("crv", json!("X25519")),
            with("kid", json!("")),
            with("kid", json!("k".repeat(KEY_ID_BYTES + 1))),
            with("use", json!("enc")),
            with("alg", json!("HS256")),
            with("x", json!("AA")),
        ] {
            assert!(read(&key).is_err(), "{key}");
        }
        assert!(Keys::parse(json!({ "keys": vec![ed(); MOST_KEYS + 1] }).to_string().as_bytes()).is_err());
        assert!(Keys::parse(&vec![b' '; KEYS_BYTES + 1]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_set_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Keys::parse(&bytes);
        }

        #[test]
        fn any_member_makes_a_key_of_use_or_none(
            member in "kty|kid|alg|use|crv|n|e|x|y",
            value in "(RSA|EC|P-256|EdDSA|sig|enc|AQAB)|\\PC{0,60}|[A-Za-z0-9_-]{43}",
        ) {
            let mut key = ed();
            key[member.as_str()] = json!(value);
            if let Ok(keys) = read(&key) {
                let kid = key["kid"].as_str().unwrap();
                prop_assert!(keys.know(kid) && keys.find(kid, Algorithm::EdDSA).count() == 1);
            }
        }
    }
}
