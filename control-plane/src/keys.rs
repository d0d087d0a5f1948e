//! The signing keys: three on the server, two that never touch it.
//!
//! | key | where | says |
//! |---|---|---|
//! | root, targets | the offline directory | whose keys count; what exists |
//! | online | the state directory | which release is the newest |
//! | director | the state directory | what one device should run of it |
//! | tokens | the state directory | who a person or service is |
//!
//! Offline keys may have a passphrase ([`Passphrase`]); the server's have none, as nobody is there to type it at a start.
//!
//! While a key is being replaced there are two of it: `director.old.pem` (or `.stolen.pem`) beside `director.pem`, and
//! `online.next.pem` beside `online.pem` until a root names it.

mod passphrase;

use std::path::{Path, PathBuf};

use outpost_trust::catalogue::RootFacts;
use outpost_trust::keys::KeyError;
use outpost_trust::{SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::files::{self, FileError};
pub use passphrase::{LockError, Passphrase, PassphraseError, Passphrases};

/// Larger than any key file.
const MOST_BYTES: u64 = 16 * 1024;

/// A key cannot be made, read or kept.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file holds no key.
    #[error("`{path}`: {source}")]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeyError,
    },
    /// A file holds a key that only a passphrase opens.
    #[error("`{0}` has a passphrase; type it at a terminal, or give `--passphrase-file FILE`")]
    Locked(PathBuf),
    /// No passphrase that was given opens the file.
    #[error("the passphrase does not open `{0}`; check for capitals and the keyboard's layout, and try again")]
    WrongPassphrase(PathBuf),
    /// No passphrase can open the file.
    #[error("`{0}` cannot be opened by any passphrase: expected PKCS#8 locked by PBES2 with PBKDF2; take another copy")]
    Spoilt(PathBuf),
    /// A file holds no passphrase.
    #[error("`{path}`: {source}")]
    Passphrase {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: PassphraseError,
    },
    /// A key cannot be locked.
    #[error("`{path}`: {source}")]
    Lock {
        /// The file.
        path: PathBuf,
        /// Why.
        source: LockError,
    },
    /// There are keys already; making new ones would orphan every device.
    #[error("`{0}` holds keys already; they are not replaced. Give another directory, or use these")]
    Exist(PathBuf),
    /// The one before the current key still counts.
    #[error("`{0}` shows that the key before this one is still in use; run `outpost-control keys retire` first")]
    StillTwo(PathBuf),
    /// There is no key to retire.
    #[error("there is no earlier {0} key to retire")]
    NothingToRetire(&'static str),
    /// A file describes no holder.
    #[error("`{path}` describes no holder of offline keys: {what}")]
    Holder {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

/// The keys that the server signs with.
#[derive(Debug)]
pub struct OnlineKeys {
    /// Signs desired states.
    pub director: SigningKey,
    /// Signs snapshot and timestamp of the catalogue.
    pub online: SigningKey,
    /// Signs tokens.
    pub tokens: SigningKey,
    /// The director key before this one, until it is retired.
    pub director_before: Option<Earlier>,
    /// The tokens key before this one, until it is retired.
    pub tokens_before: Option<Earlier>,
    /// The online key that the next root is to name.
    pub online_next: Option<SigningKey>,
}

/// A key that was replaced.
#[derive(Debug)]
pub struct Earlier {
    /// The key.
    pub key: SigningKey,
    /// Somebody else has it too: it signs for devices that know no other, and nothing of ours lists it any more.
    pub stolen: bool,
}

/// A key of the server that can be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerKey {
    /// Signs snapshot and timestamp; a root names it.
    Online,
    /// Signs desired states; the authority document names it.
    Director,
    /// Signs tokens; the authority document names it.
    Tokens,
}

/// The public half of a holder's offline keys, as it goes to whoever plans a root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    /// Version of this form; 1.
    pub v: u32,
    /// The holder's name: 1 to 32 characters of a-z, 0-9, `-` and `_`.
    pub name: String,
    /// Ed25519 public key for roots, 64 hexadecimal digits.
    pub root: String,
    /// Ed25519 public key for releases, 64 hexadecimal digits.
    pub targets: String,
}

