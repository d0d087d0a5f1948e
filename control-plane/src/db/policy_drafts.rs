//! Drafts of policy bundles, and which device is told to enforce which.

use std::collections::BTreeMap;

use outpost_contract::TargetName;
use outpost_policies::BundleFiles;

use super::sql::{OptionalExtension, Row, params};
use super::{Database, DbError, document};

/// A draft, without its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DraftRow {
    pub(crate) name: String,
    /// Everybody who wrote it, the last one last.
    pub(crate) authors: Vec<String>,
    pub(crate) created_s: i64,
    pub(crate) saved_s: i64,
    /// Counts its versions, from 1.
    pub(crate) revision: i64,
    /// The version of the bundle if its files say none.
    pub(crate) base_version: u64,
    /// SHA-256 of the bundle, if the files can be read.
    pub(crate) digest: Option<String>,
    /// The bundle's version, if the files can be read.
    pub(crate) version: Option<u64>,
    /// Whether nothing is wrong with it.
    pub(crate) is_good: bool,
}

const ROW: &str =
    "SELECT name, authors, created_s, saved_s, revision, base_version, digest, version, is_good FROM policy_drafts";

impl Database {
    /// Keeps a draft in the place of its revision before; false if that is another one by now.
    pub(crate) fn save_draft(&self, draft: &DraftRow, files: &BundleFiles) -> Result<bool, DbError> {
        let json = |what, value: serde_json::Result<String>| value.map_err(|source| DbError::Document { what, source });
        let authors = json("list of authors", serde_json::to_string(&draft.authors))?;
        let files = json("draft", serde_json::to_string(files))?;
        self.write(|transaction| {
            let sql = "INSERT INTO policy_drafts
                 (name, authors, created_s, saved_s, revision, base_version, digest, version, is_good, files)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
                 ON CONFLICT (name) DO UPDATE SET authors = excluded.authors, saved_s = excluded.saved_s,
                 revision = excluded.revision, base_version = excluded.base_version, digest = excluded.digest,
                 version = excluded.version, is_good = excluded.is_good, files = excluded.files
                 WHERE policy_drafts.revision = excluded.revision - 1";
            let values = params![
                draft.name,
                authors,
                draft.created_s,
                draft.saved_s,
                draft.revision,
                draft.base_version,
                draft.digest,
                draft.version,
                i64::from(draft.is_good),
                files
            ];
            Ok(transaction.execute(sql, values)? == 1)
        })
    }

    /// A draft with its files.
    pub(crate) fn draft(&self, name: &str) -> Result<Option<(DraftRow, BundleFiles)>, DbError> {
        self.read(|connection| {
            let sql = ROW.replace(" FROM", ", files FROM") + " WHERE name = ?1";
            let mut statement = connection.prepare_cached(&sql)?;
            let found = statement.query_row([name], |row| Ok((read(row)?, row.get::<_, String>(9)?))).optional()?;
            found.map(|(row, files)| Ok((row?, document("draft", &files)?))).transpose()
        })
    }

    /// All drafts, by name; there are few.
    pub(crate) fn drafts(&self) -> Result<Vec<DraftRow>, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&format!("{ROW} ORDER BY name"))?;
            let rows = statement.query_map([], read)?.collect::<Result<Vec<_>, _>>()?;
            rows.into_iter().collect()
        })
    }

    /// Forgets a draft; false if there was none.
    pub(crate) fn drop_draft(&self, name: &str) -> Result<bool, DbError> {
        self.write(|transaction| Ok(transaction.execute("DELETE FROM policy_drafts WHERE name = ?1", [name])? == 1))
    }

    /// No device differs any more in its policy, or none that was told of this target.
    pub(crate) fn unpin_policies(&self, target: Option<&TargetName>) -> Result<(), DbError> {
        self.write(|transaction| {
            let sql = "UPDATE pins SET policy = NULL WHERE policy IS NOT NULL";
            match target {
                None => transaction.execute(sql, [])?,
                Some(target) => transaction.execute(&format!("{sql} AND policy = ?1"), [target.as_str()])?,
            };
            Ok(())
        })
    }

    /// How many devices are told of each target that is not the fleet's.
    pub(crate) fn policy_pins(&self) -> Result<BTreeMap<String, u64>, DbError> {
        self.read(|connection| {
            let sql = "SELECT policy, count(*) FROM pins WHERE policy IS NOT NULL GROUP BY policy ORDER BY policy";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }
}

/// A row; what its documents say is read apart from what SQL says.
fn read(row: &Row<'_>) -> super::sql::Result<Result<DraftRow, DbError>> {
    let authors: String = row.get(1)?;
    let (name, created_s, saved_s, revision) = (row.get(0)?, row.get(2)?, row.get(3)?, row.get(4)?);
    let (base_version, digest, version, is_good) = (row.get(5)?, row.get(6)?, row.get(7)?, row.get::<_, i64>(8)? != 0);
    Ok(document("list of authors", &authors).map(|authors| DraftRow {
        name,
        authors,
        created_s,
        saved_s,
        revision,
        base_version,
        digest,
        version,
        is_good,
    }))
}
