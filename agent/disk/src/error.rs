//! What can go wrong with a file, said as act, thing, cause and way out.

use std::io;
use std::path::{Path, PathBuf};

/// A failed act on a file or directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// The operating system refused an act.
    #[error("cannot {act} `{}`: {source}", path.display())]
    Io {
        /// The act that failed, as a verb: "write", "rename into place".
        act: &'static str,
        /// The file or directory it failed on.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The disk or the quota is used up; nothing of the new content took effect.
    #[error("no space left to {act} `{}`; free space on this disk and try again", path.display())]
    Full {
        /// The act that failed, as a verb.
        act: &'static str,
        /// The file or directory it failed on.
        path: PathBuf,
    },
    /// Another process holds the directory.
    #[error("`{}` is in use by another process{holder}; stop it, or choose another directory", directory.display())]
    Locked {
        /// The directory that is held.
        directory: PathBuf,
        /// ` (process 123)`, or nothing where the holder did not say.
        holder: String,
    },
    /// A ledger has generations, and none of them can be read.
    #[error("none of the {generations} generations of ledger `{name}` in `{}` can be read ({cause}); restore the \
        directory from a backup, or remove the files to start afresh", directory.display())]
    Unreadable {
        /// Name of the ledger.
        name: String,
        /// Where its generations lie.
        directory: PathBuf,
        /// How many there are.
        generations: usize,
        /// What is wrong with the newest.
        cause: String,
    },
    /// A value could not be turned into bytes.
    #[error("cannot encode ledger `{name}`: {source}")]
    Encode {
        /// Name of the ledger.
        name: String,
        /// What the encoder said.
        source: serde_json::Error,
    },
    /// A secret that others may read is no secret.
    #[error("`{}` may be read by others (mode {mode:o}); run `chmod 600 {}`, and replace the key if this machine is shared",
        path.display(), path.display())]
    Exposed {
        /// The file with the secret.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A name that cannot be a file name.
    #[error("`{name}` cannot name a ledger: letters, digits, `-` and `_` only")]
    BadName {
        /// The name that was given.
        name: String,
    },
}

impl DiskError {
    /// Wraps what the operating system said about `act` on `path`.
    pub(crate) fn io(act: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { act, path },
            _ => Self::Io { act, path, source },
        }
    }

    /// Whether freeing space would cure this.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }

    /// Whether the file or directory does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}
