//! Names that mean the same person to this log and nobody outside it.

use std::fmt;

use aws_lc_rs::hmac;

/// Turns subjects into pseudonyms: HMAC-SHA-256 under a secret that stays on this device or in the fleet.
///
/// Leaves hold pseudonyms, never names: without the secret, a name can be neither read nor guessed.
#[derive(Clone)]
pub struct Pseudonyms(hmac::Key);

impl Pseudonyms {
    /// Pseudonyms under this secret (32 random bytes).
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The pseudonym of a subject: `p:` and 32 hexadecimal digits.
    #[must_use]
    pub fn of(&self, subject: &str) -> String {
        let tag = hmac::sign(&self.0, subject.as_bytes());
        format!("p:{}", hex::encode(&tag.as_ref()[..16]))
    }
}

impl fmt::Debug for Pseudonyms {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Pseudonyms(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_subject_has_one_pseudonym_under_one_secret() {
        let pseudonyms = Pseudonyms::new(b"secret");
        assert_eq!(pseudonyms.of("ada"), pseudonyms.of("ada"));
        assert_ne!(pseudonyms.of("ada"), pseudonyms.of("bob"));
        assert_ne!(pseudonyms.of("ada"), Pseudonyms::new(b"other").of("ada"));
        assert_eq!(pseudonyms.of("ada").len(), 34);
        assert!(!format!("{pseudonyms:?}").contains("secret"));
    }
}
