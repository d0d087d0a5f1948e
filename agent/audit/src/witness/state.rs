//! What a witness remembers: the last head that it cosigned of each log, and what looks like a fork.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::VerifierKey;
use crate::consistency::TreeHead;
use crate::cosignature::signed_by_log;
use crate::note::{Note, NoteError};

/// Evidence of one kind beyond this is not kept, for one log: the first pieces convict, and nobody may fill the disk.
pub const MAX_EVIDENCE: usize = 32;

/// The last head of a log that a witness cosigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witnessed {
    /// Its size and root.
    pub head: TreeHead,
    /// The checkpoint: the log's lines and the cosignature.
    pub note: String,
}

/// Whether a compare-and-set took place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swap {
    /// The new head is stored, and durable.
    Stored,
    /// Another request was faster; nothing changed. This is stored.
    Conflict(Option<Witnessed>),
}

/// What a refused checkpoint looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspicion {
    /// Two roots at one size, both signed by the log: the two notes convict it, wherever they are shown.
    Fork,
    /// The proof did not show that the offered tree begins with the one held. Anybody can send a signed checkpoint with
    /// a bad proof, so this convicts nobody; a log that can show no good proof between the two notes is forked.
    Unproven,
}

impl Suspicion {
    /// Its name, as it is stored.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fork => "fork",
            Self::Unproven => "unproven",
        }
    }

    /// The suspicion of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Fork, Self::Unproven].into_iter().find(|suspicion| suspicion.name() == name)
    }
}

/// Two notes that a log signed and that do not go together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Name of the log.
    pub origin: String,
    /// What it looks like.
    pub suspicion: Suspicion,
    /// The checkpoint that was cosigned.
    pub held: String,
    /// The checkpoint that was refused, with the log's lines only.
    pub offered: String,
    /// The proof that came with it.
    pub proof: Vec<[u8; 32]>,
    /// When, seconds since 1970 by the witness's clock.
    pub found_s: u64,
}

impl Evidence {
    /// Whether the two notes alone convict the log: it signed both, of one size, with different roots. Needs nothing
    /// but the log's public key.
    ///
    /// # Errors
    /// If one of the notes is malformed or not signed by this log.
    pub fn convicts(&self, log: &VerifierKey) -> Result<bool, NoteError> {
        let read = |note: &str| signed_by_log(&Note::parse(note)?, std::slice::from_ref(log));
        let (held, offered) = (read(&self.held)?, read(&self.offered)?);
        Ok(held.size == offered.size && held.root != offered.root)
    }
}

/// The state could not be read or written: nothing may be cosigned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot {act} the state of the witness{place}: {cause}")]
pub struct StateError {
    /// The act, as a verb.
    pub act: &'static str,
    /// Where the state lies, with a space before it; empty if that is known.
    pub place: String,
    /// What the storage said.
    pub cause: String,
}

/// Where a witness keeps its state.
///
/// [`compare_and_set`](Self::compare_and_set) is the one way to change a head. Comparing and storing are one step:
/// between them no other request may come, or a slow request would roll a fast one back.
pub trait WitnessState: Send + Sync {
    /// The last head of this log that was cosigned.
    ///
    /// # Errors
    /// If the state cannot be read.
    fn latest(&self, origin: &str) -> Result<Option<Witnessed>, StateError>;

    /// Stores `next` if the last head of this log is still `expected`; none if it never had one. When the answer is
    /// [`Swap::Stored`], `next` survives a power cut.
    ///
    /// # Errors
    /// If the state cannot be read or written; the head is then what it was, or `next`.
    fn compare_and_set(&self, origin: &str, expected: Option<&TreeHead>, next: &Witnessed) -> Result<Swap, StateError>;

    /// Keeps evidence, unless that checkpoint is held for that reason already, or [`MAX_EVIDENCE`] others are; says
    /// whether it is new.
    ///
    /// # Errors
    /// If the state cannot be written.
    fn keep_evidence(&self, evidence: &Evidence) -> Result<bool, StateError>;

    /// The evidence against this log, oldest first.
    ///
    /// # Errors
    /// If the state cannot be read.
    fn evidence(&self, origin: &str) -> Result<Vec<Evidence>, StateError>;
}

/// State that is gone with the process: for tests, and for peers on a site that keep a head for each other only while
/// both run.
#[derive(Debug, Default)]
pub struct MemoryState(Mutex<Tables>);

#[derive(Debug, Default)]
struct Tables {
    heads: BTreeMap<String, Witnessed>,
    evidence: Vec<Evidence>,
}

impl MemoryState {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        // Every change is one assignment, so a panic elsewhere left nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WitnessState for MemoryState {
    fn latest(&self, origin: &str) -> Result<Option<Witnessed>, StateError> {
        Ok(self.tables().heads.get(origin).cloned())
    }

    fn compare_and_set(&self, origin: &str, expected: Option<&TreeHead>, next: &Witnessed) -> Result<Swap, StateError> {
        let mut tables = self.tables();
        let held = tables.heads.get(origin);
        if held.map(|held| &held.head) != expected {
            return Ok(Swap::Conflict(held.cloned()));
        }
        tables.heads.insert(origin.to_owned(), next.clone());
        Ok(Swap::Stored)
    }

    fn keep_evidence(&self, evidence: &Evidence) -> Result<bool, StateError> {
        let mut tables = self.tables();
        let is_alike = |kept: &&Evidence| kept.origin == evidence.origin && kept.suspicion == evidence.suspicion;
        let alike: Vec<&Evidence> = tables.evidence.iter().filter(is_alike).collect();
        let is_new = alike.len() < MAX_EVIDENCE && alike.iter().all(|kept| kept.offered != evidence.offered);
        if is_new {
            tables.evidence.push(evidence.clone());
        }
        Ok(is_new)
    }

    fn evidence(&self, origin: &str) -> Result<Vec<Evidence>, StateError> {
        Ok(self.tables().evidence.iter().filter(|kept| kept.origin == origin).cloned().collect())
    }
}
