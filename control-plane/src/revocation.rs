//! The revocation list for a broker that is not ours, kept equal to the database.

use std::path::Path;

use crate::db::RevokedCertificate;
use crate::files;
use crate::fleet::{Fleet, FleetError};

impl Fleet {
    /// Writes the list of revoked certificates, PEM, signed by the authority.
    ///
    /// # Errors
    /// If the database fails or the file cannot be written.
    pub(crate) fn write_revocation_list(&self, path: &Path) -> Result<Vec<RevokedCertificate>, FleetError> {
        let revoked = self.inner.database.revoked_certificates(self.now_s())?;
        let list = self.inner.authority.revocation_list(&revoked, self.now_s())?;
        files::write(path, list.as_bytes())?;
        Ok(revoked)
    }
}

/// What the file holds, as far as this process wrote it.
#[derive(Debug, Default)]
pub(crate) struct RevocationList {
    written: Option<Vec<RevokedCertificate>>,
}

impl RevocationList {
    /// Writes the configured file if something in it would change; always the first time.
    pub(crate) async fn keep(&mut self, fleet: &Fleet) -> Result<(), FleetError> {
        let Some(path) = fleet.config().revocation_list.clone() else { return Ok(()) };
        let revoked = fleet.run(|fleet| fleet.inner.database.revoked_certificates(fleet.now_s())).await?;
        if self.written.as_ref() != Some(&revoked) {
            self.written = Some(fleet.run(move |fleet| fleet.write_revocation_list(&path)).await?);
            tracing::info!(certificates = revoked.len(), "the revocation list is written; the broker must reload it");
        }
        Ok(())
    }
}
