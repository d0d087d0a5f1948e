//! What sticks bring home from boxes without a network: the same records and messages as over one, through the same doors.
//!
//! ```text
//! home.json ──► packages ──► mirror ──► witness ──► is the letters' SHA-256 in the record of the log that names it?
//!        ──► letters, as if heard over MQTT ──► what is stored, and the cosigned head, go onto the next stick
//! ```

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use outpost_audit::mirror::{MAX_PACKAGE_BYTES, Package, Receipt};
use outpost_audit::witness::split_origin;
use outpost_audit::{Kind, Leaf};
use outpost_contract::home::{
    EXPORT_ACT, EXPORT_DETAIL, HOME_BYTES, HOME_DIRECTORY, HOME_FILE, LETTERS_BYTES, LETTERS_FILE, package_file,
};
use outpost_contract::topic::{Leaf as TopicLeaf, Topic};
use outpost_contract::{DeviceId, HomeAnswer, HomeIndex, InvalidHome, LetterClass, LetterId, Letters, TenantId};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::stick::read;
use crate::db::Homecoming;
use crate::fleet::{Fleet, FleetError};
use crate::ingest::take_letters;
use crate::people::Act;

/// What one device's part of a stick brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BroughtHome {
    /// Whose.
    pub device: DeviceId,
    /// Records of its audit log that are mirrored now.
    pub mirrored: u64,
    /// Messages on the stick.
    pub letters: usize,
    /// Those of them that are stored.
    pub stored: usize,
    /// When the newest stick of the device was written, by its clock, if that was another one and came before.
    pub newer_made_at_s: Option<i64>,
}

/// A device's part of a stick is not taken in, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Nothing of any device is there.
    #[error("`{0}` holds nothing from any box; run `outpost bundle export` on the box, and wait until it is done")]
    Nothing(PathBuf),
    /// A file is no such file.
    #[error(transparent)]
    Invalid(#[from] InvalidHome),
    /// A package cannot be read.
    #[error("`{0}`: {1}; export it on the box again")]
    Package(String, String),
    /// Records between what is mirrored and the stick are missing.
    #[error(
        "its audit log is mirrored up to record {next}, and the stick begins with {first}: run \
         `outpost bundle export --from {next}` on the box"
    )]
    Gap {
        /// The record that comes next here.
        next: u64,
        /// The first on the stick.
        first: u64,
    },
    /// The mirror refuses.
    #[error("its audit log is refused: {0}")]
    Refused(String),
    /// The letters are not those of which the log holds the digest.
    #[error("`{LETTERS_FILE}` is not what record {0} of its audit log says was exported; export it on the box again")]
    NotExported(u64),
    /// It is not a member.
    #[error("it is not enrolled, or was revoked: nothing of it is taken in")]
    Stranger,
    /// The fleet.
    #[error(transparent)]
    Fleet(#[from] Box<FleetError>),
}

impl From<FleetError> for HomeError {
    fn from(error: FleetError) -> Self {
        Self::Fleet(Box::new(error))
    }
}

