//! Local API keys: made on the box, shown once, kept as an HMAC under a secret of the device.
//!
//! ```text
//! opk_<8 hexadecimal digits: which key>_<64 hexadecimal digits: 256 random bits>
//! ```
//!
//! `keys.db` holds the HMAC-SHA-256 of the whole text, `keys.pepper` (mode 0600) the secret it was made with: a copy of
//! the database alone opens nothing. 256 random bits need no slow hash.

mod pepper;
mod scope;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use outpost_policies::{AuthMethod, Network, Principal, PrincipalKind};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Caller, Unidentified};

pub use scope::Scope;

/// What every key begins with.
pub(super) const PREFIX: &str = "opk_";

/// How exactly the last use of a key is kept: one write in this time, whatever the traffic.
const USE_RESOLUTION_S: i64 = 3600;

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
    /// What it is good for, beside what its roles may.
    pub scope: Scope,
    /// When it was last shown, to the hour.
    pub used_s: Option<i64>,
    /// The key whose place it takes.
    pub replaces: Option<String>,
}

impl ApiKey {
    /// Whether it opens anything at a moment.
    #[must_use]
    pub fn is_active(&self, now_s: i64) -> bool {
        self.revoked_s.is_none() && self.expires_s.is_none_or(|expires_s| now_s < expires_s)
    }
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
        self.create_scoped(new, &Scope::default(), now_s)
    }

    /// Makes a key that is good for this alone.
    ///
    /// # Errors
    /// As [`create`](Self::create), or if the scope means nothing.
    pub fn create_scoped(&self, new: &NewApiKey, scope: &Scope, now_s: i64) -> Result<(ApiKey, String), ApiKeyError> {
        check(new)?;
        if let Some(fault) = scope.fault() {
            return Err(ApiKeyError::Invalid(fault.to_owned()));
        }
        self.keep(new, scope, None, now_s)
    }

    /// Makes a key in the place of another, which goes on for `grace_s` at most: two are active until then.
    ///
    /// # Errors
    /// [`ApiKeyError::Unknown`] if there is none of this id; [`ApiKeyError::Invalid`] if it is no longer active, or is
    /// being replaced already.
    pub fn rotate(&self, id: &str, grace_s: i64, now_s: i64) -> Result<(ApiKey, String), ApiKeyError> {
        let unknown = || ApiKeyError::Unknown(id.chars().take(64).collect());
        let keys = self.list()?;
        let old = keys.iter().find(|key| key.id == id).ok_or_else(unknown)?;
        if !old.is_active(now_s) {
            return Err(ApiKeyError::Invalid(format!("the API key `{id}` no longer opens anything: make a new one")));
        }
        if let Some(next) = keys.iter().find(|key| key.replaces.as_deref() == Some(id) && key.is_active(now_s)) {
            let message = format!("the API key `{id}` is being replaced by `{}` already: revoke one of them", next.id);
            return Err(ApiKeyError::Invalid(message));
        }
        let expires_s = old.expires_s.map(|expires_s| now_s.saturating_add(expires_s.saturating_sub(old.created_s)));
        let new = NewApiKey { name: old.name.clone(), roles: old.roles.clone(), expires_s };
        let made = self.keep(&new, &old.scope, Some(id), now_s)?;
        let until_s = now_s.saturating_add(grace_s.max(0));
        self.lock()
            .execute("UPDATE keys SET expires_s = min(ifnull(expires_s, ?2), ?2) WHERE id = ?1", params![id, until_s])
            .map_err(|source| self.database("end the API key that was replaced", source))?;
        Ok(made)
    }

    fn keep(
        &self,
        new: &NewApiKey,
        scope: &Scope,
        replaces: Option<&str>,
        now_s: i64,
    ) -> Result<(ApiKey, String), ApiKeyError> {
        let (mut id, mut secret) = ([0_u8; 4], [0_u8; 32]);
        getrandom::fill(&mut id).and_then(|()| getrandom::fill(&mut secret)).map_err(|_| ApiKeyError::Randomness)?;
        let id = hex::encode(id);
        let text = format!("{PREFIX}{id}_{}", hex::encode(secret));
        let mac = hmac::sign(&self.pepper, text.as_bytes());
        let roles = serde_json::to_string(&new.roles).expect("a list of texts is JSON");
        let written = serde_json::to_string(scope).expect("lists of texts are JSON");
        self.lock()
            .execute(
                "INSERT INTO keys (id, mac, name, roles, created_s, expires_s, scope, replaces)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![id, mac.as_ref(), new.name, roles, now_s, new.expires_s, written, replaces],
            )
            .map_err(|source| self.database("keep the new API key", source))?;
        let key = ApiKey {
            id,
            name: new.name.clone(),
            roles: new.roles.clone(),
            created_s: now_s,
            expires_s: new.expires_s,
            revoked_s: None,
            scope: scope.clone(),
            used_s: None,
            replaces: replaces.map(str::to_owned),
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
            let mut statement =
                connection.prepare_cached(&format!("SELECT {COLUMNS} FROM keys ORDER BY created_s, id"))?;
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
        self.note_use(&key, now_s);
        let principal = Principal { kind: PrincipalKind::Service, id: format!("key:{}", key.id), roles: key.roles };
        Ok(Caller { credential: key.id, scope: key.scope, ..Caller::new(principal, AuthMethod::ApiKey, network) })
    }

    /// Keeps when a key was last used. A use that cannot be kept is still one: the record has it.
    fn note_use(&self, key: &ApiKey, now_s: i64) {
        if key.used_s.is_some_and(|used_s| (used_s..used_s.saturating_add(USE_RESOLUTION_S)).contains(&now_s)) {
            return;
        }
        let noted = self.lock().execute("UPDATE keys SET used_s = ?2 WHERE id = ?1", params![key.id, now_s]);
        if let Err(error) = noted {
            tracing::warn!(%error, key = key.id, "the last use of an API key could not be kept");
        }
    }

    fn find(&self, id: &str) -> rusqlite::Result<Option<(ApiKey, Vec<u8>)>> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS}, mac FROM keys WHERE id = ?1"))?;
        statement.query_row([id], |row| Ok((key_of_row(row)?, row.get(9)?))).optional()
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn database(&self, act: &'static str, source: rusqlite::Error) -> ApiKeyError {
        ApiKeyError::Database { act, directory: self.directory.clone(), source }
    }
}

