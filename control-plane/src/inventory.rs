//! The inventory: devices by name, page or selector; what is known of each, how far each is from what it should run.
//!
//! ```text
//! report ──► facts, in columns, in its transaction ──► rows in memory (`index`) ──► selector ──► views, overview, what-if
//! ```

#[cfg(any(test, feature = "crowd"))]
mod crowd;
mod drift;
mod groups;
mod index;
mod overview;
mod view;
mod what_if;
pub(crate) mod words;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use outpost_contract::DeviceId;
use outpost_selector::{Facts, Selector};
use serde::{Deserialize, Serialize};

use crate::db::{AFTER_ALL, DeviceSummary, Row};
use crate::fleet::{Fleet, FleetError};

pub use drift::{Cause, Drift};
pub use groups::Group;
pub(crate) use groups::{DESCRIPTION_BYTES, MOST_GROUPS, MOST_LABELS};
pub(crate) use index::Index;
use index::Known;
pub use overview::{Bucket, Overview, SiteCount};
pub use view::{CertificateState, CertificateView, ClockView, DeviceView, Machine, Runs};
pub(crate) use what_if::DevicePlan;
pub use what_if::{Answer, Lack, Question, WhatIf};

/// Rows that are read at once: the database is free for others in between.
const ROWS: usize = 500;

/// Of so many devices at most, each is looked up; of more, all rows are gone through.
const FEW: usize = 20;

/// Most devices of one page.
pub const MOST_PER_PAGE: usize = 1000;

/// Names that a preview shows.
const PREVIEWED: usize = 10;

const DAY_S: i64 = 24 * 60 * 60;

/// Some devices of a list, by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The devices.
    pub devices: Vec<T>,
    /// Ask for what comes after this one; `None` if nothing does.
    pub next: Option<DeviceId>,
}

/// Whom a selector means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// The selector as it was understood.
    pub selector: String,
    /// How many devices it means.
    pub count: u64,
    /// Of how many.
    pub of: u64,
    /// The first of them, by name.
    pub first: Vec<DeviceId>,
}

/// What is needed to judge rows.
struct Desk {
    now_s: i64,
    desired_s: i64,
    /// Groups that selectors define, expanded.
    groups: BTreeMap<String, Selector>,
}

impl Desk {
    fn facts(&self, row: &Row) -> Facts {
        let drift = Drift::of(row, &[], self.desired_s);
        let said = row.said.as_ref();
        let words = |text: &str| text.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect();
        Facts {
            name: row.device.clone(),
            site: row.site.clone(),
            labels: row.labels.clone(),
            groups: row.groups.clone(),
            state: drift.state().to_owned(),
            model: said.and_then(|said| said.model.clone()),
            variant: said.and_then(|said| said.target.clone()),
            wanted: row.wanted.clone(),
            cpu: said.and_then(|said| said.cpu.clone()),
            features: said.and_then(|said| said.features.as_deref()).map(words).unwrap_or_default(),
            reasons: said.map(|said| words(&said.reasons)).unwrap_or_default(),
            agent: row.agent.clone(),
            memory: said.and_then(|said| said.memory_bytes),
            memory_available: said.and_then(|said| said.available_bytes),
            disk: said.and_then(|said| said.disk_bytes),
            cores: said.and_then(|said| said.cores),
            context: said.and_then(|said| said.context_tokens),
            policy: said.map(|said| said.policy_version),
            backlog: said.map(|said| said.backlog),
            dead_letters: said.map(|said| said.dead_letters),
            speed_milli: said.and_then(|said| said.speed_milli),
            seen_ago_s: row.seen_s.map(|at_s| self.since(at_s)),
            enrolled_ago_s: Some(self.since(row.enrolled_s)),
            certificate_left_s: self.left(row.certificate_not_after_s),
            online: row.online && row.revoked_s.is_none(),
            revoked: row.revoked_s.is_some(),
            assigned: row.is_assigned,
            drift: drift.is_drift(),
            measured: said.is_some_and(|said| said.measured_at_s.is_some()),
        }
    }

    fn since(&self, at_s: i64) -> u64 {
        u64::try_from(self.now_s.saturating_sub(at_s)).unwrap_or(0)
    }

