//! What can go wrong with the audit log, said so that an operator knows what to do.

use std::path::{Path, PathBuf};

use outpost_disk::DiskError;

/// A failed act on the audit log. `Clone`, because one failed commit answers many callers.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The disk is full: the record was not written. The log works again by itself once there is space.
    #[error("the audit log in `{}` cannot grow: the disk is full; free space there and the log goes on by itself",
        directory.display())]
    Full {
        /// Directory of the log.
        directory: PathBuf,
    },
    /// There is too little room for a record of this type, though not for all: see [`SpaceLevel`](crate::SpaceLevel). The
    /// log goes on by itself once there is more.
    #[error("the audit log in `{}` has {free_bytes} bytes left ({level}) and records no {kind} any more; free space \
        there, raise its quota or prune its content, and it goes on by itself", directory.display())]
    NoRoom {
        /// Directory of the log.
        directory: PathBuf,
        /// Type of the record.
        kind: &'static str,
        /// How much room there is.
        level: crate::SpaceLevel,
        /// What was left at the last measure.
        free_bytes: u64,
    },
    /// Storage failed in a way after which nothing is certain: whether the last records are on disk is unknown until
    /// the log has read it again. It does so by itself after a while, and goes on if all is there that it acknowledged.
    #[error("the audit log in `{}` accepts no records after a storage error ({cause}); check the disk: once it works, \
        the log checks what is on it and goes on by itself", directory.display())]
    Latched {
        /// Directory of the log.
        directory: PathBuf,
        /// What the storage said.
        cause: String,
    },
    /// The log was shut down.
    #[error("the audit log is shut down; nothing more is recorded")]
    Closed,
    /// More records wait than the disk can take.
    #[error("the audit log has {pending} records waiting for the disk; try again in a moment")]
    Busy {
        /// How many records wait.
        pending: usize,
    },
    /// A record is larger than a leaf may be.
    #[error("an audit record of type `{kind}` has {bytes} bytes; {limit} is the limit")]
    TooLarge {
        /// Type of the record.
        kind: &'static str,
        /// Its size as a leaf.
        bytes: usize,
        /// What a leaf may have.
        limit: usize,
    },
    /// The database refused an act for a reason that freeing space or restarting may not cure.
    #[error("cannot {act} the audit log in `{}`: {cause}", directory.display())]
    Database {
        /// The act, as a verb.
        act: &'static str,
        /// Directory of the log.
        directory: PathBuf,
        /// What SQLite said.
        cause: String,
    },
    /// What is stored contradicts itself.
    #[error("the audit log in `{}` is damaged: {what}; run `outpost audit verify` to find the records, keep the \
        directory as evidence, and start the agent with a new one", directory.display())]
    Damaged {
        /// Directory of the log.
        directory: PathBuf,
        /// The contradiction.
        what: String,
    },
    /// The log ends before a checkpoint that this device signed: an old image was restored, or the disk lost writes.
    #[error("the audit log in `{}` holds {size} records, but a checkpoint for {signed} records was signed: an old \
        image was restored or the disk lost writes; restore the newer log, or keep the directory as evidence and start \
        the agent with a new one", directory.display())]
    RolledBack {
        /// Directory of the log.
        directory: PathBuf,
        /// Records present.
        size: u64,
        /// Records that the newest checkpoint speaks of.
        signed: u64,
    },
    /// The log belongs to another key.
    #[error("the audit log in `{}` is signed by `{found}`, not by this device's key `{expected}`; restore the key, or \
        start the agent with a new audit directory", directory.display())]
    OtherKey {
        /// Directory of the log.
        directory: PathBuf,
        /// The key that the log names.
        found: String,
        /// The key that was given.
        expected: String,
    },
    /// There is no log here.
    #[error("`{}` holds no audit log (no `audit.db`); name the directory that an agent wrote", directory.display())]
    Missing {
        /// The directory that was named.
        directory: PathBuf,
    },
    /// Records were asked for that the log does not hold.
    #[error("records {from} to {to} were asked for, and the log holds {size}; name indices from 0 to {size}")]
    OutOfRange {
        /// The first one.
        from: u64,
        /// The first one that was not wanted any more.
        to: u64,
        /// Records in the log.
        size: u64,
    },
    /// Records were asked for that have left the device.
    #[error(
        "records below {first} have left this device past their retention; ask for records from {first} on, or take \
        them from a mirror of the log"
    )]
    Pruned {
        /// The first one that is still there.
        first: u64,
    },
    /// A tree of tiles is of the whole log or of nothing.
    #[error("tiles are always of the whole log: leave `from` and `to` out, or choose another format")]
    TilesAreWhole,
    /// Nothing that the verifier knows.
    #[error("`{}` is neither an audit log (`audit.db`), nor an export (`manifest`), nor tiles (`checkpoint`), nor a \
        proof (a file); name one of these", path.display())]
    Unknown {
        /// The path that was named.
        path: PathBuf,
    },
    /// A name that cannot be the origin of a log.
    #[error("`{origin}` cannot be the origin of an audit log: no spaces, no `+`, no control characters, not empty")]
    BadOrigin {
        /// The name that was given.
        origin: String,
    },
    /// A key that cannot sign or verify.
    #[error("cannot use the audit key: {cause}")]
    BadKey {
        /// What is wrong with it.
        cause: String,
    },
    /// Sealed content or its keys failed.
    #[error(transparent)]
    Vault(#[from] crate::vault::VaultError),
    /// A file beside the database failed.
    #[error("{0}")]
    Disk(String),
}

impl AuditError {
    /// Wraps what SQLite said about `act`, told apart by what the caller can do about it.
    pub(crate) fn database(act: &'static str, directory: &Path, error: &rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let directory = directory.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full { directory },
            Some(ErrorCode::SystemIoFailure) => Self::Latched { directory, cause: error.to_string() },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged { directory, what: error.to_string() }
            }
            _ => Self::Database { act, directory, cause: error.to_string() },
        }
    }

    /// Whether freeing space would cure this.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::NoRoom { .. })
    }
}

impl From<DiskError> for AuditError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error.to_string())
    }
}
