//! What a bundle says of the fleet: whether a device that its fleet has revoked goes on.

use serde::{Deserialize, Serialize};

/// `[fleet]` of `bundle.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FleetRules {
    /// What a device does once it hears that it was revoked.
    pub when_revoked: WhenRevoked,
}

/// What a revoked device does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenRevoked {
    /// It serves on as it was last told; it gets nothing new.
    #[default]
    Serve,
    /// It serves nobody until it is let in again.
    Stop,
}

impl FleetRules {
    /// Whether they are what holds without a word.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
