//! The fleet in numbers, gathered in one pass over its rows.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::counted;
use super::view::{CertificateState, certificate};
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
        let ends = |ends: &[i64]| -> Vec<Bucket> {
            let ends = ends.iter().copied().map(Some).chain([None]);
            ends.map(|below| Bucket { below, devices: 0 }).collect()
        };
        let speeds: Vec<i64> = SPEEDS.iter().filter_map(|end| i64::try_from(*end).ok()).collect();
        let days = [&[0], CERTIFICATE_DAYS].concat();
        let mut overview = Overview {
            speeds: ends(&speeds),
            certificates: ends(&days),
            is_linked: self.inner.linked.load(Ordering::Relaxed),
            ..Overview::default()
        };
        let mut sites: BTreeMap<String, SiteCount> = BTreeMap::new();
        for known in self.known(&desk)?.iter() {
            let (row, facts) = (&known.row, &known.facts);
            if row.revoked_s.is_some() {
                overview.revoked += 1;
                continue;
            }
            let (online, drifting) = (u64::from(row.online), u64::from(facts.drift));
            overview.devices += 1;
            overview.online += online;
            overview.drifting += drifting;
            add(&mut overview.states, &facts.state);
            add(&mut overview.agents, &row.agent);
            let said = row.said.as_ref();
            add(&mut overview.models, said.and_then(|said| said.model.as_deref()).unwrap_or("nothing"));
            for reason in said.map(|said| said.reasons.as_str()).unwrap_or_default().split(',') {
                if !reason.is_empty() {
                    add(&mut overview.reasons, reason);
                }
            }
            if let Some(target) = said.and_then(|said| said.target.as_deref()) {
                add(&mut overview.variants, target);
            }
            if let Some(speed) = said.and_then(|said| said.speed_milli) {
                put(&mut overview.speeds, i64::try_from(speed).unwrap_or(i64::MAX));
            }
            overview.never_measured += u64::from(said.is_none_or(|said| said.measured_at_s.is_none()));
            overview.dead_letters = overview.dead_letters.saturating_add(said.map_or(0, |said| said.dead_letters));
            let certificate = certificate(row, desk.now_s);
            if let Some(not_after_s) = certificate.not_after_s {
                // What ends within the day is not expired: days are counted up here.
                let left_s = not_after_s - desk.now_s;
                put(&mut overview.certificates, if left_s <= 0 { -1 } else { left_s / DAY_S });
            }
            overview.renewal_overdue += u64::from(certificate.state == CertificateState::RenewalOverdue);
            let name = row.site.as_deref().unwrap_or_default();
            if !sites.contains_key(name) {
                sites.insert(name.to_owned(), SiteCount::default());
            }
            if let Some(site) = sites.get_mut(name) {
                site.devices += 1;
                site.online += online;
                site.drifting += drifting;
            }
        }
        for names in [&mut overview.models, &mut overview.variants, &mut overview.agents, &mut overview.reasons] {
            *names = counted(std::mem::take(names), NAMES);
        }
        let named = |(name, site): (String, SiteCount)| SiteCount { site: name, ..site };
        overview.sites = sites.into_iter().map(named).collect();
        overview.sites.sort_by(|one, other| other.devices.cmp(&one.devices).then_with(|| one.site.cmp(&other.site)));
        overview.other_sites = overview.sites.len().saturating_sub(SITES) as u64;
        overview.sites.truncate(SITES);
        Ok(overview)
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
