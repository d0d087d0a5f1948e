//! The device's own keys for the audit log: made on first use, private to the owner, never sent anywhere.

use anyhow::{Context, Result};
use outpost_audit::{CheckpointKey, LogIdentity, Pseudonyms};
use outpost_disk::{Secret, atomic};

use crate::state::StateDir;

/// The audit log's name and the key that signs its heads, both made on first use.
///
/// The name holds a random number instead of the device's name: it is made before enrolment and never changes.
///
/// # Errors
/// If the files cannot be read or written.
pub fn log_identity(state: &StateDir) -> Result<LogIdentity> {
    let path = state.keys().join("audit.origin");
    let origin = match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().to_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let number = Secret::random(8).context("no randomness for the audit log's name")?;
            let origin = format!("audit.outpost/{}/1", hex::encode(number.expose()));
            atomic::write(&path, origin.as_bytes())?;
            origin
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read `{}`", path.display())),
    };
    let key = CheckpointKey::read_or_create(state.keys().join("audit.key")).context("cannot use the audit key")?;
    Ok(LogIdentity { origin, key })
}

/// Gives the audit log another name: the next one of a device whose log ended.
pub(crate) fn set_log_origin(state: &StateDir, origin: &str) -> Result<()> {
    Ok(atomic::write(state.keys().join("audit.origin"), origin.as_bytes())?)
}

/// The public half of the audit key, as a C2SP verifier key: what enrolment tells the control plane.
///
/// # Errors
/// As [`log_identity`].
pub fn verifier_key(state: &StateDir) -> Result<String> {
    let identity = log_identity(state)?;
    Ok(identity.key.verifier_key(&identity.origin).context("the audit key has no public form")?.to_string())
}

/// Turns names into pseudonyms, under a secret of this device.
///
/// # Errors
/// If the secret cannot be read or written.
pub fn pseudonyms(state: &StateDir) -> Result<Pseudonyms> {
    let path = state.keys().join("pseudonyms.key");
    let secret = match Secret::read(&path) {
        Ok(secret) => secret,
        Err(error) if error.is_not_found() => {
            let secret = Secret::random(32).context("no randomness for pseudonyms")?;
            secret.write(&path)?;
            secret
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Pseudonyms::new(secret.expose()))
}
