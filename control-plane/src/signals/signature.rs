//! Signatures of webhooks as standardwebhooks.com has them: `v1,` and HMAC-SHA256 of `id.timestamp.body`.
//!
//! A hook's secret is not stored: it follows from a salt in the database and a key in the state directory, so that nobody
//! who reads the database alone can sign.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::files::{self, failed};
use crate::fleet::FleetError;
use crate::tokens::random;

/// Bytes of the key, and of a secret.
const KEY_BYTES: usize = 32;

/// Bytes of a salt: random ones, then some of the key's hash, by which a copy with another key is found out.
const SALT_BYTES: usize = 16;
const MARK_BYTES: usize = 8;

/// The key from which all secrets follow.
pub(super) struct Root {
    key: [u8; KEY_BYTES],
    path: PathBuf,
}

impl Root {
    /// Reads the key in a state directory; makes it if there is none.
    pub(super) fn open(state: &Path) -> Result<Self, FleetError> {
        let path = state.join("keys/webhooks.key");
        if !path.exists() {
            create(&path)?;
        }
        let bytes = files::read(&path, 64)?;
        let key = bytes.try_into().map_err(|bytes: Vec<u8>| {
            let (path, length) = (path.display(), bytes.len());
            FleetError::Webhook(format!("`{path}` has {length} bytes, not {KEY_BYTES}; restore it from a backup"))
        })?;
        Ok(Self { key, path })
    }

    /// A salt for a new hook.
    pub(super) fn salt(&self) -> Result<Vec<u8>, FleetError> {
        let mut salt = random::<SALT_BYTES>().map_err(FleetError::Random)?.to_vec();
        salt.extend_from_slice(&self.mark());
        Ok(salt)
    }

    fn mark(&self) -> [u8; MARK_BYTES] {
        let hash = Sha256::digest(self.key);
        let mut mark = [0; MARK_BYTES];
        mark.copy_from_slice(&hash[..MARK_BYTES]);
        mark
    }

    /// The secret of a hook.
    pub(super) fn secret(&self, name: &str, salt: &[u8]) -> Result<Secret, FleetError> {
        if salt.get(SALT_BYTES..) != Some(&self.mark()) {
            let path = self.path.display();
            return Err(FleetError::Webhook(format!(
                "`{path}` is not the key that webhook `{name}` was made with: copy it from the server that made it, or \
                 make the webhook anew"
            )));
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.key);
        let secret = hmac::sign(&key, &[b"outpost webhook 1\0", name.as_bytes(), b"\0", salt].concat());
        Ok(Secret(secret.as_ref().to_vec()))
    }
}

/// Makes the key once, whoever else does at the same time.
fn create(path: &Path) -> Result<(), FleetError> {
    let beside = path.with_extension(hex::encode(random::<8>().map_err(FleetError::Random)?));
    let key = random::<KEY_BYTES>().map_err(FleetError::Random)?;
    let mut file = OpenOptions::new();
    let mut file = file.write(true).create_new(true).mode(0o600).open(&beside).map_err(failed("create", &beside))?;
    file.write_all(&key).and_then(|()| file.sync_all()).map_err(failed("write", &beside))?;
    let linked = std::fs::hard_link(&beside, path);
    std::fs::remove_file(&beside).map_err(failed("remove", &beside))?;
    match linked {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(failed("create", path)(error).into()),
        _ => Ok(()),
    }
}

/// What sender and receiver share.
pub(super) struct Secret(Vec<u8>);

impl Secret {
    /// As it is shown, once.
    pub(super) fn shown(&self) -> String {
        format!("whsec_{}", STANDARD.encode(&self.0))
    }

    /// The signature of a message.
    pub(super) fn sign(&self, id: &str, timestamp_s: i64, body: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let tag = hmac::sign(&key, format!("{id}.{timestamp_s}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(tag.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_standard() {
        // The example of the specification's reference libraries.
        let secret = Secret(STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap());
        assert_eq!(secret.shown(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_follows_from_the_key_and_another_key_is_found_out() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for state in [&first, &second] {
            std::fs::create_dir(state.path().join("keys")).unwrap();
        }
        let root = Root::open(first.path()).unwrap();
        let salt = root.salt().unwrap();
        let secret = root.secret("pager", &salt).unwrap().shown();
        assert_eq!(Root::open(first.path()).unwrap().secret("pager", &salt).unwrap().shown(), secret);
        assert_ne!(root.secret("other", &salt).unwrap().shown(), secret);
        assert_ne!(root.secret("pager", &root.salt().unwrap()).unwrap().shown(), secret);
        let other = Root::open(second.path()).unwrap().secret("pager", &salt).err().unwrap().to_string();
        assert!(other.contains("copy it from the server"), "{other}");
        let names: Vec<_> = std::fs::read_dir(first.path().join("keys")).unwrap().collect();
        assert_eq!(names.len(), 1, "nothing is left beside the key");
    }
}