    fn left(&self, end_s: Option<i64>) -> Option<u64> {
        end_s.map(|end_s| u64::try_from(end_s.saturating_sub(self.now_s)).unwrap_or(0))
    }

    fn view(&self, row: &Row, summary: DeviceSummary) -> DeviceView {
        let mut groups = row.groups.clone();
        if !self.groups.is_empty() {
            let facts = self.facts(row);
            groups.extend(self.groups.iter().filter(|(_, group)| group.matches(&facts)).map(|(name, _)| name.clone()));
        }
        DeviceView::new(row, summary, groups, self.desired_s, self.now_s)
    }
}

impl Fleet {
    /// Reads a selector as this fleet understands it: every group that it names is there.
    ///
    /// # Errors
    /// [`FleetError::Selector`] with the place and what was probably meant; [`FleetError::UnknownGroup`].
    pub fn selector(&self, text: &str) -> Result<Selector, FleetError> {
        let selector: Selector = text.parse()?;
        let groups = self.groups_read()?;
        if let Some(unknown) = selector.groups().find(|name| !groups.contains_key(name)) {
            return Err(FleetError::UnknownGroup(unknown.chars().take(63).collect()));
        }
        Ok(selector.expand(&defined(groups))?)
    }

    /// One device, whole.
    ///
    /// # Errors
    /// [`FleetError::UnknownDevice`] if it is not there.
    pub fn view(&self, device: &DeviceId) -> Result<DeviceView, FleetError> {
        let unknown = || FleetError::UnknownDevice(device.clone());
        let desk = self.desk()?;
        let row = self.inner.database.inventory_of(device)?.ok_or_else(unknown)?;
        Ok(desk.view(&row, self.device(device)?))
    }

    /// The first `limit` devices after `after` that a selector means, whole.
    ///
    /// # Errors
    /// If the database fails.
    pub fn views(
        &self,
        selector: &Selector,
        after: Option<&DeviceId>,
        limit: usize,
    ) -> Result<Page<DeviceView>, FleetError> {
        self.page(selector, after, limit, |desk, row, summary| desk.view(row, summary))
    }

    /// The same, as the plain list has them.
    ///
    /// # Errors
    /// If the database fails.
    pub fn summaries(
        &self,
        selector: &Selector,
        after: Option<&DeviceId>,
        limit: usize,
    ) -> Result<Page<DeviceSummary>, FleetError> {
        self.page(selector, after, limit, |_, _, summary| summary)
    }

    /// Every device that a selector means, by name; revoked ones too, unless it says `not revoked`.
    ///
    /// # Errors
    /// If the database fails.
    pub fn select(&self, selector: &Selector) -> Result<Vec<DeviceId>, FleetError> {
        let mut chosen = Vec::new();
        self.each(&self.desk()?, selector, "", |row| {
            chosen.extend(row.device.parse::<DeviceId>().ok());
            true
        })?;
        Ok(chosen)
    }

    /// How many devices a selector means, and the first of them.
    ///
    /// # Errors
    /// As [`selector`](Self::selector).
    pub fn preview(&self, text: &str) -> Result<Preview, FleetError> {
        let selector = self.selector(text)?;
        let mut preview =
            Preview { selector: text.parse::<Selector>()?.to_string(), count: 0, of: 0, first: Vec::new() };
        for known in self.known(&self.desk()?)?.iter() {
            preview.of += 1;
            if selector.matches(&known.facts) {
                preview.count += 1;
                if preview.first.len() < PREVIEWED {
                    preview.first.extend(known.row.device.parse::<DeviceId>().ok());
                }
            }
        }
        Ok(preview)
    }

