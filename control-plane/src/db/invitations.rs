//! Pages of who may enrol: codes that nobody has used, keys that were allowed, requests that wait for an answer.

use outpost_contract::{DeviceId, Fingerprint};
use serde::Serialize;

use super::sql::{Row, ToSql, params};
use super::{Database, DbError, EnrolmentRequest};

/// A one-time code that still opens the door. The code itself is nowhere: its hash names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenCode {
    /// SHA-256 of the code, 64 hexadecimal digits.
    pub id: String,
    /// Whom it is for.
    pub device: String,
    /// When it was made, seconds since 1970-01-01 UTC.
    pub created_s: i64,
    /// When it ends.
    pub expires_s: i64,
}

/// A key that may enrol without a code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AllowedKey {
    /// The key.
    pub fingerprint: Fingerprint,
    /// As whom.
    pub device: String,
    /// When it was allowed, seconds since 1970-01-01 UTC.
    pub created_s: i64,
    /// When it enrolled, if it did.
    pub used_s: Option<i64>,
}

/// One page, in the order of the 32 bytes that name each entry: what comes after `after`, at most `limit`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    pub(crate) after: Option<[u8; 32]>,
    pub(crate) limit: u32,
}

impl Page {
    /// No entry is named by nothing, so everything comes after it.
    fn after(&self) -> &[u8] {
        self.after.as_ref().map_or(&[], |after| after.as_slice())
    }
}

impl Database {
    /// Codes that can still be used.
    pub(crate) fn open_codes(&self, page: &Page, now_s: i64) -> Result<Vec<OpenCode>, DbError> {
        let sql = "SELECT hash, device, created_s, expires_s FROM codes
            WHERE hash > ?1 AND used_s IS NULL AND expires_s > ?3 ORDER BY hash LIMIT ?2";
        self.page(sql, params![page.after(), page.limit, now_s], |row| {
            let id = hex::encode(row.get::<_, [u8; 32]>(0)?);
            Ok(OpenCode { id, device: row.get(1)?, created_s: row.get(2)?, expires_s: row.get(3)? })
        })
    }

    /// Takes a code back that nobody has used; false if there is none.
    pub(crate) fn withdraw_code(&self, hash: &[u8; 32]) -> Result<bool, DbError> {
        self.write(|transaction| {
            Ok(transaction.execute("DELETE FROM codes WHERE hash = ?1 AND used_s IS NULL", [hash])? > 0)
        })
    }

    /// Keys that were allowed, those that have enrolled included.
    pub(crate) fn allowed_keys(&self, page: &Page) -> Result<Vec<AllowedKey>, DbError> {
        let sql = "SELECT key_sha256, device, created_s, used_s FROM allowed_keys
            WHERE key_sha256 > ?1 ORDER BY key_sha256 LIMIT ?2";
        self.page(sql, params![page.after(), page.limit], |row| {
            let fingerprint = Fingerprint(row.get(0)?);
            Ok(AllowedKey { fingerprint, device: row.get(1)?, created_s: row.get(2)?, used_s: row.get(3)? })
        })
    }

    /// Allows a key no longer, and gives the device that it was allowed as; none if it was not. Whoever enrolled with it
    /// stays enrolled.
    pub(crate) fn forbid_key(&self, key: &Fingerprint) -> Result<Option<DeviceId>, DbError> {
        self.write(|transaction| {
            let sql = "DELETE FROM allowed_keys WHERE key_sha256 = ?1 RETURNING device";
            let mut statement = transaction.prepare_cached(sql)?;
            let device = statement.query_map([key.0], |row| row.get::<_, String>(0))?.next().transpose()?;
            Ok(device.and_then(|device| device.parse().ok()))
        })
    }

    /// Requests, those that were rejected included.
    pub(crate) fn requests(&self, page: &Page) -> Result<Vec<EnrolmentRequest>, DbError> {
        let sql = "SELECT key_sha256, wished_name, address, agent, first_s, seen_s, rejected_s FROM enrol_requests
            WHERE key_sha256 > ?1 ORDER BY key_sha256 LIMIT ?2";
        self.page(sql, params![page.after(), page.limit], EnrolmentRequest::from_row)
    }

    fn page<T>(
        &self,
        sql: &str,
        parameters: &[&dyn ToSql],
        entry: impl FnMut(&Row<'_>) -> super::sql::Result<T>,
    ) -> Result<Vec<T>, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            Ok(statement.query_map(parameters, entry)?.collect::<Result<_, _>>()?)
        })
    }
}
