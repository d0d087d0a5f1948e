//! The fleet in numbers, gathered in one pass over its rows.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::view::{CertificateState, certificate};
use super::{Known, counted};
use crate::fleet::{Fleet, FleetError};

/// Names of which each is counted; what devices say beyond that is counted together.
const NAMES: usize = 50;

/// Sites that are listed, the largest.
const SITES: usize = 200;

/// Upper ends of the classes of speed, thousandths of a token per second.
const SPEEDS: &[u64] = &[1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000];

const DAY_S: i64 = 24 * 60 * 60;

/// Upper ends of the classes of certificates, days left.
const CERTIFICATE_DAYS: &[i64] = &[7, 30, 90, 365];

/// The fleet in numbers. Revoked devices are counted as revoked and nowhere else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overview {
    /// Devices that are let in.
    pub devices: u64,
    /// Devices that are let in no longer.
    pub revoked: u64,
    /// Connected now.
    pub online: u64,
    /// Not in step with what they should run.
    pub drifting: u64,
    /// Devices by the name of their state ([`Drift::state`](super::Drift::state)).
    pub states: BTreeMap<String, u64>,
    /// Devices by the model that serves; `nothing` serves nothing.
    pub models: BTreeMap<String, u64>,
    /// Devices by the catalogue target that serves.
    pub variants: BTreeMap<String, u64>,
    /// Devices by the agent's version.
    pub agents: BTreeMap<String, u64>,
    /// Devices by reasons why something wanted is not in force.
    pub reasons: BTreeMap<String, u64>,
    /// Self-tests by tokens per second.
    pub speeds: Vec<Bucket>,
    /// Devices that never said what their machine can give.
    pub never_measured: u64,
    /// Certificates by days left; the first class has expired.
    pub certificates: Vec<Bucket>,
    /// Certificates that the device should have renewed.
    pub renewal_overdue: u64,
    /// The largest sites.
    pub sites: Vec<SiteCount>,
    /// Sites beside those.
    pub other_sites: u64,
    /// Messages that were given up for good, all in all.
    pub dead_letters: u64,
    /// False while this server has no connection to its broker: then nobody's presence is certain.
    pub is_linked: bool,
}

/// Devices of one class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Its upper end, not in it; `None` has none. Thousandths of a token per second, or days.
    pub below: Option<i64>,
    /// Devices in it.
    pub devices: u64,
}

/// One site.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteCount {
    /// The site; empty for devices at none.
    pub site: String,
    /// Devices at it.
    pub devices: u64,
    /// Connected now.
    pub online: u64,
    /// Not in step with what they should run.
    pub drifting: u64,
}

impl Fleet {
    /// The fleet in numbers.
    ///
    /// # Errors
    /// If the database fails.
    pub fn overview(&self) -> Result<Overview, FleetError> {
        let desk = self.desk()?;
        let mut overview = Overview::of_nobody(self.inner.linked.load(Ordering::Relaxed));
        let mut sites = BTreeMap::new();
        for known in self.known(&desk)?.iter() {
            if known.row.revoked_s.is_some() {
                overview.revoked += 1;
                continue;
            }
            overview.count(known, desk.now_s);
            count_at_site(&mut sites, known);
        }
        overview.end(sites);
        Ok(overview)
    }
}

impl Overview {
    fn of_nobody(is_linked: bool) -> Self {
        let ends = |ends: &[i64]| -> Vec<Bucket> {
            let ends = ends.iter().copied().map(Some).chain([None]);
            ends.map(|below| Bucket { below, devices: 0 }).collect()
        };
        let speeds: Vec<i64> = SPEEDS.iter().filter_map(|end| i64::try_from(*end).ok()).collect();
        let days = [&[0], CERTIFICATE_DAYS].concat();
        Self { speeds: ends(&speeds), certificates: ends(&days), is_linked, ..Self::default() }
    }

    /// Counts one more device, but for its site.
    fn count(&mut self, known: &Known, now_s: i64) {
        let (row, facts) = (&known.row, &known.facts);
        self.devices += 1;
        self.online += u64::from(row.online);
        self.drifting += u64::from(facts.drift);
        add(&mut self.states, &facts.state);
        add(&mut self.agents, &row.agent);
        let said = row.said.as_ref();
        add(&mut self.models, said.and_then(|said| said.model.as_deref()).unwrap_or("nothing"));
        for reason in said.map(|said| said.reasons.as_str()).unwrap_or_default().split(',') {
            if !reason.is_empty() {
                add(&mut self.reasons, reason);
            }
        }
        if let Some(target) = said.and_then(|said| said.target.as_deref()) {
            add(&mut self.variants, target);
        }
        if let Some(speed) = said.and_then(|said| said.speed_milli) {
            put(&mut self.speeds, i64::try_from(speed).unwrap_or(i64::MAX));
        }
        self.never_measured += u64::from(said.is_none_or(|said| said.measured_at_s.is_none()));
        self.dead_letters = self.dead_letters.saturating_add(said.map_or(0, |said| said.dead_letters));
        let certificate = certificate(row, now_s);
        if let Some(not_after_s) = certificate.not_after_s {
            // What ends within the day is not expired: days are counted up here.
            let left_s = not_after_s - now_s;
            put(&mut self.certificates, if left_s <= 0 { -1 } else { left_s / DAY_S });
        }
        self.renewal_overdue += u64::from(certificate.state == CertificateState::RenewalOverdue);
    }

    /// Leaves of each list what a page bears: the largest.
    fn end(&mut self, sites: BTreeMap<String, SiteCount>) {
        for names in [&mut self.models, &mut self.variants, &mut self.agents, &mut self.reasons] {
            *names = counted(std::mem::take(names), NAMES);
        }
        let named = |(name, site): (String, SiteCount)| SiteCount { site: name, ..site };
        self.sites = sites.into_iter().map(named).collect();
        self.sites.sort_by(|one, other| other.devices.cmp(&one.devices).then_with(|| one.site.cmp(&other.site)));
        self.other_sites = self.sites.len().saturating_sub(SITES) as u64;
        self.sites.truncate(SITES);
    }
}

fn count_at_site(sites: &mut BTreeMap<String, SiteCount>, known: &Known) {
    let name = known.row.site.as_deref().unwrap_or_default();
    // A name is copied once: most devices are at a site that another one was at.
    if !sites.contains_key(name) {
        sites.insert(name.to_owned(), SiteCount::default());
    }
    if let Some(site) = sites.get_mut(name) {
        site.devices += 1;
        site.online += u64::from(known.row.online);
        site.drifting += u64::from(known.facts.drift);
    }
}

fn add(counts: &mut BTreeMap<String, u64>, name: &str) {
    match counts.get_mut(name) {
        Some(count) => *count += 1,
        None => {
            counts.insert(name.to_owned(), 1);
        }
    }
}

fn put(buckets: &mut [Bucket], value: i64) {
    if let Some(bucket) = buckets.iter_mut().find(|bucket| bucket.below.is_none_or(|below| value < below)) {
        bucket.devices += 1;
    }
}
