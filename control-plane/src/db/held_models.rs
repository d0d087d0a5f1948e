//! Model files that are held for a release.

use super::sql::params;

use super::{Database, DbError};

/// A held file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeldRow {
    pub(crate) target: String,
    pub(crate) path: String,
    pub(crate) description: String,
    pub(crate) added_by: String,
    pub(crate) added_s: i64,
}

impl Database {
    /// Keeps a held file in the place of the one of that name.
    pub(crate) fn hold_model(&self, row: &HeldRow) -> Result<(), DbError> {
        self.write(|transaction| {
            let sql =
                "INSERT INTO held_models (target, path, description, added_by, added_s) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (target) DO UPDATE SET path = excluded.path, description = excluded.description,
                 added_by = excluded.added_by, added_s = excluded.added_s";
            let HeldRow { target, path, description, added_by, added_s } = row;
            transaction.execute(sql, params![target, path, description, added_by, added_s])?;
            Ok(())
        })
    }

    /// Every held file, by name.
    pub(crate) fn held_models(&self) -> Result<Vec<HeldRow>, DbError> {
        self.read(|connection| {
            let sql = "SELECT target, path, description, added_by, added_s FROM held_models ORDER BY target";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| {
                Ok(HeldRow {
                    target: row.get(0)?,
                    path: row.get(1)?,
                    description: row.get(2)?,
                    added_by: row.get(3)?,
                    added_s: row.get(4)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Holds a file no longer.
    pub(crate) fn let_model_go(&self, target: &str) -> Result<bool, DbError> {
        self.write(|transaction| Ok(transaction.execute("DELETE FROM held_models WHERE target = ?1", [target])? > 0))
    }
}
