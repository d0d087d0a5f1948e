//! Local API keys: made on the box, shown once, kept as an HMAC under a secret of the device.
//!
//! ```text
//! opk_<8 hexadecimal digits: which key>_<64 hexadecimal digits: 256 random bits>
//! ```
//!
//! `keys.db` holds the HMAC-SHA-256 of the whole text, `keys.pepper` (mode 0600) the secret it was made with: a copy of
//! the database alone opens nothing. 256 random bits need no slow hash.

mod pepper;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use outpost_policies::{AuthMethod, Network, Principal, PrincipalKind};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Caller, Unidentified};

/// What every key begins with.
pub(super) const PREFIX: &str = "opk_";

/// Longest name of a key, bytes.
const NAME_BYTES: usize = 128;

/// The keys of a device, in `keys.db`. Several processes may have it open: a key made or revoked by one counts at once
/// for all.
pub struct ApiKeys {
    directory: PathBuf,
    pepper: hmac::Key,
    /// A std mutex: held for one indexed read.
    connection: Mutex<Connection>,
}

/// What a new key is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApiKey {
    /// What it is for, in words.
    pub name: String,
    /// The roles of whoever shows it.
    pub roles: Vec<String>,
    /// Seconds since 1970-01-01 UTC after which it no longer counts.
    pub expires_s: Option<i64>,
}

/// What is known of a key; not the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Which key: the part after `opk_`.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// The roles of whoever shows it.
    pub roles: Vec<String>,
    /// When it was made, seconds since 1970-01-01 UTC.
    pub created_s: i64,
    /// After which it no longer counts.
    pub expires_s: Option<i64>,
    /// When it was revoked.
    pub revoked_s: Option<i64>,
}

