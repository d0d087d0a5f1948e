//! A checkpoint with many signature lines: the log's own, and those of whoever witnessed it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::CosignerKey;
use crate::note::{Note, NoteError, SIGNATURE_PREFIX, Signature};
use crate::{Checkpoint, VerifierKey};

/// A witness's statement that held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosignature {
    /// Name of the witness.
    pub witness: String,
    /// When it saw the tree, seconds since 1970.
    pub time_s: u64,
}

/// A checkpoint that its log signed, with what its witnesses said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned {
    /// The head of the log.
    pub checkpoint: Checkpoint,
    /// The statements that held, in the order of the keys that were asked for.
    pub cosignatures: Vec<Cosignature>,
    /// The signed note, with the lines of known keys only: what strangers added is gone.
    pub note: String,
}

impl Cosigned {
    /// Reads a signed note. One of the log keys must have signed it and be named as its origin; witnesses may be
    /// missing. Lines by unknown keys are ignored.
    ///
    /// # Errors
    /// If the note is malformed, not by a known log, or holds a line of a known key that does not verify.
    pub fn verify(note: &str, logs: &[VerifierKey], witnesses: &[CosignerKey]) -> Result<Self, NoteError> {
        let note = Note::parse(note)?;
        let checkpoint = signed_by_log(&note, logs)?;
        let mut cosignatures = Vec::new();
        for witness in witnesses {
            match witness.verify(&note) {
                Ok(time_s) => cosignatures.push(Cosignature { witness: witness.name().to_owned(), time_s }),
                Err(NoteError::NotSignedBy(_)) => {}
                Err(cause) => return Err(cause),
            }
        }
        let known = |line: &Signature| {
            logs.iter().any(|log| is_of_log(line, log)) || witnesses.iter().any(|witness| witness.claims(line))
        };
        Ok(Self { checkpoint, cosignatures, note: with_lines(&note, known) })
    }

    /// Adds what a witness answered to the checkpoint that it was sent.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn join(note: &str, lines: &str, logs: &[VerifierKey], witnesses: &[CosignerKey]) -> Result<Self, NoteError> {
        Self::verify(&format!("{note}{lines}"), logs, witnesses)
    }

    /// One note of two over the same checkpoint, with the statements of both; `None` if they are over different ones.
    #[must_use]
    pub fn merge(mut self, other: &Self) -> Option<Self> {
        let (text, lines) = self.note.rsplit_once("\n\n")?;
        let (other_text, other_lines) = other.note.rsplit_once("\n\n")?;
        if text != other_text {
            return None;
        }
        let new_lines = other_lines.split_inclusive('\n').filter(|line| !lines.contains(line));
        self.note = format!("{text}\n\n{lines}{}", new_lines.collect::<String>());
        for said in &other.cosignatures {
            if !self.cosignatures.contains(said) {
                self.cosignatures.push(said.clone());
            }
        }
        Some(self)
    }

    /// When a witness of this name cosigned.
    #[must_use]
    pub fn time_s(&self, witness: &str) -> Option<u64> {
        self.cosignatures.iter().find(|cosignature| cosignature.witness == witness).map(|found| found.time_s)
    }
}

/// The checkpoint in a note, if one of these log keys signed it and is named as its origin. A key's line that does not
/// verify spoils the note, whoever else signed it.
///
/// # Errors
/// If no key of the log signed, or a line that claims to be by one is not.
pub fn signed_by_log(note: &Note, logs: &[VerifierKey]) -> Result<Checkpoint, NoteError> {
    let checkpoint = Checkpoint::parse_text(note.unverified_text())?;
    let mut signed = false;
    for log in logs.iter().filter(|log| log.name() == checkpoint.origin) {
        match note.verify(log) {
            Ok(_) => signed = true,
            Err(NoteError::NotSignedBy(_)) => {}
            Err(cause) => return Err(cause),
        }
    }
    if signed { Ok(checkpoint) } else { Err(NoteError::NotSignedBy(checkpoint.origin)) }
}

/// The note with the lines of these log keys only.
pub(crate) fn without_strangers(note: &Note, logs: &[VerifierKey]) -> String {
    with_lines(note, |line| logs.iter().any(|log| is_of_log(line, log)))
}

fn is_of_log(line: &Signature, log: &VerifierKey) -> bool {
    line.name == log.name() && line.id == log.id()
}

fn with_lines(note: &Note, known: impl Fn(&Signature) -> bool) -> String {
    let mut kept = format!("{}\n", note.unverified_text());
    for line in note.signatures.iter().filter(|line| known(line)) {
        let bytes = [&line.id[..], &line.bytes].concat();
        kept.push_str(&format!("{SIGNATURE_PREFIX}{} {}\n", line.name, BASE64.encode(bytes)));
    }
    kept
}
