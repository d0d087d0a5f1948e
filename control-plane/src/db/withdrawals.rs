//! Models that were withdrawn.

use serde::{Deserialize, Serialize};

use super::model_approvals::words;
use super::sql::params;
use super::{Database, DbError};

/// A withdrawal, as it was ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredWithdrawal {
    /// The model.
    pub model: String,
    /// The one variant that is meant; empty for all of the model.
    pub target: String,
    /// SHA-256 of the files that are meant.
    pub files: Vec<String>,
    /// From then on no device that heard of it serves it, seconds since 1970-01-01 UTC.
    pub after_s: i64,
    /// Why.
    pub reason: String,
    /// Who ordered it.
    pub person: String,
    /// When, seconds since 1970-01-01 UTC.
    pub at_s: i64,
}

impl Database {
    /// Keeps a withdrawal in the place of one of the same model and variant.
    pub(crate) fn keep_withdrawal(&self, one: &StoredWithdrawal) -> Result<(), DbError> {
        self.write(|transaction| {
            let sql = "INSERT INTO withdrawals (model, target, files, after_s, reason, person, at_s)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (model, target) DO UPDATE SET files = excluded.files, after_s = excluded.after_s,
                 reason = excluded.reason, person = excluded.person, at_s = excluded.at_s";
            let StoredWithdrawal { model, target, files, after_s, reason, person, at_s } = one;
            transaction.execute(sql, params![model, target, files.join(" "), after_s, reason, person, at_s])?;
            Ok(())
        })
    }

    /// All withdrawals, by model.
    pub(crate) fn withdrawals(&self) -> Result<Vec<StoredWithdrawal>, DbError> {
        self.read(|connection| {
            let sql =
                "SELECT model, target, files, after_s, reason, person, at_s FROM withdrawals ORDER BY model, target";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| {
                Ok(StoredWithdrawal {
                    model: row.get(0)?,
                    target: row.get(1)?,
                    files: words(&row.get::<_, String>(2)?),
                    after_s: row.get(3)?,
                    reason: row.get(4)?,
                    person: row.get(5)?,
                    at_s: row.get(6)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Forgets the withdrawals of a model; false if there were none.
    pub(crate) fn forget_withdrawals(&self, model: &str) -> Result<bool, DbError> {
        self.write(|transaction| Ok(transaction.execute("DELETE FROM withdrawals WHERE model = ?1", [model])? > 0))
    }
}
