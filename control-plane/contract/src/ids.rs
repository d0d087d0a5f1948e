//! Names that came from outside and can no longer be a path, a wildcard or a surprise.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A name was refused: which kind of name, what it was, and what the rule is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a {kind}: {rule}")]
pub struct InvalidName {
    /// The kind of name that was expected, in words.
    pub kind: &'static str,
    /// The text that was refused, shortened to 80 characters.
    pub value: String,
    /// The rule that it breaks, in words.
    pub rule: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $rule:literal, $max:literal, $first:expr, $rest:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;

            fn from_str(value: &str) -> Result<Self, InvalidName> {
                let first: fn(char) -> bool = $first;
                let rest: fn(char) -> bool = $rest;
                let mut characters = value.chars();
                let well_formed = value.len() <= $max
                    && characters.next().is_some_and(first)
                    && characters.all(rest);
                if well_formed {
                    Ok(Self(value.to_owned()))
                } else {
                    Err(InvalidName { kind: $kind, value: value.chars().take(80).collect(), rule: $rule })
                }
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;

            fn try_from(value: String) -> Result<Self, InvalidName> {
                value.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

fn lower_or_digit(character: char) -> bool {
    character.is_ascii_lowercase() || character.is_ascii_digit()
}

name!(
    /// One enrolled device; the common name of its client certificate.
    ///
    /// ```
    /// # use outpost_contract::DeviceId;
    /// assert!("till-0042".parse::<DeviceId>().is_ok());
    /// assert!("../till".parse::<DeviceId>().is_err());
    /// ```
    DeviceId, "device id", "1 to 64 characters of a-z, 0-9 and `-`, starting with a letter or digit", 64,
    lower_or_digit, |c| lower_or_digit(c) || c == '-'
);

name!(
    /// The organisation that a device belongs to.
    TenantId, "tenant id", "1 to 64 characters of a-z, 0-9 and `-`, starting with a letter or digit", 64,
    lower_or_digit, |c| lower_or_digit(c) || c == '-'
);

name!(
    /// A model, independent of its quantisation: `qwen3-0.6b`.
    ModelId, "model id", "1 to 64 characters of a-z, 0-9, `.`, `_` and `-`, starting with a letter or digit", 64,
    lower_or_digit, |c| lower_or_digit(c) || matches!(c, '.' | '_' | '-')
);

name!(
    /// A target of the catalogue: flat, so that it can be a file name on any system.
    TargetName, "target name",
    "1 to 128 characters of A-Z, a-z, 0-9, `.`, `_` and `-`, starting with a letter or digit", 128,
    |c| c.is_ascii_alphanumeric(), |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
);

name!(
    /// One start of the agent's machine or process; sequence numbers count within it.
    BootId, "boot id", "1 to 64 characters of a-z, 0-9 and `-`", 64,
    lower_or_digit, |c| lower_or_digit(c) || c == '-'
);

name!(
    /// What a program is built for, as the compiler writes it: `x86_64-unknown-linux-gnu`.
    Triple, "target triple", "1 to 64 characters of a-z, 0-9, `_` and `-`, starting with a letter or digit", 64,
    lower_or_digit, |c| lower_or_digit(c) || matches!(c, '_' | '-')
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_their_directory_or_topic_are_refused() {
        for bad in ["", ".", "..", "../x", "a/b", "a+b", "a#", "$sys", "a b", "Ä", "-a", "a\0"] {
            assert!(bad.parse::<DeviceId>().is_err(), "{bad:?}");
            assert!(bad.parse::<ModelId>().is_err(), "{bad:?}");
            assert!(bad.parse::<TargetName>().is_err(), "{bad:?}");
        }
        assert!("a".repeat(65).parse::<DeviceId>().is_err());
    }

    #[test]
    fn a_refused_name_says_what_would_be_right() {
        let refusal = "Till 1".parse::<DeviceId>().unwrap_err().to_string();
        assert!(refusal.contains("`Till 1` is not a device id"), "{refusal}");
    }
}
