//! Trust policies of c2sp.org/tlog-policy: which logs, which witnesses, and how many of them make a head believable.
//!
//! ```text
//! log <key> [<url>]
//! witness <name> <key> [<url>]
//! group <name> all|any|<number> <name>…
//! quorum <name>|none
//! ```
//!
//! Names stand for what precedes them; each is a member of one group at most, so nobody counts twice.

mod parse;

pub use self::parse::PolicyError;
use crate::VerifierKey;
use crate::cosignature::{Cosigned, CosignerKey};
use crate::note::{Note, NoteError};

/// A policy that parsed.
#[derive(Debug, Clone)]
pub struct Policy {
    logs: Vec<VerifierKey>,
    /// Witnesses and groups, in the order of their lines: members precede their group.
    parties: Vec<Party>,
    /// Position of the party that decides; none if no cosignature is needed.
    quorum: Option<usize>,
}

/// A name and what it stands for. Names are opaque bytes.
#[derive(Debug, Clone)]
struct Party {
    name: Vec<u8>,
    rule: Rule,
}

#[derive(Debug, Clone)]
enum Rule {
    Witness(CosignerKey),
    /// Satisfied if at least so many of the parties at these positions are.
    Group {
        threshold: usize,
        members: Vec<usize>,
    },
}

/// Why a checkpoint does not satisfy a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unmet {
    /// It is malformed, not signed by a log of the policy, or holds a signature that does not verify.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Too few witnesses cosigned it, or the wrong ones.
    #[error("the quorum `{quorum}` is not reached: cosigned by {}", said_by(cosigned))]
    Quorum {
        /// Name of the quorum in the policy.
        quorum: String,
        /// Names, in the policy, of the witnesses that did cosign.
        cosigned: Vec<String>,
    },
}

fn said_by(names: &[String]) -> String {
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

impl Policy {
    /// The logs that it names; may be none, where the log is known from elsewhere.
    #[must_use]
    pub fn logs(&self) -> &[VerifierKey] {
        &self.logs
    }

    /// The keys of its witnesses, in the order of their lines.
    #[must_use]
    pub fn witnesses(&self) -> Vec<CosignerKey> {
        self.witness_keys().cloned().collect()
    }

    /// The checkpoint in a signed note, if a log of this policy signed it and the quorum cosigned it.
    ///
    /// # Errors
    /// If it does not satisfy the policy.
    pub fn check(&self, note: &str) -> Result<Cosigned, Unmet> {
        self.check_of(note, &self.logs)
    }

    /// As [`check`](Self::check), for logs that the caller knows from elsewhere.
    ///
    /// # Errors
    /// If it does not satisfy the policy.
    pub fn check_of(&self, note: &str, logs: &[VerifierKey]) -> Result<Cosigned, Unmet> {
        // Whatever is wrong with a line of a known key spoils the note; see there.
        let cosigned = Cosigned::verify(note, logs, &self.witnesses())?;
        let note = Note::parse(note)?;
        self.reached(|key| key.verify(&note).is_ok()).map(|()| cosigned)
    }

    /// Whether the quorum is among the witnesses that `vouches` says yes to. It is asked about each witness once.
    ///
    /// # Errors
    /// [`Unmet::Quorum`] if not.
    pub fn reached(&self, vouches: impl FnMut(&CosignerKey) -> bool) -> Result<(), Unmet> {
        let Some(quorum) = self.quorum else { return Ok(()) };
        let satisfied = self.satisfied(vouches);
        if satisfied[quorum] {
            return Ok(());
        }
        let name = |party: &Party| String::from_utf8_lossy(&party.name).into_owned();
        let witnesses = self.parties.iter().zip(&satisfied);
        let cosigned = witnesses
            .filter(|(party, satisfied)| **satisfied && matches!(party.rule, Rule::Witness(_)))
            .map(|(party, _)| name(party))
            .collect();
        Err(Unmet::Quorum { quorum: name(&self.parties[quorum]), cosigned })
    }

    /// Which parties witnessed, by their keys: key names may repeat.
    fn satisfied(&self, mut vouches: impl FnMut(&CosignerKey) -> bool) -> Vec<bool> {
        let mut satisfied: Vec<bool> = Vec::with_capacity(self.parties.len());
        for party in &self.parties {
            let is_satisfied = match &party.rule {
                Rule::Witness(key) => vouches(key),
                Rule::Group { threshold, members } => {
                    members.iter().filter(|&&member| satisfied[member]).count() >= *threshold
                }
            };
            satisfied.push(is_satisfied);
        }
        satisfied
    }

    fn witness_keys(&self) -> impl Iterator<Item = &CosignerKey> {
        self.parties.iter().filter_map(|party| match &party.rule {
            Rule::Witness(key) => Some(key),
            Rule::Group { .. } => None,
        })
    }
}

#[cfg(test)]
mod tests;