impl Fleet {
    /// Takes in what the devices sent home in `directory`: for each that has finished its part, what was brought or why it is
    /// not taken. Again, in any order, and of an older stick it does no harm: what is known counts once. That `user`, an account of
    /// this machine, does it is on record before anything is read.
    ///
    /// # Errors
    /// [`HomeError::Nothing`] if no device has anything there, or if it cannot be read; if it cannot be recorded.
    #[allow(clippy::type_complexity, reason = "one outcome for each device")]
    pub fn import_home(
        &self,
        user: &str,
        directory: &Path,
    ) -> Result<Vec<(DeviceId, Result<BroughtHome, HomeError>)>, HomeError> {
        self.record_local(user, Act::Assign.name(), &format!("bundle import {}", directory.display()))?;
        let home = directory.join(HOME_DIRECTORY);
        let nothing = || HomeError::Nothing(directory.to_owned());
        let entries = std::fs::read_dir(&home).map_err(|_| nothing())?;
        let mut devices: Vec<DeviceId> = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|_| nothing())?;
            let is_directory = entry.file_type().is_ok_and(|found| found.is_dir());
            let name = entry.file_name().to_str().and_then(|name| name.parse().ok());
            devices.extend(name.filter(|_| is_directory && entry.path().join(HOME_FILE).exists()));
        }
        if devices.is_empty() {
            return Err(nothing());
        }
        devices.sort_unstable();
        let outcomes = devices.into_iter().map(|device| {
            let outcome = self.import_from(&home.join(device.as_str()), &device);
            (device, outcome)
        });
        let outcomes = outcomes.collect();
        self.tell_news();
        Ok(outcomes)
    }

    fn import_from(&self, part: &Path, device: &DeviceId) -> Result<BroughtHome, HomeError> {
        let audit_key = self.inner.database.audit_key(device).map_err(FleetError::from)?.ok_or(HomeError::Stranger)?;
        let tenant = &self.inner.config.tenant;
        let index = HomeIndex::parse(&load(part, HOME_FILE, HOME_BYTES)?, tenant, device)?;
        let (mut mirrored, mut end) = (0, 0);
        for number in 0..index.packages {
            let name = package_file(number);
            let package = Package::parse(&load(part, &name, MAX_PACKAGE_BYTES)?);
            let package = package.map_err(|error| HomeError::Package(name.clone(), error.to_string()))?;
            if package.origin != index.origin {
                return Err(HomeError::Package(name, "it is of another log".to_owned()));
            }
            let first = package.first;
            end = first + package.records.len() as u64;
            match self.inner.audit.mirror_from_stick(device, &audit_key, package, self.now_s())? {
                Receipt::Kept { next, .. } | Receipt::Waiting { next } => mirrored = next,
                Receipt::Elsewhere { next } => return Err(HomeError::Gap { next, first }),
                Receipt::Refused { cause, .. } => return Err(HomeError::Refused(cause)),
            }
        }
        self.inner.audit.vouch_for_mirror(device, &audit_key, &index.origin, self.now_s())?;

        let bytes = load(part, LETTERS_FILE, LETTERS_BYTES)?;
        let record = self.inner.audit.mirrored_record(device, &audit_key, &index.origin, index.record)?;
        // A stick that was too small for all records brings its letters again.
        if record.is_none() && end <= index.record {
            let none = Letters { letters: Vec::new(), ..Letters::parse(&bytes, tenant, device)? };
            let (_, newer_made_at_s) = self.keep_letters(device, tenant, &index, &none, true)?;
            return Ok(BroughtHome { device: device.clone(), mirrored, letters: 0, stored: 0, newer_made_at_s });
        }
        if !record.is_some_and(|record| names(&record, &bytes)) {
            return Err(HomeError::NotExported(index.record));
        }
        let letters = Letters::parse(&bytes, tenant, device)?;
        // Records beyond the stick's came over the network, and with them a newer report.
        let (stored, newer_made_at_s) = self.keep_letters(device, tenant, &index, &letters, mirrored > end)?;
        Ok(BroughtHome { device: device.clone(), mirrored, letters: letters.letters.len(), stored, newer_made_at_s })
    }

    /// Takes letters in as if they had been heard over MQTT. A reported state that is older than what is known is none. How many
    /// are stored, and when the newest stick was written, if this one is older.
    fn keep_letters(
        &self,
        device: &DeviceId,
        tenant: &TenantId,
        index: &HomeIndex,
        letters: &Letters,
        is_known_newer: bool,
    ) -> Result<(usize, Option<i64>), HomeError> {
        let database = &self.inner.database;
        let before = database.homecoming(device).map_err(FleetError::from)?;
        // A device's logs follow each other by number, and the records of each by theirs.
        let age = |origin: &str, record: u64| (split_origin(origin).map_or(0, |(_, number)| number), record);
        let this = age(&index.origin, index.record);
        let newest_log = self.inner.audit.newest_number(device, &index.origin)?;
        let newer = before.filter(|before| age(&before.origin, before.record) > this);
        let is_older = newest_log > this.0 || newer.is_some();
        let mut messages = Vec::new();
        for letter in &letters.letters {
            if letter.id.class == LetterClass::Reported && (is_older || is_known_newer) {
                continue;
            }
            let leaf = TopicLeaf::Up(letter.id.class.topic());
            let topic = Topic { tenant: tenant.clone(), device: device.clone(), leaf };
            messages.push((topic.to_string(), Bytes::from(letter.document.clone())));
        }
        let stored: Vec<LetterId> = database.together(|| {
            let mut stored: BTreeSet<LetterId> = take_letters(self, messages)?.into_iter().collect();
            for letter in letters.letters.iter().filter(|letter| letter.id.class == LetterClass::Reported) {
                if database.reported_sequence(device, &letter.id.boot)? >= letter.id.sequence {
                    stored.insert(letter.id.clone());
                }
            }
            // Only what lay on the stick is answered for.
            let on_stick: BTreeSet<&LetterId> = letters.letters.iter().map(|letter| &letter.id).collect();
            let stored: Vec<LetterId> = stored.into_iter().filter(|id| on_stick.contains(id)).collect();
            if !is_older {
                let homecoming = Homecoming {
                    origin: index.origin.clone(),
                    record: index.record,
                    made_at_s: letters.made_at_s,
                    imported_s: self.now_s(),
                    stored: stored.clone(),
                };
                database.keep_homecoming(device, &homecoming)?;
            }
            Ok::<_, FleetError>(stored)
        })?;
        tracing::info!(%device, letters = letters.letters.len(), stored = stored.len(), "a stick came home");
        Ok((stored.len(), newer.map(|newer| newer.made_at_s)))
    }

    /// What the next stick tells a device of what it sent home, signed; none if it sent nothing yet.
    pub(super) fn answer_home(&self, device: &DeviceId) -> Result<Option<Vec<u8>>, FleetError> {
        let (database, tenant) = (&self.inner.database, &self.inner.config.tenant);
        let (Some(homecoming), Some(audit_key)) = (database.homecoming(device)?, database.audit_key(device)?) else {
            return Ok(None);
        };
        let cosigned = self.inner.audit.vouch_for_mirror(device, &audit_key, &homecoming.origin, self.now_s())?;
        let answer = HomeAnswer {
            v: 1,
            tenant: tenant.clone(),
            device: device.clone(),
            issued_at_s: self.now_s(),
            stored: homecoming.stored,
            cosigned,
        };
        Ok(Some(outpost_trust::answer::sign(&answer, &self.inner.keys.directors())?.to_bytes()))
    }
}

