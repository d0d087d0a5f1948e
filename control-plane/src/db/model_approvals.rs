//! Who approved which files of a model, for which devices, until when.

use serde::{Deserialize, Serialize};

use super::sql::params;
use super::{Database, DbError};

/// An approval, as it was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelApproval {
    /// Its name, for revoking it.
    pub id: String,
    /// The model.
    pub model: String,
    /// Digests of the catalogue targets that were approved: what is released later is not.
    pub files: Vec<String>,
    /// The licence that was read.
    pub licence: String,
    /// For which devices.
    pub selector: String,
    /// Until when, seconds since 1970-01-01 UTC.
    pub until_s: i64,
    /// By whom.
    pub person: String,
    /// What they said to it.
    pub note: String,
    /// When, seconds since 1970-01-01 UTC.
    pub at_s: i64,
    /// When it was revoked, if it was.
    pub revoked_s: Option<i64>,
    /// By whom.
    pub revoked_by: Option<String>,
}

const COLUMNS: &str = "id, model, files, licence, selector, until_s, person, note, at_s, revoked_s, revoked_by";

impl Database {
    /// Keeps an approval.
    pub(crate) fn add_model_approval(&self, approval: &ModelApproval) -> Result<(), DbError> {
        self.write(|transaction| {
            let sql = "INSERT INTO model_approvals (id, model, files, licence, selector, until_s, person, note, at_s)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
            let ModelApproval { id, model, files, licence, selector, until_s, person, note, at_s, .. } = approval;
            let files = files.join(" ");
            transaction.execute(sql, params![id, model, files, licence, selector, until_s, person, note, at_s])?;
            Ok(())
        })
    }

    /// Approvals of one model or of all, oldest first, revoked and expired ones too.
    pub(crate) fn model_approvals(&self, model: Option<&str>) -> Result<Vec<ModelApproval>, DbError> {
        self.read(|connection| {
            let sql = match model {
                Some(_) => format!("SELECT {COLUMNS} FROM model_approvals WHERE model = ?1 ORDER BY at_s, id"),
                None => format!("SELECT {COLUMNS} FROM model_approvals WHERE model <> ?1 ORDER BY model, at_s, id"),
            };
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map([model.unwrap_or_default()], |row| {
                Ok(ModelApproval {
                    id: row.get(0)?,
                    model: row.get(1)?,
                    files: words(&row.get::<_, String>(2)?),
                    licence: row.get(3)?,
                    selector: row.get(4)?,
                    until_s: row.get(5)?,
                    person: row.get(6)?,
                    note: row.get(7)?,
                    at_s: row.get(8)?,
                    revoked_s: row.get(9)?,
                    revoked_by: row.get(10)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Revokes an approval; false if there is none of that name that counts.
    pub(crate) fn revoke_model_approval(&self, id: &str, by: &str, now_s: i64) -> Result<bool, DbError> {
        self.write(|transaction| {
            let sql = "UPDATE model_approvals SET revoked_s = ?2, revoked_by = ?3 WHERE id = ?1 AND revoked_s IS NULL";
            Ok(transaction.execute(sql, params![id, now_s, by])? > 0)
        })
    }
}

/// The words between blanks.
pub(super) fn words(text: &str) -> Vec<String> {
    text.split_ascii_whitespace().map(str::to_owned).collect()
}
