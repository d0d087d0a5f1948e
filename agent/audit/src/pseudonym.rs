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

/// Whether a text has the form of a pseudonym.
#[must_use]
pub fn is_pseudonym(text: &str) -> bool {
    let digits = text.strip_prefix("p:").unwrap_or_default();
    digits.len() == 32 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
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
        assert!(is_pseudonym(&pseudonyms.of("ada")));
        assert!(!["ada", "p:", "p:0a", &pseudonyms.of("ada").to_uppercase()].into_iter().any(is_pseudonym));
        assert!(!format!("{pseudonyms:?}").contains("secret"));
    }
}
