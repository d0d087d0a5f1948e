//! Reported state: what a device does run, and why it refused the rest; a whole snapshot, never a difference.

use serde::{Deserialize, Serialize};

use crate::{BootId, BuildReport, DeviceId, Measurements, ModelId, Sha256, TargetName};

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
    /// What is being fetched; `None` if nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<TransferProgress>,
    /// How what it has to say gets through.
    #[serde(default)]
    pub link: LinkHealth,
    /// Which build of the agent runs; `None` from an agent that a rollout cannot replace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildReport>,
}

/// How far a fetch is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferProgress {
    /// The catalogue target that is fetched.
    pub target: TargetName,
    /// Bytes that are on disk and verified.
    pub done_bytes: u64,
    /// Bytes of the whole.
    pub total_bytes: u64,
    /// Mean speed of the last report's interval; 0 while nothing arrives.
    pub bytes_per_second: u64,
    /// Where the bytes come from, as the device names it: `the control plane over MQTT`.
    pub source: String,
    /// Why it stands still, if it does, as a reason would say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
}

impl TransferProgress {
    /// Hundredths of the whole that are here; 100 of nothing at all.
    #[must_use]
    pub fn percent(&self) -> u8 {
        if self.total_bytes == 0 {
            return 100;
        }
        let percent = u128::from(self.done_bytes.min(self.total_bytes)) * 100 / u128::from(self.total_bytes);
        u8::try_from(percent).unwrap_or(100)
    }

    /// Seconds until it is done at this speed; `None` while nothing arrives.
    #[must_use]
    pub fn seconds_left(&self) -> Option<u64> {
        let left = self.total_bytes.saturating_sub(self.done_bytes);
        (self.bytes_per_second > 0).then(|| left.div_ceil(self.bytes_per_second))
    }
}

/// `[#####---------------]  25 %, 1 h 20 min left`, or what it waits for in the place of the time.
impl std::fmt::Display for TransferProgress {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let percent = self.percent();
        let full = usize::from(percent / 5);
        write!(formatter, "[{}{}] {percent:>3} %", "#".repeat(full), "-".repeat(20 - full))?;
        match (&self.waiting_for, self.seconds_left()) {
            (Some(waiting_for), _) => {
                // A device's words reach a terminal: no more than a line of them, and nothing that steers it.
                let words: String = waiting_for.chars().filter(|character| !character.is_control()).take(200).collect();
                write!(formatter, ", waiting: {words}")
            }
            (None, None) => formatter.write_str(", nothing arrives"),
            (None, Some(seconds)) if seconds < 60 => write!(formatter, ", {seconds} s left"),
            (None, Some(seconds)) if seconds < 3600 => write!(formatter, ", {} min left", seconds.div_ceil(60)),
            (None, Some(seconds)) => {
                let minutes = seconds.div_ceil(60);
                write!(formatter, ", {} h {} min left", minutes / 60, minutes % 60)
            }
        }
    }
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
    /// Of a thousand answers that ended since the applied version came into force, how many failed by the device's own fault;
    /// 0 if none has ended, `None` from an agent that does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors_per_mille: Option<u16>,
    /// Golden prompts that the model in force answered otherwise than its release knows; `None` if it was not asked any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub golden_failures: Option<u32>,
    /// How far the device's local time is from UTC, minutes; `None` if it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utc_offset_minutes: Option<i16>,
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

impl Reason {
    /// The subject of what is wrong with the signed document itself.
    pub const DESIRED_STATE: &str = "desired state";
    /// The subject of what is wrong with the catalogue that it names.
    pub const CATALOGUE: &str = "catalogue";
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
    /// Models are fetched at other hours, says the policy.
    WindowClosed,
    /// What the policy lets models take of the line in a day is used up.
    BudgetSpent,
    /// A fetch goes on, but more slowly than is of use.
    SlowLink,
    /// The model was withdrawn, and its deadline is over.
    Withdrawn,
    /// The build of the agent cannot run here: another architecture, a kernel that the processor lacks, or it failed the check
    /// of itself. What ran before goes on.
    BuildRefused,
    /// The build of the agent was tried and did not do well; what ran before runs again.
    BuildRolledBack,
    /// A code of a newer agent: the reason's words say what it is.
    #[serde(other)]
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(done_bytes: u64, total_bytes: u64, bytes_per_second: u64) -> TransferProgress {
        TransferProgress {
            target: "model-a.Q4_0.gguf".parse().unwrap(),
            done_bytes,
            total_bytes,
            bytes_per_second,
            source: "mqtt".into(),
            waiting_for: None,
        }
    }

    #[test]
    fn a_bar_says_how_far_and_how_long_whatever_a_device_claims() {
        let said = |done, total, speed| progress(done, total, speed).to_string();
        assert_eq!(said(25, 100, 1), "[#####---------------]  25 %, 2 min left");
        assert_eq!(said(0, 7200, 1), "[--------------------]   0 %, 2 h 0 min left");
        assert_eq!(said(95, 100, 1), "[###################-]  95 %, 5 s left");
        assert_eq!(said(50, 100, 0), "[##########----------]  50 %, nothing arrives");
        assert_eq!(progress(u64::MAX, 1, 0).percent(), 100);
        assert_eq!(progress(0, 0, 0).percent(), 100);
        assert_eq!(progress(u64::MAX - 1, u64::MAX, 1).percent(), 99);
        let waiting = TransferProgress { waiting_for: Some("22:00".into()), ..progress(1, 2, 9) };
        assert_eq!(waiting.to_string(), "[##########----------]  50 %, waiting: 22:00");
    }

    #[test]
    fn a_report_of_an_agent_without_builds_is_read_and_a_code_that_comes_later_hides_no_report() {
        let boot = "0".repeat(32);
        let text = format!(
            r#"{{"v":1,"device":"till-7","boot":"{boot}","sequence":1,"agent":"0.1.0","desired_version":3,"applied_version":2,
            "model":null,"policy_version":1,"reasons":[{{"code":"of_a_year_to_come","subject":"m","detail":"words"}},
            {{"code":"build_rolled_back","subject":"0.3.0","detail":"it ended twice"}}],
            "measurements":null,"plan":[],"activity":{{"audit_records":0,"audit_root":"","answered":0,"refused":0,
            "answered_offline":0,"offline_s":0}}}}"#
        );
        let reported: Reported = serde_json::from_str(&text).unwrap();
        assert_eq!(reported.build, None);
        let codes: Vec<_> = reported.reasons.iter().map(|reason| reason.code).collect();
        assert_eq!(codes, [ReasonCode::Unknown, ReasonCode::BuildRolledBack]);
        assert_eq!(reported.reasons[0].detail, "words");
        assert!(!serde_json::to_string(&reported).unwrap().contains("\"build\""));
    }

    #[test]
    fn progress_survives_the_wire_and_what_is_not_said_is_not_sent() {
        let text = serde_json::to_string(&progress(1, 2, 3)).unwrap();
        assert!(!text.contains("waiting_for"), "{text}");
        assert_eq!(serde_json::from_str::<TransferProgress>(&text).unwrap(), progress(1, 2, 3));
        assert_eq!(serde_json::to_string(&ReasonCode::WindowClosed).unwrap(), "\"window_closed\"");
    }
}
