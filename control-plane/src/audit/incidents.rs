//! What was found against the log of a device, with the evidence as files that anybody can check.

use std::path::{Path, PathBuf};

use outpost_audit::witness::{Evidence, Suspicion};
use outpost_contract::DeviceId;
use serde::Serialize;
use serde_json::json;

use super::keeper::key_of;
use crate::files;
use crate::fleet::{Fleet, FleetError};

/// The files of an incident: the note that was cosigned, the note that was refused, the log's key, and all of it as JSON.
pub(crate) const EVIDENCE_FILES: [&str; 4] = ["held.note", "offered.note", "log.vkey", "evidence.json"];

/// One incident, in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IncidentReport {
    /// Its number.
    pub number: i64,
    /// The device.
    pub device: DeviceId,
    /// Name of the log.
    pub origin: String,
    /// `fork`: the two notes alone convict the log. `unproven`: no proof was shown that one continues the other.
    pub kind: &'static str,
    /// When it was found, seconds since 1970.
    pub found_s: u64,
    /// The head that was cosigned, a signed note.
    pub held: String,
    /// The head that was refused, a signed note.
    pub offered: String,
    /// The proof that came with it, hexadecimal hashes.
    pub proof: Vec<String>,
    /// The public key of the log, by which both notes verify.
    pub log_key: Option<String>,
    /// Whether the two notes alone convict the log, looked at again now.
    pub convicts: bool,
}

impl IncidentReport {
    pub(super) fn new(number: i64, device: &DeviceId, audit_key: &str, evidence: Evidence) -> Self {
        let key = key_of(audit_key, &evidence.origin);
        let convicts = evidence.suspicion == Suspicion::Fork
            && key.as_ref().is_some_and(|key| evidence.convicts(key).unwrap_or(false));
        Self {
            number,
            device: device.clone(),
            kind: evidence.suspicion.name(),
            found_s: evidence.found_s,
            proof: evidence.proof.iter().map(hex::encode).collect(),
            log_key: key.map(|key| key.to_string()),
            convicts,
            origin: evidence.origin,
            held: evidence.held,
            offered: evidence.offered,
        }
    }

    /// One of its files; none of another name.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<String> {
        Some(match name {
            "held.note" => self.held.clone(),
            "offered.note" => self.offered.clone(),
            "log.vkey" => format!("{}\n", self.log_key.as_ref()?),
            "evidence.json" => format!("{:#}\n", json!(self)),
            _ => return None,
        })
    }

    /// Writes its files into a directory of its own below `into`; gives that directory.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write_into(&self, into: &Path) -> Result<PathBuf, FleetError> {
        let directory = into.join(format!("{}-{}", self.device, self.number));
        files::private_directory(&directory)?;
        for (name, text) in self.files() {
            files::write_private(&directory.join(name), text.as_bytes())?;
        }
        Ok(directory)
    }

    /// Its files, by name.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, String)> {
        EVIDENCE_FILES.into_iter().filter_map(|name| Some((name, self.file(name)?)))
    }
}

impl Fleet {
    /// Everything that was found against the logs of a device, oldest first.
    ///
    /// # Errors
    /// [`FleetError::UnknownDevice`] if there is no such device.
    pub fn incidents(&self, device: &DeviceId) -> Result<Vec<IncidentReport>, FleetError> {
        let audit_key = self.device(device)?.audit_key;
        let keeper = &self.inner.audit;
        let mut incidents = Vec::new();
        for (number, evidence) in keeper.evidence_of(&audit_key)? {
            incidents.push(IncidentReport::new(number, device, &audit_key, evidence));
        }
        Ok(incidents)
    }

    /// One of them.
    ///
    /// # Errors
    /// [`FleetError::UnknownIncident`] if the device has none of that number.
    pub fn incident(&self, device: &DeviceId, number: i64) -> Result<IncidentReport, FleetError> {
        let found = self.incidents(device)?.into_iter().find(|incident| incident.number == number);
        found.ok_or_else(|| FleetError::UnknownIncident(device.clone(), number))
    }
}
