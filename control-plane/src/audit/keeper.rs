//! The witness and the mirrors of all devices' logs: what is kept, and what is cosigned of it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};

use outpost_audit::consistency::{self, TreeHead};
use outpost_audit::cosignature::WitnessKey;
use outpost_audit::mirror::{self, Mirror, Package, Receipt, Taken};
use outpost_audit::reader::{self, Filter};
use outpost_audit::witness::{
    AddCheckpoint, DatabaseState, Evidence, Outcome, Suspicion, Witness, WitnessState, Witnessed, log_of, split_origin,
};
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
        match Package::parse(body) {
            Ok(package) => self.take(device, audit_key, &package, now_s),
            Err(cause) => Ok(Receipt::Refused { status: 400, cause: cause.to_string() }),
        }
    }

    /// As [`mirror`](Self::mirror), for a package that was read.
    fn take(&self, device: &DeviceId, audit_key: &str, package: &Package, now_s: i64) -> Result<Receipt, FleetError> {
        let refused = |status, cause: String| Ok(Receipt::Refused { status, cause });
        let Some(key) = key_of(audit_key, &package.origin) else {
            return refused(404, format!("`{}` is no log of this device", package.origin));
        };
        let directory = self.directory_of(device, &key)?;
        let mut mirror = Mirror::open(&directory, &key)?;
        let before = mirror.size()?;
        Ok(match mirror.take(package)? {
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

    /// As [`mirror`](Self::mirror), for a package that lay on a stick: others may have brought its first records since. If its
    /// records do not lead to its head, the head goes to the witness, who knows what to make of it.
    pub(crate) fn mirror_from_stick(
        &self,
        device: &DeviceId,
        audit_key: &str,
        mut package: Package,
        now_s: i64,
    ) -> Result<Receipt, FleetError> {
        let receipt = self.take(device, audit_key, &package, now_s)?;
        let receipt = match receipt {
            Receipt::Elsewhere { next } if package.first < next => {
                let known = usize::try_from(next - package.first).unwrap_or(usize::MAX);
                if known >= package.records.len() {
                    return self.compare_known(device, audit_key, &package, next, now_s);
                }
                package.records.drain(..known);
                package.first = next;
                self.take(device, audit_key, &package, now_s)?
            }
            receipt => receipt,
        };
        if let (Receipt::Refused { .. }, Some(note)) = (&receipt, &package.head) {
            let held = self.witness.state().latest(&package.origin)?.map_or(0, |held| held.head.size);
            let offer = AddCheckpoint { old: held, proof: Vec::new(), checkpoint: note.clone() };
            self.witness(audit_key, offer.to_body().as_bytes(), now_s)?;
        }
        Ok(receipt)
    }

    /// A package that holds nothing new: its head, if it has one, must be one that the mirror went through.
    fn compare_known(
        &self,
        device: &DeviceId,
        audit_key: &str,
        package: &Package,
        next: u64,
        now_s: i64,
    ) -> Result<Receipt, FleetError> {
        let key = key_of(audit_key, &package.origin);
        let (Some(key), Some(note)) = (key, &package.head) else { return Ok(Receipt::Waiting { next }) };
        let directory = self.directory_of(device, &key)?;
        let refused = |cause: String| Ok(Receipt::Refused { status: 422, cause });
        let head = match Checkpoint::verify(note, &key) {
            Ok(head) => head,
            Err(cause) => return refused(format!("the head: {cause}")),
        };
        let Some((held, held_note)) = newest(&directory)? else { return Ok(Receipt::Waiting { next }) };
        if head.size > held.size || consistency::root_at(&directory, head.size)? == head.root {
            return Ok(Receipt::Waiting { next });
        }
        self.witness.state().keep_evidence(&Evidence {
            origin: head.origin,
            suspicion: if held.size == head.size { Suspicion::Fork } else { Suspicion::Unproven },
            held: held_note,
            offered: note.clone(),
            proof: Vec::new(),
            found_s: u64::try_from(now_s).unwrap_or(0),
        })?;
        refused(format!("another log of the same name was mirrored up to record {next}"))
    }

    /// Has the newest head of a mirror cosigned by the witness as well, and gives that head with the lines of both; none if
    /// nothing is mirrored. The mirror itself proves that the log continues what was cosigned before.
    pub(crate) fn vouch_for_mirror(
        &self,
        device: &DeviceId,
        audit_key: &str,
        origin: &str,
        now_s: i64,
    ) -> Result<Option<String>, FleetError> {
        let Some(key) = key_of(audit_key, origin) else { return Ok(None) };
        let directory = self.directory_of(device, &key)?;
        let Some((head, note)) = newest(&directory)? else { return Ok(None) };
        let held = self.witness.state().latest(origin)?.map_or(0, |held| held.head.size);
        if held < head.size {
            let proof = consistency::prove(&directory, held, head.size)?;
            let offer = AddCheckpoint { old: held, proof, checkpoint: note };
            let outcome = self.witness(audit_key, offer.to_body().as_bytes(), now_s)?;
            if !matches!(outcome, Outcome::Cosigned(_)) {
                tracing::warn!(%device, %outcome, "the witness does not cosign what is mirrored");
            }
        }
        let Some(held) = self.witness.state().latest(origin)?.filter(|held| held.head.size <= head.size) else {
            return Ok(None);
        };
        // The mirror answers for what it holds, and for nothing else.
        if consistency::root_at(&directory, held.head.size)? != held.head.root {
            return Ok(None);
        }
        let text = held.note.split_once("\n\n").map(|(text, _)| format!("{text}\n"));
        let line = text.map(|text| self.mirror_key.cosign(&text, self.time_s(now_s)));
        Ok(line.map(|line| held.note + &line))
    }

    /// Where the mirror of this log stands, and a record of it.
    pub(crate) fn mirrored_record(
        &self,
        device: &DeviceId,
        audit_key: &str,
        origin: &str,
        record: u64,
    ) -> Result<Option<Vec<u8>>, FleetError> {
        let Some(key) = key_of(audit_key, origin) else { return Ok(None) };
        let directory = self.directory_of(device, &key)?;
        if !directory.is_dir() {
            return Ok(None);
        }
        let filter = Filter { from: Some(record), until: record.checked_add(1), ..Filter::default() };
        Ok(reader::list(&directory, &filter)?.pop().map(|entry| entry.bytes))
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

    /// Where the mirror of a log lies: by the device, and by a number. It is the log's own ([`key_of`]), but for a box that began anew
    /// under the name of another one: its logs are numbered from 1 again, and the mirrors go on behind those that are there.
    fn directory_of(&self, device: &DeviceId, key: &VerifierKey) -> Result<PathBuf, FleetError> {
        let own = split_origin(key.name()).map_or(0, |(_, number)| number);
        let place = |number: u64| self.directory.join(device.as_str()).join(number.to_string());
        if !Mirror::is_of_another(&place(own), key)? {
            return Ok(place(own));
        }
        let mirrors = self.mirrors(device)?;
        for (number, directory) in mirrors.iter().filter(|(number, _)| *number != own) {
            if !Mirror::is_of_another(directory, key)? {
                return Ok(place(*number));
            }
        }
        Ok(place(mirrors.last().map_or(own, |(number, _)| number.saturating_add(1))))
    }

    /// The number of the newest log that is mirrored of the line that this one is of; 0 if there is none.
    pub(crate) fn newest_number(&self, device: &DeviceId, origin: &str) -> Result<u64, FleetError> {
        let Some((line, _)) = split_origin(origin) else { return Ok(0) };
        let mut newest = 0;
        for (_, directory) in self.mirrors(device)? {
            let Some(head) = mirror::head(&directory)? else { continue };
            newest =
                newest.max(split_origin(&head.origin).filter(|(of, _)| *of == line).map_or(0, |(_, number)| number));
        }
        Ok(newest)
    }

    /// The mirrors of a device in the order of their logs: a number for each, and where it lies.
    pub(crate) fn mirrors(&self, device: &DeviceId) -> Result<Vec<(u64, PathBuf)>, FleetError> {
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

    /// What is held against all logs, after a number; each with its number.
    pub(crate) fn evidence_after(&self, number: i64, most: u32) -> Result<Vec<(i64, Evidence)>, FleetError> {
        Ok(self.witness.state().evidence_after(number, most)?)
    }

    /// How many incidents there were.
    pub(crate) fn incident_count(&self) -> Result<u64, FleetError> {
        Ok(self.witness.state().evidence_count()?)
    }

    /// What is held against the logs of a device that enrolled with this key, each with its number.
    pub(crate) fn evidence_of(&self, audit_key: &str) -> Result<Vec<(i64, Evidence)>, FleetError> {
        let Ok(key) = audit_key.parse::<VerifierKey>() else { return Ok(Vec::new()) };
        let Some((stem, _)) = split_origin(key.name()) else { return Ok(Vec::new()) };
        Ok(self.witness.state().evidence_under(&format!("{stem}/"))?)
    }

    fn time_s(&self, now_s: i64) -> u64 {
        let before = self.floor_s.fetch_max(now_s, Ordering::Relaxed);
        u64::try_from(before.max(now_s)).unwrap_or(0)
    }
}

/// The newest head that a mirror holds, and its note; none if there is no mirror, or all of its records wait for their head.
fn newest(directory: &Path) -> Result<Option<(Checkpoint, String)>, FleetError> {
    if directory.is_dir() { Ok(mirror::newest(directory)?) } else { Ok(None) }
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
