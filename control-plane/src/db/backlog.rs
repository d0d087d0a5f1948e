//! What waits, and what is in force where, in numbers: for measurements.

use std::collections::BTreeMap;

use super::sql::params;

use super::{Database, DbError};

/// Versions that are told apart, the most frequent.
const VERSIONS: i64 = 50;

/// What waits, and what is in force where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Backlog {
    /// Commands that count and were not answered.
    pub(crate) commands: u64,
    /// Records that wait for the control plane's own log.
    pub(crate) own_records: u64,
    /// Events that were given up for a webhook.
    pub(crate) dead_events: u64,
    /// Devices by the version of their policy.
    pub(crate) policies: BTreeMap<String, u64>,
    /// Devices by versions between what was signed and what is in force: `0`, `1`, `2`, `more`.
    pub(crate) behind: BTreeMap<String, u64>,
    /// Rollouts by their state.
    pub(crate) rollouts: BTreeMap<String, u64>,
}

impl Database {
    /// What waits at this time.
    pub(crate) fn backlog(&self, now_s: i64) -> Result<Backlog, DbError> {
        let one = |sql: &str, now_s: Option<i64>| {
            self.read(|connection| {
                let mut statement = connection.prepare_cached(sql)?;
                let number: i64 = match now_s {
                    Some(now_s) => statement.query_row([now_s], |row| row.get(0))?,
                    None => statement.query_row([], |row| row.get(0))?,
                };
                Ok(number.unsigned_abs())
            })
        };
        Ok(Backlog {
            commands: one("SELECT count(*) FROM commands WHERE state IS NULL AND not_after_s > ?1", Some(now_s))?,
            own_records: one("SELECT count(*) FROM own_records", None)?,
            dead_events: self.dead_event_count()?.unsigned_abs(),
            policies: self.counts(
                "SELECT f.policy_version, count(*) FROM facts f JOIN devices d ON d.device = f.device
                 WHERE d.revoked_s IS NULL GROUP BY f.policy_version ORDER BY count(*) DESC, f.policy_version DESC LIMIT ?1",
            )?,
            behind: self.behind()?,
            rollouts: self.rollout_states()?,
        })
    }

    fn counts(&self, sql: &str) -> Result<BTreeMap<String, u64>, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map(params![VERSIONS], |row| {
                let (version, devices): (i64, i64) = (row.get(0)?, row.get(1)?);
                Ok((version.to_string(), devices.unsigned_abs()))
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    fn behind(&self) -> Result<BTreeMap<String, u64>, DbError> {
        let classes = ["0", "1", "2", "more"];
        let mut behind: BTreeMap<String, u64> = classes.iter().map(|class| ((*class).to_owned(), 0)).collect();
        let sql = "SELECT s.version - f.applied_version, count(*) FROM facts f JOIN desired s ON s.device = f.device
                   JOIN devices d ON d.device = f.device WHERE d.revoked_s IS NULL AND s.version >= f.applied_version
                   GROUP BY s.version - f.applied_version ORDER BY 1 LIMIT ?1";
        for (versions, devices) in self.counts(sql)? {
            let class = classes[..3].iter().find(|class| **class == versions).unwrap_or(&"more");
            *behind.entry((*class).to_owned()).or_default() += devices;
        }
        Ok(behind)
    }

    /// Rollouts by their state.
    fn rollout_states(&self) -> Result<BTreeMap<String, u64>, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT state, count(*) FROM rollouts GROUP BY state")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }
}
