//! How bytes are locked: AES-256-GCM under a key that HKDF-SHA256 derives for one purpose.
//!
//! ```text
//! locked = 1 (version) ‖ nonce (12 random bytes) ‖ ciphertext ‖ tag (16)
//! ```
//!
//! What the bytes belong to (key, record, side) is authenticated with them, so nothing can be moved to another place.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};

use super::VaultError;

/// Bytes of every key here.
pub(crate) const KEY_BYTES: usize = 32;

const VERSION: u8 = 1;
const TAG_BYTES: usize = 16;
const HEAD_BYTES: usize = 1 + NONCE_LEN;

/// Bytes that locking adds.
pub(crate) const OVERHEAD_BYTES: usize = HEAD_BYTES + TAG_BYTES;

/// Keeps this use of HKDF apart from every other.
const SALT: &[u8] = b"outpost vault 1";

/// A random key in memory; overwritten when it goes.
pub(crate) struct Key([u8; KEY_BYTES]);

impl Key {
    pub(crate) fn random() -> Result<Self, VaultError> {
        let mut key = Self([0; KEY_BYTES]);
        fill_random(&mut key.0)?;
        Ok(key)
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.fill(0);
        // Without this the compiler may see that nobody reads the zeros, and leave them out.
        std::hint::black_box(&self.0);
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("…")
    }
}

/// The key that `secret` has for one purpose.
pub(crate) struct Derived(LessSafeKey);

/// Derives a key from `secret` for what `purpose` names.
pub(crate) fn derive(secret: &[u8], purpose: &str) -> Result<Derived, VaultError> {
    let extracted = Salt::new(HKDF_SHA256, SALT).extract(secret);
    let info = [purpose.as_bytes()];
    let expanded = extracted.expand(&info, &AES_256_GCM).map_err(|_| VaultError::Cipher)?;
    Ok(Derived(LessSafeKey::new(UnboundKey::from(expanded))))
}

/// A public value by which `secret` is recognised; says nothing about it or the keys derived from it.
pub(crate) fn fingerprint(secret: &[u8], purpose: &str) -> Result<String, VaultError> {
    let extracted = Salt::new(HKDF_SHA256, SALT).extract(secret);
    let mut bytes = [0; KEY_BYTES];
    let info = [purpose.as_bytes()];
    extracted
        .expand(&info, HKDF_SHA256)
        .and_then(|expanded| expanded.fill(&mut bytes))
        .map_err(|_| VaultError::Cipher)?;
    Ok(hex::encode(&bytes[..16]))
}

impl Derived {
    /// Locks `plain` so that it opens only with the same `place`.
    pub(crate) fn lock(&self, place: &str, plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        let mut nonce = [0; NONCE_LEN];
        fill_random(&mut nonce)?;
        let mut locked = Vec::with_capacity(plain.len() + OVERHEAD_BYTES);
        locked.push(VERSION);
        locked.extend_from_slice(&nonce);
        locked.extend_from_slice(plain);
        let tag = self
            .0
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(place.as_bytes()),
                &mut locked[HEAD_BYTES..],
            )
            .map_err(|_| VaultError::Cipher)?;
        locked.extend_from_slice(tag.as_ref());
        Ok(locked)
    }

    /// Opens what [`lock`](Self::lock) made; `None` if any byte of it, the place or the key is another.
    pub(crate) fn unlock(&self, place: &str, locked: &[u8]) -> Option<Vec<u8>> {
        let (&version, rest) = locked.split_first()?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>()?;
        if version != VERSION || body.len() < TAG_BYTES {
            return None;
        }
        let mut body = body.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self.0.open_in_place(nonce, Aad::from(place.as_bytes()), &mut body).ok()?.len();
        body.truncate(length);
        Some(body)
    }
}

/// Random bytes from the operating system.
pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<(), VaultError> {
    getrandom::fill(bytes).map_err(|cause| VaultError::NoRandomness { cause: cause.to_string() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn derived(secret: &[u8]) -> Derived {
        derive(secret, "test").unwrap()
    }

    #[test]
    fn equal_texts_are_locked_differently_and_keys_are_never_printed() {
        let key = derived(b"secret");
        assert_ne!(key.lock("here", b"text").unwrap(), key.lock("here", b"text").unwrap());
        let random = Key::random().unwrap();
        assert_ne!(random.expose(), Key::random().unwrap().expose());
        assert_eq!(format!("{random:?}"), "…");
    }

    #[test]
    fn a_fingerprint_names_one_secret() {
        let name = |secret: &[u8]| fingerprint(secret, "name").unwrap();
        assert_eq!(name(b"a"), name(b"a"));
        assert_ne!(name(b"a"), name(b"b"));
        assert_eq!(name(b"a").len(), 32);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_locked_opens_in_its_place_with_its_key_only(
            plain in proptest::collection::vec(any::<u8>(), 0..200),
            secret in proptest::collection::vec(any::<u8>(), 32),
        ) {
            let locked = derived(&secret).lock("here", &plain).unwrap();
            prop_assert_eq!(locked.len(), plain.len() + OVERHEAD_BYTES);
            prop_assert_eq!(derived(&secret).unlock("here", &locked), Some(plain));
            prop_assert_eq!(derived(&secret).unlock("there", &locked), None);
            prop_assert_eq!(derived(b"other").unlock("here", &locked), None);
            prop_assert_eq!(derive(&secret, "other").unwrap().unlock("here", &locked), None);
        }

        #[test]
        fn no_flipped_bit_and_no_cut_opens(
            plain in proptest::collection::vec(any::<u8>(), 0..64),
            at in any::<prop::sample::Index>(),
            bit in 0_u8..8,
        ) {
            let key = derived(b"secret");
            let locked = key.lock("here", &plain).unwrap();
            let at = at.index(locked.len());
            let mut flipped = locked.clone();
            flipped[at] ^= 1 << bit;
            prop_assert_eq!(key.unlock("here", &flipped), None);
            prop_assert_eq!(key.unlock("here", &locked[..at]), None);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(derived(b"secret").unlock("here", &bytes), None);
        }
    }
}
