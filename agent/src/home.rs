//! What goes home on a stick from a box without a network, and what the next stick answers.
//!
//! ```text
//! what waits in the outbox ──► letters.json ──► its SHA-256 in a record of the audit log ──► packages of the log, from what
//!        the mirror is known to keep up to that record ──► home.json
//! answers/<device>.dsse ──► signed by the director? ──► what is stored leaves the outbox; the cosigned head goes on record
//! ```

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::slice;

use outpost_audit::cosignature::{Cosigned, CosignerKey};
use outpost_audit::mirror::{MAX_PACKAGE_BYTES, next_package};
use outpost_audit::witness::{self, Divergence};
use outpost_audit::{AuditError, AuditLog, Kind, Record, VerifierKey, consistency};
use outpost_contract::home::{
    EXPORT_ACT, EXPORT_DETAIL, HOME_BYTES, HOME_DIRECTORY, HOME_FILE, LETTERS_FILE, MOST_PACKAGES, package_file,
};
use outpost_contract::{DeviceId, HomeAnswer, HomeIndex, Letters, TenantId};
use outpost_disk::{Clock, DiskError, atomic};
use outpost_sync::{Outbox, SyncError};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::witnessing::{Ended, Standing};

/// Room that is left on the stick beside what is written.
const ROOM_BYTES: u64 = 1024 * 1024;

/// What the way home is gone with.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    pub(crate) tenant: TenantId,
    pub(crate) device: DeviceId,
    pub(crate) outbox: Outbox,
    pub(crate) audit: AuditLog,
    pub(crate) log_key: VerifierKey,
    /// Witness and mirror; none for a device that enrolled where nobody vouches.
    pub(crate) cosigners: Option<[CosignerKey; 2]>,
    pub(crate) standing: watch::Sender<Standing>,
    pub(crate) ended: watch::Sender<Option<Ended>>,
    pub(crate) clock: Clock,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct SentHome {
    /// Messages of the outbox.
    pub(crate) letters: usize,
    /// The first record of the audit log that is on the stick.
    pub(crate) first_record: u64,
    /// Records of the audit log up to which it holds them.
    pub(crate) records: u64,
    /// Whether that is all there are, the last of them that this was written. If not, the stick is full: the rest, and with it
    /// the messages, comes with the next.
    pub(crate) complete: bool,
}

/// What came of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Heard {
    /// Messages that need not be sent again.
    pub(crate) stored: usize,
    /// Records that witness and mirror vouch for now; none if the answer says nothing new of it.
    pub(crate) cosigned: Option<u64>,
}

