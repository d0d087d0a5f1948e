//! Devices of one site vouch for each other's audit logs, so that nobody can rewrite one while the control plane is away.
//!
//! The neighbour's certificate says whose log it is; the key of that log is pinned when it is first shown. What is vouched for
//! is the same as anywhere: that this head continues all that was seen before. A neighbour's word ends no log and moves no
//! clock: where two devices do not agree, that is recorded, and the control plane judges.

mod asking;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use outpost_audit::VerifierKey;
use outpost_audit::cosignature::WitnessKey;
use outpost_audit::witness::{DatabaseState, Outcome, Witness, log_of};
use outpost_contract::DeviceId;
use outpost_disk::{Clock, atomic};
use outpost_sync::{Identity, Vouch};

pub(crate) use self::asking::Asking;
use crate::state::{StateDir, read_small};

/// Devices whose keys are pinned at most: a site has fewer.
const MOST_DEVICES: usize = 256;

/// Larger than any verifier key.
const KEY_BYTES: u64 = 1024;

/// What this device is for the logs of its neighbours.
pub(crate) struct SiteWitness {
    witness: Witness<DatabaseState>,
    key: String,
    clock: Clock,
    /// A file for each device, with the key of its first log.
    pins: PathBuf,
    pinning: Mutex<()>,
}

/// The key by which this device vouches for others, made on first use; its name says which device it is.
///
/// # Errors
/// If it cannot be read or written.
pub fn key(state: &StateDir, identity: &Identity) -> Result<WitnessKey> {
    let name = format!("audit.outpost/{}/site/{}", identity.tenant(), identity.device());
    WitnessKey::read_or_create(&name, state.keys().join("site-witness.key")).context("cannot use the key that vouches")
}

impl SiteWitness {
    /// # Errors
    /// If its key or its memory cannot be used.
    pub(crate) fn open(state: &StateDir, identity: &Identity, clock: Clock) -> Result<Self> {
        let key = key(state, identity)?;
        let pins = state.site_witness().join("logs");
        std::fs::create_dir_all(&pins).with_context(|| format!("cannot make `{}`", pins.display()))?;
        let public = key.cosigner_key().to_string();
        let memory =
            DatabaseState::open(&state.site_witness()).context("cannot use the memory of the site's witness")?;
        Ok(Self { witness: Witness::new(key, memory), key: public, clock, pins, pinning: Mutex::new(()) })
    }

    /// Whether a device may have a log of this key: the one that it showed first, or one that follows it.
    fn is_pinned(&self, device: &DeviceId, key: &VerifierKey) -> Result<bool> {
        let _one_at_a_time = self.pinning.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.pins.join(device.as_str());
        if let Some(first) = read_small(&path, KEY_BYTES)? {
            let first: VerifierKey = first.trim().parse().with_context(|| format!("`{}` is spoilt", path.display()))?;
            return Ok(log_of(&first, key.name()).as_ref() == Some(key));
        }
        let pinned = std::fs::read_dir(&self.pins).with_context(|| format!("cannot read `{}`", self.pins.display()))?;
        if pinned.count() >= MOST_DEVICES {
            return Ok(false);
        }
        atomic::write(&path, key.to_string().as_bytes())?;
        tracing::info!(%device, origin = key.name(), "a neighbour's audit log is vouched for from now on");
        Ok(true)
    }

    fn answer(&self, device: &DeviceId, log_key: &str, body: &[u8]) -> Result<Outcome> {
        let Ok(key) = log_key.parse::<VerifierKey>() else {
            return Ok(Outcome::Malformed("the log's key is none".to_owned()));
        };
        if !self.is_pinned(device, &key)? {
            return Ok(Outcome::NotSigned(format!("another log is known of `{device}` here")));
        }
        let now_s = u64::try_from(self.clock.now_s()).unwrap_or(0);
        let keys = |origin: &str| if origin == key.name() { vec![key.clone()] } else { Vec::new() };
        Ok(self.witness.add_checkpoint(body, now_s, keys)?)
    }
}

impl Vouch for SiteWitness {
    fn key(&self) -> String {
        self.key.clone()
    }

    fn vouch(&self, device: &DeviceId, log_key: &str, body: &[u8]) -> (u16, String) {
        match self.answer(device, log_key, body) {
            Ok(outcome) => (outcome.status(), outcome.body()),
            Err(error) => {
                tracing::error!(%device, error = format!("{error:#}"), "a neighbour's audit log could not be vouched for");
                (503, String::new())
            }
        }
    }
}
