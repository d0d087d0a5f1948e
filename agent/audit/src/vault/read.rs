//! Reading sealed content and tombstones: works while the agent runs, and on a copy.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::VaultError;
use super::content::{Content, Side};
use super::keys::SubjectKey;
use super::root::{Root, RootName};
use super::seal::{ciphertext_digest, place};
use super::table::{self, Extent, KeyRow};
use crate::leaf::Leaf;
use crate::reader::Snapshot;
use crate::{AuditError, AuditLog};

/// The root key may be replaced between two reads, but not so often.
const ATTEMPTS: usize = 3;

/// A key that was destroyed. Whoever holds copies of ciphertext learns from it what nobody can open any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// Id of the key.
    pub key: String,
    /// The record that says so.
    pub index: u64,
}

/// How the vault stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultStatus {
    /// Keys that live, the damaged ones included.
    pub keys: usize,
    /// Ids of keys that do not unwrap: what was sealed under them cannot be read.
    pub damaged: Vec<String>,
    /// Whether ciphertext of destroyed keys is still being removed.
    pub sweeping: bool,
}

/// The content that was sealed with a record. Whoever calls this records who read it.
///
/// # Errors
/// [`VaultError::NothingSealed`], [`Destroyed`](VaultError::Destroyed), and by name whatever is missing or damaged.
pub fn content(directory: &Path, root_directory: &Path, index: u64) -> Result<Content, AuditError> {
    let mut attempt = 1;
    loop {
        match read_content(directory, root_directory, index) {
            Err(AuditError::Vault(VaultError::RootMissing { .. } | VaultError::OtherRoot { .. }))
                if attempt < ATTEMPTS =>
            {
                attempt += 1;
            }
            answer => return answer,
        }
    }
}

/// The keys that were destroyed by the record `from` and later ones.
///
/// # Errors
/// If the database cannot be read.
pub fn tombstones(directory: &Path, from: u64) -> Result<Vec<Tombstone>, AuditError> {
    let snapshot = Snapshot::open(directory)?;
    let rows = table::tombstones(&snapshot.connection, from).map_err(|error| read_error(directory, &error))?;
    Ok(rows.into_iter().map(|(key, index)| Tombstone { key, index }).collect())
}

/// Destroyed keys in this state of the log, each with the record that says so.
pub(crate) fn buried(connection: &Connection) -> rusqlite::Result<Vec<(String, u64)>> {
    table::tombstones(connection, 0)
}

impl AuditLog {
    /// The content that was sealed with a record. Whoever calls this records who read it. Reads the disk.
    ///
    /// # Errors
    /// As [`vault::content`](content).
    pub fn content(&self, index: u64) -> Result<Content, AuditError> {
        content(self.directory(), &self.vault()?.directory, index)
    }

    /// How the vault stands. Reads memory only.
    ///
    /// # Errors
    /// [`VaultError::Closed`] without a vault.
    pub fn vault_status(&self) -> Result<VaultStatus, AuditError> {
        let vault = self.vault()?;
        let keys = vault.keys();
        let damaged = keys.iter().filter(|key| key.key.is_none()).map(|key| key.id.clone()).collect();
        Ok(VaultStatus { keys: keys.iter().count(), damaged, sweeping: vault.sweep.is_running() })
    }

    pub(crate) fn sealed_extent(&self, keys: &[String]) -> Result<Extent, AuditError> {
        let snapshot = Snapshot::open(self.directory())?;
        table::extent(&snapshot.connection, keys.iter().map(String::as_str))
            .map_err(|error| read_error(self.directory(), &error))
    }
}

fn read_content(directory: &Path, root_directory: &Path, index: u64) -> Result<Content, AuditError> {
    let snapshot = Snapshot::open(directory)?;
    let read = Reading { connection: &snapshot.connection, directory, root_directory, index };
    let leaf = read.leaf()?;
    let mut content = Content::default();
    for side in Side::BOTH {
        let plain = read.side(&leaf, side)?;
        match side {
            Side::Input => content.input = plain,
            Side::Output => content.output = plain,
        }
    }
    if content.is_empty() { Err(VaultError::NothingSealed { index }.into()) } else { Ok(content) }
}

/// One record of one state of the log.
struct Reading<'a> {
    connection: &'a Connection,
    directory: &'a Path,
    root_directory: &'a Path,
    index: u64,
}

impl Reading<'_> {
    fn leaf(&self) -> Result<Leaf, AuditError> {
        let select = "SELECT bytes FROM leaves WHERE idx = ?1";
        let bytes: Option<Vec<u8>> =
            self.connection.query_row(select, [self.index], |row| row.get(0)).optional().map_err(|e| self.error(&e))?;
        let bytes = bytes.ok_or(VaultError::NothingSealed { index: self.index })?;
        Leaf::parse(&bytes).map_err(|_| VaultError::Altered { index: self.index, what: "its leaf is damaged" }.into())
    }

    fn side(&self, leaf: &Leaf, side: Side) -> Result<Option<Vec<u8>>, AuditError> {
        let index = self.index;
        let at = |member: &str| format!("io.{}.{member}", side.name());
        let Some(id) = leaf.text(&at("key")) else { return Ok(None) };
        let row = self.key(id)?;
        let bytes = table::sealed(self.connection, index, side)
            .map_err(|error| self.error(&error))?
            .ok_or(VaultError::LostContent { index })?;
        let altered = |what| VaultError::Altered { index, what };
        if leaf.text(&at("ct")) != Some(ciphertext_digest(&bytes).as_str()) {
            return Err(altered("its digest is another").into());
        }
        let subject_key = self.unwrap(row)?;
        let record = leaf.id().ok_or_else(|| altered("its leaf has no id"))?;
        let plain = subject_key.for_record(record, side.name())?.unlock(&place(id, record, side), &bytes);
        Ok(Some(plain.ok_or_else(|| altered("it does not open"))?))
    }

    fn key(&self, id: &str) -> Result<KeyRow, AuditError> {
        if let Some(row) = table::key(self.connection, id).map_err(|error| self.error(&error))? {
            return Ok(row);
        }
        let key = id.to_owned();
        Err(match table::tombstone(self.connection, id).map_err(|error| self.error(&error))? {
            Some(by) => VaultError::Destroyed { index: self.index, key, by }.into(),
            None => VaultError::LostKey { key }.into(),
        })
    }

    fn unwrap(&self, row: KeyRow) -> Result<SubjectKey, AuditError> {
        let text = table::root_name(self.connection).map_err(|error| self.error(&error))?.unwrap_or_default();
        let name = RootName::parse(&text).ok_or(VaultError::BadName { found: text })?;
        let root = Root::read(self.root_directory, name)?;
        Ok(SubjectKey::unwrap(&root, row))
    }

    fn error(&self, error: &rusqlite::Error) -> AuditError {
        read_error(self.directory, error)
    }
}

fn read_error(directory: &Path, error: &rusqlite::Error) -> AuditError {
    AuditError::database("read the vault of", directory, error)
}
