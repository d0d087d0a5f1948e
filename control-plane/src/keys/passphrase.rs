//! Passphrases on offline keys: PKCS#8 encrypted by PBES2 (PBKDF2-HMAC-SHA256, AES-256-CBC), which OpenSSL reads too.

use std::fmt;
use std::path::Path;

use outpost_trust::SigningKey;
use pkcs8::der::pem::LineEnding;
use pkcs8::pkcs5::pbes2::Parameters;
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef, SecretDocument};
use zeroize::Zeroizing;

use super::{KeysError, MOST_BYTES};
use crate::files;

const LABEL: &str = "ENCRYPTED PRIVATE KEY";

/// Rounds of PBKDF2: what OWASP asks for with SHA-256. scrypt would cost a thief more, but OpenSSL reads it with small
/// parameters only, and a holder must be able to read a key without this program.
const ROUNDS: u32 = 600_000;

/// A file that asks for more rounds would keep its reader busy for ever.
const MOST_ROUNDS: u32 = 10_000_000;

/// Fewest characters: with fewer, the rounds do not help.
const FEWEST: usize = 12;

/// Longest passphrase, bytes.
const MOST: usize = 1024;

/// What opens a locked key. It does not show itself, and is wiped from memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Passphrase(Zeroizing<String>);

/// A passphrase that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PassphraseError {
    /// It has too few characters to lock a key.
    #[error("a passphrase has at least {FEWEST} characters; four words that nobody says together are easy to keep")]
    Short,
    /// It is longer than any passphrase, or has several lines.
    #[error("a passphrase is one line of at most {MOST} bytes")]
    Form,
}

/// Asks whoever is there for the passphrase of a file.
type Ask<'a> = Box<dyn FnMut(&Path) -> std::io::Result<Passphrase> + 'a>;

/// The passphrases at hand, and how to come by more.
#[derive(Default)]
pub struct Passphrases<'a> {
    known: Vec<Passphrase>,
    ask: Option<Ask<'a>>,
}

impl Passphrase {
    /// One line, as typed or read from a file; the line's end does not count.
    ///
    /// # Errors
    /// [`PassphraseError::Form`].
    pub fn new(line: Zeroizing<String>) -> Result<Self, PassphraseError> {
        let text = line.trim_end_matches(['\r', '\n']);
        if text.is_empty() || text.len() > MOST || text.chars().any(char::is_control) {
            return Err(PassphraseError::Form);
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// Reads the passphrase that a file holds.
    ///
    /// # Errors
    /// If it holds none.
    pub fn read(path: &Path) -> Result<Self, KeysError> {
        let text = Zeroizing::new(files::read_text(path, MOST as u64 + 2)?);
        Self::new(text).map_err(|source| KeysError::Passphrase { path: path.to_owned(), source })
    }

    /// Whether it is long enough to lock a key.
    ///
    /// # Errors
    /// [`PassphraseError::Short`].
    pub fn check_length(&self) -> Result<(), PassphraseError> {
        if self.0.chars().count() < FEWEST { Err(PassphraseError::Short) } else { Ok(()) }
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Passphrase(…)")
    }
}

impl fmt::Debug for Passphrases<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Passphrases").field("known", &self.known.len()).finish_non_exhaustive()
    }
}

impl<'a> Passphrases<'a> {
    /// Only these.
    #[must_use]
    pub fn given(known: Vec<Passphrase>) -> Self {
        Self { known, ask: None }
    }

    /// Asks, at most once for a file, when none that was given or typed before opens it.
    #[must_use]
    pub fn asking(ask: impl FnMut(&Path) -> std::io::Result<Passphrase> + 'a) -> Self {
        Self { known: Vec::new(), ask: Some(Box::new(ask)) }
    }

    /// Reads a key file, locked or not.
    pub(super) fn read(&mut self, path: &Path) -> Result<SigningKey, KeysError> {
        let pem = Zeroizing::new(files::read_text(path, MOST_BYTES)?);
        if !is_locked(&pem) {
            return SigningKey::from_pem(&pem).map_err(|source| KeysError::Key { path: path.to_owned(), source });
        }
        let spoilt = || KeysError::Spoilt(path.to_owned());
        let document = decoded(&pem).ok_or_else(spoilt)?;
        for passphrase in &self.known {
            if let Some(key) = unlock(&document, passphrase).ok_or_else(spoilt)? {
                return Ok(key);
            }
        }
        let Some(ask) = &mut self.ask else {
            let path = path.to_owned();
            return Err(if self.known.is_empty() { KeysError::Locked(path) } else { KeysError::WrongPassphrase(path) });
        };
        let typed = ask(path).map_err(files::failed("ask for the passphrase of", path))?;
        let key = unlock(&document, &typed).ok_or_else(spoilt)?;
        self.known.push(typed);
        key.ok_or_else(|| KeysError::WrongPassphrase(path.to_owned()))
    }
}

/// Whether a key file needs a passphrase.
fn is_locked(pem: &str) -> bool {
    pem.trim_start().starts_with(&format!("-----BEGIN {LABEL}-----"))
}

fn decoded(pem: &str) -> Option<SecretDocument> {
    let (label, document) = SecretDocument::from_pem(pem.trim()).ok()?;
    (label == LABEL).then_some(document)
}

/// The key, if the passphrase is right; nothing at all if no passphrase can be.
fn unlock(document: &SecretDocument, passphrase: &Passphrase) -> Option<Option<SigningKey>> {
    let locked = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).ok()?;
    let rounds = locked.encryption_algorithm.pbes2()?.kdf.pbkdf2()?.iteration_count;
    if rounds > MOST_ROUNDS {
        return None;
    }
    let opened = locked.decrypt(passphrase.0.as_bytes()).ok();
    // Padding that happens to fit gives bytes that are no key: the passphrase was wrong all the same.
    Some(opened.and_then(|opened| SigningKey::from_pkcs8(opened.as_bytes()).ok()))
}

/// The PEM form of a key, locked if there is a passphrase. Secret without one.
pub(super) fn to_pem(key: &SigningKey, passphrase: Option<&Passphrase>) -> Result<Zeroizing<String>, LockError> {
    let Some(passphrase) = passphrase else { return Ok(Zeroizing::new(key.to_pem()?)) };
    passphrase.check_length()?;
    let plain = Zeroizing::new(key.to_pkcs8()?);
    let (mut salt, mut start) = ([0; 16], [0; 16]);
    getrandom::fill(&mut salt).and_then(|()| getrandom::fill(&mut start)).map_err(|_| LockError::Lock)?;
    let lock = || -> Result<Zeroizing<String>, pkcs8::Error> {
        let parameters = Parameters::generate_pbkdf2_sha256_aes256cbc(ROUNDS, &salt, start)?;
        let info = PrivateKeyInfoRef::try_from(plain.as_slice())?;
        let locked = info.encrypt_with_params(parameters, passphrase.0.as_bytes())?;
        Ok(locked.to_pem(LABEL, LineEnding::LF)?)
    };
    lock().map_err(|_| LockError::Lock)
}

/// A key cannot be brought into a form that can be kept.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The key has none.
    #[error(transparent)]
    Key(#[from] outpost_trust::keys::KeyError),
    /// The passphrase is none.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// The library failed.
    #[error("could not lock the key: the random source or the library failed; try again")]
    Lock,
}

#[cfg(test)]
mod tests;
