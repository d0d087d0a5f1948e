//! Commands: what an operator asks one device to do now, and what the device answers; signed, with a deadline, done once.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::InvalidName;
use crate::limits::DOCUMENT_BYTES;
use crate::{BootId, DeviceId, TenantId};

/// DSSE payload type of [`Command`].
pub const PAYLOAD_TYPE: &str = "application/vnd.outpost.command+json";

/// Shortest and longest time that a command may wait for its device, seconds: 60 s to 24 h.
pub const VALID_S: std::ops::RangeInclusive<i64> = 60..=24 * 60 * 60;

/// Longest that a device can be drained by one command, seconds.
pub const MOST_DRAIN_S: u32 = 24 * 60 * 60;

/// Longest text in an answer, bytes.
pub const TEXT_BYTES: usize = 2 * 1024;

/// Bytes of one part of a large result, before base64: its letter stays well below [`DOCUMENT_BYTES`].
pub const PART_BYTES: usize = 32 * 1024;

/// Parts of a large result at most: 1 MiB.
pub const MOST_PARTS: u32 = 32;

/// Longest value in an answer, bytes of JSON.
const VALUE_BYTES: usize = DOCUMENT_BYTES / 2;

/// A command's name: 128 random bits, 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommandId(String);

impl CommandId {
    /// The id of these bits.
    #[must_use]
    pub fn of(bits: [u8; 16]) -> Self {
        Self(hex::encode(bits))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CommandId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 32 && text.bytes().all(digit) {
            return Ok(Self(text.to_owned()));
        }
        let value = text.chars().take(80).collect();
        Err(InvalidName { kind: "command id", value, rule: "32 hexadecimal digits in lower case" })
    }
}

impl TryFrom<String> for CommandId {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<CommandId> for String {
    fn from(id: CommandId) -> Self {
        id.0
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What a device can be asked to do. Which of these it does is for its policy bundle to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Operation {
    /// Say how it is.
    Status,
    /// Let answers in progress end, then start the agent's program again.
    Restart,
    /// Take no new questions for a while.
    Drain {
        /// For how long; 0 takes questions again at once.
        seconds: u32,
    },
    /// Collect what helps to find out what is wrong; no secrets, no content.
    CollectDiagnostics,
    /// Read every stored model file again and compare it with its digest.
    Rescan,
    /// Measure the machine again.
    Probe,
    /// Destroy the sealed content of one subject.
    Erase {
        /// Its pseudonym: `p:` and 32 hexadecimal digits.
        subject: String,
        /// Why, for the audit log.
        basis: String,
    },
}

impl Operation {
    /// Its name, as policy bundles and command lines write it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Restart => "restart",
            Self::Drain { .. } => "drain",
            Self::CollectDiagnostics => "collect_diagnostics",
            Self::Rescan => "rescan",
            Self::Probe => "probe",
            Self::Erase { .. } => "erase",
        }
    }

    /// True if doing it once more after an interruption does no harm.
    #[must_use]
    pub fn is_repeatable(&self) -> bool {
        matches!(self, Self::Status | Self::CollectDiagnostics | Self::Rescan | Self::Probe)
    }
}

/// A command for one device (`down/cmd`). Travels as a DSSE envelope of type [`PAYLOAD_TYPE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Version of this form; 1.
    pub v: u32,
    /// The tenant it is for.
    pub tenant: TenantId,
    /// The device it is for; any other device ignores it.
    pub device: DeviceId,
    /// Its name: a device does what it names once, however often it arrives.
    pub id: CommandId,
    /// What to do.
    pub op: Operation,
    /// When it was signed, seconds since 1970-01-01 UTC.
    pub issued_at_s: i64,
    /// After this the device does not begin any more, seconds since 1970-01-01 UTC.
    pub not_after_s: i64,
    /// Who asked, in words.
    pub asked_by: String,
}

impl Command {
    /// What is wrong with a command that was signed well; nothing if it may be obeyed until its deadline.
    ///
    /// # Errors
    /// In words, for its answer.
    pub fn check(&self) -> Result<(), String> {
        if self.v != 1 {
            return Err(format!("the command has form {}, this agent reads form 1: update the agent", self.v));
        }
        if !self.not_after_s.checked_sub(self.issued_at_s).is_some_and(|valid_s| VALID_S.contains(&valid_s)) {
            return Err(format!("a command is valid for {} to {} seconds", VALID_S.start(), VALID_S.end()));
        }
        if self.asked_by.is_empty() || self.asked_by.len() > 128 || self.asked_by.chars().any(char::is_control) {
            return Err("`asked_by` has to be 1 to 128 bytes of plain text".to_owned());
        }
        self.op.check()
    }
}

impl Operation {
    /// What is wrong with its arguments.
    ///
    /// # Errors
    /// In words, for whoever asked.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Drain { seconds } if *seconds > MOST_DRAIN_S => {
                Err(format!("a device can be drained for {MOST_DRAIN_S} seconds at most"))
            }
            Self::Erase { subject, basis } => {
                let digits = subject.strip_prefix("p:").filter(|digits| digits.len() == 32);
                if !digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit())) {
                    return Err("`subject` has to be a pseudonym, `p:` and 32 hexadecimal digits".to_owned());
                }
                if basis.is_empty() || basis.len() > 512 {
                    return Err("`basis` has to say in 1 to 512 bytes why the content is erased".to_owned());
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// How far a command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandState {
    /// The device has it and has written it down.
    Accepted,
    /// It is at work.
    Progress,
    /// It did it.
    Done,
    /// It tried.
    Failed,
    /// It does not do such a thing.
    Refused,
    /// It came too late.
    Expired,
}

