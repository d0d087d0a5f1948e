//! A build comes into its slot: room first, then its bytes, then its proof, and only then is it chosen.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use outpost_contract::build::{HEADER_BYTES, check_program};
use outpost_contract::limits::BUILD_BYTES;
use outpost_contract::{Blake3, Sha256, Triple};
use outpost_disk::{Ledger, atomic, space};
use sha2::Digest;

use crate::Refused;
use crate::build::{Build, Candidate, OWN_TARGET, Slot, is_newer};
use crate::builds::Builds;
use crate::format::StateFormat;
use crate::record::{Before, Record, Trial};
use crate::self_check::{self, SelfCheck};

#[cfg(test)]
mod tests;

/// Read and written at once.
const BLOCK_BYTES: usize = 256 * 1024;

/// A build that is tried at the next start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// It.
    pub build: Build,
    /// Where it lies.
    pub slot: Slot,
}

impl Builds {
    /// Takes a build in and chooses it for the next start, on trial. When this returns, that survives a power cut; when it
    /// fails, or a power cut comes before, what ran goes on to run at every start.
    ///
    /// # Errors
    /// With the reason, if it is not what was said of it, not for this box, does not prove itself, or there is no room.
    pub fn stage(&self, candidate: &Candidate, before: Before, reader: impl Read) -> Result<Staged, Refused> {
        let _turn = self.turn();
        self.foresee(candidate, &self.record()?)?;
        let directory = self.directory();
        let make = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory);
        make.map_err(|source| Refused::Write { path: directory.clone(), source })?;
        atomic::sweep(&directory)?;
        let (mut ledger, mut record) = Record::open(&directory)?;
        let slot = record.spare();
        self.make_room(&mut ledger, &mut record, slot, candidate.bytes)?;
        // The name is one that `sweep` takes.
        let beside = directory.join(format!(".{}.tmp", slot.name()));
        let staged = self.prove(candidate, reader, &beside).and_then(|build| {
            // Not known by its name while it is exchanged.
            if record.build(slot).is_some() {
                record.set(slot, None);
                ledger.commit(&record)?;
            }
            atomic::rename(&beside, directory.join(slot.name()))?;
            record.set(slot, Some(build.clone()));
            record.trial = Some(Trial {
                slot,
                attempts: 0,
                seconds: self.trial_seconds,
                before,
                last_words: None,
                lacked_link: false,
            });
            ledger.commit(&record)?;
            Ok(Staged { build, slot })
        });
        if staged.is_err() {
            // Best effort: the reason that matters is the one being returned, and the next start sweeps what stays.
            std::fs::remove_file(&beside).ok();
        }
        staged
    }

    /// What can be said before a byte of it was read.
    fn foresee(&self, candidate: &Candidate, record: &Record) -> Result<(), Refused> {
        if let Some((_, build)) = record.tried() {
            return Err(Refused::Busy { version: build.version.clone() });
        }
        if let Some(target) = candidate.target.as_deref().filter(|target| *target != OWN_TARGET) {
            return Err(Refused::WrongTarget { target: target.to_owned(), own: OWN_TARGET.to_owned() });
        }
        let confirmed = record.confirmed.and_then(|slot| record.build(slot));
        if let Some(build) = confirmed.filter(|build| build.sha256 == candidate.sha256) {
            return Err(Refused::AlreadyHere { version: build.version.clone() });
        }
        if let Some(one) = record.barred(candidate.sha256) {
            return Err(Refused::RolledBack { version: one.version.clone(), reason: one.reason.clone() });
        }
        if let Some(version) = &candidate.version {
            self.is_preferred(version)?;
        }
        if candidate.bytes > BUILD_BYTES {
            return Err(Refused::TooLarge { bytes: candidate.bytes, most: BUILD_BYTES });
        }
        Ok(())
    }

    /// The launcher passes over what is no newer than itself.
    fn is_preferred(&self, version: &str) -> Result<(), Refused> {
        if semver::Version::parse(version).is_err() {
            return Err(Refused::NoVersion { version: version.to_owned() });
        }
        if !is_newer(version, &self.packaged) {
            return Err(Refused::NotNewer { version: version.to_owned(), packaged: self.packaged.clone() });
        }
        Ok(())
    }

    /// Makes sure of the room for a build; if there is none otherwise, the slot's last build goes first.
    fn make_room(
        &self,
        ledger: &mut Ledger<Record>,
        record: &mut Record,
        slot: Slot,
        bytes: u64,
    ) -> Result<(), Refused> {
        let (directory, kept) = (self.directory(), self.kept_bytes);
        let needed = bytes.saturating_add(kept);
        if space::free_bytes(&directory)? >= needed {
            return Ok(());
        }
        if record.build(slot).is_some() {
            record.set(slot, None);
            ledger.commit(record)?;
        }
        atomic::remove(directory.join(slot.name()))?;
        let free = space::free_bytes(&directory)?;
        if free < needed { Err(Refused::NoRoom { needed, kept, free }) } else { Ok(()) }
    }

    /// Writes a build beside its slot and lets it prove itself there.
    fn prove(&self, candidate: &Candidate, reader: impl Read, beside: &Path) -> Result<Build, Refused> {
        let blake3 = copy(candidate, reader, beside, self.kept_bytes)?;
        let said = self_check::ask(beside, self.patience)?;
        self.hold_to(candidate, &said)?;
        let SelfCheck { version, target, .. } = said;
        Ok(Build { version, target, sha256: candidate.sha256, bytes: candidate.bytes, blake3 })
    }

    /// What it says against what was said of it, and what is here.
    fn hold_to(&self, candidate: &Candidate, said: &SelfCheck) -> Result<(), Refused> {
        if let Some(expected) = candidate.version.as_ref().filter(|expected| **expected != said.version) {
            return Err(Refused::WrongVersion { expected: expected.clone(), found: said.version.clone() });
        }
        if said.target != OWN_TARGET {
            return Err(Refused::WrongTarget { target: said.target.clone(), own: OWN_TARGET.to_owned() });
        }
        self.is_preferred(&said.version)?;
        let found =
            StateFormat::of(&self.state).map_err(|error| Refused::SelfCheck { because: error.to_string() })?.number;
        if said.state_format < found {
            return Err(Refused::OlderState { reads: said.state_format, found });
        }
        Ok(())
    }
}

