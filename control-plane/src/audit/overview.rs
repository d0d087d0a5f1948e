//! What an admin sees of the devices' audit logs: how far each is mirrored and cosigned, and what is held against it.

use std::path::PathBuf;

use outpost_audit::mirror;
use outpost_audit::verify::{self, Report};
use outpost_audit::witness::Evidence;
use outpost_contract::DeviceId;
use serde::Serialize;

use super::keeper::key_of;
use crate::fleet::{Fleet, FleetError};

/// The mirror of one log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MirrorSummary {
    /// Whose log it is.
    pub device: DeviceId,
    /// Name of the log.
    pub origin: String,
    /// Where the mirror lies.
    pub directory: PathBuf,
    /// Records in the mirror.
    pub mirrored: u64,
    /// Records under the last head that was cosigned.
    pub cosigned: u64,
    /// Records that the device last reported to have, if this is its newest log.
    pub reported: Option<u64>,
    /// What is held against the log.
    pub incidents: Vec<Incident>,
}

/// Two heads of a log that do not go together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Incident {
    /// `fork`: the two notes alone convict the log. `unproven`: no proof was shown that one continues the other.
    pub kind: &'static str,
    /// When, seconds since 1970.
    pub found_s: u64,
    /// The head that was cosigned, a signed note.
    pub held: String,
    /// The head that was refused, a signed note.
    pub offered: String,
}

impl From<Evidence> for Incident {
    fn from(evidence: Evidence) -> Self {
        Self {
            kind: evidence.suspicion.name(),
            found_s: evidence.found_s,
            held: evidence.held,
            offered: evidence.offered,
        }
    }
}

impl Fleet {
    /// The mirrors of all devices' logs, by device and number.
    ///
    /// # Errors
    /// If what is kept cannot be read.
    pub fn audit_mirrors(&self) -> Result<Vec<MirrorSummary>, FleetError> {
        let keeper = &self.inner.audit;
        let mut summaries = Vec::new();
        for device in self.devices()? {
            let mirrors = keeper.mirrors(&device.device)?;
            let newest = mirrors.last().map(|(number, _)| *number);
            for (number, directory) in mirrors {
                // Without a head, its first records are still on their way.
                let Some(head) = mirror::head(&directory)? else { continue };
                let reported = device.reported.as_ref().filter(|_| newest == Some(number));
                summaries.push(MirrorSummary {
                    device: device.device.clone(),
                    mirrored: head.size,
                    cosigned: keeper.witnessed(&head.origin)?.map_or(0, |witnessed| witnessed.head.size),
                    reported: reported.map(|reported| reported.activity.audit_records),
                    incidents: keeper.evidence(&head.origin)?.into_iter().map(Incident::from).collect(),
                    origin: head.origin,
                    directory,
                });
            }
        }
        Ok(summaries)
    }

    /// Verifies every mirror of a device, whole.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn verify_mirrors(&self, device: &DeviceId) -> Result<Vec<Report>, FleetError> {
        let mirrors = self.inner.audit.mirrors(device)?;
        mirrors.into_iter().map(|(_, directory)| Ok(verify::verify(&directory)?)).collect()
    }

    /// The keys that cosign, as C2SP verifier keys: the witness's and the mirror's. An auditor's policy file names them.
    #[must_use]
    pub fn audit_keys(&self) -> (String, String) {
        (self.inner.audit.witness_key().to_owned(), self.inner.audit.mirror_key())
    }

    /// The policy (c2sp.org/tlog-policy) by which an auditor checks the logs of a device: each of its logs by its key, and that
    /// witness and mirror both vouch.
    ///
    /// # Errors
    /// If the device is unknown, no log of it is mirrored, or what is kept cannot be read.
    pub fn audit_policy(&self, device: &DeviceId) -> Result<String, FleetError> {
        let keeper = &self.inner.audit;
        let audit_key = self.device(device)?.audit_key;
        let mut policy = String::new();
        for (_, directory) in keeper.mirrors(device)? {
            let head = mirror::head(&directory)?;
            let key = head.and_then(|head| key_of(&audit_key, &head.origin));
            policy.extend(key.map(|key| format!("log {key}\n")));
        }
        if policy.is_empty() {
            return Err(FleetError::NotMirrored(device.clone()));
        }
        let (witness, mirror) = self.audit_keys();
        policy.push_str(&format!(
            "witness witness {witness}\nwitness mirror {mirror}\ngroup control-plane all witness mirror\nquorum control-plane\n"
        ));
        Ok(policy)
    }
}
