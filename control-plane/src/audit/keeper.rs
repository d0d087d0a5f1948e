//! The witness and the mirrors of all devices' logs: what is kept, and what is cosigned of it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};

use outpost_audit::consistency::{self, TreeHead};
use outpost_audit::cosignature::WitnessKey;
use outpost_audit::mirror::{Mirror, Package, Receipt, Taken};
use outpost_audit::witness::{DatabaseState, Evidence, Outcome, Suspicion, Witness, WitnessState, Witnessed, log_of};
use outpost_audit::{Checkpoint, VerifierKey};
use outpost_contract::{DeviceId, TenantId};

use crate::files;
use crate::fleet::FleetError;

/// The witness and the mirrors.
#[derive(Debug)]
pub(crate) struct Keeper {
    directory: PathBuf,
    witness: Witness<DatabaseState>,
    witness_key: String,
    mirror_key: WitnessKey,
    /// What was cosigned last: a clock that is set back does not make a later cosignature an earlier one.
    floor_s: AtomicI64,
}

impl Keeper {
    /// Opens what is kept in a fleet's state directory; both keys are made on first use.
    pub(crate) fn open(state: &Path, tenant: &TenantId) -> Result<Self, FleetError> {
        let (directory, keys) = (state.join("audit"), state.join("keys"));
        files::private_directory(&directory)?;
        let key = |role: &str| {
            let name = format!("audit.outpost/{tenant}/{role}");
            WitnessKey::read_or_create(&name, keys.join(format!("audit-{role}.key")))
        };
        let (witness_key, mirror_key) = (key("witness")?, key("mirror")?);
        let public = witness_key.cosigner_key().to_string();
        let witness = Witness::new(witness_key, DatabaseState::open(&directory)?);
        Ok(Self { directory, witness, witness_key: public, mirror_key, floor_s: AtomicI64::new(0) })
    }

    /// The public key of the witness, as a C2SP verifier key.
    pub(crate) fn witness_key(&self) -> &str {
        &self.witness_key
    }

    /// The public key of the mirrors.
    pub(crate) fn mirror_key(&self) -> String {
        self.mirror_key.cosigner_key().to_string()
    }

    /// Answers `add-checkpoint` of a device that enrolled with this key.
    pub(crate) fn witness(&self, audit_key: &str, body: &[u8], now_s: i64) -> Result<Outcome, FleetError> {
        let keys = |origin: &str| key_of(audit_key, origin).into_iter().collect();
        Ok(self.witness.add_checkpoint(body, self.time_s(now_s), keys)?)
    }

    /// Takes in a package of records of a device that enrolled with this key.
    pub(crate) fn mirror(
        &self,
        device: &DeviceId,
        audit_key: &str,
        body: &[u8],
        now_s: i64,
    ) -> Result<Receipt, FleetError> {
        let refused = |status, cause: String| Ok(Receipt::Refused { status, cause });
        let package = match Package::parse(body) {
            Ok(package) => package,
            Err(cause) => return refused(400, cause.to_string()),
        };
        let Some(key) = key_of(audit_key, &package.origin) else {
            return refused(404, format!("`{}` is no log of this device", package.origin));
        };
        let directory = self.directory_of(device, &key);
        let mut mirror = Mirror::open(&directory, &key)?;
        let before = mirror.size()?;
        Ok(match mirror.take(&package)? {
            Taken::Waiting { next } => Receipt::Waiting { next },
            Taken::Elsewhere { next } => Receipt::Elsewhere { next },
            Taken::Refused(cause) => {
                tracing::warn!(%device, cause, "records were refused");
                Receipt::Refused { status: 422, cause }
            }
            Taken::Kept { head, note } => {
                if let Some(cause) = self.contradiction(&directory, before, &head, &note, now_s)? {
                    tracing::warn!(%device, cause, "the records contradict a head that was cosigned");
                    return refused(422, cause);
                }
                let text = head.to_text();
                let lines = self.mirror_key.cosign(&text, self.time_s(now_s));
                Receipt::Kept { next: head.size, lines }
            }
        })
    }

