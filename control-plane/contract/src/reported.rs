//! Reported state: what a device does run, and why it refused the rest; a whole snapshot, never a difference.

use serde::{Deserialize, Serialize};

use crate::{BootId, DeviceId, Measurements, ModelId, Sha256, TargetName};

/// A snapshot of one device (`up/reported`). Newer means a higher (`boot order at the server`, `sequence`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reported {
    /// Version of this form; 1.
    pub v: u32,
    /// The device; must equal the topic's.
    pub device: DeviceId,
    /// The start that `sequence` counts in.
    pub boot: BootId,
    /// Counts snapshots within the boot, from 1.
    pub sequence: u64,
    /// The agent's version.
    pub agent: String,
    /// Highest desired version accepted; 0 if none yet.
    pub desired_version: u64,
    /// Highest desired version whose every part is in force.
    pub applied_version: u64,
    /// The model that serves now.
    pub model: Option<Installed>,
    /// Policy bundle version in force.
    pub policy_version: u64,
    /// Why something wanted is not in force; empty when all is well.
    pub reasons: Vec<Reason>,
    /// What the machine can give.
    pub measurements: Option<Measurements>,
    /// The plan in force, as the device explains it, one line per candidate.
    pub plan: Vec<String>,
    /// What happened since the last snapshot that was acknowledged.
    pub activity: Activity,
    /// How what it has to say gets through.
    #[serde(default)]
    pub link: LinkHealth,
}

/// How what a device has to say gets through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkHealth {
    /// Messages that were given up for good; more than 0 asks for a person.
    pub dead_letters: u64,
    /// Messages that wait to be stored by the control plane.
    pub backlog: u64,
    /// Events that gave way to newer ones unheard, ever.
    pub events_dropped: u64,
}

/// The model that serves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Installed {
    /// The model.
    pub model: ModelId,
    /// The catalogue target it came from.
    pub target: TargetName,
    /// SHA-256 of the GGUF file.
    pub sha256: Sha256,
    /// Context length in force, tokens.
    pub context_tokens: u32,
    /// Speed of the self-test, thousandths of a token per second.
    pub self_test_tokens_per_second_milli: u64,
}

/// Counts that an operator wants after an absence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// Size of the audit log: number of records ever written.
    pub audit_records: u64,
    /// Root of the audit log at that size, 64 hexadecimal digits.
    pub audit_root: String,
    /// Answers given since the agent started.
    pub answered: u64,
    /// Requests refused since the agent started.
    pub refused: u64,
    /// Answers given while the control plane was out of reach, since the last report it acknowledged.
    pub answered_offline: u64,
    /// Seconds out of reach before this report; 0 if connected all along.
    pub offline_s: u64,
}

/// Why something wanted is not in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// For machines.
    pub code: ReasonCode,
    /// What it is about: a target, a model, a version.
    pub subject: String,
    /// For people: what is missing and the way out.
    pub detail: String,
}

/// Machine-readable refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonCode {
    /// A signature is missing, wrong, or by a key that may not sign this.
    BadSignature,
    /// The document is for another device or tenant.
    WrongDevice,
    /// Its version, or a release counter, is lower than one accepted before.
    Rollback,
    /// It expired before it was accepted.
    Expired,
    /// Catalogue and desired state disagree.
    NotInCatalogue,
    /// No variant fits this machine.
    DoesNotFit,
    /// Not enough disk.
    InsufficientSpace,
    /// Bytes arrived that are not what was signed.
    CorruptContent,
    /// The file was received as released but cannot be loaded.
    Unloadable,
    /// The model loaded but failed its self-test.
    SelfTestFailed,
    /// The policy bundle failed validation or its own cases.
    PolicyInvalid,
    /// The control plane did not deliver.
    Unavailable,
}
