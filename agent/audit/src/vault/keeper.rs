//! The writer's half of the vault: owns the root key, stores ciphertext, destroys keys.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use outpost_disk::atomic;
use rusqlite::{Connection, Transaction};

use super::destroy::Destruction;
use super::keys::{self, Keys, SubjectKey};
use super::root::{Root, RootName};
use super::seal::{Act, Sealed};
use super::step::{Step, reached};
use super::{Vault, VaultError, table};
use crate::queue::Pending;
use crate::writer::Writer;
use crate::{AuditError, Health, log, prune, schema};

/// What only the writer's thread has.
pub(crate) struct Keeper {
    pub(crate) vault: Arc<Vault>,
    root: Root,
    /// Whether ciphertext of destroyed keys may still be there.
    sweeping: bool,
}

impl Keeper {
    /// Opens the vault of a log, or founds it, and finishes what a kill left of an erasure.
    pub(crate) fn open(connection: &Connection, log_directory: &Path, directory: &Path) -> Result<Self, AuditError> {
        let read = |error: rusqlite::Error| AuditError::database("read the vault of", log_directory, &error);
        log::make_private_directory(directory)?;
        atomic::sweep(directory)?;
        let root = match table::root_name(connection).map_err(read)? {
            Some(text) => {
                let name = RootName::parse(&text).ok_or(VaultError::BadName { found: text })?;
                Root::read(directory, name)?
            }
            None => {
                let root = Root::first(directory)?;
                table::set_root_name(connection, &root.name.to_string())
                    .map_err(|error| AuditError::database("write the vault of", log_directory, &error))?;
                root
            }
        };
        root.destroy_others()?;
        let mut keys = Keys::default();
        for row in table::keys(connection).map_err(read)? {
            let key = SubjectKey::unwrap(&root, row);
            if key.key.is_none() {
                tracing::error!(key = key.id, "a key of sealed content is damaged: what it sealed cannot be read");
            }
            keys.add(Arc::new(key));
        }
        let vault = Arc::new(Vault::new(directory, keys));
        let sweeping = table::is_unswept(connection).map_err(read)?;
        if sweeping {
            vault.sweep.begin();
        }
        Ok(Self { vault, root, sweeping })
    }

    /// Reads the vault again, after a transaction of which nobody knew whether it was durable.
    pub(crate) fn reopen(&mut self, connection: &Connection, log_directory: &Path) -> Result<(), AuditError> {
        let read = |error: rusqlite::Error| AuditError::database("read the vault of", log_directory, &error);
        let found = Self::open(connection, log_directory, &self.vault.directory)?;
        {
            let mut fresh = found.vault.keys();
            let mut keys = self.vault.keys();
            // Some may be in use and not stored yet.
            for key in keys.iter() {
                if !fresh.holds(&key.id) && table::tombstone(connection, &key.id).map_err(read)?.is_none() {
                    fresh.add(Arc::clone(key));
                }
            }
            *keys = std::mem::take(&mut *fresh);
        }
        self.root = found.root;
        self.sweeping = found.sweeping;
        if self.sweeping {
            self.vault.sweep.begin();
        }
        Ok(())
    }

    pub(crate) fn is_sweeping(&self) -> bool {
        self.sweeping
    }

    fn store(&self, transaction: &Transaction<'_>, index: u64, sealed: &Sealed) -> rusqlite::Result<()> {
        let key = &sealed.key;
        if !table::has_key(transaction, &key.id)? {
            // Destroyed while this record waited: its content goes with the rest, and the key never comes back.
            if table::tombstone(transaction, &key.id)?.is_some() {
                return Ok(());
            }
            table::insert_key(transaction, &key.wrap(&self.root).map_err(foreign)?)?;
        }
        table::insert_sealed(transaction, index, sealed.side, &key.id, &sealed.bytes)
    }

    /// Destroys keys in a log that nobody writes to any more; on record is for the caller.
    pub(super) fn destroy_at_once(
        &mut self,
        connection: &mut Connection,
        directory: &Path,
        index: u64,
        ids: &[String],
    ) -> Result<(), AuditError> {
        let write = |error: rusqlite::Error| AuditError::database("destroy keys in", directory, &error);
        let next = self.root.next()?;
        let transaction = connection.transaction().map_err(write)?;
        self.destroy(&transaction, index, &Destruction::new(ids), &next).map_err(write)?;
        transaction.commit().map_err(write)?;
        let old = std::mem::replace(&mut self.root, next);
        self.vault.keys().forget(ids);
        Ok(old.destroy()?)
    }

