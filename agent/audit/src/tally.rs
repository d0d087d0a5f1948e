//! How many records of each type there are since the last `summary`, so that the next one need not read them again.
//!
//! Kept in the database with each checkpoint; what came after is counted from the leaves when the log is opened. Requests
//! that are only counted (see [`space`](crate::space)) have no leaves: for them the row is changed in each transaction.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension};

use crate::leaf::Leaf;
use crate::{Kind, Record};

/// Came later than the others, and older agents can go on without it: they leave records uncounted, which shows, because
/// the row says up to where it counts.
pub(crate) const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS tally (one INTEGER PRIMARY KEY CHECK (one = 1), first INTEGER NOT NULL,
        until INTEGER NOT NULL, counts TEXT NOT NULL, unrecorded TEXT NOT NULL, elapsed_s INTEGER NOT NULL) STRICT;
";

/// How many of each type.
pub(crate) type Counts = BTreeMap<String, u64>;

/// The records since the last summary.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    /// Index of the last summary; 0 if there was none.
    from: u64,
    counts: Counts,
    /// Of what has no leaves.
    unrecorded: Counts,
    /// How long ago the last summary was, in time that a log was open, at `since`.
    elapsed: Duration,
    since: Instant,
}

impl Tally {
    /// The tally of a log of so many records.
    pub(crate) fn load(connection: &Connection, size: u64) -> rusqlite::Result<Self> {
        let (mut tally, until) = match Self::kept(connection, size)? {
            Some(kept) => kept,
            None => (Self::empty(), 0),
        };
        let mut statement = connection.prepare("SELECT idx, bytes FROM leaves WHERE idx >= ?1 ORDER BY idx")?;
        let mut rows = statement.query([until])?;
        while let Some(row) = rows.next()? {
            let bytes = row.get_ref(1)?.as_bytes().unwrap_or_default();
            // What does not parse is for the verifier to name.
            let leaf = Leaf::parse(bytes).ok();
            tally.add(row.get(0)?, leaf.as_ref().and_then(Leaf::kind).unwrap_or_default());
        }
        Ok(tally)
    }

    fn empty() -> Self {
        let (counts, unrecorded) = (Counts::new(), Counts::new());
        Self { from: 0, counts, unrecorded, elapsed: Duration::ZERO, since: Instant::now() }
    }

    /// What the row says, and up to where; none if there is no row, or one that cannot be.
    fn kept(connection: &Connection, size: u64) -> rusqlite::Result<Option<(Self, u64)>> {
        type Row = (u64, u64, String, String, u64);
        let row: Option<Row> = connection
            .query_row("SELECT first, until, counts, unrecorded, elapsed_s FROM tally", (), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
            })
            .optional()?;
        let Some((from, until, counts, unrecorded, elapsed_s)) = row else { return Ok(None) };
        let parsed = |text: &str| serde_json::from_str::<Counts>(text).ok();
        let (Some(counts), Some(unrecorded)) = (parsed(&counts), parsed(&unrecorded)) else {
            tracing::error!("the tally of the audit log does not parse; the records are counted again");
            return Ok(None);
        };
        let sum = counts.values().try_fold(0_u64, |sum, &count| sum.checked_add(count));
        if until > size || sum.is_none() || sum != until.checked_sub(from) {
            tracing::error!("the tally of the audit log contradicts itself; the records are counted again");
            return Ok(None);
        }
        let elapsed = Duration::from_secs(elapsed_s);
        Ok(Some((Self { from, counts, unrecorded, elapsed, since: Instant::now() }, until)))
    }

    /// Keeps it, as it is after so many records.
    pub(crate) fn store(&self, connection: &Connection, until: u64) -> rusqlite::Result<()> {
        const STORE: &str = "INSERT OR REPLACE INTO tally (one, first, until, counts, unrecorded, elapsed_s)
             VALUES (1, ?1, ?2, ?3, ?4, ?5)";
        let text = |counts: &Counts| serde_json::to_string(counts).expect("counts always fit into memory as JSON");
        let row = (self.from, until, text(&self.counts), text(&self.unrecorded), self.elapsed().as_secs());
        connection.prepare_cached(STORE)?.execute(row).map(|_| ())
    }

    /// One more record of this type, at this index.
    pub(crate) fn add(&mut self, index: u64, kind: &str) {
        if kind == Kind::Summary.name() {
            let (elapsed, since) = (Duration::ZERO, Instant::now());
            *self = Self { from: index, counts: Counts::new(), unrecorded: Counts::new(), elapsed, since };
        }
        match self.counts.get_mut(kind) {
            Some(count) => *count += 1,
            None => drop(self.counts.insert(kind.to_owned(), 1)),
        }
    }

    /// One more of this type that has no leaf.
    pub(crate) fn add_unrecorded(&mut self, kind: Kind) {
        *self.unrecorded.entry(kind.name().to_owned()).or_default() += 1;
    }

    pub(crate) fn has_unrecorded(&self) -> bool {
        !self.unrecorded.is_empty()
    }

    /// When a summary is due, if one is due every so often; none if it would say nothing.
    pub(crate) fn due(&self, interval: Duration) -> Option<Instant> {
        let is_told = self.unrecorded.is_empty() && self.counts.keys().all(|kind| kind == Kind::Summary.name());
        (!is_told).then(|| self.since + interval.saturating_sub(self.elapsed))
    }

    /// The summary, if it is to stand at this index.
    pub(crate) fn summary(&self, index: u64) -> Record {
        let record =
            Record::new(Kind::Summary).detail("from", self.from).detail("to", index).counts("counts", &self.counts);
        if self.unrecorded.is_empty() { record } else { record.counts("unrecorded", &self.unrecorded) }
    }

    fn elapsed(&self) -> Duration {
        self.elapsed + self.since.elapsed()
    }
}

#[cfg(test)]
mod tests;
