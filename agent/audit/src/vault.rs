//! Content beside the log: sealed, bound to its record, and erasable though the log is not.
//!
//! ```text
//! root key ──wraps──► key of (subject, month) ──HKDF, record, side──► key of one prompt or answer ──AES-256-GCM──► ciphertext
//! a file, replaced      row of `vault_keys`                              stored nowhere                            row of `sealed`
//! at every erasure                                                                                                 its SHA-256 in the leaf
//! ```
//!
//! * Key and ciphertext are written in the transaction of their leaf: one fsync, and the promise of
//!   [`append`](crate::AuditLog::append) covers them.
//! * [`erase`](crate::AuditLog::erase) destroys the keys of a subject, [`prune`](crate::AuditLog::prune) those of months
//!   that are over. One transaction deletes the keys, leaves a tombstone for each, wraps all others under a new root key
//!   and appends the record that says so; then the old root key is destroyed, so that old copies of the deleted rows,
//!   wherever the storage still has them, open with nothing. Ciphertext without a key is removed in small steps after.
//! * A leaf holds digests of ciphertext only, so the log verifies as before.
//! * Both reach the logs that were set aside, too: see [`EndedLogs`].
//!
//! A kill at any moment leaves all of an erasure or nothing: the database names the root key that counts. What a kill
//! leaves lying about is destroyed when the log is opened again. Old root keys are overwritten, but no program can make
//! sure that flash does not keep a copy: put the root keys on storage that is encrypted by the machine's own key.

mod aside;
mod cipher;
mod content;
mod destroy;
mod erase;
mod error;
mod keeper;
mod keys;
mod month;
mod prune;
mod read;
mod root;
mod seal;
mod step;
mod sweep;
mod table;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use aside::EndedLogs;
pub use content::{Content, Level, MAX_CONTENT_BYTES};
pub use erase::{EraseOrder, Erased};
pub use error::VaultError;
pub use prune::{PrunePlan, Pruned, Retention};
pub use read::{Tombstone, VaultStatus, content, tombstones};

pub(crate) use content::Unsealed;
pub(crate) use destroy::Destruction;
pub(crate) use keeper::{Keeper, apply};
pub(crate) use read::buried;
pub(crate) use root::Root;
pub(crate) use seal::{Act, seal};
pub(crate) use table::TABLES;

use keys::Keys;
use sweep::Sweep;

/// What the threads that seal and the one that writes share.
pub(crate) struct Vault {
    /// Where the root key lies.
    directory: PathBuf,
    keys: Mutex<Keys>,
    pub(crate) sweep: Sweep,
}

impl Vault {
    fn new(directory: &Path, keys: Keys) -> Self {
        Self { directory: directory.to_owned(), keys: Mutex::new(keys), sweep: Sweep::default() }
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
