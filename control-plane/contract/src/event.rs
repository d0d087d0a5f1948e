//! Events: what an operator wants to hear soon; and the control plane's word that answers and events are stored.

use serde::{Deserialize, Serialize};

use crate::{BootId, DeviceId};

/// Longest text of an event, bytes.
pub const TEXT_BYTES: usize = 512;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Another model serves from now on.
    ModelSwitched,
    /// Something wanted was refused.
    Refused,
    /// A model loaded and failed its self-test.
    SelfTestFailed,
    /// Room on the disk is getting short.
    DiskLow,
    /// How much is recorded has changed.
    AuditLevelChanged,
    /// This device was told that it does not belong to the fleet any more.
    Revoked,
    /// The device's certificate was renewed, or could not be.
    Renewal,
    /// A message was given up for good.
    DeadLetter,
    /// Another policy bundle is in force.
    PolicySwitched,
    /// The clock was set, or the system's clock is believed no more or again.
    ClockSet,
    /// A neighbour remembers another past of this device's audit log.
    NeighbourDisagrees,
    /// A model that served was withdrawn, and stopped.
    Withdrawn,
    /// A kind that this version does not know.
    #[serde(other)]
    Other,
}

impl EventKind {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ModelSwitched => "model_switched",
            Self::Refused => "refused",
            Self::SelfTestFailed => "self_test_failed",
            Self::DiskLow => "disk_low",
            Self::AuditLevelChanged => "audit_level_changed",
            Self::Revoked => "revoked",
            Self::Renewal => "renewal",
            Self::DeadLetter => "dead_letter",
            Self::PolicySwitched => "policy_switched",
            Self::ClockSet => "clock_set",
            Self::NeighbourDisagrees => "neighbour_disagrees",
            Self::Withdrawn => "withdrawn",
            Self::Other => "other",
        }
    }
}

/// Something happened on a device (`up/event`). Stored once for each (`device`, `boot`, `sequence`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Version of this form; 1.
    pub v: u32,
    /// The device; must equal the topic's.
    pub device: DeviceId,
    /// The start that it happened in.
    pub boot: BootId,
    /// Its number; goes up, with gaps, across starts.
    pub sequence: u64,
    /// When, by the device's clock, seconds since 1970-01-01 UTC.
    pub at_s: i64,
    /// What.
    pub kind: EventKind,
    /// What about, in words, [`TEXT_BYTES`] at most.
    pub text: String,
}

/// What the control plane has stored (`down/ack`): each letter by its own number, for any of them may get lost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stored {
    /// Version of this form; 1.
    pub v: u32,
    /// Numbers of answers to commands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub responses: Vec<(BootId, u64)>,
    /// Numbers of events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<(BootId, u64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_a_newer_agent_is_kept_under_another_name() {
        let text =
            r#"{"v":1,"device":"till-7","boot":"b","sequence":3,"at_s":9,"kind":"fan_failed","text":"2","more":1}"#;
        assert_eq!(serde_json::from_str::<Event>(text).unwrap().kind, EventKind::Other);
    }

    #[test]
    fn an_acknowledgement_names_letters_one_by_one() {
        let stored = Stored { v: 1, responses: vec![("b".parse().unwrap(), 4)], events: vec![] };
        let text = serde_json::to_string(&stored).unwrap();
        assert_eq!(text, r#"{"v":1,"responses":[["b",4]]}"#);
        assert_eq!(serde_json::from_str::<Stored>(&text).unwrap(), stored);
    }
}
