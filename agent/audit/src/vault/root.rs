//! The root key: one file of 32 random bytes that every other key is wrapped under, replaced whenever keys are destroyed.
//!
//! ```text
//! <directory>/<vault>.<generation>.root      mode 0600, 32 bytes
//! ```
//!
//! The database names the one that counts, so the two change together: a new file lies ready before the transaction that
//! names it, and the old one is destroyed after. Whatever a kill leaves beside the named one is destroyed at the next
//! start, and only once the named one has proven right.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use outpost_disk::{DiskError, Secret, atomic};

use super::VaultError;
use super::cipher::{self, Derived, KEY_BYTES, Key};
use super::step::{Step, reached};

const SUFFIX: &str = ".root";

/// Letters of the random part that tells the root keys of two logs apart.
const VAULT_DIGITS: usize = 16;

const FINGERPRINT_DIGITS: usize = 32;

/// Which root key: as the database names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RootName {
    vault: String,
    generation: u64,
    /// Tells a wrong file from the right one before anything is unwrapped with it.
    fingerprint: String,
}

impl RootName {
    /// Reads what [`Display`](std::fmt::Display) writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        let (vault, generation, fingerprint) = (parts.next()?, parts.next()?, parts.next()?);
        let name =
            Self { vault: vault.to_owned(), generation: generation.parse().ok()?, fingerprint: fingerprint.to_owned() };
        let is_hex = |text: &str, digits: usize| {
            text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_sound = is_hex(vault, VAULT_DIGITS) && is_hex(fingerprint, FINGERPRINT_DIGITS);
        (is_sound && name.to_string() == text).then_some(name)
    }

    pub(crate) fn path(&self, directory: &Path) -> PathBuf {
        directory.join(format!("{}.{}{SUFFIX}", self.vault, self.generation))
    }
}

impl std::fmt::Display for RootName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {} {}", self.vault, self.generation, self.fingerprint)
    }
}

/// The root key in memory.
pub(crate) struct Root {
    pub(crate) name: RootName,
    directory: PathBuf,
    wrapping: Derived,
}

impl Root {
    /// The first root key of a new vault, durable in its file.
    pub(crate) fn first(directory: &Path) -> Result<Self, VaultError> {
        let mut vault = [0; VAULT_DIGITS / 2];
        cipher::fill_random(&mut vault)?;
        Self::create(directory, hex::encode(vault), 1)
    }

    /// The root key that replaces this one, durable in its file.
    pub(crate) fn next(&self) -> Result<Self, VaultError> {
        Self::create(&self.directory, self.name.vault.clone(), self.name.generation + 1)
    }

    fn create(directory: &Path, vault: String, generation: u64) -> Result<Self, VaultError> {
        let mut bytes = [0; KEY_BYTES];
        cipher::fill_random(&mut bytes)?;
        let secret = Secret::new(bytes);
        let name = RootName { vault, generation, fingerprint: fingerprint(&secret)? };
        let path = name.path(directory);
        secret.write(&path).map_err(|cause| root_file("write", &path, &cause))?;
        Self::of(name, directory, &secret)
    }

    /// Reads the root key of this name, and makes sure that it is the one.
    pub(crate) fn read(directory: &Path, name: RootName) -> Result<Self, VaultError> {
        let path = name.path(directory);
        let secret = match Secret::read(&path) {
            Ok(secret) => secret,
            Err(error) if error.is_not_found() => return Err(VaultError::RootMissing { path }),
            Err(error) => return Err(root_file("read", &path, &error)),
        };
        if secret.expose().len() != KEY_BYTES || fingerprint(&secret)? != name.fingerprint {
            return Err(VaultError::OtherRoot { path });
        }
        Self::of(name, directory, &secret)
    }

    fn of(name: RootName, directory: &Path, secret: &Secret) -> Result<Self, VaultError> {
        let wrapping = cipher::derive(secret.expose(), "wrap")?;
        Ok(Self { name, directory: directory.to_owned(), wrapping })
    }

    /// A subject's key as the database may hold it, bound to its place there.
    pub(crate) fn wrap(&self, place: &str, key: &Key) -> Result<Vec<u8>, VaultError> {
        self.wrapping.lock(place, key.expose())
    }

    /// The key in what [`wrap`](Self::wrap) made; `None` if it was damaged or is of another place.
    pub(crate) fn unwrap(&self, place: &str, wrapped: &[u8]) -> Option<Key> {
        Key::from_bytes(&self.wrapping.unlock(place, wrapped)?)
    }

