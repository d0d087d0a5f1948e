//! Destroying keys, on record: what erasing a subject and pruning a month have in common.

use std::sync::{Arc, Mutex, PoisonError};

use super::VaultError;
use crate::{AuditError, AuditLog, Record};

/// Keys that one record destroys: their ids fit into a leaf, and so does everything else that it says.
pub(super) const KEYS_PER_RECORD: usize = 256;

/// An order to the writer.
pub(crate) struct Destruction {
    /// Ids of the keys.
    pub(crate) keys: Vec<String>,
    old_root: Mutex<Result<(), VaultError>>,
}

impl Destruction {
    pub(crate) fn new(keys: &[String]) -> Arc<Self> {
        Arc::new(Self { keys: keys.to_vec(), old_root: Mutex::new(Ok(())) })
    }

    /// The keys are gone from the database; says whether the old root key is destroyed too.
    pub(crate) fn settle(&self, old_root: Result<(), VaultError>) {
        *self.old_root.lock().unwrap_or_else(PoisonError::into_inner) = old_root;
    }

    fn old_root(&self) -> Result<(), VaultError> {
        self.old_root.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What was destroyed.
#[derive(Debug)]
pub(crate) struct Destroyed {
    /// The last record that says so.
    pub(crate) index: u64,
    /// Whether the write-ahead log was cut.
    pub(crate) journal_truncated: bool,
}

impl AuditLog {
    /// Destroys keys under a record each 256 of them, and removes their ciphertext. A kill in between leaves whole
    /// records: what they do not name is not destroyed.
    pub(crate) fn destroy(&self, keys: &[String], record: &Record) -> Result<Destroyed, AuditError> {
        let vault = self.vault()?;
        let mut index = None;
        for keys in keys.chunks(KEYS_PER_RECORD) {
            let destruction = Destruction::new(keys);
            let record = record.clone().detail("keys", keys.len() as u64).keys(keys);
            index = Some(self.push_destruction(record, Arc::clone(&destruction)).wait()?);
            destruction.old_root()?;
        }
        let index = match index {
            Some(index) => index,
            None => self.append(record.clone().detail("keys", 0_u64).keys(&[])).wait()?,
        };
        Ok(Destroyed { index, journal_truncated: vault.sweep.wait()? })
    }
}
