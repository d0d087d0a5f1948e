//! What a bundle says of the audit log itself: which matters more once its room is short, and who must have records before
//! they leave a device.

use serde::{Deserialize, Serialize};

/// `[audit]` of `bundle.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditRules {
    /// What happens to new requests once room for their records is critical.
    pub when_room_is_critical: CriticalRoom,
    /// Whether records past their retention may leave a device although no mirror has them.
    pub leave_unmirrored: bool,
}

/// What matters more once room is critical.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CriticalRoom {
    /// That every request has its records: new ones are refused.
    #[default]
    Refuse,
    /// That requests are answered: they are counted, and no more is known of each.
    Count,
}

impl AuditRules {
    /// Whether they are what holds without a word.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