/// The keys that say what exists. Their directory belongs on a stick in a drawer, or on a machine without a network.
#[derive(Debug)]
pub struct OfflineKeys {
    /// Signs roots.
    pub root: SigningKey,
    /// Signs releases.
    pub targets: SigningKey,
}

impl OnlineKeys {
    /// Makes new keys in `dir`.
    ///
    /// # Errors
    /// [`KeysError::Exist`] if there are keys.
    pub fn create(dir: &Path) -> Result<Self, KeysError> {
        create(dir, ["director", "online", "tokens"], None)?;
        Self::load(dir)
    }

    /// Reads the keys of `dir`; a replacement that was interrupted is finished first.
    ///
    /// # Errors
    /// If one is missing or none.
    pub fn load(dir: &Path) -> Result<Self, KeysError> {
        for name in ["director", "tokens"] {
            let next = path(dir, &format!("{name}.next"));
            if next.exists() && !path(dir, name).exists() {
                files::rename(&next, &path(dir, name))?;
            }
        }
        let [director, online, tokens] = load(dir, ["director", "online", "tokens"])?;
        Ok(Self {
            director,
            online,
            tokens,
            director_before: earlier(dir, "director")?,
            tokens_before: earlier(dir, "tokens")?,
            online_next: optional(dir, "online.next")?,
        })
    }

    /// The online key that a root knows: the next one as soon as the root does.
    #[must_use]
    pub fn online_for(&self, root: &RootFacts) -> &SigningKey {
        let next = self.online_next.as_ref().filter(|key| root.online.knows(&key.verifying_key()));
        next.unwrap_or(&self.online)
    }

    /// What signs desired states: a device that knows any of these keys listens.
    #[must_use]
    pub fn directors(&self) -> Vec<&SigningKey> {
        [&self.director].into_iter().chain(self.director_before.iter().map(|before| &before.key)).collect()
    }

    /// The director keys that devices shall accept.
    #[must_use]
    pub fn accepted_directors(&self) -> Vec<VerifyingKey> {
        let before = self.director_before.iter().filter(|before| !before.stolen).map(|before| &before.key);
        [&self.director].into_iter().chain(before).map(SigningKey::verifying_key).collect()
    }
}

impl ServerKey {
    fn name(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Director => "director",
            Self::Tokens => "tokens",
        }
    }

    /// Makes the key that replaces the one in `dir`. The online key waits for a root; the others count at once, beside
    /// the ones before them. Interrupted at any moment, either the old or the new state is there.
    ///
    /// # Errors
    /// [`KeysError::StillTwo`] if the one before is still in use.
    pub(crate) fn replace(self, dir: &Path, stolen: bool) -> Result<(), KeysError> {
        let name = self.name();
        let next = path(dir, &format!("{name}.next"));
        for earlier in ["old", "stolen"].map(|state| path(dir, &format!("{name}.{state}"))) {
            if earlier.exists() {
                return Err(KeysError::StillTwo(earlier));
            }
        }
        let key = SigningKey::generate().and_then(|key| key.to_pem());
        let pem = key.map_err(|source| KeysError::Key { path: next.clone(), source })?;
        files::write_private(&next, pem.as_bytes())?;
        if self != Self::Online {
            let state = if stolen { "stolen" } else { "old" };
            files::rename(&path(dir, name), &path(dir, &format!("{name}.{state}")))?;
            files::rename(&next, &path(dir, name))?;
        }
        Ok(())
    }

    /// Forgets the key before the current one. For the online key: the next one takes its place.
    ///
    /// # Errors
    /// [`KeysError::NothingToRetire`] if there is none.
    pub(crate) fn retire(self, dir: &Path) -> Result<(), KeysError> {
        let name = self.name();
        if self == Self::Online {
            return Ok(files::rename(&path(dir, "online.next"), &path(dir, name))?);
        }
        let earlier = ["old", "stolen"].map(|state| path(dir, &format!("{name}.{state}")));
        let path = earlier.into_iter().find(|path| path.exists()).ok_or(KeysError::NothingToRetire(name))?;
        std::fs::remove_file(&path).map_err(files::failed("remove", &path))?;
        Ok(())
    }
}