    /// What speaks against the records kept, if the witness cosigned another past; kept as evidence.
    fn contradiction(
        &self,
        directory: &Path,
        before: u64,
        head: &Checkpoint,
        note: &str,
        now_s: i64,
    ) -> Result<Option<String>, FleetError> {
        let Some(held) = self.witness.state().latest(&head.origin)? else { return Ok(None) };
        // Earlier ones were compared when the records reached them; later ones will be.
        if held.head.size <= before || held.head.size > head.size {
            return Ok(None);
        }
        let proof = consistency::prove(directory, held.head.size, head.size)?;
        if consistency::check(&held.head, &TreeHead::from(head), &proof).is_ok() {
            return Ok(None);
        }
        self.witness.state().keep_evidence(&Evidence {
            origin: head.origin.clone(),
            suspicion: if held.head.size == head.size { Suspicion::Fork } else { Suspicion::Unproven },
            held: held.note,
            offered: note.to_owned(),
            proof,
            found_s: u64::try_from(now_s).unwrap_or(0),
        })?;
        Ok(Some(format!("the log does not begin with the {} records that were cosigned", held.head.size)))
    }

    /// Where the mirror of a log lies: by the device, and by the number at the end of the log's name.
    fn directory_of(&self, device: &DeviceId, key: &VerifierKey) -> PathBuf {
        let number = key.name().rsplit('/').next().unwrap_or_default();
        self.directory.join(device.as_str()).join(number)
    }

    /// The mirrors of a device: the number of each log, and where it lies.
    pub(super) fn mirrors(&self, device: &DeviceId) -> Result<Vec<(u64, PathBuf)>, FleetError> {
        let directory = self.directory.join(device.as_str());
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(files::failed("read", &directory)(error).into()),
        };
        let mut mirrors = Vec::new();
        for entry in entries {
            let entry = entry.map_err(files::failed("read", &directory))?;
            if let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                mirrors.push((number, entry.path()));
            }
        }
        mirrors.sort_unstable();
        Ok(mirrors)
    }

    /// The last head of a log that was cosigned.
    pub(super) fn witnessed(&self, origin: &str) -> Result<Option<Witnessed>, FleetError> {
        Ok(self.witness.state().latest(origin)?)
    }

    /// What is held against a log.
    pub(super) fn evidence(&self, origin: &str) -> Result<Vec<Evidence>, FleetError> {
        Ok(self.witness.state().evidence(origin)?)
    }

    fn time_s(&self, now_s: i64) -> u64 {
        let before = self.floor_s.fetch_max(now_s, Ordering::Relaxed);
        u64::try_from(before.max(now_s)).unwrap_or(0)
    }
}

/// The key of the log of this name, if a device that enrolled with `audit_key` can have such a log: its first one, or one
/// that follows it.
pub(super) fn key_of(audit_key: &str, origin: &str) -> Option<VerifierKey> {
    log_of(&audit_key.parse().ok()?, origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_the_log_it_enrolled_with_and_those_that_follow() {
        let first = VerifierKey::new("audit.outpost/ab12/3", [7; 32]).unwrap();
        let key = |origin: &str| key_of(&first.to_string(), origin);
        assert_eq!(key("audit.outpost/ab12/3"), Some(first.clone()));
        assert_eq!(key("audit.outpost/ab12/4").unwrap().public(), first.public());
        for other in
            ["audit.outpost/ab12/2", "audit.outpost/ab12/04", "audit.outpost/ab13/3", "audit.outpost/ab12", "", "/4"]
        {
            assert_eq!(key(other), None, "{other}");
        }
        assert_eq!(key(&format!("audit.outpost/ab12/{}", u64::MAX)), None);
        assert_eq!(key_of("no key", "audit.outpost/ab12/3"), None);
    }
}