/// An act on the keys failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiKeyError {
    /// The database of keys.
    #[error("cannot {act} in `{}`: {source}", directory.display())]
    Database {
        /// The act.
        act: &'static str,
        /// Where the keys are.
        directory: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The secret beside it.
    #[error("cannot {act} `{}`: {source}", path.display())]
    Pepper {
        /// The act.
        act: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A key cannot be made as asked.
    #[error("{0}")]
    Invalid(String),
    /// No such key.
    #[error("there is no API key `{0}`; `outpost key list` shows those there are")]
    Unknown(String),
    /// The system has no randomness to give.
    #[error("the system gives no randomness, so no key can be made")]
    Randomness,
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ApiKeys").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl ApiKeys {
    /// Opens the keys in `directory`, which exists; makes their files if there are none.
    ///
    /// # Errors
    /// If a file cannot be made or read, or the secret is readable by others.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, ApiKeyError> {
        let directory = directory.as_ref().to_owned();
        let pepper = hmac::Key::new(hmac::HMAC_SHA256, &pepper::read_or_create(&directory)?);
        let database =
            |source| ApiKeyError::Database { act: "open the API keys", directory: directory.clone(), source };
        let connection = Connection::open(directory.join("keys.db")).map_err(database)?;
        prepare(&connection).map_err(database)?;
        Ok(Self { directory, pepper, connection: Mutex::new(connection) })
    }

    /// Makes a key. The text is the key itself, and nobody can show it again.
    ///
    /// # Errors
    /// If the name or roles are empty or too long, or the key cannot be kept.
    pub fn create(&self, new: &NewApiKey, now_s: i64) -> Result<(ApiKey, String), ApiKeyError> {
        check(new)?;
        let (mut id, mut secret) = ([0_u8; 4], [0_u8; 32]);
        getrandom::fill(&mut id).and_then(|()| getrandom::fill(&mut secret)).map_err(|_| ApiKeyError::Randomness)?;
        let id = hex::encode(id);
        let text = format!("{PREFIX}{id}_{}", hex::encode(secret));
        let mac = hmac::sign(&self.pepper, text.as_bytes());
        let roles = serde_json::to_string(&new.roles).expect("a list of texts is JSON");
        self.lock()
            .execute(
                "INSERT INTO keys (id, mac, name, roles, created_s, expires_s) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![id, mac.as_ref(), new.name, roles, now_s, new.expires_s],
            )
            .map_err(|source| self.database("keep the new API key", source))?;
        let key = ApiKey {
            id,
            name: new.name.clone(),
            roles: new.roles.clone(),
            created_s: now_s,
            expires_s: new.expires_s,
            revoked_s: None,
        };
        Ok((key, text))
    }

    /// The keys there are, the oldest first; revoked and expired ones too.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn list(&self) -> Result<Vec<ApiKey>, ApiKeyError> {
        let read = || {
            let connection = self.lock();
            let mut statement = connection.prepare_cached(
                "SELECT id, name, roles, created_s, expires_s, revoked_s FROM keys ORDER BY created_s, id",
            )?;
            statement.query_map([], key_of_row)?.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| self.database("list the API keys", source))
    }

    /// Revokes a key, for good. A key that was revoked before stays as it is.
    ///
    /// # Errors
    /// [`ApiKeyError::Unknown`] if there is none of this id.
    pub fn revoke(&self, id: &str, now_s: i64) -> Result<ApiKey, ApiKeyError> {
        self.lock()
            .execute("UPDATE keys SET revoked_s = ?2 WHERE id = ?1 AND revoked_s IS NULL", params![id, now_s])
            .map_err(|source| self.database("revoke the API key", source))?;
        self.find(id)
            .map_err(|source| self.database("read the API key", source))?
            .map(|(key, _)| key)
            .ok_or_else(|| ApiKeyError::Unknown(id.chars().take(64).collect()))
    }

    /// Who shows this key.
    pub(super) fn identify(&self, text: &str, now_s: i64, network: Network) -> Result<Caller, Unidentified> {
        // One answer for every way in which a key can be wrong, and the same work for each.
        let wrong =
            || Unidentified::new("invalid_api_key", "no such API key on this device: `outpost key create` makes one");
        let (id, _) = text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')).ok_or_else(wrong)?;
        let found = self.find(id).map_err(|error| {
            tracing::error!(%error, "API keys cannot be read");
            Unidentified::new("keys_unavailable", "the device cannot read its API keys; its log has the cause")
        })?;
        let nothing = [0_u8; 32];
        let mac = found.as_ref().map_or(&nothing[..], |(_, mac)| mac);
        let holds = hmac::verify(&self.pepper, text.as_bytes(), mac).is_ok();
        let Some((key, _)) = found.filter(|_| holds) else { return Err(wrong()) };
        if key.revoked_s.is_some() {
            return Err(Unidentified::new("api_key_revoked", "this API key was revoked: ask an admin for another"));
        }
        if key.expires_s.is_some_and(|expires_s| now_s >= expires_s) {
            return Err(Unidentified::new("api_key_expired", "this API key has expired: ask an admin for another"));
        }
        Ok(Caller {
            principal: Principal { kind: PrincipalKind::Service, id: format!("key:{}", key.id), roles: key.roles },
            method: AuthMethod::ApiKey,
            network,
            credential: key.id,
        })
    }

    fn find(&self, id: &str) -> rusqlite::Result<Option<(ApiKey, Vec<u8>)>> {
        let connection = self.lock();
        let mut statement = connection
            .prepare_cached("SELECT id, name, roles, created_s, expires_s, revoked_s, mac FROM keys WHERE id = ?1")?;
        statement.query_row([id], |row| Ok((key_of_row(row)?, row.get(6)?))).optional()
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn database(&self, act: &'static str, source: rusqlite::Error) -> ApiKeyError {
        ApiKeyError::Database { act, directory: self.directory.clone(), source }
    }
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS keys (
            id TEXT PRIMARY KEY NOT NULL,
            mac BLOB NOT NULL,
            name TEXT NOT NULL,
            roles TEXT NOT NULL,
            created_s INTEGER NOT NULL,
            expires_s INTEGER,
            revoked_s INTEGER
        ) STRICT",
    )
}

fn key_of_row(row: &Row<'_>) -> rusqlite::Result<ApiKey> {
    let roles: String = row.get(2)?;
    Ok(ApiKey {
        id: row.get(0)?,
        name: row.get(1)?,
        // Roles that cannot be read are no roles: the key then opens nothing.
        roles: serde_json::from_str(&roles).unwrap_or_default(),
        created_s: row.get(3)?,
        expires_s: row.get(4)?,
        revoked_s: row.get(5)?,
    })
}

fn check(new: &NewApiKey) -> Result<(), ApiKeyError> {
    let plain = |text: &str, most: usize| (1..=most).contains(&text.len()) && !text.chars().any(char::is_control);
    if !plain(&new.name, NAME_BYTES) {
        return Err(ApiKeyError::Invalid(format!("a key needs a name of 1 to {NAME_BYTES} bytes, in plain text")));
    }
    if new.roles.is_empty() || new.roles.len() > 32 || !new.roles.iter().all(|role| plain(role, 64)) {
        return Err(ApiKeyError::Invalid("a key needs 1 to 32 roles: `--role operator`, for example".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
