//! Digests as values: 32 bytes inside, lower-case hexadecimal outside.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text was not 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a digest: expected 64 lower-case hexadecimal digits")]
pub struct InvalidDigest;

macro_rules! digest {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(pub [u8; 32]);

        impl $type {
            /// The digest as 64 lower-case hexadecimal digits.
            #[must_use]
            pub fn to_hex(&self) -> String {
                hex::encode(self.0)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.to_hex())
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{}({})", stringify!($type), self.to_hex())
            }
        }

        impl FromStr for $type {
            type Err = InvalidDigest;

            fn from_str(text: &str) -> Result<Self, InvalidDigest> {
                let lower = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                let mut bytes = [0; 32];
                if !lower || hex::decode_to_slice(text, &mut bytes).is_err() {
                    return Err(InvalidDigest);
                }
                Ok(Self(bytes))
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidDigest;

            fn try_from(text: String) -> Result<Self, InvalidDigest> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(digest: $type) -> String {
                digest.to_hex()
            }
        }
    };
}

digest!(
    /// BLAKE3 of some bytes: the id of a chunk and of a stored file.
    Blake3
);
digest!(
    /// SHA-256 of some bytes: what the catalogue pins.
    Sha256
);
