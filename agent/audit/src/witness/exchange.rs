//! The log's side of `add-checkpoint`: what to send to a witness, and what its answer means.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{AddCheckpoint, Outcome};
use crate::consistency::ProofError;
use crate::cosignature::{Cosigned, CosignerKey};
use crate::{AuditError, AuditLog, Checkpoint, VerifierKey};

/// One request to one witness, and what it takes to understand the answer.
#[derive(Debug, Clone)]
pub struct Exchange {
    request: AddCheckpoint,
    sent: Checkpoint,
    log: VerifierKey,
    witness: CosignerKey,
    cosigned: u64,
}

/// What an answer asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Store it: append [`record`](super::record) of it to the log.
    Record(Cosigned),
    /// Ask again, with a proof from this size: the witness is behind, or its last answer was lost.
    Retry {
        /// The size that it cosigned last.
        old: u64,
    },
    /// The two do not remember the same past.
    Diverged(Divergence),
    /// The witness refuses, and asking again would not help. Holds why.
    Refused(String),
}

/// A past that log and witness do not share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Divergence {
    /// The witness cosigned more records than this log has: an old image of the device was restored.
    DeviceRolledBack {
        /// Name of the witness.
        witness: String,
        /// Records that it cosigned.
        cosigned: u64,
        /// Records that the log has.
        size: u64,
    },
    /// The log does not begin with the tree that the witness cosigned: an old image was restored and went on by
    /// itself, or the log was rewritten.
    Forked {
        /// Name of the witness.
        witness: String,
        /// Records of the tree that it cosigned.
        cosigned: u64,
    },
    /// The witness remembers less than it cosigned, which the log can show: an old backup of the witness was restored.
    WitnessRolledBack {
        /// Name of the witness.
        witness: String,
        /// Records that it cosigned, by its signature.
        cosigned: u64,
        /// Records that it remembers.
        remembers: u64,
    },
}

impl Exchange {
    /// Prepares to have the newest durable head of `log` cosigned. `old` is the size that the witness cosigned last as
    /// far as is known, or 0 to ask; `cosigned` is the largest size that the log can show its cosignature for, from
    /// [`newest`](super::newest). Reads the disk.
    ///
    /// # Errors
    /// If the log does not reach to `old`, or cannot be read.
    pub fn begin(
        log: &AuditLog,
        log_key: &VerifierKey,
        witness: &CosignerKey,
        cosigned: u64,
        old: u64,
    ) -> Result<Self, ProofError> {
        let checkpoint = log.checkpoint();
        let sent = Checkpoint::verify(&checkpoint, log_key).map_err(|cause| AuditError::Damaged {
            directory: log.directory().to_owned(),
            what: format!("its head: {cause}"),
        })?;
        let proof = log.prove_consistency(old, sent.size)?;
        let request = AddCheckpoint { old, proof, checkpoint };
        Ok(Self { request, sent, log: log_key.clone(), witness: witness.clone(), cosigned })
    }

    /// The body to send.
    #[must_use]
    pub fn body(&self) -> String {
        self.request.to_body()
    }

    /// What to do now. `size` is how many records the log has by now.
    #[must_use]
    pub fn understand(&self, outcome: &Outcome, size: u64) -> Next {
        let witness = self.witness.name().to_owned();
        match outcome {
            Outcome::Cosigned(lines) => self.accept(lines),
            // It compared our proof with the tree that we say it cosigned last, or our root with its own.
            Outcome::Inconsistent(_) => Next::Diverged(Divergence::Forked { witness, cosigned: self.request.old }),
            Outcome::Conflict { size: theirs } if *theirs == self.request.old => {
                Next::Diverged(Divergence::Forked { witness, cosigned: *theirs })
            }
            Outcome::Conflict { size: theirs } if *theirs > size => {
                Next::Diverged(Divergence::DeviceRolledBack { witness, cosigned: *theirs, size })
            }
            Outcome::Conflict { size: theirs } if *theirs < self.cosigned => {
                let (cosigned, remembers) = (self.cosigned, *theirs);
                Next::Diverged(Divergence::WitnessRolledBack { witness, cosigned, remembers })
            }
            Outcome::Conflict { size: theirs } => Next::Retry { old: *theirs },
            Outcome::Malformed(_) | Outcome::NotSigned(_) | Outcome::UnknownLog => Next::Refused(outcome.to_string()),
        }
    }

    fn accept(&self, lines: &str) -> Next {
        let (logs, witnesses) = (std::slice::from_ref(&self.log), std::slice::from_ref(&self.witness));
        match Cosigned::join(&self.request.checkpoint, lines, logs, witnesses) {
            // The lines must not have become part of another text.
            Ok(cosigned) if cosigned.checkpoint == self.sent && !cosigned.cosignatures.is_empty() => {
                Next::Record(cosigned)
            }
            Ok(_) => Next::Refused(format!("the answer holds no cosignature of `{}`", self.witness.name())),
            Err(cause) => Next::Refused(format!("the answer does not verify: {cause}")),
        }
    }
}

impl Divergence {
    /// The name under which it is recorded.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::DeviceRolledBack { .. } => "device_rollback",
            Self::Forked { .. } => "fork",
            Self::WitnessRolledBack { .. } => "witness_rollback",
        }
    }

    /// Whether this log must not grow any further: the next record belongs into a new log, whose first record names
    /// the last cosigned checkpoint and the reason.
    #[must_use]
    pub fn ends_the_log(&self) -> bool {
        !matches!(self, Self::WitnessRolledBack { .. })
    }

    /// What the operator is told to do.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::DeviceRolledBack { .. } | Self::Forked { .. } => {
                "write nothing more to this log and keep its directory as evidence; restore the newer log, or start \
                 the agent with a new audit directory and the next number in its origin; a strict policy serves \
                 nothing until then"
            }
            Self::WitnessRolledBack { .. } => {
                "tell the operator of the witness that an old backup of its state is in use, and prune nothing until \
                 it is up to date; sending from the size that it remembers brings it there"
            }
        }
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeviceRolledBack { witness, cosigned, size } => write!(
                formatter,
                "`{witness}` cosigned {cosigned} records of this log and it has {size}: an old image of this device \
                 was restored"
            ),
            Self::Forked { witness, cosigned } => write!(
                formatter,
                "this log does not begin with the {cosigned} records that `{witness}` cosigned: an old image of this \
                 device was restored and went on, or the log was rewritten"
            ),
            Self::WitnessRolledBack { witness, cosigned, remembers } => write!(
                formatter,
                "`{witness}` cosigned {cosigned} records of this log and remembers {remembers}: an old backup of the \
                 witness was restored"
            ),
        }?;
        write!(formatter, "; {}", self.advice())
    }
}

#[cfg(test)]
mod tests;