impl Holder {
    /// Reads a holder's file.
    ///
    /// # Errors
    /// [`KeysError::Holder`] if it is none.
    pub fn read(path: &Path) -> Result<Self, KeysError> {
        let text = files::read_text(path, MOST_BYTES)?;
        let refused = |what: String| KeysError::Holder { path: path.to_owned(), what };
        let holder: Self = serde_json::from_str(&text).map_err(|error| refused(error.to_string()))?;
        if holder.v != 1 {
            return Err(refused(format!("form {} is unknown here", holder.v)));
        }
        if !is_name(&holder.name) {
            return Err(refused("its name is not 1 to 32 characters of a-z, 0-9, `-` and `_`".to_owned()));
        }
        holder.keys().map_err(|error| refused(error.to_string()))?;
        Ok(holder)
    }

    /// The keys for roots and for releases.
    ///
    /// # Errors
    /// If one is no key.
    pub fn keys(&self) -> Result<(VerifyingKey, VerifyingKey), KeyError> {
        Ok((self.root.parse()?, self.targets.parse()?))
    }
}

fn is_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte))
}

impl OfflineKeys {
    /// Makes new keys in `dir`, without a passphrase.
    ///
    /// # Errors
    /// As [`create_locked`](Self::create_locked).
    pub fn create(dir: &Path) -> Result<Self, KeysError> {
        Self::create_locked(dir, None)
    }

    /// Makes new keys in `dir`, which only the passphrase opens, if there is one.
    ///
    /// # Errors
    /// [`KeysError::Exist`] if there are keys; [`KeysError::Lock`] if the passphrase is too short.
    pub fn create_locked(dir: &Path, passphrase: Option<&Passphrase>) -> Result<Self, KeysError> {
        create(dir, ["root", "targets"], passphrase)?;
        Self::open(dir, &mut Passphrases::given(passphrase.cloned().into_iter().collect()))
    }

    /// Makes one holder's keys in `dir`, and beside them `NAME.pub.json` for whoever plans a root. Returns its path.
    ///
    /// # Errors
    /// As [`create_locked`](Self::create_locked), or if the name is none.
    pub fn create_for(dir: &Path, name: &str, passphrase: Option<&Passphrase>) -> Result<PathBuf, KeysError> {
        Self::public_path(dir, name)?;
        Self::create_locked(dir, passphrase)?.describe(dir, name)
    }

    /// Writes `NAME.pub.json` for these keys, which are in `dir`. Returns its path.
    ///
    /// # Errors
    /// If the name is none.
    pub fn describe(&self, dir: &Path, name: &str) -> Result<PathBuf, KeysError> {
        let public = Self::public_path(dir, name)?;
        let hex = |key: &SigningKey| key.verifying_key().to_hex();
        let holder = Holder { v: 1, name: name.to_owned(), root: hex(&self.root), targets: hex(&self.targets) };
        let text = serde_json::to_vec_pretty(&holder).expect("four short texts always have a JSON form");
        files::write(&public, &text)?;
        Ok(public)
    }

    /// Sets the passphrase of the keys in `dir`, or removes it; `passphrases` open what is there. Each file is replaced
    /// whole: interrupted in between, each opens with the passphrase of its own, and the same can be done again.
    ///
    /// # Errors
    /// If one cannot be opened, or the new passphrase is too short; then nothing was changed.
    pub fn relock(dir: &Path, passphrases: &mut Passphrases<'_>, new: Option<&Passphrase>) -> Result<(), KeysError> {
        let keys = Self::open(dir, passphrases)?;
        let files = [("root", &keys.root), ("targets", &keys.targets)];
        let locked = files.map(|(name, key)| locked(path(dir, name), key, new));
        for (path, pem) in locked.into_iter().collect::<Result<Vec<_>, _>>()? {
            files::write_private(&path, pem.as_bytes())?;
        }
        Ok(())
    }

