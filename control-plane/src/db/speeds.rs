//! How fast each device serves its model, as it last said.

use super::{Database, DbError};

/// What one device said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MeasuredSpeed {
    pub(crate) target: String,
    pub(crate) cpu: String,
    pub(crate) cores: u64,
    pub(crate) speed_milli: u64,
}

/// How many devices serve a target with an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServedCount {
    pub(crate) target: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) agent: String,
    pub(crate) devices: u64,
}

impl Database {
    /// The speeds of all devices that serve a target and are not revoked.
    pub(crate) fn measured_speeds(&self) -> Result<Vec<MeasuredSpeed>, DbError> {
        self.read(|connection| {
            let sql = "SELECT f.target, coalesce(f.cpu, ''), coalesce(f.cores, 0), f.speed_milli FROM facts f
                 JOIN devices d ON d.device = f.device
                 WHERE f.target IS NOT NULL AND f.speed_milli > 0 AND d.revoked_s IS NULL";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| {
                Ok(MeasuredSpeed {
                    target: row.get(0)?,
                    cpu: row.get(1)?,
                    cores: row.get(2)?,
                    speed_milli: row.get(3)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// How many devices that are not revoked serve each target with each agent.
    pub(crate) fn served_counts(&self) -> Result<Vec<ServedCount>, DbError> {
        self.read(|connection| {
            let sql = "SELECT f.target, f.model, f.agent, count(*) FROM facts f JOIN devices d ON d.device = f.device
                 WHERE d.revoked_s IS NULL GROUP BY f.target, f.model, f.agent ORDER BY f.target, f.model, f.agent";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| {
                Ok(ServedCount { target: row.get(0)?, model: row.get(1)?, agent: row.get(2)?, devices: row.get(3)? })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }
}