    fn page<T>(
        &self,
        selector: &Selector,
        after: Option<&DeviceId>,
        limit: usize,
        make: impl Fn(&Desk, &Row, DeviceSummary) -> T,
    ) -> Result<Page<T>, FleetError> {
        let limit = limit.clamp(1, MOST_PER_PAGE);
        let desk = self.desk()?;
        // One more than is shown tells whether there is more.
        let mut rows: Vec<Row> = Vec::new();
        self.each(&desk, selector, after.map_or("", DeviceId::as_str), |row| {
            rows.push(row.clone());
            rows.len() <= limit
        })?;
        let is_more = rows.len() > limit;
        rows.truncate(limit);
        let mut devices = Vec::with_capacity(rows.len());
        let mut last = None;
        for row in &rows {
            let Ok(name) = row.device.parse::<DeviceId>() else { continue };
            if let Some(summary) = self.inner.database.device(&name)? {
                devices.push(make(&desk, row, summary));
            }
            last = Some(name);
        }
        Ok(Page { devices, next: last.filter(|_| is_more) })
    }

    /// Shows the rows after `after` that a selector means, by name, until `show` has seen enough.
    fn each(
        &self,
        desk: &Desk,
        selector: &Selector,
        after: &str,
        mut show: impl FnMut(&Row) -> bool,
    ) -> Result<(), FleetError> {
        let rows = self.known(desk)?;
        let start = rows.partition_point(|known| known.row.device.as_str() <= after);
        let mut chosen = rows[start..].iter().filter(|known| selector.matches(&known.facts));
        chosen.all(|known: &std::sync::Arc<Known>| show(&known.row));
        Ok(())
    }

    /// Shows the rows after `after`, by name, until `show` has seen enough.
    pub(crate) fn rows(&self, after: &str, mut show: impl FnMut(&Row) -> bool) -> Result<(), FleetError> {
        let mut after = after.to_owned();
        loop {
            let rows = self.inner.database.inventory(&after, AFTER_ALL, ROWS)?;
            if !rows.iter().all(&mut show) || rows.len() < ROWS {
                return Ok(());
            }
            if let Some(row) = rows.last() {
                after.clone_from(&row.device);
            }
        }
    }

    /// What selectors compare of devices; nothing of those that are not there.
    pub(crate) fn facts_of(&self, devices: &[DeviceId]) -> Result<BTreeMap<DeviceId, Facts>, FleetError> {
        let desk = self.desk()?;
        let mut found = BTreeMap::new();
        if devices.len() <= FEW {
            for device in devices {
                let row = self.inner.database.inventory_of(device)?;
                found.extend(row.map(|row| (device.clone(), desk.facts(&row))));
            }
            return Ok(found);
        }
        let wanted: BTreeMap<&str, &DeviceId> = devices.iter().map(|device| (device.as_str(), device)).collect();
        self.rows("", |row| {
            let device = wanted.get(row.device.as_str());
            found.extend(device.map(|device| ((*device).clone(), desk.facts(row))));
            true
        })?;
        Ok(found)
    }

    fn desk(&self) -> Result<Desk, FleetError> {
        let defined = defined(self.groups_read()?);
        let expanded = defined.iter().map(|(name, group)| Ok((name.clone(), group.expand(&defined)?)));
        let groups = expanded.collect::<Result<_, FleetError>>()?;
        Ok(Desk { now_s: self.now_s(), desired_s: i64::from(self.inner.config.desired_days) * DAY_S, groups })
    }

    /// Every group by name, with its selector if it has one.
    fn groups_read(&self) -> Result<BTreeMap<String, Option<Selector>>, FleetError> {
        let groups = self.inner.database.groups()?;
        let read = |group: crate::db::StoredGroup| {
            let selector = group.selector.map(|text| text.parse::<Selector>()).transpose()?;
            Ok((group.name, selector))
        };
        groups.into_iter().map(read).collect()
    }
}

fn defined(groups: BTreeMap<String, Option<Selector>>) -> BTreeMap<String, Selector> {
    groups.into_iter().filter_map(|(name, selector)| Some((name, selector?))).collect()
}

/// Counts by name; of many names, the most frequent `most`, and the others together.
fn counted(names: BTreeMap<String, u64>, most: usize) -> BTreeMap<String, u64> {
    let mut by_count: Vec<(String, u64)> = names.into_iter().collect();
    by_count.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    let others: u64 = by_count.iter().skip(most).map(|(_, count)| count).sum();
    by_count.truncate(most);
    let mut counted: BTreeMap<String, u64> = by_count.into_iter().collect();
    if others > 0 {
        *counted.entry("(others)".to_owned()).or_default() += others;
    }
    counted
}
