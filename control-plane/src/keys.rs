//! The signing keys: three on the server, two that never touch it.
//!
//! | key | where | says |
//! |---|---|---|
//! | root, targets | the offline directory | whose keys count; what exists |
//! | online | the state directory | which release is the newest |
//! | director | the state directory | what one device should run of it |
//! | tokens | the state directory | who a person or service is |

use std::path::{Path, PathBuf};

use outpost_trust::SigningKey;
use outpost_trust::keys::KeyError;

use crate::files::{self, FileError};

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
    /// There are keys already; making new ones would orphan every device.
    #[error("`{0}` holds keys already; they are not replaced. Give another directory, or use these")]
    Exist(PathBuf),
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
        let [director, online, tokens] = create(dir, ["director", "online", "tokens"])?;
        Ok(Self { director, online, tokens })
    }

    /// Reads the keys of `dir`.
    ///
    /// # Errors
    /// If one is missing or none.
    pub fn load(dir: &Path) -> Result<Self, KeysError> {
        let [director, online, tokens] = load(dir, ["director", "online", "tokens"])?;
        Ok(Self { director, online, tokens })
    }
}

impl OfflineKeys {
    /// Makes new keys in `dir`.
    ///
    /// # Errors
    /// [`KeysError::Exist`] if there are keys.
    pub fn create(dir: &Path) -> Result<Self, KeysError> {
        let [root, targets] = create(dir, ["root", "targets"])?;
        Ok(Self { root, targets })
    }

    /// Reads the keys of `dir`.
    ///
    /// # Errors
    /// If one is missing or none.
    pub fn load(dir: &Path) -> Result<Self, KeysError> {
        let [root, targets] = load(dir, ["root", "targets"])?;
        Ok(Self { root, targets })
    }
}

fn path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.pem"))
}

fn create<const N: usize>(dir: &Path, names: [&str; N]) -> Result<[SigningKey; N], KeysError> {
    files::private_directory(dir)?;
    if names.iter().any(|name| path(dir, name).exists()) {
        return Err(KeysError::Exist(dir.to_owned()));
    }
    for name in names {
        let path = path(dir, name);
        let key = SigningKey::generate().and_then(|key| key.to_pem());
        let pem = key.map_err(|source| KeysError::Key { path: path.clone(), source })?;
        files::write_private(&path, pem.as_bytes())?;
    }
    load(dir, names)
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