/// Nothing was sent home, or an answer was not heard.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HomeError {
    /// A file cannot be written.
    #[error("cannot write `{path}`: {source}")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something lies where a directory belongs.
    #[error("`{0}` is no directory of ours; choose another directory, or remove it")]
    InTheWay(PathBuf),
    /// It would not fit.
    #[error("not enough room in `{0}`: {1} bytes are free; use a larger stick")]
    Space(PathBuf, u64),
    /// There is no such record to begin with.
    #[error("the audit log has {size} records; `--from {from}` is none of them")]
    From {
        /// What was asked for.
        from: u64,
        /// What there is.
        size: u64,
    },
    /// The audit log.
    #[error("the audit log: {0}")]
    Audit(#[from] AuditError),
    /// The outbox.
    #[error(transparent)]
    Outbox(#[from] SyncError),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// An answer that does not hold.
    #[error("the answer on the stick is refused: {0}")]
    Answer(String),
    /// The log is not the one that the control plane knows.
    #[error("the audit log must not go on: {0}; restart the agent, which begins a new log and says so in it")]
    Ended(String),
}

impl Home {
    /// Writes everything that the control plane lacks into `directory`, in the place of what this device wrote there before.
    /// Records begin with `from`, or with the first that the mirror is not known to keep. That it leaves is on record before
    /// anything is written. Blocks on both disks.
    ///
    /// # Errors
    /// If it cannot be recorded or written, or would not fit; without its last file it counts as unfinished.
    pub(crate) fn send(&self, directory: &Path, from: Option<u64>) -> Result<SentHome, HomeError> {
        let first = match from {
            Some(from) if from >= self.audit.size() => {
                return Err(HomeError::From { from, size: self.audit.size() });
            }
            Some(from) => from,
            None => self.mirrored()?,
        };
        let letters = Letters {
            v: 1,
            tenant: self.tenant.clone(),
            device: self.device.clone(),
            made_at_s: self.clock.now_s(),
            letters: self.outbox.letters()?,
        };
        let bytes = to_json(LETTERS_FILE, &letters)?;
        let needed = bytes.len() + MAX_PACKAGE_BYTES + HOME_BYTES;
        if free(directory)? < needed as u64 + ROOM_BYTES {
            return Err(HomeError::Space(directory.to_owned(), free(directory)?));
        }
        let target = prepare(directory, &self.device)?;
        let record = Record::new(Kind::AdminAct).act(EXPORT_ACT).detail("first_record", first);
        let record = record.detail(EXPORT_DETAIL, hex::encode(Sha256::digest(&bytes)));
        let record = self.audit.append(record).wait()?;

        let mut stick = Writing { target: &target, free: free(&target)? };
        stick.write(LETTERS_FILE, &bytes)?;
        let (mut next, mut packages) = (first, 0);
        while let Some(cut) = next_package(self.audit.directory(), next)? {
            if packages == MOST_PACKAGES || !stick.has_room(cut.bytes.len()) {
                break;
            }
            stick.write(&package_file(packages), &cut.bytes)?;
            next = cut.package.first + cut.package.records.len() as u64;
            packages += 1;
        }
        stick.settle()?;
        let index = HomeIndex {
            v: 1,
            tenant: self.tenant.clone(),
            device: self.device.clone(),
            origin: self.log_key.name().to_owned(),
            record,
            packages,
        };
        stick.write(HOME_FILE, &to_json(HOME_FILE, &index)?)?;
        stick.settle()?;
        Ok(SentHome { letters: letters.letters.len(), first_record: first, records: next, complete: next > record })
    }

    /// Records that the mirror keeps, by its signature in the log.
    fn mirrored(&self) -> Result<u64, HomeError> {
        let Some([_, mirror]) = &self.cosigners else { return Ok(0) };
        let newest = witness::newest(self.audit.directory(), &self.log_key, mirror)?;
        Ok(newest.map_or(0, |cosigned| cosigned.checkpoint.size))
    }

    /// Takes an answer that the director signed for this device. Blocks on the disk.
    ///
    /// # Errors
    /// If the head in it is not one of this log: if the log itself is to blame, it ends.
    pub(crate) fn hear(&self, answer: &HomeAnswer) -> Result<Heard, HomeError> {
        if (&answer.tenant, &answer.device) != (&self.tenant, &self.device) || answer.v != 1 {
            return Err(HomeError::Answer(format!("it is for `{}` of `{}`", answer.device, answer.tenant)));
        }
        self.outbox.stored(&answer.stored)?;
        let cosigned = answer.cosigned.as_deref().map(|note| self.vouched(note)).transpose()?;
        Ok(Heard { stored: answer.stored.len(), cosigned: cosigned.flatten() })
    }

    /// Puts a cosigned head on record; none if one as large is there already, or it is of a log that ended.
    fn vouched(&self, note: &str) -> Result<Option<u64>, HomeError> {
        let Some([witness, mirror]) = &self.cosigners else { return Ok(None) };
        let cosigners = [witness.clone(), mirror.clone()];
        let Ok(cosigned) = Cosigned::verify(note, slice::from_ref(&self.log_key), &cosigners) else {
            // After a restored image this device's log has another name; what was said of the earlier one says nothing here.
            if note.lines().next().is_some_and(|origin| origin != self.log_key.name()) {
                return Ok(None);
            }
            return Err(HomeError::Answer("its head is not signed by this log, a witness and a mirror".to_owned()));
        };
        let Some(by) = cosigned.cosignatures.first().map(|cosignature| cosignature.witness.clone()) else {
            return Err(HomeError::Answer("nobody cosigned its head".to_owned()));
        };
        let (head, size) = (&cosigned.checkpoint, self.audit.size());
        if head.size > size {
            let why = Divergence::DeviceRolledBack { witness: by, cosigned: head.size, size };
            return Err(self.end(why, note));
        }
        let root = consistency::root_at(self.audit.directory(), head.size);
        match root {
            Ok(root) if root != head.root => {
                return Err(self.end(Divergence::Forked { witness: by, cosigned: head.size }, note));
            }
            Ok(_) => {}
            Err(error) => return Err(HomeError::Answer(format!("its head cannot be compared: {error}"))),
        }
        let is_known = |key: &CosignerKey| -> Result<bool, AuditError> {
            let newest = witness::newest(self.audit.directory(), &self.log_key, key)?;
            Ok(newest.is_some_and(|newest| newest.checkpoint.size >= head.size))
        };
        if is_known(witness)? && is_known(mirror)? {
            return Ok(None);
        }
        let appended = self.audit.append_cosigned(&cosigned).map_err(|error| HomeError::Answer(error.to_string()))?;
        appended.wait()?;
        let signed_by = |key: &CosignerKey| cosigned.time_s(key.name()).is_some();
        self.standing.send_modify(|standing| {
            if signed_by(witness) {
                standing.cosigned = standing.cosigned.max(head.size);
            }
            if signed_by(mirror) {
                standing.mirrored = standing.mirrored.max(head.size);
            }
        });
        Ok(Some(head.size))
    }

    fn end(&self, why: Divergence, note: &str) -> HomeError {
        let told = HomeError::Ended(why.to_string());
        tracing::error!(reason = why.name(), "{why}: the audit log must not go on");
        let last = Some(note.to_owned());
        self.ended.send_replace(Some(Ended { origin: self.log_key.name().to_owned(), why, last }));
        told
    }
}

/// The directory of this device on the stick, emptied: from here on what was there is unfinished.
fn prepare(directory: &Path, device: &DeviceId) -> Result<PathBuf, HomeError> {
    let home = directory.join(HOME_DIRECTORY);
    let target = home.join(device.as_str());
    for path in [&home, &target] {
        fs::create_dir_all(path).map_err(|source| HomeError::Write { path: path.clone(), source })?;
        // A link would have it written somewhere else.
        if !fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
            return Err(HomeError::InTheWay(path.clone()));
        }
    }
    let failed = |source| HomeError::Write { path: target.clone(), source };
    atomic::remove(target.join(HOME_FILE))?;
    for entry in fs::read_dir(&target).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let is_ours = name.to_str().is_some_and(|name| name == LETTERS_FILE || name.starts_with("records-"));
        if !is_ours {
            return Err(HomeError::InTheWay(entry.path()));
        }
        fs::remove_file(entry.path()).map_err(|source| HomeError::Write { path: entry.path(), source })?;
    }
    Ok(target)
}