    fn public_path(dir: &Path, name: &str) -> Result<PathBuf, KeysError> {
        if is_name(name) {
            return Ok(dir.join(format!("{name}.pub.json")));
        }
        let what = "the name is not 1 to 32 characters of a-z, 0-9, `-` and `_`".to_owned();
        Err(KeysError::Holder { path: PathBuf::from(name), what })
    }

    /// The public halves.
    #[must_use]
    pub fn verifying_keys(&self) -> [VerifyingKey; 2] {
        [self.root.verifying_key(), self.targets.verifying_key()]
    }

    /// Reads the keys of `dir`, which have no passphrase.
    ///
    /// # Errors
    /// If one is missing or none; [`KeysError::Locked`] if one has a passphrase.
    pub fn load(dir: &Path) -> Result<Self, KeysError> {
        Self::open(dir, &mut Passphrases::default())
    }

    /// Reads the keys of `dir`, whether they have a passphrase or not.
    ///
    /// # Errors
    /// If one is missing or none; [`KeysError::WrongPassphrase`] names the file.
    pub fn open(dir: &Path, passphrases: &mut Passphrases<'_>) -> Result<Self, KeysError> {
        let root = passphrases.read(&path(dir, "root"))?;
        Ok(Self { root, targets: passphrases.read(&path(dir, "targets"))? })
    }
}

fn path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.pem"))
}

/// Makes keys that are not there yet: all are made before the first is written.
fn create<const N: usize>(dir: &Path, names: [&str; N], passphrase: Option<&Passphrase>) -> Result<(), KeysError> {
    let mut made = Vec::with_capacity(N);
    for path in names.map(|name| path(dir, name)) {
        if path.exists() {
            return Err(KeysError::Exist(dir.to_owned()));
        }
        let key = SigningKey::generate().map_err(|source| KeysError::Key { path: path.clone(), source })?;
        made.push(locked(path, &key, passphrase)?);
    }
    files::private_directory(dir)?;
    for (path, pem) in made {
        files::write_private(&path, pem.as_bytes())?;
    }
    Ok(())
}

/// A key as it will stand in its file.
fn locked(
    path: PathBuf,
    key: &SigningKey,
    passphrase: Option<&Passphrase>,
) -> Result<(PathBuf, Zeroizing<String>), KeysError> {
    match passphrase::to_pem(key, passphrase) {
        Ok(pem) => Ok((path, pem)),
        Err(source) => Err(KeysError::Lock { path, source }),
    }
}

fn optional(dir: &Path, name: &str) -> Result<Option<SigningKey>, KeysError> {
    if !path(dir, name).exists() {
        return Ok(None);
    }
    let [key] = load(dir, [name])?;
    Ok(Some(key))
}

fn earlier(dir: &Path, name: &str) -> Result<Option<Earlier>, KeysError> {
    for (state, stolen) in [("old", false), ("stolen", true)] {
        if let Some(key) = optional(dir, &format!("{name}.{state}"))? {
            return Ok(Some(Earlier { key, stolen }));
        }
    }
    Ok(None)
}

fn load<const N: usize>(dir: &Path, names: [&str; N]) -> Result<[SigningKey; N], KeysError> {
    let mut keys = Vec::with_capacity(N);
    for name in names {
        let path = path(dir, name);
        let pem = files::read_text(&path, MOST_BYTES)?;
        keys.push(SigningKey::from_pem(&pem).map_err(|source| KeysError::Key { path, source })?);
    }
    Ok(keys.try_into().expect("as many keys as names"))
}
