//! Counters beside the log: changed in the transaction that writes a record, or not at all.
//!
//! They hold what would cost too much to add up from the records again, such as the tokens that somebody has had today.
//! A kill at any moment leaves both the record and its change, or neither. They are no evidence: no signature covers them.

use rusqlite::{Connection, Transaction};

/// A counter as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    /// What is counted.
    pub key: String,
    /// In which stretch of time; 0 where it does not matter.
    pub period: i64,
    /// The count.
    pub value: i64,
}

/// A change that a record brings with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    key: String,
    period: i64,
    act: Act,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Add(i64),
    Raise { to: i64, ceiling: i64 },
    Forget,
}

impl Change {
    /// Adds to a counter; it never falls below 0.
    #[must_use]
    pub fn add(key: impl Into<String>, period: i64, by: i64) -> Self {
        Self { key: key.into(), period, act: Act::Add(by) }
    }

    /// Makes a counter at least so large. One above the ceiling cannot be right, and is set.
    #[must_use]
    pub fn raise(key: impl Into<String>, period: i64, to: i64, ceiling: i64) -> Self {
        Self { key: key.into(), period, act: Act::Raise { to, ceiling } }
    }

    /// Takes a counter away.
    #[must_use]
    pub fn forget(key: impl Into<String>, period: i64) -> Self {
        Self { key: key.into(), period, act: Act::Forget }
    }

    pub(crate) fn apply(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        const ADD: &str = "INSERT INTO counters (key, period, value) VALUES (?1, ?2, max(0, ?3))
             ON CONFLICT (key, period) DO UPDATE SET value = max(0, value + ?3)";
        const RAISE: &str = "INSERT INTO counters (key, period, value) VALUES (?1, ?2, max(0, ?3))
             ON CONFLICT (key, period) DO UPDATE SET value = CASE WHEN value > ?4 THEN ?3 ELSE max(value, ?3) END";
        const FORGET: &str = "DELETE FROM counters WHERE key = ?1 AND period = ?2";
        let (key, period) = (&self.key, self.period);
        match self.act {
            Act::Add(by) => transaction.prepare_cached(ADD)?.execute((key, period, by))?,
            Act::Raise { to, ceiling } => transaction.prepare_cached(RAISE)?.execute((key, period, to, ceiling))?,
            Act::Forget => transaction.prepare_cached(FORGET)?.execute((key, period))?,
        };
        Ok(())
    }
}

/// Every counter, by key and period.
pub(crate) fn list(connection: &Connection) -> rusqlite::Result<Vec<Counter>> {
    let mut statement = connection.prepare("SELECT key, period, value FROM counters ORDER BY key, period")?;
    let rows =
        statement.query_map((), |row| Ok(Counter { key: row.get(0)?, period: row.get(1)?, value: row.get(2)? }))?;
    rows.collect()
}
