//! From content to ciphertext: on the thread that appends, so that the writer only stores.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};

use super::content::Side;
use super::destroy::Destruction;
use super::keys::SubjectKey;
use super::month::Month;
use super::{Vault, VaultError};
use crate::{AuditError, Record};

/// What a record brings along for the vault.
pub(crate) enum Act {
    /// Nothing.
    None,
    /// Ciphertext to store.
    Store(Vec<Sealed>),
    /// Keys to destroy.
    Destroy(Arc<Destruction>),
    /// Records before this index leave the device.
    Leave(u64),
}

impl Act {
    /// Bytes that it holds in memory while it waits.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Store(sealed) => sealed.iter().map(|sealed| sealed.bytes.len()).sum(),
            Self::None | Self::Destroy(_) | Self::Leave(_) => 0,
        }
    }

    /// Whether it wants a transaction to itself: if the root key cannot be replaced, or many records leave, no other record
    /// shall suffer.
    pub(crate) fn is_exclusive(&self) -> bool {
        matches!(self, Self::Destroy(_) | Self::Leave(_))
    }
}

/// One side of a record, sealed.
pub(crate) struct Sealed {
    pub(crate) side: Side,
    pub(crate) key: Arc<SubjectKey>,
    pub(crate) bytes: Vec<u8>,
}

/// Seals the content of a record, if it has any, and says so in the record.
pub(crate) fn seal(vault: Option<&Vault>, record: &mut Record, wall_ms: i64) -> Result<Act, AuditError> {
    let Some(unsealed) = record.unsealed.take() else { return Ok(Act::None) };
    unsealed.check()?;
    let key = vault.ok_or(VaultError::Closed)?.keys().obtain(&unsealed.subject, Month::of(wall_ms))?;
    let id = record.settle_id(wall_ms)?;
    let mut sealed = Vec::with_capacity(2);
    for (side, plain) in [(Side::Input, unsealed.content.input), (Side::Output, unsealed.content.output)] {
        let Some(plain) = plain else { continue };
        let bytes = key.for_record(&id, side.name())?.lock(&place(&key.id, &id, side), &plain)?;
        record.note_sealed(side.name(), ciphertext_digest(&bytes), bytes.len(), &key.id);
        sealed.push(Sealed { side, key: Arc::clone(&key), bytes });
    }
    Ok(Act::Store(sealed))
}

/// What a ciphertext is bound to.
pub(crate) fn place(key: &str, record: &str, side: Side) -> String {
    format!("{key}\n{record}\n{}", side.name())
}

/// The digest of a ciphertext as the leaf has it.
pub(crate) fn ciphertext_digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(digest(&SHA256, bytes)))
}
