//! Backups: the whole state directory while the server runs, each database as one moment of it, verified before it is believed.
//!
//! ```text
//! DIR/backup.json   every file with length and SHA-256, written last: without it, the backup is not finished
//! DIR/state/…       the files; databases without their journals
//! ```
//!
//! Where several servers share a PostgreSQL, that is backed up by its own means (`pg_dump`); this is what a server has besides.
//!
//! A backup holds every key of the server: whoever has it can be the control plane. It is readable by its owner only, and belongs
//! where the keys belong.
//!
//! What is restored is older than what devices and witnesses have seen. Devices refuse to go back, and are overtaken when they
//! report; logs that were mirrored since are sent again; that the witness forgot is on record on the devices.

mod copy;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use outpost_contract::{Sha256, TenantId};
use serde::{Deserialize, Serialize};

use self::copy::{Taking, files_below};
use crate::config::Config;
use crate::db::Database;
use crate::files::{self, FileError, failed};
use crate::fleet::{Fleet, FleetError};

/// The table of contents.
const INDEX_FILE: &str = "backup.json";

/// The files.
const STATE_DIRECTORY: &str = "state";

/// Largest table of contents: some hundred thousand files.
const INDEX_BYTES: u64 = 64 * 1024 * 1024;

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupIndex {
    /// Version of this form; 1.
    pub v: u32,
    /// Whose fleet it is.
    pub tenant: TenantId,
    /// When it was begun, seconds since 1970-01-01 UTC.
    pub made_at_s: i64,
    /// The program that made it.
    pub program: String,
    /// Every file by its path below the state directory.
    pub files: BTreeMap<String, BackedUp>,
}

/// One file of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackedUp {
    /// Its length.
    pub bytes: u64,
    /// Its digest.
    pub sha256: Sha256,
    /// Whether others than its owner may read it, once it is restored.
    pub public: bool,
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// When the backup was begun, seconds since 1970-01-01 UTC.
    pub made_at_s: i64,
    /// Files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// One-time codes and allowed keys that were open then and let nobody in any more.
    pub voided: usize,
}

/// A backup cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Something is there already.
    #[error("`{0}` is not empty; choose another directory")]
    NotEmpty(PathBuf),
    /// It lies within what it would copy.
    #[error("`{0}` lies within the state directory; choose another place, best on another disk")]
    Within(PathBuf),
    /// There is no table of contents.
    #[error("`{0}` holds no finished backup: there is no `{INDEX_FILE}`")]
    NotFinished(PathBuf),
    /// The table of contents cannot be read.
    #[error("`{INDEX_FILE}` cannot be read: {0}")]
    Unreadable(String),
    /// A name in the table leads out of the directory.
    #[error("`{INDEX_FILE}` names `{}`, which is no file of a state directory", .0.escape_debug())]
    Name(String),
    /// A file is not as it was backed up.
    #[error("`{0}` is not as it was backed up; use another backup")]
    Damaged(String),
    /// Not enough room.
    #[error("not enough room for the backup in `{directory}`: {needed} bytes are needed, {free} are free")]
    Space {
        /// Where.
        directory: PathBuf,
        /// Bytes to copy.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A database cannot be copied or opened.
    #[error("`{path}` cannot be copied: {source}")]
    Database {
        /// Which.
        path: String,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The fleet in it.
    #[error(transparent)]
    Fleet(#[from] Box<FleetError>),
}

impl Fleet {
    /// Writes a backup into `directory`, which must be empty or not there, and verifies it. Works while the server runs.
    ///
    /// # Errors
    /// If it cannot be written or would not fit; without its table of contents it counts as unfinished.
    pub fn back_up(&self, directory: &Path) -> Result<BackupIndex, BackupError> {
        let state = &self.inner.config.state_dir;
        let taking = Taking::begin(state, directory, &directory.join(STATE_DIRECTORY))?;
        let index = BackupIndex {
            v: 1,
            tenant: self.inner.config.tenant.clone(),
            made_at_s: self.now_s(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            files: taking.take()?,
        };
        let text = serde_json::to_vec_pretty(&index).map_err(|error| BackupError::Unreadable(error.to_string()))?;
        files::write_private(&directory.join(INDEX_FILE), &text)?;
        verify_backup(directory)
    }
}

/// Reads every file of a backup and compares it with the table of contents.
///
/// # Errors
/// Which file is not as it was backed up.
pub fn verify_backup(directory: &Path) -> Result<BackupIndex, BackupError> {
    let path = directory.join(INDEX_FILE);
    if !path.exists() {
        return Err(BackupError::NotFinished(directory.to_owned()));
    }
    let unreadable = |error: serde_json::Error| BackupError::Unreadable(error.to_string());
    let index: BackupIndex = serde_json::from_slice(&files::read(&path, INDEX_BYTES)?).map_err(unreadable)?;
    if index.v != 1 {
        return Err(BackupError::Unreadable(format!("form {} is unknown here (form 1 is read)", index.v)));
    }
    let below = directory.join(STATE_DIRECTORY);
    for (name, listed) in &index.files {
        let path = below.join(copy::checked(name)?);
        let found = copy::digest(&path);
        if !found.is_ok_and(|(bytes, sha256)| (bytes, sha256) == (listed.bytes, listed.sha256)) {
            return Err(BackupError::Damaged(name.clone()));
        }
    }
    let there: Vec<String> = files_below(&below)?;
    match there.into_iter().find(|name| !index.files.contains_key(name)) {
        Some(stranger) => Err(BackupError::Damaged(stranger)),
        None => Ok(index),
    }
}

/// Makes a state directory out of a backup, once all of it is verified. Codes and allowed keys that were open then let nobody in:
/// they may have been used or withdrawn since.
///
/// # Errors
/// If the backup does not hold, or something is in the state directory already: then nothing has changed.
pub fn restore(directory: &Path, state: &Path) -> Result<Restored, BackupError> {
    let index = verify_backup(directory)?;
    if state.exists() && std::fs::read_dir(state).map_err(failed("read", state))?.next().is_some() {
        return Err(BackupError::NotEmpty(state.to_owned()));
    }
    let beside = state.with_extension("restoring");
    if beside.exists() {
        std::fs::remove_dir_all(&beside).map_err(failed("remove", &beside))?;
    }
    files::private_directory(&beside)?;
    for (name, listed) in &index.files {
        copy::put_back(&directory.join(STATE_DIRECTORY).join(name), &beside.join(copy::checked(name)?), listed.public)?;
    }
    let opened = Config::load(beside.clone()).map_err(|error| Box::new(FleetError::from(error)))?;
    // A PostgreSQL is no part of the backup: it is as it is.
    let voided = match opened.database {
        Some(_) => 0,
        None => Database::open(&opened.state_dir.join("control.db"))
            .and_then(|database| database.void_invitations())
            .map_err(|error| Box::new(FleetError::from(error)))?,
    };
    if state.exists() {
        std::fs::remove_dir(state).map_err(failed("replace", state))?;
    }
    files::rename(&beside, state)?;
    let bytes = index.files.values().map(|file| file.bytes).sum();
    Ok(Restored { made_at_s: index.made_at_s, files: index.files.len(), bytes, voided })
}

#[cfg(test)]
mod tests;