    fn destroy(
        &self,
        transaction: &Transaction<'_>,
        index: u64,
        destruction: &Destruction,
        next: &Root,
    ) -> rusqlite::Result<()> {
        // Deleted before anything is wrapped anew: no page ever holds one of them under the new root key.
        for id in &destruction.keys {
            table::bury_key(transaction, id, index)?;
        }
        for row in table::keys(transaction)? {
            let place = keys::place(&row.id, &row.subject, &row.month);
            match self.root.unwrap(&place, &row.wrapped) {
                Some(key) => table::rewrap_key(transaction, &row.id, &next.wrap(&place, &key).map_err(foreign)?)?,
                // It stays as damaged as it is; an erasure must not fail for it.
                None => tracing::error!(key = row.id, "a key of sealed content is damaged"),
            }
        }
        table::set_root_name(transaction, &next.name.to_string())?;
        reached(Step::Written);
        Ok(())
    }
}

/// Does in the transaction of a record what the record brings along for the vault.
pub(crate) fn apply(
    keeper: Option<&Keeper>,
    next: Option<&Root>,
    transaction: &Transaction<'_>,
    index: u64,
    act: &Act,
) -> rusqlite::Result<()> {
    match (act, keeper, next) {
        (Act::None, ..) => Ok(()),
        (Act::Leave(until), ..) => prune::leave(transaction, *until),
        (Act::Store(sealed), Some(keeper), _) => {
            sealed.iter().try_for_each(|sealed| keeper.store(transaction, index, sealed))
        }
        (Act::Destroy(destruction), Some(keeper), Some(next)) => keeper.destroy(transaction, index, destruction, next),
        // Refused where the record was appended; refused here too, rather than believed.
        (Act::Store(_) | Act::Destroy(_), ..) => Err(foreign(VaultError::Closed)),
    }
}

impl Writer {
    /// Gets the root key ready that replaces the present one, if this batch destroys keys.
    pub(crate) fn prepare_vault(&self, batch: &[Pending]) -> Result<Option<Root>, AuditError> {
        let Some(keeper) = &self.keeper else { return Ok(None) };
        if !batch.iter().any(|pending| pending.draft.act.is_exclusive()) {
            return Ok(None);
        }
        reached(Step::Ordered);
        let next = keeper.root.next()?;
        reached(Step::NewRoot);
        Ok(Some(next))
    }

    /// After the transaction: destroys the root key that does not count any more.
    pub(crate) fn settle_vault(&mut self, batch: &[Pending], next: Option<Root>, error: Option<&AuditError>) {
        let (Some(keeper), Some(next)) = (&mut self.keeper, next) else { return };
        match error {
            None => {
                reached(Step::Committed);
                let old = std::mem::replace(&mut keeper.root, next);
                let destroyed = old.destroy();
                reached(Step::OldRootGone);
                for pending in batch {
                    let Act::Destroy(destruction) = &pending.draft.act else { continue };
                    keeper.vault.keys().forget(&destruction.keys);
                    destruction.settle(destroyed.clone());
                }
                keeper.vault.sweep.begin();
                keeper.sweeping = true;
                self.truncate_journal();
                reached(Step::Truncated);
            }
            // Nobody knows whether the transaction is durable: both root keys stay until the next start has read it.
            Some(AuditError::Latched { .. } | AuditError::Damaged { .. }) => {}
            Some(_) => {
                if let Err(error) = next.destroy() {
                    tracing::warn!(%error, "a root key that was never used stays until the next start");
                }
            }
        }
    }

    /// Removes some ciphertext of destroyed keys, if there is any.
    pub(crate) fn sweep_vault(&mut self) {
        let Some(keeper) = self.keeper.as_mut().filter(|keeper| keeper.sweeping) else { return };
        if let Health::Latched(cause) | Health::Failed(cause) = self.shared.health() {
            keeper.sweeping = false;
            keeper.vault.sweep.end(Err(cause));
            return;
        }
        let swept = self.connection.transaction().and_then(|transaction| {
            let more = table::sweep(&transaction)?;
            transaction.commit()?;
            Ok(more)
        });
        match swept {
            Ok(true) => reached(Step::Swept),
            Ok(false) => {
                keeper.sweeping = false;
                let vault = Arc::clone(&keeper.vault);
                vault.sweep.end(Ok(self.truncate_journal()));
            }
            Err(error) => {
                keeper.sweeping = false;
                keeper.vault.sweep.end(Err(error.to_string()));
                self.note_failure(&AuditError::database("remove ciphertext from", &self.directory, &error));
            }
        }
    }

    /// Moves everything from the write-ahead log into the database and cuts the former; whether nobody was in the way.
    fn truncate_journal(&mut self) -> bool {
        // Records wait meanwhile, so somebody who reads is not waited for.
        let truncated = self.connection.busy_timeout(Duration::ZERO).and_then(|()| {
            self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get::<_, i64>(0))
        });
        let restored = self.connection.busy_timeout(schema::BUSY_TIMEOUT);
        match truncated.and_then(|busy| restored.map(|()| busy == 0)) {
            Ok(truncated) => truncated,
            Err(error) => {
                self.note_failure(&AuditError::database("truncate the journal of", &self.directory, &error));
                false
            }
        }
    }
}

/// Carries an error through a transaction.
fn foreign(error: VaultError) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(error))
}
