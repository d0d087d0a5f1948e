//! The list of locks in force: taken by signature and number, kept over restarts.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use outpost_audit::{Kind, Record};
use outpost_contract::SealedKind;
use outpost_disk::Ledger;
use outpost_policies::{LOCKS_BYTES, LockList, Locks};
use outpost_serve::GovernanceError;
use outpost_trust::Signers;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Surroundings, facts, failed};

/// What survives a restart.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    list: LockList,
    signed_by: BTreeSet<String>,
}

/// Keeps the list of locks of one device.
#[derive(Debug)]
pub(super) struct LockKeeper {
    ledger: Mutex<Ledger<Kept>>,
    around: Surroundings,
}

impl LockKeeper {
    /// Puts the list in force that was before.
    pub(super) fn open(ledgers: &Path, around: Surroundings) -> Result<Self> {
        let (ledger, kept) = Ledger::<Kept>::open(ledgers, "locks")?;
        if let Some(kept) = kept {
            let locks = Locks::new(kept.list)?;
            let issued_s = locks.issued_s();
            around.identities.set_locks(locks, issued_s).context("it cannot be put in force again")?;
        }
        Ok(Self { ledger: Mutex::new(ledger), around })
    }

    /// Takes a newer list: on record first, then on disk, then in force.
    pub(super) fn take(&self, document: &[u8], signers: &Signers) -> Result<Map<String, Value>, GovernanceError> {
        let opened = super::signers::open(signers, SealedKind::Locks, document)?;
        let invalid = |error: &dyn std::fmt::Display| GovernanceError::Invalid(error.to_string());
        if opened.payload.len() > LOCKS_BYTES {
            return Err(GovernanceError::Invalid(format!("the list of locks has more than {LOCKS_BYTES} bytes")));
        }
        let list: LockList = serde_json::from_slice(&opened.payload).map_err(|error| invalid(&error))?;
        let locks = Locks::new(list.clone()).map_err(|error| invalid(&error))?;
        // Held from the comparison to the change, so that of two lists at once the newer one stays.
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let held = self.around.identities.locks().map_or(0, |(seq, _)| seq);
        if locks.seq() <= held {
            let why = format!("the list has number {}, which is not above {held}, the one in force", locks.seq());
            return Err(GovernanceError::Conflict(format!("{why}: sign a newer one")));
        }
        let (seq, issued_s, count) = (locks.seq(), locks.issued_s(), locks.len());
        let pseudonyms: Vec<_> = opened.signed_by.iter().map(|name| self.around.pseudonyms.of(name)).collect();
        let record = Record::new(Kind::LocksActivate)
            .detail("seq", seq)
            .detail("issued_s", issued_s)
            .detail("locks", count as u64)
            .detail("signed_by", pseudonyms.join(" "));
        self.around.audit.append(record).wait().map_err(failed)?;
        ledger.commit(&Kept { list, signed_by: opened.signed_by.clone() }).map_err(failed)?;
        self.around.identities.set_locks(locks, issued_s).map_err(failed)?;
        tracing::info!(seq, locks = count, "a list of locks is in force");
        Ok(facts([
            ("seq", json!(seq)),
            ("issued_s", json!(issued_s)),
            ("locks", json!(count)),
            ("signed_by", json!(opened.signed_by)),
        ]))
    }
}
