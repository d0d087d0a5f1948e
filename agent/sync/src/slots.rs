//! The two slots of a device's identity on the disk: one is in force, the other is where a renewal grows.
//!
//! ```text
//! identity.json   who this device is, the certificate in force, and in which slot its key is
//! device.key      the key of the first slot
//! device-2.key    the key of the second slot
//! renewal.json    the certificate for the key of the other slot, until it is in force
//! ```
//!
//! What is to be done next follows from the files alone, and each step changes one of them: a power cut between any two
//! leaves one working identity, and the renewal goes on where it was.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use outpost_contract::limits::ENROL_BYTES;
use outpost_disk::{Secret, atomic};
use serde::{Deserialize, Serialize};

use crate::identity::Credential;
use crate::{Identity, IdentityError};

const RENEWAL_FILE: &str = "renewal.json";

/// What stands in `renewal.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pending {
    v: u32,
    certificate: String,
}

/// What lies in the slot that is not in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Spare {
    /// Nothing: no renewal is under way.
    Nothing,
    /// A new key, without a certificate.
    Key(Secret),
    /// A new key and its certificate, not in force yet.
    Certified(Credential),
    /// What is left of a renewal: the old key, or a certificate that belongs to nothing here.
    Left,
}

/// The directory of an identity.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    dir: PathBuf,
}

impl Slots {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// What lies in the other slot than `identity`'s.
    pub(crate) fn spare(&self, identity: &Identity) -> Result<Spare, IdentityError> {
        let in_force = identity.credential();
        let slot = in_force.slot.other();
        let key = match Secret::read(self.dir.join(slot.key_file())) {
            Ok(key) => Some(key),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        let Some(certificate) = self.pending()? else { return Ok(key.map_or(Spare::Nothing, Spare::Key)) };
        let Some(key) = key.filter(|_| certificate != in_force.certificate) else { return Ok(Spare::Left) };
        Ok(Credential::new(slot, identity.device(), certificate, key).map_or(Spare::Left, Spare::Certified))
    }

    /// Step 1: a new key, beside the one in force.
    pub(crate) fn keep_key(&self, identity: &Identity, key: &Secret) -> Result<(), IdentityError> {
        Ok(key.write(self.dir.join(identity.credential().slot.other().key_file()))?)
    }

    /// Step 2: its certificate, beside the one in force.
    pub(crate) fn keep_certificate(
        &self,
        identity: &Identity,
        key: Secret,
        certificate: String,
    ) -> Result<(), IdentityError> {
        let slot = identity.credential().slot.other();
        let credential = Credential::new(slot, identity.device(), certificate, key)?;
        let text = serde_json::to_vec(&Pending { v: 1, certificate: credential.certificate });
        let text = text.map_err(|error| IdentityError::Invalid(error.to_string()))?;
        Ok(atomic::write_private(self.dir.join(RENEWAL_FILE), text)?)
    }

    /// Step 3: both are in force, on the disk and for every connection from now on.
    pub(crate) fn swap(&self, identity: &Identity, credential: Credential) -> Result<(), IdentityError> {
        identity.swap(&self.dir, credential)
    }

    /// Steps 4 and 5: the old key goes, then the mark that a renewal was under way. True when nothing is left.
    pub(crate) fn tidy(&self, identity: &Identity) -> Result<bool, IdentityError> {
        let old = self.dir.join(identity.credential().slot.other().key_file());
        let was_there = old.exists();
        if was_there {
            atomic::remove(old)?;
        } else {
            atomic::remove(self.dir.join(RENEWAL_FILE))?;
        }
        Ok(!was_there)
    }

    /// The certificate of the other slot is of no use: it is asked for again, for the same key.
    pub(crate) fn discard_certificate(&self) -> Result<(), IdentityError> {
        Ok(atomic::remove(self.dir.join(RENEWAL_FILE))?)
    }

    /// The certificate in `renewal.json`; an empty text for one that cannot be read, which fits no key.
    fn pending(&self) -> Result<Option<String>, IdentityError> {
        let path = self.dir.join(RENEWAL_FILE);
        let file = match std::fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(&path, &error)),
        };
        let mut text = Vec::new();
        let read = file.take(ENROL_BYTES as u64).read_to_end(&mut text);
        read.map_err(|error| unreadable(&path, &error))?;
        let pending = serde_json::from_slice::<Pending>(&text).ok().filter(|pending| pending.v == 1);
        Ok(Some(pending.map(|pending| pending.certificate).unwrap_or_default()))
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> IdentityError {
    IdentityError::Invalid(format!("cannot read `{}`: {error}", path.display()))
}
