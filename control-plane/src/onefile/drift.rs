//! A file beside what devices report: who runs something else than it wants, and why.

use std::collections::BTreeMap;

use outpost_contract::DeviceId;
use serde::Serialize;

use super::awaited::Waiting;
use super::form::Work;
use super::read::FleetFile;
use super::table::Lines;
use crate::db::{AFTER_ALL, Row};
use crate::fleet::{Fleet, FleetError};
use crate::inventory::Drift;

/// Rows that are read at once.
const ROWS: usize = 500;

const DAY_S: i64 = 24 * 60 * 60;

/// A device that is not as the file wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reality {
    /// The device.
    pub device: DeviceId,
    /// What it should run.
    pub wants: String,
    /// What it says that it runs; `null` if it has said nothing.
    pub runs: Option<String>,
    /// How far it is, as selectors name it, or `not-enrolled`.
    pub state: String,
    /// Why, in its own words.
    pub words: String,
}

impl Fleet {
    /// Devices that do not run what the file wants of them, by name. Of a device that it says nothing about, nothing is
    /// expected.
    ///
    /// # Errors
    /// [`FleetError::FleetFile`] if its rules cannot be followed.
    pub fn file_drift(&self, file: &FleetFile) -> Result<Vec<Reality>, FleetError> {
        let now = self.listed_now()?;
        let mut lines = Lines::of("");
        let comparison = self.compared(file, &now, false, &mut lines)?;
        lines.judge()?;
        let waiting = self.waiting(&now, &comparison.models)?;
        let waiting: BTreeMap<&DeviceId, &Waiting> = waiting.iter().map(|one| (&one.device, one)).collect();
        let mut drifting = Vec::new();
        for (device, work) in file.listed.devices.keys().filter_map(|id| Some((id, comparison.work(id)?.0))) {
            if !now.enrolled.contains(device) {
                let (wants, state) = (work.to_string(), "not-enrolled".to_owned());
                let words = "it has not enrolled here".to_owned();
                drifting.push(Reality { device: device.clone(), wants, runs: None, state, words });
            }
        }
        let desired_s = i64::from(self.inner.config.desired_days) * DAY_S;
        let mut after = String::new();
        loop {
            let rows = self.inner.database.inventory(&after, AFTER_ALL, ROWS)?;
            for row in rows.iter().filter(|row| row.revoked_s.is_none()) {
                let Ok(device) = row.device.parse::<DeviceId>() else { continue };
                let Some((work, _)) = comparison.work(&device) else { continue };
                let drift = Drift::of(row, &[], desired_s);
                if drift.is_drift() || !does(row, &work) {
                    let waits = waiting.get(&device).filter(|one| one.wants == work.to_string());
                    let waits = waits.map(|one| one.words.clone());
                    drifting.push(self.reality(device, row, &work, &drift, waits)?);
                }
            }
            match rows.last() {
                Some(last) if rows.len() == ROWS => after.clone_from(&last.device),
                _ => break,
            }
        }
        drifting.sort_by(|one, other| one.device.cmp(&other.device));
        Ok(drifting)
    }

    fn reality(
        &self,
        device: DeviceId,
        row: &Row,
        work: &Work,
        drift: &Drift,
        waits: Option<String>,
    ) -> Result<Reality, FleetError> {
        let runs = row.said.as_ref().map(|said| said.model.clone().unwrap_or_else(|| "nothing".to_owned()));
        let told = row.wanted.as_deref().filter(|_| row.is_assigned);
        let words = match (drift.is_drift(), waits) {
            (_, Some(waits)) => waits,
            (true, None) => self.view(&device)?.words,
            (false, None) if told != work.model().map(|model| model.as_str()) || !row.is_assigned => {
                "it was not told so: `outpost-control apply` tells it".to_owned()
            }
            (false, None) => "its context is smaller than wanted".to_owned(),
        };
        Ok(Reality { device, wants: work.to_string(), runs, state: drift.state().to_owned(), words })
    }
}

/// True if a device says that it runs this.
fn does(row: &Row, work: &Work) -> bool {
    let Some(said) = &row.said else { return false };
    match work {
        Work::Idle => said.model.is_none(),
        Work::Model { model, minimum_context_tokens } => {
            said.model.as_deref() == Some(model.as_str())
                && said.context_tokens.is_some_and(|tokens| tokens >= u64::from(*minimum_context_tokens))
        }
    }
}
