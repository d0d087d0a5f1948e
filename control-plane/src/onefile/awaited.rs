//! Wishes of a fleet file that could not be carried out when it was applied: tried again when a device enrols, after a release,
//! an approval or a withdrawal that is taken back, and every hour. One that still cannot be stays, with the reason; it is in
//! nobody's way.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use outpost_contract::DeviceId;
use serde::Serialize;

use super::apply::{BY_FILE, is_released};
use super::now::Now;
use crate::db::{Arrived, Assignment};
use crate::fleet::{Fleet, FleetError};
use crate::models::ModelError;

/// A device that is enrolled and cannot be told yet what the file wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// The device.
    pub device: DeviceId,
    /// What it should run.
    pub wants: String,
    /// What it waits for.
    pub waits_for: Wait,
    /// The same in words.
    pub words: String,
}

/// What a wish waits for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case", tag = "what")]
pub enum Wait {
    /// Nothing was released here yet.
    FirstRelease,
    /// The catalogue does not list the model.
    Release,
    /// A rollout holds the device.
    Rollout {
        /// Its name.
        rollout: String,
        /// The device's wave, from 1.
        wave: usize,
    },
    /// The model may not be assigned to the device.
    Permission {
        /// Why not.
        because: String,
    },
    /// Nothing stands in the way any more.
    NextLook,
}

impl fmt::Display for Wait {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstRelease => formatter.write_str("the first release"),
            Self::Release => formatter.write_str("a model that the catalogue does not list"),
            Self::Rollout { rollout, wave } => write!(formatter, "the end of rollout {rollout}, wave {wave}"),
            Self::Permission { because } => write!(formatter, "permission: {because}"),
            Self::NextLook => formatter.write_str("the next look at it, within the hour"),
        }
    }
}

impl Fleet {
    /// Has those told that a file awaited and that are enrolled now, or this one. What cannot be done is on the log at most:
    /// whoever enrols, releases or approves has done that already, and it is tried again.
    pub(crate) fn settle_awaited(&self, only: Option<&DeviceId>) {
        match self.try_to_settle(only) {
            Ok(false) => {}
            Ok(true) => self.touch(),
            Err(error) => {
                tracing::error!(%error, "devices cannot be told yet what a fleet file wants; it is tried again")
            }
        }
    }

    /// True if anything was written.
    fn try_to_settle(&self, only: Option<&DeviceId>) -> Result<bool, FleetError> {
        let database = &self.inner.database;
        // Nobody is held up where nobody waits.
        if database.arrived(only)?.is_empty() {
            return Ok(false);
        }
        database.together(|| {
            let (models, held) = (self.models()?, database.held_by_rollouts()?);
            let (mut done, mut wishes) = (Vec::new(), Vec::new());
            for Arrived { device, wish, is_assigned } in database.arrived(only)? {
                match wish {
                    // What was assigned meanwhile is newer than the wish.
                    Some(wish) if !is_assigned => wishes.push((device, wish)),
                    _ => done.push(device),
                }
            }
            let can_be =
                |(device, wish): &&(DeviceId, Assignment)| is_released(&models, wish) && !held.contains_key(device);
            let now: BTreeMap<_, _> = wishes.iter().filter(can_be).map(|(device, wish)| (device, wish)).collect();
            if !now.is_empty() {
                for (device, told) in self.assign_each(&now, BY_FILE)? {
                    match told {
                        Ok(_) => done.push(device),
                        Err(error) => tracing::info!(%device, %error, "a wish of a fleet file waits"),
                    }
                }
            }
            database.stop_awaiting(&done)?;
            Ok(!done.is_empty())
        })
    }

    /// What each enrolled device waits for that cannot be told yet what to run.
    pub(super) fn waiting(&self, now: &Now, models: &Option<BTreeSet<String>>) -> Result<Vec<Waiting>, FleetError> {
        let wishes = now.untold.iter().filter(|device| now.enrolled.contains(*device)).filter_map(|device| {
            let work = now.listed.devices.get(device)?.work.as_ref()?;
            Some((device, work, work.assignment()))
        });
        let wishes: Vec<_> = wishes.collect();
        let asked: Vec<_> = wishes
            .iter()
            .filter(|(device, _, wish)| is_released(models, wish) && !now.held.contains_key(*device))
            .map(|(device, _, wish)| (*device, wish))
            .collect();
        let obstacles = if asked.is_empty() { BTreeMap::new() } else { self.signer_of_new()?.obstacles(&asked)? };
        let waiting = wishes.iter().map(|(device, work, wish)| {
            let waits_for = match (models, now.held.get(*device), obstacles.get(*device)) {
                (None, ..) => Wait::FirstRelease,
                (Some(_), ..) if !is_released(models, wish) => Wait::Release,
                (Some(_), Some((rollout, wave)), _) => Wait::Rollout { rollout: rollout.clone(), wave: wave + 1 },
                (Some(_), None, Some(error)) => Wait::Permission { because: because(error) },
                (Some(_), None, None) => Wait::NextLook,
            };
            let words = format!("it waits for {waits_for}");
            Waiting { device: (*device).clone(), wants: work.to_string(), waits_for, words }
        });
        Ok(waiting.collect())
    }
}

/// Why a model may not be assigned, in words that are the same for all devices of which it is so.
fn because(error: &FleetError) -> String {
    match error {
        FleetError::Model(ModelError::NotApproved { model, because, .. }) => {
            format!("`{model}` is not approved for it, {because}")
        }
        other => other.to_string(),
    }
}
