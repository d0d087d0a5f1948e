//! Ed25519 keys: made here, kept by callers in PKCS#8 PEM files of mode 0600, named by their TUF key id.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::key::{Ed25519Key, Ed25519Scheme, Key};

const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";
/// An Ed25519 key in PKCS#8 PEM has about 120 bytes; a file of this size is something else.
const PEM_BYTES: usize = 4 * 1024;

/// A private key. Its `Debug` shows the key id only.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: VerifyingKey,
}

/// A public key: 32 bytes, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerifyingKey([u8; 32]);

/// A key could not be made or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The cryptographic library could not make a key.
    #[error("could not make an Ed25519 key: the random source or the library failed; try again")]
    Generate,
    /// A text is not a PEM file with one private key.
    #[error(
        "not a private key: expected one PKCS#8 PEM block `{PEM_BEGIN}`, as `openssl genpkey -algorithm ed25519` writes"
    )]
    Pem,
    /// A PEM block holds something other than an Ed25519 key.
    #[error("the private key is not an Ed25519 key in PKCS#8 form; make one with `openssl genpkey -algorithm ed25519`")]
    NotEd25519,
    /// A text is not a public key.
    #[error("not a public key: expected 64 lower-case hexadecimal digits")]
    Public,
}

impl SigningKey {
    /// Makes a key.
    ///
    /// # Errors
    /// [`KeyError::Generate`] if the library fails.
    pub fn generate() -> Result<Self, KeyError> {
        Ok(Self::from_pair(Ed25519KeyPair::generate().map_err(|_| KeyError::Generate)?))
    }

    /// Reads the DER form of PKCS#8 (version 1 or 2).
    ///
    /// # Errors
    /// [`KeyError::NotEd25519`] if it is anything else.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        Ok(Self::from_pair(Ed25519KeyPair::from_pkcs8(der).map_err(|_| KeyError::NotEd25519)?))
    }

    /// Reads a PEM file with one PKCS#8 block.
    ///
    /// # Errors
    /// [`KeyError::Pem`] or [`KeyError::NotEd25519`].
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        if text.len() > PEM_BYTES {
            return Err(KeyError::Pem);
        }
        let body = text.trim().strip_prefix(PEM_BEGIN).and_then(|rest| rest.strip_suffix(PEM_END));
        let body: String = body.ok_or(KeyError::Pem)?.split_ascii_whitespace().collect();
        Self::from_pkcs8(&STANDARD.decode(body).map_err(|_| KeyError::Pem)?)
    }

    /// The DER form of PKCS#8, version 1: what OpenSSL reads too. Secret.
    ///
    /// # Errors
    /// [`KeyError::Generate`] if the library fails.
    pub fn to_pkcs8(&self) -> Result<Vec<u8>, KeyError> {
        Ok(self.pair.to_pkcs8v1().map_err(|_| KeyError::Generate)?.as_ref().to_vec())
    }

    /// The PEM form of [`to_pkcs8`](Self::to_pkcs8). Secret: the caller writes it with mode 0600.
    ///
    /// # Errors
    /// [`KeyError::Generate`] if the library fails.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        Ok(format!("{PEM_BEGIN}\n{}\n{PEM_END}\n", STANDARD.encode(self.to_pkcs8()?)))
    }

    /// The public half.
    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        self.public
    }

    /// Signs a message. Ed25519 is deterministic: the same message gives the same signature.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.pair.sign(message).as_ref());
        signature
    }

    fn from_pair(pair: Ed25519KeyPair) -> Self {
        let mut public = [0; 32];
        public.copy_from_slice(pair.public_key().as_ref());
        Self { pair, public: VerifyingKey(public) }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SigningKey({}…)", &self.public.key_id()[..8])
    }
}

impl VerifyingKey {
    /// A key from its 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key as 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// The key's name everywhere: SHA-256 of its canonical TUF form (TUF 1.0 §4.2), 64 hexadecimal digits.
    #[must_use]
    pub fn key_id(&self) -> String {
        hex::encode(self.tuf_key_id())
    }

    /// True if `signature` is this key's over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }

    pub(crate) fn tuf_key(&self) -> Key {
        Key::Ed25519 {
            keyval: Ed25519Key { public: self.0.to_vec().into(), _extra: std::collections::HashMap::new() },
            scheme: Ed25519Scheme::Ed25519,
            _extra: std::collections::HashMap::new(),
        }
    }

    pub(crate) fn tuf_key_id(&self) -> Decoded<Hex> {
        self.tuf_key().key_id().expect("an Ed25519 key is two short strings, which always have a canonical form")
    }
}

impl FromStr for VerifyingKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(KeyError::Public);
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| KeyError::Public)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.to_hex())
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "VerifyingKey({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_survives_its_pem_file() {
        let key = SigningKey::generate().unwrap();
        let again = SigningKey::from_pem(&key.to_pem().unwrap()).unwrap();
        assert_eq!(again.verifying_key(), key.verifying_key());
        assert!(key.verifying_key().verifies(b"message", &again.sign(b"message")));
        assert!(!key.verifying_key().verifies(b"another", &again.sign(b"message")));
        assert_eq!(key.verifying_key().to_hex().parse(), Ok(key.verifying_key()));
    }

    #[test]
    fn a_key_written_by_openssl_is_read() {
        // RFC 8410 §10.3, the example private key and the public key that belongs to it.
        let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        let key = SigningKey::from_pem(pem).unwrap();
        assert_eq!(key.verifying_key().to_hex(), "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1");
        assert_eq!(key.to_pem().unwrap(), pem);
    }

    #[test]
    fn a_private_key_does_not_show_itself() {
        let key = SigningKey::generate().unwrap();
        let shown = format!("{key:?}");
        assert!(shown.len() < 30 && !key.to_pem().unwrap().contains(&shown), "{shown}");
    }

    #[test]
    fn what_is_not_a_key_is_refused_with_the_way_to_make_one() {
        assert_eq!(SigningKey::from_pem("hello").unwrap_err(), KeyError::Pem);
        assert_eq!(SigningKey::from_pem(&"-".repeat(1 << 20)).unwrap_err(), KeyError::Pem);
        let other = format!("{PEM_BEGIN}\n{}\n{PEM_END}", STANDARD.encode([7; 48]));
        assert!(SigningKey::from_pem(&other).unwrap_err().to_string().contains("openssl genpkey"));
        for bad in ["", "00", &"AB".repeat(32), &"zz".repeat(32), &"ab".repeat(33)] {
            assert_eq!(bad.parse::<VerifyingKey>(), Err(KeyError::Public), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_key_or_refused_without_panic(text in ".{0,200}") {
            let _ = SigningKey::from_pem(&text);
            let _ = SigningKey::from_pem(&format!("{PEM_BEGIN}{text}{PEM_END}"));
            let _ = text.parse::<VerifyingKey>();
        }
    }
}
