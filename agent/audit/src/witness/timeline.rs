//! When a record came to be, by what witnesses signed and not by the device's clock.
//!
//! ```text
//! index      0 … 99   100 … 119   120 (cosig: size 100 at 12:00)   121 … 149   150 (cosig: size 140 at 13:00)
//! not before    –         –          12:00                            12:00       13:00
//! not after   12:00     13:00        13:00                   up to 139: 13:00       –
//! ```
//!
//! A record below a cosigned size existed at the time of the cosignature. A `cosig` record holds a time, so neither it
//! nor what follows it existed before that time.

use std::path::Path;

use super::ledger::{self, Order};
use crate::consistency::{ProofError, StoredTree};
use crate::cosignature::{Cosigned, CosignerKey};
use crate::reader::Snapshot;
use crate::{AuditError, VerifierKey};

/// One end of a bracket, and who vouches for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// Seconds since 1970, by the witness's clock.
    pub time_s: u64,
    /// Name of the witness.
    pub witness: String,
    /// Size of the tree that it cosigned.
    pub size: u64,
    /// The `cosig` record that holds the cosignature; none if it was brought from elsewhere.
    pub record: Option<u64>,
}

/// Between which times a record came to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bracket {
    /// Not before this; none if no `cosig` record precedes it.
    pub not_before: Option<Bound>,
    /// Not after this; none if no cosigned tree holds it.
    pub not_after: Option<Bound>,
}

impl Bracket {
    /// Whether two witnesses contradict each other: at least one clock was wrong.
    #[must_use]
    pub fn is_contradictory(&self) -> bool {
        match (&self.not_before, &self.not_after) {
            (Some(not_before), Some(not_after)) => not_before.time_s > not_after.time_s,
            _ => false,
        }
    }
}

/// All cosignatures of one log, ready to be asked about any record.
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    /// By growing record index: the latest time up to there.
    latest: Vec<(u64, Bound)>,
    /// By growing size: the earliest time from there on.
    earliest: Vec<(u64, Bound)>,
    rejected: Vec<(u64, String)>,
}

impl Timeline {
    /// Reads every `cosig` record of the log in `directory`, verified by these keys. A cosignature counts only if the
    /// log's stored tree has the root that was cosigned; whether the records lead to that tree is for
    /// [`verify`](crate::verify::verify) to say.
    ///
    /// # Errors
    /// If there is no log, or it cannot be read.
    pub fn read(directory: &Path, log: &VerifierKey, witnesses: &[CosignerKey]) -> Result<Self, AuditError> {
        let snapshot = Snapshot::open(directory)?;
        let tree = StoredTree::open(&snapshot.connection, directory)?;
        let (mut accepted, mut rejected, mut failure) = (Vec::new(), Vec::new(), None);
        ledger::each_note(&snapshot.connection, directory, Order::OldestFirst, |index, note| {
            match examine(&tree, index, &note, log, witnesses) {
                Ok(Ok(cosigned)) => accepted.push((Some(index), cosigned)),
                Ok(Err(cause)) => rejected.push((index, cause)),
                Err(error) => failure = Some(error),
            }
            failure.is_none()
        })?;
        match failure {
            Some(error) => Err(error),
            None => Ok(Self { rejected, ..Self::new(accepted) }),
        }
    }

    /// From cosigned checkpoints, each with the index of the record that holds it, or none if it came from elsewhere.
    /// The caller has verified them.
    #[must_use]
    pub fn new(cosigned: impl IntoIterator<Item = (Option<u64>, Cosigned)>) -> Self {
        let bounds: Vec<Bound> = cosigned
            .into_iter()
            .flat_map(|(record, cosigned)| {
                let size = cosigned.checkpoint.size;
                cosigned.cosignatures.into_iter().map(move |said| Bound {
                    time_s: said.time_s,
                    witness: said.witness,
                    size,
                    record,
                })
            })
            .collect();
        let mut latest: Vec<(u64, Bound)> =
            bounds.iter().filter_map(|bound| Some((bound.record?, bound.clone()))).collect();
        latest.sort_by_key(|(record, _)| *record);
        carry(latest.iter_mut(), |before, here| before.time_s > here.time_s);
        let mut earliest: Vec<(u64, Bound)> = bounds.into_iter().map(|bound| (bound.size, bound)).collect();
        earliest.sort_by_key(|(size, _)| *size);
        carry(earliest.iter_mut().rev(), |before, here| before.time_s < here.time_s);
        Self { latest, earliest, rejected: Vec::new() }
    }

    /// Between which times the record at this index came to be.
    #[must_use]
    pub fn bracket(&self, index: u64) -> Bracket {
        let preceding = self.latest.partition_point(|(record, _)| *record <= index);
        let covering = self.earliest.partition_point(|(size, _)| *size <= index);
        let bound = |found: Option<&(u64, Bound)>| found.map(|(_, bound)| bound.clone());
        Bracket {
            not_before: bound(preceding.checked_sub(1).and_then(|position| self.latest.get(position))),
            not_after: bound(self.earliest.get(covering)),
        }
    }

    /// The `cosig` records that count for nothing, and why.
    #[must_use]
    pub fn rejected(&self) -> &[(u64, String)] {
        &self.rejected
    }
}

/// Hands the stronger of two neighbouring bounds on, so that each place holds the strongest so far.
fn carry<'a>(places: impl Iterator<Item = &'a mut (u64, Bound)>, is_stronger: impl Fn(&Bound, &Bound) -> bool) {
    let mut strongest: Option<Bound> = None;
    for (_, bound) in places {
        match &strongest {
            Some(before) if is_stronger(before, bound) => *bound = before.clone(),
            _ => strongest = Some(bound.clone()),
        }
    }
}

/// Whether a `cosig` record speaks of this log's tree; the inner error says why it does not.
pub(crate) fn examine(
    tree: &StoredTree<'_>,
    index: u64,
    note: &str,
    log: &VerifierKey,
    witnesses: &[CosignerKey],
) -> Result<Result<Cosigned, String>, AuditError> {
    let cosigned = match Cosigned::verify(note, std::slice::from_ref(log), witnesses) {
        Ok(cosigned) => cosigned,
        Err(cause) => return Ok(Err(cause.to_string())),
    };
    let size = cosigned.checkpoint.size;
    if size > index {
        return Ok(Err(format!("it speaks of {size} records, itself among them")));
    }
    match tree.root_at(size) {
        Ok(root) if root == cosigned.checkpoint.root => Ok(Ok(cosigned)),
        Ok(_) => Ok(Err(format!("it speaks of another tree than the first {size} records are"))),
        Err(ProofError::Log(error)) => Err(error),
        Err(cause) => Ok(Err(cause.to_string())),
    }
}

#[cfg(test)]
mod tests;