const COLUMNS: &str = "id, name, roles, created_s, expires_s, revoked_s, scope, used_s, replaces";

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
    )?;
    // Columns that came later; two processes that open the file at once must not both add them.
    let missing = "SELECT count(*) = 0 FROM pragma_table_info('keys') WHERE name = 'scope'";
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let added = connection.query_row(missing, [], |row| row.get::<_, bool>(0)).and_then(|is_missing| {
        if !is_missing {
            return Ok(());
        }
        connection.execute_batch(
            "ALTER TABLE keys ADD COLUMN scope TEXT NOT NULL DEFAULT '{}';
             ALTER TABLE keys ADD COLUMN used_s INTEGER;
             ALTER TABLE keys ADD COLUMN replaces TEXT;",
        )
    });
    connection.execute_batch(if added.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    added
}

fn key_of_row(row: &Row<'_>) -> rusqlite::Result<ApiKey> {
    let roles: String = row.get(2)?;
    let scope: String = row.get(6)?;
    let scope = serde_json::from_str(&scope);
    Ok(ApiKey {
        id: row.get(0)?,
        name: row.get(1)?,
        // Roles, or a scope, that cannot be read are no roles: the key then opens nothing.
        roles: if scope.is_ok() { serde_json::from_str(&roles).unwrap_or_default() } else { Vec::new() },
        created_s: row.get(3)?,
        expires_s: row.get(4)?,
        revoked_s: row.get(5)?,
        scope: scope.unwrap_or_default(),
        used_s: row.get(7)?,
        replaces: row.get(8)?,
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
