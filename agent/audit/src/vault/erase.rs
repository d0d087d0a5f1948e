//! Erasing what was kept of one subject.

use crate::{AuditError, AuditLog, Kind, Record, Who};

/// Whose content is to be destroyed, and on whose word.
#[derive(Debug, Clone)]
pub struct EraseOrder {
    /// Pseudonym of the subject. It is not recorded: the record names keys.
    pub subject: String,
    /// Reference of the request or the legal basis, such as the number of a case. It is recorded for good, so it must
    /// not say who the subject is.
    pub basis: String,
    /// Who approved it, by pseudonym.
    pub approver: Who,
}

/// What an erasure did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erased {
    /// The record that says so; the last one, where the keys did not fit into one.
    pub index: u64,
    /// Ids of the destroyed keys.
    pub keys: Vec<String>,
    /// Prompts and answers that were removed.
    pub ciphertexts: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whether the write-ahead log was cut. If somebody was reading the log it was not, and holds old pages until it is
    /// written over: nothing in them opens any more.
    pub journal_truncated: bool,
}

impl AuditLog {
    /// Destroys every key of a subject, so that nobody can read any content that was sealed for it; then removes the
    /// ciphertext; in logs that were set aside, too. Records an `audit.erase` with the ids of the keys, also when there is none to destroy. Blocks on the
    /// disk.
    ///
    /// **The promise:** when this returns, the keys are gone from the database, the root key that old copies of them
    /// were wrapped under is overwritten and removed, and the record is durable. The log verifies as before. A kill
    /// before the record is durable leaves everything as it was; after it, the next
    /// [`open_with_vault`](Self::open_with_vault) finishes the rest. A destroyed key is never made again: a later record
    /// of the subject gets a new one. Content that is being recorded at this very moment may go with the rest.
    ///
    /// # Errors
    /// [`VaultError::Closed`](crate::VaultError::Closed) without a vault;
    /// [`RootStays`](crate::VaultError::RootStays) and [`NotSwept`](crate::VaultError::NotSwept) when the keys are
    /// destroyed on record and something else is left to do; otherwise as [`append`](Self::append), and nothing is
    /// destroyed.
    pub fn erase(&self, order: &EraseOrder) -> Result<Erased, AuditError> {
        let keys: Vec<String> =
            self.vault()?.keys().iter().filter(|key| key.subject == order.subject).map(|key| key.id.clone()).collect();
        let extent = self.sealed_extent(&keys)?;
        let record = Record::new(Kind::AuditErase)
            .who(order.approver.clone())
            .act("erase")
            .detail("basis", order.basis.as_str())
            .detail("ciphertexts", extent.rows);
        let destroyed = self.destroy(&keys, &record)?;
        let journal_truncated = destroyed.journal_truncated;
        let (ciphertexts, bytes) = (extent.rows, extent.bytes);
        let mut erased = Erased { index: destroyed.index, keys, ciphertexts, bytes, journal_truncated };
        for mut aside in self.asides()? {
            let keys = aside.keys_of(&order.subject);
            let extent = aside.extent(&keys)?;
            let record = record.clone().detail("ciphertexts", extent.rows);
            erased.index = self.destroy_aside(&mut aside, &keys, &record)?.unwrap_or(erased.index);
            erased.keys.extend(keys);
            erased.ciphertexts += extent.rows;
            erased.bytes += extent.bytes;
        }
        Ok(erased)
    }
}