    fn path(&self) -> PathBuf {
        self.name.path(&self.directory)
    }

    /// Overwrites and removes this root key's file.
    pub(crate) fn destroy(&self) -> Result<(), VaultError> {
        destroy(&self.path())
    }

    /// Destroys what kills left of this vault's other root keys; those of other logs are left alone.
    pub(crate) fn destroy_others(&self) -> Result<(), VaultError> {
        let list = |cause: std::io::Error| root_file("look for leftovers of", &self.directory, &cause);
        for entry in std::fs::read_dir(&self.directory).map_err(list)? {
            let path = entry.map_err(list)?.path();
            let is_ours = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
                name.strip_prefix(&self.name.vault).is_some_and(|rest| rest.starts_with('.') && rest.ends_with(SUFFIX))
            });
            if is_ours && path != self.path() {
                destroy(&path)?;
            }
        }
        Ok(())
    }
}

fn fingerprint(secret: &Secret) -> Result<String, VaultError> {
    cipher::fingerprint(secret.expose(), "name")
}

/// Unlinking alone leaves the bytes where they lie; storage that writes elsewhere when told to overwrite may still do
/// so, which is why this file is small, one, and the only thing that has to go.
fn destroy(path: &Path) -> Result<(), VaultError> {
    let stays =
        |cause: &dyn std::fmt::Display| VaultError::RootStays { path: path.to_owned(), cause: cause.to_string() };
    let mut file = match OpenOptions::new().write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(stays(&error)),
    };
    file.write_all(&[0; KEY_BYTES]).and_then(|()| file.sync_all()).map_err(|error| stays(&error))?;
    drop(file);
    reached(Step::Overwritten);
    atomic::remove(path).map_err(|error: DiskError| stays(&error))
}

fn root_file(act: &'static str, path: &Path, cause: &dyn std::fmt::Display) -> VaultError {
    VaultError::RootFile { act, path: path.to_owned(), cause: cause.to_string() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_root_key_reads_back_by_its_name_and_no_other_file_passes_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let first = Root::first(directory.path()).unwrap();
        let wrapped = first.wrap("here", &Key::from_bytes(&[7; KEY_BYTES]).unwrap()).unwrap();
        let read = Root::read(directory.path(), first.name.clone()).unwrap();
        assert_eq!(read.unwrap("here", &wrapped).unwrap().expose(), [7; KEY_BYTES]);
        assert!(read.unwrap("there", &wrapped).is_none());
        let second = first.next().unwrap();
        std::fs::copy(second.path(), first.path()).unwrap();
        let error = Root::read(directory.path(), first.name.clone()).err().unwrap();
        assert_eq!(error, VaultError::OtherRoot { path: first.path() });
        first.destroy().unwrap();
        first.destroy().unwrap();
        let error = Root::read(directory.path(), first.name.clone()).err().unwrap();
        assert_eq!(error, VaultError::RootMissing { path: first.path() });
    }

    #[test]
    fn leftovers_go_and_the_root_keys_of_other_logs_stay() {
        let directory = tempfile::tempdir().unwrap();
        let (ours, theirs) = (Root::first(directory.path()).unwrap(), Root::first(directory.path()).unwrap());
        let next = ours.next().unwrap();
        next.destroy_others().unwrap();
        assert!(next.path().exists() && theirs.path().exists() && !ours.path().exists());
    }

    proptest! {
        #[test]
        fn names_read_back(generation in any::<u64>(), vault in "[0-9a-f]{16}", fingerprint in "[0-9a-f]{32}") {
            let name = RootName { vault, generation, fingerprint };
            prop_assert_eq!(RootName::parse(&name.to_string()), Some(name));
        }

        #[test]
        fn whatever_parses_is_written_the_same(text in "[0-9a-f ./]{0,70}") {
            if let Some(name) = RootName::parse(&text) {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }

    #[test]
    fn names_that_could_lead_elsewhere_are_refused() {
        let fingerprint = "0".repeat(32);
        for vault in ["../../../etc/pass", "0123456789ABCDEF", "0123456789abcde", ""] {
            assert_eq!(RootName::parse(&format!("{vault} 1 {fingerprint}")), None, "{vault}");
        }
        for generation in ["", "-1", "01", "+1", "x"] {
            assert_eq!(RootName::parse(&format!("0123456789abcdef {generation} {fingerprint}")), None, "{generation}");
        }
        assert_eq!(RootName::parse(&format!("0123456789abcdef 1 {fingerprint} more")), None);
    }
}
