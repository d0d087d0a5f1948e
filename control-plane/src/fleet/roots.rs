//! The roots of the catalogue: who may sign it, signed by the offline keys, each version by those of the one before.

use std::path::Path;

use outpost_trust::catalogue::RootPlan;

use super::{Fleet, FleetError};
use crate::files;
use crate::keys::{OfflineKeys, Passphrase};

/// Largest root that is kept.
const ROOT_BYTES: u64 = 1024 * 1024;

/// How long a root is good for, seconds: 5 years.
pub(crate) const ROOT_S: i64 = 5 * 365 * 24 * 60 * 60;

impl Fleet {
    /// Makes the offline keys in `dir` (root and targets), without a passphrase, and signs the first root with them.
    ///
    /// # Errors
    /// As [`create_locked_keys`](Self::create_locked_keys).
    pub fn create_offline_keys(&self, dir: &Path) -> Result<OfflineKeys, FleetError> {
        self.create_locked_keys(dir, None)
    }

    /// As [`create_offline_keys`](Self::create_offline_keys), with a passphrase.
    ///
    /// # Errors
    /// If there are keys in `dir`, a root was signed already, or the passphrase is too short.
    pub fn create_locked_keys(&self, dir: &Path, passphrase: Option<&Passphrase>) -> Result<OfflineKeys, FleetError> {
        if !self.roots()?.is_empty() {
            return Err(FleetError::RootExists);
        }
        let keys = OfflineKeys::create_locked(dir, passphrase)?;
        let online = self.inner.keys.online.verifying_key();
        let plan = RootPlan::single(keys.root.verifying_key(), keys.targets.verifying_key(), online);
        let root = plan.sign(None, self.now_s() + ROOT_S, &[&keys.root])?;
        self.keep_root(1, &root)?;
        Ok(keys)
    }

    /// The roots, oldest first.
    pub(crate) fn roots(&self) -> Result<Vec<Vec<u8>>, FleetError> {
        let mut roots = Vec::new();
        while let Some(root) = self.root(roots.len() + 1)? {
            roots.push(root);
        }
        Ok(roots)
    }

    fn root(&self, version: usize) -> Result<Option<Vec<u8>>, FleetError> {
        let name = root_name(version);
        if self.inner.database.is_shared() {
            return Ok(self.inner.database.setting(&name)?);
        }
        let path = self.inner.config.state_dir.join(name);
        if path.exists() { Ok(Some(files::read(&path, ROOT_BYTES)?)) } else { Ok(None) }
    }

    /// Keeps a root as a file, and where several servers share a database, there.
    pub(crate) fn keep_root(&self, version: usize, root: &[u8]) -> Result<(), FleetError> {
        let name = root_name(version);
        if self.inner.database.is_shared() {
            self.inner.database.set(&name, root)?;
        }
        // Of the first server's files, another one has those alone that the database does not hold.
        files::private_directory(&self.inner.config.state_dir.join("trust"))?;
        Ok(files::write(&self.inner.config.state_dir.join(name), root)?)
    }
}

fn root_name(version: usize) -> String {
    format!("trust/{version}.root.json")
}
