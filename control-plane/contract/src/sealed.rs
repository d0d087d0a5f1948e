//! Documents that people sign and anybody may carry: a policy bundle, a list of locks, an override.
//!
//! Each travels as a DSSE envelope whose payload type is its kind's. Who carries one to a device does not matter; whose
//! signatures it has does.

use serde::{Deserialize, Serialize};

/// What is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SealedKind {
    /// A policy bundle.
    Policy,
    /// A list of locks.
    Locks,
    /// An override for an emergency.
    BreakGlass,
}

impl SealedKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Policy, Self::Locks, Self::BreakGlass];

    /// The payload type of its envelope.
    #[must_use]
    pub fn payload_type(self) -> &'static str {
        match self {
            Self::Policy => "application/vnd.outpost.policy+json",
            Self::Locks => "application/vnd.outpost.locks+json",
            Self::BreakGlass => "application/vnd.outpost.break-glass+json",
        }
    }

    /// The kind whose envelope has this payload type.
    #[must_use]
    pub fn of_payload_type(payload_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.payload_type() == payload_type)
    }

    /// In plain words.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Policy => "a policy bundle",
            Self::Locks => "a list of locks",
            Self::BreakGlass => "an override",
        }
    }
}

/// Somebody whose signature counts, and for what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signer {
    /// The person. Two keys of one name are one person: they count once.
    pub name: String,
    /// Ed25519 public key, 64 hexadecimal digits.
    pub key: String,
    /// What the signature counts for.
    pub may: Vec<SealedKind>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_type_leads_back_to_its_kind() {
        for kind in SealedKind::ALL {
            assert_eq!(SealedKind::of_payload_type(kind.payload_type()), Some(kind));
        }
        assert_eq!(SealedKind::of_payload_type("application/json"), None);
    }
}
