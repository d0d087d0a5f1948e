//! What is written down about the slots, and every change of it.

use std::path::Path;

use outpost_contract::Sha256;
use outpost_disk::{DiskError, Ledger, atomic};
use serde::{Deserialize, Serialize};

use crate::build::{Build, Slot};

/// Its name in the directory of builds.
const NAME: &str = "record";

/// A build is started so often before it must have been healthy once: the first failure may have been a power cut.
pub(crate) const ATTEMPTS: u32 = 2;

/// Builds that are remembered to have been rolled back.
const REMEMBERED: usize = 16;

/// What a device had before it began to try a build: the build must have it, too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Before {
    /// A model served.
    pub model: bool,
    /// The control plane was within reach.
    pub link: bool,
}

/// A build being tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trial {
    pub(crate) slot: Slot,
    /// Starts so far, each counted before it happened.
    #[serde(default)]
    pub(crate) attempts: u32,
    /// How long it must stay healthy.
    pub(crate) seconds: u64,
    #[serde(default)]
    pub(crate) before: Before,
    /// What the last start said when it failed.
    #[serde(default)]
    pub(crate) last_words: Option<String>,
    /// The last start lacked the control plane, and nothing else.
    #[serde(default)]
    pub(crate) lacked_link: bool,
}

/// A build that does not run any more, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolledBack {
    /// Its version.
    pub version: String,
    /// Its target.
    pub target: String,
    /// What it is known by.
    pub sha256: Sha256,
    /// Why it was rolled back.
    pub reason: String,
    /// The same bytes are not taken again.
    pub barred: bool,
    /// It lacked the control plane and nothing else: it may turn out that nobody had it then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lacked_link: bool,
    /// It is on record.
    #[serde(default)]
    pub(crate) told: bool,
}

/// All that is written down. A slot that holds a build which is neither confirmed nor on trial holds the one confirmed before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    pub(crate) a: Option<Build>,
    pub(crate) b: Option<Build>,
    pub(crate) confirmed: Option<Slot>,
    pub(crate) trial: Option<Trial>,
    /// Newest last.
    pub(crate) rolled_back: Vec<RolledBack>,
}

impl Record {
    pub(crate) fn open(directory: &Path) -> Result<(Ledger<Self>, Self), DiskError> {
        let (ledger, record) = Ledger::open(directory, NAME)?;
        Ok((ledger, record.unwrap_or_default()))
    }

    /// Begins anew where nothing of what was written can be read.
    pub(crate) fn forget(directory: &Path) -> Result<(Ledger<Self>, Self), DiskError> {
        let list = |source| DiskError::Io { act: "list", path: directory.to_owned(), source };
        for entry in std::fs::read_dir(directory).map_err(list)? {
            let entry = entry.map_err(list)?;
            if entry.file_name().to_string_lossy().starts_with(NAME) {
                atomic::remove(entry.path())?;
            }
        }
        Self::open(directory)
    }

    pub(crate) fn build(&self, slot: Slot) -> Option<&Build> {
        match slot {
            Slot::A => self.a.as_ref(),
            Slot::B => self.b.as_ref(),
        }
    }

    pub(crate) fn set(&mut self, slot: Slot, build: Option<Build>) {
        match slot {
            Slot::A => self.a = build,
            Slot::B => self.b = build,
        }
    }

    /// Where the next build goes: never over the confirmed one.
    pub(crate) fn spare(&self) -> Slot {
        self.confirmed.map_or(Slot::A, Slot::other)
    }

    /// The build on trial.
    pub(crate) fn tried(&self) -> Option<(&Trial, &Build)> {
        let trial = self.trial.as_ref()?;
        Some((trial, self.build(trial.slot)?))
    }

    /// Why these bytes are not taken again.
    pub(crate) fn barred(&self, sha256: Sha256) -> Option<&RolledBack> {
        self.rolled_back.iter().rev().find(|one| one.barred && one.sha256 == sha256)
    }

    /// A slot's build is not run any more.
    pub(crate) fn undo(&mut self, slot: Slot, reason: String, barred: bool) {
        if let Some(build) = self.build(slot).cloned() {
            self.rolled_back.retain(|one| one.sha256 != build.sha256);
            let lacked_link = self.trial.as_ref().is_some_and(|trial| trial.slot == slot && trial.lacked_link);
            let Build { version, target, sha256, .. } = build;
            self.rolled_back.push(RolledBack { version, target, sha256, reason, barred, lacked_link, told: false });
            let excess = self.rolled_back.len().saturating_sub(REMEMBERED);
            self.rolled_back.drain(..excess);
        }
        self.set(slot, None);
        self.confirmed = self.confirmed.filter(|confirmed| *confirmed != slot);
        self.trial = self.trial.take().filter(|trial| trial.slot != slot);
    }
}
