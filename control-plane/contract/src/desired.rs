//! Desired state: what one device should run; complete, signed, with a version that only goes up.

use serde::{Deserialize, Serialize};

use crate::{BlobRef, DeviceId, ModelId, Sha256, TargetName, TenantId};

/// DSSE payload type of [`Desired`].
pub const PAYLOAD_TYPE: &str = "application/vnd.outpost.desired+json";

/// What one device should run. Travels as a DSSE envelope of type [`PAYLOAD_TYPE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Desired {
    /// Version of this form; 1.
    pub v: u32,
    /// The tenant it is for.
    pub tenant: TenantId,
    /// The device it is for; any other device refuses it.
    pub device: DeviceId,
    /// Goes up with every change; a device never accepts a lower one, nor another document of the same version.
    pub version: u64,
    /// When it was signed, seconds since 1970-01-01 UTC.
    pub issued_at_s: i64,
    /// After this a device that has not accepted it yet refuses it; what runs goes on. Seconds since 1970-01-01 UTC.
    pub not_after_s: i64,
    /// The catalogue that it was made against.
    pub catalogue: BlobRef,
    /// The model to run; `None` runs none.
    pub model: Option<DesiredModel>,
    /// The policy bundle to enforce; `None` keeps the one in force.
    pub policy: Option<TargetPin>,
    /// The rollout that asked for this, if one did.
    pub rollout: Option<String>,
    /// Models that may not serve any more from some moment on, whatever else is said here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withdrawn: Vec<Withdrawal>,
    /// The build of the agent to run, once for each kind of machine: the device takes the one for its own. Empty leaves it
    /// with what runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agent: Vec<TargetPin>,
}

/// A model that was withdrawn. Whoever has read this stops serving it at `after_s`, reachable or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Withdrawal {
    /// The model.
    pub model: ModelId,
    /// True if every file that is called so is meant; else only `files`.
    pub whole: bool,
    /// SHA-256 of the files that are meant, whatever they are called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<Sha256>,
    /// From then on it may not serve, seconds since 1970-01-01 UTC.
    pub after_s: i64,
    /// Why, for people.
    pub reason: String,
}

impl Withdrawal {
    /// Whether a file, of whatever name, or a name, of whatever file, is meant.
    #[must_use]
    pub fn means(&self, model: &ModelId, file: &Sha256) -> bool {
        (self.whole && self.model == *model) || self.files.contains(file)
    }
}

/// A model and the variants among which the device may choose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesiredModel {
    /// The model.
    pub model: ModelId,
    /// Allowed variants; the device's planner chooses.
    pub variants: Vec<TargetPin>,
    /// Smallest context that is of use, tokens.
    pub minimum_context_tokens: u32,
}

/// A catalogue target, pinned: it counts only if the verified catalogue says the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetPin {
    /// Name in the catalogue.
    pub name: TargetName,
    /// Length of the target, bytes.
    pub length: u64,
    /// SHA-256 of the target.
    pub sha256: Sha256,
    /// Release counter of the target.
    pub release: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_knows_no_withdrawals_and_no_builds_reads_a_desired_state_without_any() {
        let text = r#"{"v":1,"tenant":"default","device":"till-7","version":1,"issued_at_s":1,"not_after_s":2,
            "catalogue":{"bytes":1,"blake3":"0000000000000000000000000000000000000000000000000000000000000000","chunks":[]},
            "model":null,"policy":null,"rollout":null}"#;
        let desired: Desired = serde_json::from_str(text).unwrap();
        assert!(desired.withdrawn.is_empty() && desired.agent.is_empty());
        let again = serde_json::to_string(&desired).unwrap();
        assert!(!again.contains("withdrawn") && !again.contains("agent"), "{again}");
    }

    #[test]
    fn a_withdrawal_means_its_files_under_any_name_and_its_name_only_as_a_whole() {
        let (alpha, beta) = ("alpha".parse().unwrap(), "beta".parse().unwrap());
        let part = Withdrawal {
            model: "alpha".parse().unwrap(),
            whole: false,
            files: vec![Sha256([1; 32])],
            after_s: 7,
            reason: "it leaks".into(),
        };
        assert!(part.means(&beta, &Sha256([1; 32])) && !part.means(&alpha, &Sha256([2; 32])));
        let whole = Withdrawal { whole: true, ..part };
        assert!(whole.means(&alpha, &Sha256([2; 32])) && !whole.means(&beta, &Sha256([2; 32])));
    }
}
