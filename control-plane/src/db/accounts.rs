//! People, API tokens and sessions as the API shows them: in pages, and none with what proves who somebody is.

use serde::Serialize;

use super::people::{TOKEN, api_token, words};
use super::sql::{OptionalExtension, Row, params};
use super::{ApiToken, Database, DbError};

/// Somebody who administers the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Their name.
    pub name: String,
    /// Their roles.
    pub roles: Vec<String>,
    /// Whether they have set a password.
    pub has_password: bool,
    /// Whether a code from their authenticator is asked for.
    pub has_totp: bool,
    /// When they were entered, seconds since 1970-01-01 UTC.
    pub created_s: i64,
    /// Since when they may not sign in.
    pub disabled_s: Option<i64>,
}

/// A browser that is signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenSession {
    /// Its name: 64 hexadecimal digits, good for ending it and for nothing else.
    pub id: String,
    /// From where.
    pub address: String,
    /// When it began, seconds since 1970-01-01 UTC.
    pub started_s: i64,
    /// When it was used last, to the minute.
    pub seen_s: i64,
}

const ACCOUNT: &str = "SELECT name, roles, password, totp, created_s, disabled_s FROM people";

impl Database {
    /// People by name, after a name.
    pub(crate) fn accounts(&self, after: &str, limit: u32) -> Result<Vec<Account>, DbError> {
        self.read(|connection| {
            let sql = format!("{ACCOUNT} WHERE name > ?1 ORDER BY name LIMIT ?2");
            let mut statement = connection.prepare_cached(&sql)?;
            Ok(statement.query_map(params![after, limit], account)?.collect::<Result<_, _>>()?)
        })
    }

    /// One of them.
    pub(crate) fn account(&self, name: &str) -> Result<Option<Account>, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&format!("{ACCOUNT} WHERE name = ?1"))?;
            Ok(statement.query_row([name], account).optional()?)
        })
    }

    /// API tokens by name, after a name.
    pub(crate) fn api_tokens_after(&self, after: &str, limit: u32) -> Result<Vec<ApiToken>, DbError> {
        self.read(|connection| {
            let sql = format!("{TOKEN} WHERE name > ?1 ORDER BY name LIMIT ?2");
            let mut statement = connection.prepare_cached(&sql)?;
            Ok(statement.query_map(params![after, limit], api_token)?.collect::<Result<_, _>>()?)
        })
    }

    /// One of them.
    pub(crate) fn api_token(&self, name: &str) -> Result<Option<ApiToken>, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&format!("{TOKEN} WHERE name = ?1"))?;
            Ok(statement.query_row([name], api_token).optional()?)
        })
    }

    /// Sessions of a person that began after `began_s` and were used after `used_s`, by name.
    pub(crate) fn sessions_of(&self, person: &str, began_s: i64, used_s: i64) -> Result<Vec<OpenSession>, DbError> {
        self.read(|connection| {
            let sql = "SELECT hash, address, started_s, seen_s FROM sessions \
                       WHERE person = ?1 AND started_s > ?2 AND seen_s > ?3 ORDER BY hash";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map(params![person, began_s, used_s], |row| {
                let id = hex::encode(row.get::<_, Vec<u8>>(0)?);
                Ok(OpenSession { id, address: row.get(1)?, started_s: row.get(2)?, seen_s: row.get(3)? })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Ends one session of a person; false if they have none of that name.
    pub(crate) fn end_session_of(&self, person: &str, hash: &[u8; 32]) -> Result<bool, DbError> {
        self.write(|transaction| {
            let sql = "DELETE FROM sessions WHERE hash = ?1 AND person = ?2";
            Ok(transaction.execute(sql, params![hash, person])? == 1)
        })
    }
}

fn account(row: &Row<'_>) -> super::sql::Result<Account> {
    let (password, totp): (Option<Vec<u8>>, Option<Vec<u8>>) = (row.get(2)?, row.get(3)?);
    Ok(Account {
        name: row.get(0)?,
        roles: words(&row.get::<_, String>(1)?),
        has_password: password.is_some(),
        has_totp: totp.is_some(),
        created_s: row.get(4)?,
        disabled_s: row.get(5)?,
    })
}