/// Whether a record says that letters with this digest were exported.
fn names(record: &[u8], letters: &[u8]) -> bool {
    let Ok(leaf) = Leaf::parse(record) else { return false };
    leaf.kind() == Some(Kind::AdminAct.name())
        && leaf.text("act") == Some(EXPORT_ACT)
        && leaf.text(&format!("detail.{EXPORT_DETAIL}")) == Some(hex::encode(Sha256::digest(letters)).as_str())
}

fn load(part: &Path, name: &str, most: usize) -> Result<Vec<u8>, FleetError> {
    Ok(read(&part.join(name), most as u64)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::config::Config;

    #[test]
    fn a_stick_is_taken_in_on_record_or_not_at_all() {
        let [state, stick] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let fleet = Fleet::init(Config::new(state.path()), Clock::fixed(1_800_000_000)).unwrap().fleet;
        let part = stick.path().join(HOME_DIRECTORY).join("till-7");
        std::fs::create_dir_all(&part).unwrap();
        crate::files::write(&part.join(HOME_FILE), b"{}").unwrap();

        let in_the_way = state.path().join("audit/self");
        std::fs::create_dir_all(in_the_way.parent().unwrap()).unwrap();
        std::fs::File::create(&in_the_way).unwrap();
        assert!(matches!(fleet.import_home("ada", stick.path()), Err(HomeError::Fleet(_))));
        std::fs::remove_file(&in_the_way).unwrap();

        let outcomes = fleet.import_home("ada", stick.path()).unwrap();
        assert!(matches!(outcomes[..], [(_, Err(HomeError::Stranger))]), "{outcomes:?}");
        let records = fleet.own_records(10).unwrap();
        let leaf = &records.iter().find(|record| record.leaf["act"] == "assign").expect("it is on record").leaf;
        let subject = format!("bundle import {}", stick.path().display());
        assert_eq!((&leaf["detail"]["by"], &leaf["obj"]["model"]), (&"local:ada".into(), &subject.into()));
    }
}