fn free(directory: &Path) -> Result<u64, HomeError> {
    let failed = |error: rustix::io::Errno| HomeError::Write { path: directory.to_owned(), source: error.into() };
    let answer = rustix::fs::statvfs(directory).map_err(failed)?;
    Ok(answer.f_bavail.saturating_mul(answer.f_frsize))
}

/// Writes files while there is room.
struct Writing<'a> {
    target: &'a Path,
    free: u64,
}

impl Writing<'_> {
    fn has_room(&self, bytes: usize) -> bool {
        self.free >= (bytes as u64).saturating_add(ROOM_BYTES)
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), HomeError> {
        self.free = self.free.saturating_sub(bytes.len() as u64);
        let path = self.target.join(name);
        let made = File::options().write(true).create_new(true).open(&path);
        made.and_then(|mut file| std::io::Write::write_all(&mut file, bytes))
            .map_err(|source| HomeError::Write { path, source })
    }

    /// One pass over the whole file system: an fsync for each of thousands of small files takes a stick minutes.
    fn settle(&self) -> Result<(), HomeError> {
        let failed = |source| HomeError::Write { path: self.target.to_owned(), source };
        let directory = File::open(self.target).map_err(failed)?;
        rustix::fs::syncfs(&directory).map_err(|error| failed(error.into()))
    }
}

fn to_json(path: &str, document: &impl Serialize) -> Result<Vec<u8>, HomeError> {
    serde_json::to_vec(document).map_err(|error| HomeError::Write { path: path.into(), source: error.into() })
}
