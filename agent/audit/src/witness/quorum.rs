//! How far the quorum of a policy vouches for a whole log, by all of its `cosig` records together.
//!
//! Witnesses see a log at different times, so no two need to have cosigned the same head. Who cosigned a tree of 140 records
//! saw that it begins with each smaller tree of the same log, so it vouches for a head of 100 as well: the quorum reaches as
//! far as enough witnesses have come.

use std::path::Path;

use rusqlite::Connection;

use super::ledger::{self, Order};
use super::timeline::examine;
use super::{Policy, Unmet};
use crate::consistency::StoredTree;
use crate::cosignature::CosignerKey;
use crate::note::Note;
use crate::{AuditError, Checkpoint, VerifierKey};

/// The largest head that a quorum vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Vouched {
    /// Its records.
    pub size: u64,
    /// When the last of those that it takes had seen it, seconds since 1970 by its clock.
    pub time_s: u64,
}

/// `cosig` records that are looked at for the best head to prove a record by.
const LOOKED_AT: usize = 1_000;

/// What one witness vouches for at most.
struct Reach<'a> {
    key: &'a CosignerKey,
    /// Sizes that it cosigned, each with the earliest time of that.
    seen: Vec<Vouched>,
}

impl Reach<'_> {
    /// When it had first seen a tree of so many records or more.
    fn since(&self, size: u64) -> Option<u64> {
        self.seen.iter().filter(|seen| seen.size >= size).map(|seen| seen.time_s).min()
    }
}

/// How far the quorum of `policy` vouches for the log; the inner error says who came how far if for nothing of it.
pub(crate) fn vouched(
    connection: &Connection,
    directory: &Path,
    log: &VerifierKey,
    policy: &Policy,
) -> Result<Result<Vouched, Unmet>, AuditError> {
    let tree = StoredTree::open(connection, directory)?;
    let keys = policy.witnesses();
    let mut reaches: Vec<_> = keys.iter().map(|key| Reach { key, seen: Vec::new() }).collect();
    let mut failure = None;
    ledger::each_note(connection, directory, Order::OldestFirst, |index, note| {
        match (examine(&tree, index, &note, log, &keys), Note::parse(&note)) {
            (Ok(Ok(cosigned)), Ok(note)) => {
                for reach in &mut reaches {
                    if let Ok(time_s) = reach.key.verify(&note) {
                        reach.seen.push(Vouched { size: cosigned.checkpoint.size, time_s });
                    }
                }
            }
            // Of another tree, or not by this log: counts for nothing.
            (Ok(_), _) => {}
            (Err(error), _) => failure = Some(error),
        }
        failure.is_none()
    })?;
    if let Some(error) = failure {
        return Err(error);
    }
    let mut sizes: Vec<u64> = reaches.iter().flat_map(|reach| &reach.seen).map(|seen| seen.size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let is_reached = |size: u64, until_s: u64| {
        policy.reached(|key| {
            reaches.iter().any(|reach| reach.key == key && reach.since(size).is_some_and(|since| since <= until_s))
        })
    };
    let Some(size) = sizes.iter().copied().rev().find(|&size| is_reached(size, u64::MAX).is_ok()) else {
        return Ok(is_reached(0, u64::MAX).map(|()| Vouched { size: 0, time_s: 0 }));
    };
    let mut times: Vec<u64> = reaches.iter().filter_map(|reach| reach.since(size)).collect();
    times.sort_unstable();
    let time_s = times.into_iter().find(|&time_s| is_reached(size, time_s).is_ok()).unwrap_or(0);
    Ok(Ok(Vouched { size, time_s }))
}

/// The cosigned head that holds the record at `index` and that most have cosigned, the newest of those: its note with every
/// line that the log keeps over it. `None` if no head that holds it was cosigned.
pub(crate) fn best_note(
    connection: &Connection,
    directory: &Path,
    log: &VerifierKey,
    index: u64,
) -> Result<Option<(Checkpoint, String)>, AuditError> {
    let tree = StoredTree::open(connection, directory)?;
    let mut heads: Vec<(Checkpoint, String)> = Vec::new();
    let (mut looked_at, mut failure) = (0, None);
    ledger::each_note(connection, directory, Order::NewestFirst, |record, note| {
        looked_at += 1;
        match examine(&tree, record, &note, log, &[]) {
            Ok(Ok(cosigned)) if cosigned.checkpoint.size > index => {
                let known = heads.iter_mut().find(|(head, _)| *head == cosigned.checkpoint);
                match (known, note.rsplit_once("\n\n")) {
                    (Some((_, whole)), Some((_, lines))) => {
                        let new: String = lines.split_inclusive('\n').filter(|line| !whole.contains(line)).collect();
                        whole.push_str(&new);
                    }
                    (None, Some(_)) => heads.push((cosigned.checkpoint, note)),
                    (_, None) => {}
                }
            }
            Ok(_) => {}
            Err(error) => failure = Some(error),
        }
        failure.is_none() && looked_at < LOOKED_AT
    })?;
    match failure {
        Some(error) => Err(error),
        // The first of the best is the newest.
        None => Ok(heads.into_iter().rev().max_by_key(|(_, note)| note.lines().count())),
    }
}

#[cfg(test)]
mod tests;