/// Copies a build, holding it to its length, its digest and this box's processor on the way; durable when it returns.
fn copy(candidate: &Candidate, mut reader: impl Read, to: &Path, kept_bytes: u64) -> Result<Blake3, Refused> {
    let cannot = |source: io::Error| written(to, candidate.bytes, kept_bytes, source);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o700).open(to).map_err(cannot)?;
    let (mut sha256, mut blake3) = (sha2::Sha256::new(), blake3::Hasher::new());
    let (mut block, mut header, mut found) = (vec![0; BLOCK_BYTES], Vec::new(), 0_u64);
    loop {
        let read = match reader.read(&mut block) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(Refused::Read { source }),
        };
        let bytes = &block[..read];
        if header.len() < HEADER_BYTES {
            header.extend_from_slice(&bytes[..read.min(HEADER_BYTES - header.len())]);
            if header.len() == HEADER_BYTES {
                check_header(&header)?;
            }
        }
        found = found.saturating_add(read as u64);
        if found > candidate.bytes {
            return Err(Refused::WrongLength { expected: candidate.bytes, found });
        }
        sha256.update(bytes);
        blake3.update(bytes);
        file.write_all(bytes).map_err(cannot)?;
    }
    if found != candidate.bytes {
        return Err(Refused::WrongLength { expected: candidate.bytes, found });
    }
    let found = Sha256(sha256.finalize().into());
    if found != candidate.sha256 {
        return Err(Refused::WrongDigest { expected: candidate.sha256, found });
    }
    if header.len() < HEADER_BYTES {
        check_header(&header)?;
    }
    file.sync_all().map_err(cannot)?;
    Ok(Blake3(*blake3.finalize().as_bytes()))
}

/// Holds the first bytes of a program to the machines that this one was built for.
fn check_header(header: &[u8]) -> Result<(), Refused> {
    let own: Triple = OWN_TARGET.parse().map_err(|error| Refused::SelfCheck { because: format!("{error}") })?;
    Ok(check_program(header, &own)?)
}

/// The disk was filled by somebody else meanwhile, or refused.
fn written(path: &Path, bytes: u64, kept: u64, source: io::Error) -> Refused {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            let free = space::free_bytes(path).unwrap_or(0);
            Refused::NoRoom { needed: bytes.saturating_add(kept), kept, free }
        }
        _ => Refused::Write { path: path.to_owned(), source },
    }
}
