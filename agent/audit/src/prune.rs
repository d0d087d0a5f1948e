//! Records do not stay on a device for ever: past their retention, and once a mirror has them, they leave. The proofs stay.
//!
//! ```text
//! records 0 … 511 gone │ 512 … kept        root(size) = … over the stored hash of each 256 records below 512
//! `audit.prune` says: up to 512, root(512), why they may go
//! ```
//!
//! Whole tiles of 256 records leave, from the beginning on (c2sp.org/tlog-tiles, pruning). The hashes above them stay, so
//! the head, and every proof about records that stay, are as before. What left is on record in what stays: whoever only
//! deletes is found out.

use std::ops::Range;

use rusqlite::{Connection, OptionalExtension, Transaction};

use crate::consistency::StoredTree;
use crate::leaf::Leaf;
use crate::reader::Snapshot;
use crate::tile::WIDTH;
use crate::{AuditError, AuditLog, Kind, Record, Who};

const MS_PER_DAY: i64 = 86_400_000;

/// Records that leave in one transaction: others wait for it.
const RECORDS_AT_ONCE: u64 = 64 * WIDTH;

/// How long records are kept on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRetention {
    /// A record may leave when it is so many days old.
    pub days: u32,
    /// Why it may leave.
    pub basis: PruneBasis,
}

/// Why records may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PruneBasis {
    /// A mirror keeps this many, by its signature; none beyond them leaves.
    Mirrored {
        /// How many.
        records: u64,
    },
    /// The policy says that nobody else needs to keep them.
    Policy,
}

impl PruneBasis {
    fn name(self) -> &'static str {
        match self {
            Self::Mirrored { .. } => "mirrored",
            Self::Policy => "policy",
        }
    }
}

impl AuditLog {
    /// The records that would leave now, by index. Changes nothing. Reads the disk.
    ///
    /// What is kept in any case: the newest records, those since the last `summary`, those of requests that are open, and
    /// those whose content is still sealed.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn record_prune_plan(&self, retention: RecordRetention) -> Result<Range<u64>, AuditError> {
        let horizon_ms = self.moment().wall_ms.saturating_sub(i64::from(retention.days) * MS_PER_DAY);
        let snapshot = Snapshot::open(self.directory())?;
        plan(&snapshot.connection, retention.basis, horizon_ms)
            .map_err(|error| AuditError::database("read", self.directory(), &error))
    }

    /// Lets the records leave that are past their retention, and records an `audit.prune` for each 16,384 of them, in the
    /// transaction in which they leave. Gives what left. Blocks on the disk.
    ///
    /// # Errors
    /// As [`append`](Self::append); what a record names has left, and nothing else.
    pub fn prune_records(&self, retention: RecordRetention, who: &Who) -> Result<Range<u64>, AuditError> {
        let Range { start: from, end: to } = self.record_prune_plan(retention)?;
        let mut next = from;
        while next < to {
            let until = to.min(next + RECORDS_AT_ONCE);
            let root = {
                let snapshot = Snapshot::open(self.directory())?;
                let root = StoredTree::open(&snapshot.connection, self.directory())?.root_at(until);
                root.map_err(|cause| AuditError::Damaged {
                    directory: self.directory().to_owned(),
                    what: cause.to_string(),
                })?
            };
            let record = Record::new(Kind::AuditPrune)
                .who(who.clone())
                .act("prune")
                .detail("records_from", next)
                .detail("records_to", until)
                .detail("root", hex::encode(root))
                .detail("days", retention.days)
                .detail("basis", retention.basis.name());
            self.push_leaving(record, until).wait()?;
            next = until;
        }
        Ok(from..to)
    }
}

fn plan(connection: &Connection, basis: PruneBasis, horizon_ms: i64) -> rusqlite::Result<Range<u64>> {
    let number = |query: &str| connection.query_row(query, (), |row| row.get::<_, Option<u64>>(0)).optional();
    let first = first_kept(connection)?;
    let size: u64 = connection.query_row("SELECT size FROM tree", (), |row| row.get(0))?;
    let bounds = [
        Some(size.saturating_sub(1)),
        // What is counted since is counted from the leaves, if the count is lost.
        Some(number("SELECT first FROM tally")?.flatten().unwrap_or(0)),
        number("SELECT min(idx) FROM open_requests")?.flatten(),
        number("SELECT min(slot) / 2 FROM sealed")?.flatten(),
        match basis {
            PruneBasis::Mirrored { records } => Some(records),
            PruneBasis::Policy => None,
        },
    ];
    let most = bounds.into_iter().flatten().min().unwrap_or(0);
    let mut last_of_tile = connection.prepare("SELECT bytes FROM leaves WHERE idx = ?1")?;
    let mut to = first;
    while to + WIDTH <= most {
        let bytes: Option<Vec<u8>> = last_of_tile.query_row([to + WIDTH - 1], |row| row.get(0)).optional()?;
        // What does not parse stays: it is evidence.
        let wall_ms = bytes.and_then(|bytes| Leaf::parse(&bytes).ok()?.wall_ms());
        if wall_ms.is_none_or(|wall_ms| wall_ms > horizon_ms) {
            break;
        }
        to += WIDTH;
    }
    Ok(first..to)
}

/// Index of the first record that is still there; 0 in an empty log.
pub(crate) fn first_kept(connection: &Connection) -> rusqlite::Result<u64> {
    Ok(connection.query_row("SELECT min(idx) FROM leaves", (), |row| row.get::<_, Option<u64>>(0))?.unwrap_or(0))
}

/// Removes the records before this index, and the heads that only they lead to.
pub(crate) fn leave(transaction: &Transaction<'_>, until: u64) -> rusqlite::Result<()> {
    transaction.prepare_cached("DELETE FROM leaves WHERE idx < ?1")?.execute([until])?;
    transaction.prepare_cached("DELETE FROM checkpoints WHERE size < ?1")?.execute([until]).map(|_| ())
}

#[cfg(test)]
mod tests;
