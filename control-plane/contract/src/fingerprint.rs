//! The fingerprint of a device's public key, written so that two people can compare it over the telephone.
//!
//! ```
//! # use outpost_contract::Fingerprint;
//! let fingerprint = Fingerprint([0x3f; 32]);
//! assert!(fingerprint.to_string().starts_with("3f3f-3f3f-3f3f-"));
//! assert_eq!("3F3F 3F3F".repeat(8).parse(), Ok(fingerprint));
//! ```

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Hexadecimal digits in a group.
const GROUP: usize = 4;

/// SHA-256 of a public key (the point alone, uncompressed). Shown in groups of four digits; read with any case, and
/// with or without hyphens, colons and blanks between them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint(pub [u8; 32]);

/// A text is no fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a fingerprint of a key: expected 64 hexadecimal digits, as `outpost enroll --show-key` prints them")]
pub struct InvalidFingerprint;

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, group) in self.0.chunks(GROUP / 2).enumerate() {
            if number > 0 {
                formatter.write_str("-")?;
            }
            formatter.write_str(&hex::encode(group))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = InvalidFingerprint;

    fn from_str(text: &str) -> Result<Self, InvalidFingerprint> {
        let digits: String = text.chars().filter(|character| !matches!(character, '-' | ':' | ' ')).collect();
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| InvalidFingerprint)?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = InvalidFingerprint;

    fn try_from(text: String) -> Result<Self, InvalidFingerprint> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> String {
        fingerprint.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_fingerprint_survives_being_read_aloud(bytes: [u8; 32]) {
            let fingerprint = Fingerprint(bytes);
            let shown = fingerprint.to_string();
            prop_assert_eq!(shown.parse(), Ok(fingerprint));
            prop_assert_eq!(shown.to_uppercase().replace('-', ":").parse(), Ok(fingerprint));
            prop_assert_eq!(hex::encode(bytes).parse(), Ok(fingerprint));
        }

        #[test]
        fn any_text_is_a_fingerprint_or_refused_without_panic(text in ".{0,90}") {
            if let Ok(fingerprint) = text.parse::<Fingerprint>() {
                prop_assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
            }
        }
    }
}
