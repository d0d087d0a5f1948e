//! Models made from others by presets: what is said before every conversation, and how tokens are chosen.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use outpost_disk::{DiskError, Ledger};
use outpost_serve::Sampling;
use serde::{Deserialize, Serialize};

/// Presets on one device; each has a place in the ledger's one document.
const MOST: usize = 256;

/// A model made from another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Preset {
    /// The model that answers: always one of its own, however many presets it was made through.
    pub(crate) from: String,
    /// The name that it was made from.
    pub(crate) parent: String,
    /// Said before a conversation in which nobody said anything as the system.
    #[serde(default)]
    pub(crate) system: Option<String>,
    /// What a caller leaves out.
    #[serde(default)]
    pub(crate) sampling: Sampling,
    /// Texts that end answers beside the caller's.
    #[serde(default)]
    pub(crate) stop: Vec<String>,
    /// When it was made, seconds since 1970-01-01 UTC.
    pub(crate) created_s: i64,
}

/// What a preset cannot be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PresetError {
    /// The name means something already.
    #[error("there is a model `{0}` already: delete it first, or choose another name")]
    Taken(String),
    /// Too many.
    #[error("this device has {MOST} models made by presets already: delete one first")]
    TooMany,
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// All presets of a device, kept over a restart.
#[derive(Debug)]
pub(crate) struct Presets {
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    ledger: Ledger<BTreeMap<String, Preset>>,
    all: BTreeMap<String, Preset>,
}

impl Presets {
    /// Presets as an earlier run left them.
    pub(crate) fn new(ledger: Ledger<BTreeMap<String, Preset>>, earlier: Option<BTreeMap<String, Preset>>) -> Self {
        Self { kept: Mutex::new(Kept { ledger, all: earlier.unwrap_or_default() }) }
    }

    /// One of them.
    pub(crate) fn get(&self, name: &str) -> Option<Preset> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).all.get(name).cloned()
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> BTreeMap<String, Preset> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).all.clone()
    }

    /// Adds one; durable when this returns.
    pub(crate) fn add(&self, name: &str, preset: Preset) -> Result<(), PresetError> {
        self.change(|all| {
            if all.contains_key(name) {
                return Err(PresetError::Taken(name.to_owned()));
            }
            if all.len() >= MOST {
                return Err(PresetError::TooMany);
            }
            all.insert(name.to_owned(), preset);
            Ok(true)
        })
        .map(|_| ())
    }

    /// Removes one; gives whether it was there.
    pub(crate) fn remove(&self, name: &str) -> Result<bool, PresetError> {
        self.change(|all| Ok(all.remove(name).is_some()))
    }

    fn change(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, Preset>) -> Result<bool, PresetError>,
    ) -> Result<bool, PresetError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = kept.all.clone();
        let changed = change(&mut next)?;
        if changed {
            kept.ledger.commit(&next)?;
            kept.all = next;
        }
        Ok(changed)
    }
}

impl Preset {
    /// What the caller said, and where it said nothing, what the preset says.
    pub(crate) fn complete(&self, asked: Sampling) -> Sampling {
        let Sampling { logit_bias, .. } = &asked;
        Sampling {
            temperature: asked.temperature.or(self.sampling.temperature),
            top_p: asked.top_p.or(self.sampling.top_p),
            top_k: asked.top_k.or(self.sampling.top_k),
            min_p: asked.min_p.or(self.sampling.min_p),
            repetition_penalty: asked.repetition_penalty.or(self.sampling.repetition_penalty),
            repetition_window: asked.repetition_window.or(self.sampling.repetition_window),
            presence_penalty: asked.presence_penalty.or(self.sampling.presence_penalty),
            frequency_penalty: asked.frequency_penalty.or(self.sampling.frequency_penalty),
            seed: asked.seed.or(self.sampling.seed),
            logit_bias: if logit_bias.is_empty() { self.sampling.logit_bias.clone() } else { asked.logit_bias },
        }
    }
}