impl CommandState {
    /// True if nothing follows.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Accepted | Self::Progress)
    }

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Progress => "progress",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Expired => "expired",
        }
    }

    /// The state of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Accepted, Self::Progress, Self::Done, Self::Failed, Self::Refused, Self::Expired]
            .into_iter()
            .find(|state| state.name() == name)
    }
}

/// A piece of a result that does not fit one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Which, from 0.
    pub number: u32,
    /// How many there are, [`MOST_PARTS`] at most.
    pub of: u32,
    /// [`PART_BYTES`] at most, hexadecimal.
    pub hex: String,
}

/// What a device says to a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// How far it is.
    pub state: CommandState,
    /// In words, [`TEXT_BYTES`] at most.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// For machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<serde_json::Value>,
    /// A piece of a large result; only with [`CommandState::Progress`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
}

impl Answer {
    /// An answer in words; longer ones are cut.
    #[must_use]
    pub fn new(state: CommandState, text: impl Into<String>) -> Self {
        let mut text = text.into();
        if text.len() > TEXT_BYTES {
            text.truncate(text.floor_char_boundary(TEXT_BYTES));
        }
        Self { state, text, value: None, part: None }
    }

    /// The answer with a value; one that is too large gives way to a word that says so.
    #[must_use]
    pub fn with(mut self, value: serde_json::Value) -> Self {
        if value.to_string().len() <= VALUE_BYTES {
            self.value = Some(value);
        } else {
            self.text.push_str(" (the value was too large to be sent; collect diagnostics instead)");
        }
        self
    }

    /// True if its sizes are what they may be.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        let part = self.part.as_ref().is_none_or(|part| {
            part.number < part.of
                && part.of <= MOST_PARTS
                && part.hex.len() <= 2 * PART_BYTES
                && self.state == CommandState::Progress
        });
        part && self.text.len() <= TEXT_BYTES + 128
    }
}

/// An answer on its way (`up/res`). Stored once for each (`device`, `boot`, `sequence`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Response {
    /// Version of this form; 1.
    pub v: u32,
    /// The device; must equal the topic's.
    pub device: DeviceId,
    /// The start that it was said in.
    pub boot: BootId,
    /// Its number; goes up, with gaps, across starts.
    pub sequence: u64,
    /// What it answers.
    pub id: CommandId,
    /// When it was said by the device's clock, seconds since 1970-01-01 UTC.
    pub at_s: i64,
    /// What it says.
    pub answer: Answer,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn command(op: Operation) -> Command {
        Command {
            v: 1,
            tenant: "acme".parse().unwrap(),
            device: "till-7".parse().unwrap(),
            id: CommandId::of([7; 16]),
            op,
            issued_at_s: 1000,
            not_after_s: 1060,
            asked_by: "ada".into(),
        }
    }

    #[test]
    fn a_command_reads_as_it_was_written_and_an_unknown_word_in_it_is_refused() {
        let drain = command(Operation::Drain { seconds: 30 });
        let text = serde_json::to_string(&drain).unwrap();
        assert!(text.contains(r#""op":{"drain":{"seconds":30}}"#), "{text}");
        assert_eq!(serde_json::from_str::<Command>(&text).unwrap(), drain);
        assert!(serde_json::to_string(&command(Operation::Restart)).unwrap().contains(r#""op":"restart""#));
        for other in [r#""op":"format_disk""#, r#""op":{"drain":{"seconds":30,"shell":"sh"}}"#] {
            let text = text.replace(r#""op":{"drain":{"seconds":30}}"#, other);
            assert!(serde_json::from_str::<Command>(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_command_is_valid_for_a_minute_to_a_day() {
        assert_eq!(command(Operation::Status).check(), Ok(()));
        for not_after_s in [1059, 1000 + 24 * 3600 + 1, i64::MIN, i64::MAX] {
            assert!(Command { not_after_s, ..command(Operation::Status) }.check().is_err(), "{not_after_s}");
        }
        assert!(command(Operation::Drain { seconds: MOST_DRAIN_S + 1 }).check().is_err());
        let erase = |subject: &str| Operation::Erase { subject: subject.into(), basis: "case 7".into() };
        assert!(erase("ada").check().is_err());
        assert!(erase(&format!("p:{}", "a".repeat(32))).check().is_ok());
    }

    #[test]
    fn a_long_answer_is_cut_between_letters() {
        let answer = Answer::new(CommandState::Done, "ä".repeat(TEXT_BYTES));
        assert_eq!(answer.text.len(), TEXT_BYTES);
        assert!(answer.is_bounded());
        let large = Answer::new(CommandState::Done, "").with("x".repeat(VALUE_BYTES).into());
        assert!(large.value.is_none() && large.text.contains("too large"));
    }

    proptest! {
        #[test]
        fn whatever_arrives_is_a_command_or_refused_without_panic(text in r#"[\{\}":,a-z0-9_ -]{0,200}"#) {
            if let Ok(command) = serde_json::from_str::<Command>(&text) {
                let _ = command.check();
            }
            let _ = text.parse::<CommandId>().map(|id| assert_eq!(id.as_str(), text));
        }

        #[test]
        fn the_deadline_of_any_command_is_computed_without_overflow(issued_at_s: i64, not_after_s: i64) {
            let command = Command { issued_at_s, not_after_s, ..command(Operation::Status) };
            prop_assert_eq!(command.check().is_ok(), VALID_S.contains(&(i128::from(not_after_s) - i128::from(issued_at_s)).try_into().unwrap_or(-1)));
        }
    }
}
