//! What a draft would have decided otherwise: the decisions in the mirrors of the devices' audit logs, put to its rules.
//!
//! Bounded: so many records and so many seconds, shared evenly by the devices, the newest records of each first. What was
//! not looked at, and what cannot be known from the records, is said and counted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use outpost_audit::AuditError;
use outpost_audit::reader::{self, Entry, Filter};
use outpost_contract::{DeviceId, TargetKind};
use outpost_policies::{Blank, ModelClass, ModelFacts, Policies, Rejudged, Replay};
use outpost_selector::Selector;
use serde::{Deserialize, Serialize};

use super::draft::good;
use super::recorded::Leaf;
use super::{DeskError, draft};
use crate::fleet::{Fleet, FleetError};
use crate::inventory::words::clean;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Records that are read at once.
const PAGE: u64 = 2_000;

/// Fewest records of a device that are looked at, however many devices there are.
const FEWEST: u64 = 200;

/// Longest time that it takes; an answer over HTTP must come within 30 seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Rows of the answer, and examples of each.
const ROWS: usize = 500;
const EXAMPLES: usize = 3;

/// Most records that can be asked for.
const MOST_RECORDS: u64 = 1_000_000;

/// How far the simulation looks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reach {
    /// Days back from now, 1 to 90.
    pub days: u32,
    /// Most records that are read, of all devices together.
    pub records: u64,
    /// Only these devices, as a selector says.
    #[serde(rename = "where")]
    pub selector: Option<String>,
}

impl Default for Reach {
    fn default() -> Self {
        Self { days: 7, records: 100_000, selector: None }
    }
}

/// What would have been decided otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Simulation {
    /// The draft.
    pub draft: String,
    /// Its digest.
    pub digest: String,
    /// From when on, seconds since 1970.
    pub since_s: i64,
    /// Until when.
    pub until_s: i64,
    /// Devices whose records were looked at.
    pub devices: u64,
    /// Devices without any record here.
    pub devices_without_records: u64,
    /// Devices of which older records of these days were not looked at, for want of room or time.
    pub devices_cut: u64,
    /// Devices that were not looked at at all, for want of time.
    pub devices_left_out: u64,
    /// Records that were read.
    pub records: u64,
    /// Decisions among them.
    pub decisions: u64,
    /// Decisions that would be the same.
    pub same: u64,
    /// Decisions that let somebody do what the draft would refuse.
    pub refused: u64,
    /// Decisions that refused what the draft would allow.
    pub allowed: u64,
    /// Decisions of which the records do not say enough, by what is missing, most first.
    pub unknown: Vec<Unknown>,
    /// Who, doing what, on which device; the most frequent first.
    pub changed: Vec<Changed>,
    /// Rows that were left off.
    pub changed_left_out: u64,
}

/// Decisions that cannot be put to the draft.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unknown {
    /// Why not.
    pub because: String,
    /// How many.
    pub count: u64,
}

/// Somebody for whom something would have been otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// Whether the draft would allow it.
    pub allowed: bool,
    /// Who, by the pseudonym in the device's log.
    pub who: String,
    /// The roles that they held.
    pub roles: Vec<String>,
    /// What they did or wanted to do.
    pub act: String,
    /// Where.
    pub device: DeviceId,
    /// How often.
    pub count: u64,
    /// The rules of the draft that decide; none if none permits it.
    pub rules: Vec<String>,
    /// Some of the records.
    pub examples: Vec<Example>,
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Example {
    /// The number of the device's log.
    pub log: u64,
    /// Its index there.
    pub record: u64,
    /// When, seconds since 1970.
    pub at_s: i64,
    /// About what: a model, the device, its log.
    pub about: String,
    /// The rules that decided then.
    pub by: Vec<String>,
}

impl Fleet {
    /// Puts the recorded decisions of the last days to a draft.
    ///
    /// # Errors
    /// If the draft is faulty or not there, or what is kept cannot be read.
    pub fn simulate_policy(&self, name: &str, reach: &Reach) -> Result<Simulation, FleetError> {
        let until = Instant::now() + PATIENCE;
        if !(1..=90).contains(&reach.days) {
            return Err(DeskError::Days(reach.days).into());
        }
        let (row, files) = self.kept(name)?;
        let digest = good(&self.looked_at(row.clone(), &files)?)?;
        let policies = files.check(row.base_version).policies.ok_or_else(|| draft::unknown(name))?;
        let decided = self.policy_in_force()?.and_then(|bundle| Policies::activate(bundle).ok());
        let selector = reach.selector.as_deref().map_or(Ok(Selector::all()), |text| self.selector(text))?;
        let devices = self.select(&selector)?;
        let until_s = self.now_s();
        let since_s = until_s - i64::from(reach.days) * DAY_MS / 1000;
        let share = (reach.records.min(MOST_RECORDS) / (devices.len().max(1) as u64)).max(FEWEST);
        let mut bench = Bench {
            replay: Replay::new(&policies, decided.as_ref()),
            models: self.known_models()?,
            since_ms: since_s.saturating_mul(1000),
            until,
            most: reach.records.clamp(1, MOST_RECORDS),
            unknown: BTreeMap::new(),
            changed: HashMap::new(),
            told: Simulation { draft: name.to_owned(), digest, since_s, until_s, ..Simulation::default() },
        };
        for device in &devices {
            if bench.is_spent() {
                bench.told.devices_left_out += 1;
                continue;
            }
            let mirrors = self.inner.audit.mirrors(device)?;
            bench.device(device, &mirrors, share)?;
        }
        Ok(bench.finish())
    }

    /// What the catalogue knows of models, as a device that holds them tells its rules.
    fn known_models(&self) -> Result<BTreeMap<String, ModelFacts>, FleetError> {
        let known = self.targets()?.into_iter().filter_map(|target| match target.facts {
            TargetKind::Variant(facts) => Some(ModelFacts {
                id: facts.model.model.to_string(),
                licence: facts.model.licence,
                class: ModelClass::of_parameters(facts.model.parameters),
                family: facts.model.architecture,
                ..ModelFacts::default()
            }),
            _ => None,
        });
        Ok(known.map(|facts| (facts.id.clone(), facts)).collect())
    }
}

/// Who, what, where, and which way.
type Group = (bool, String, Vec<String>, String, DeviceId);

/// Where records are put to the draft, and what came of it so far.
struct Bench<'a> {
    replay: Replay<'a>,
    models: BTreeMap<String, ModelFacts>,
    since_ms: i64,
    until: Instant,
    most: u64,
    unknown: BTreeMap<String, u64>,
    changed: HashMap<Group, Changed>,
    told: Simulation,
}

impl Bench<'_> {
    fn is_spent(&self) -> bool {
        self.told.records >= self.most || Instant::now() >= self.until
    }

    /// The newest records of a device, its newest log first.
    fn device(
        &mut self,
        device: &DeviceId,
        mirrors: &[(u64, std::path::PathBuf)],
        share: u64,
    ) -> Result<(), FleetError> {
        let (mut read, mut any, mut seen) = (0, false, HashSet::new());
        'logs: for (log, directory) in mirrors.iter().rev() {
            let Some(size) = size_of(directory)? else { continue };
            any |= size > 0;
            let mut end = size;
            while end > 0 {
                if read >= share || self.is_spent() {
                    self.told.devices_cut += 1;
                    break 'logs;
                }
                let start = end.saturating_sub(PAGE.min(share - read).max(1));
                let filter = Filter { from: Some(start), until: Some(end), newest_first: true, ..Filter::default() };
                let entries = reader::list(directory, &filter)?;
                read += entries.len() as u64;
                self.told.records += entries.len() as u64;
                let mut any_in_time = entries.is_empty();
                for entry in &entries {
                    any_in_time |= self.entry(device, *log, entry, &mut seen);
                }
                // Clocks jump: only a whole page that is older ends it.
                if !any_in_time {
                    break 'logs;
                }
                end = start;
            }
        }
        match any {
            true => self.told.devices += 1,
            false => self.told.devices_without_records += 1,
        }
        Ok(())
    }

    /// One record; true if it is of these days.
    fn entry(&mut self, device: &DeviceId, log: u64, entry: &Entry, seen: &mut HashSet<(String, String)>) -> bool {
        let Ok(leaf) = serde_json::from_slice::<Leaf>(&entry.bytes) else {
            self.told.decisions += 1;
            self.cannot("the record cannot be read".to_owned());
            return true;
        };
        if leaf.time.wall_ms < self.since_ms {
            return false;
        }
        let Some(decision) = leaf.decision.as_ref().filter(|_| leaf.is_first()) else { return true };
        let act = leaf.act.clone().unwrap_or_default();
        if leaf.request.as_ref().is_some_and(|request| !seen.insert((request.clone(), act.clone()))) {
            return true;
        }
        self.told.decisions += 1;
        let recorded = match leaf.recorded(device, &self.models) {
            Ok(recorded) => recorded,
            Err(because) => {
                self.cannot(because);
                return true;
            }
        };
        let (allowed, rules) = match self.replay.rejudge(&recorded) {
            Rejudged::Same => {
                self.told.same += 1;
                return true;
            }
            Rejudged::Refused(rules) => (false, rules),
            Rejudged::Allowed(rules) => (true, rules),
            Rejudged::Depends(blanks) => {
                let blanks: Vec<&str> = blanks.into_iter().map(Blank::in_words).collect();
                self.cannot(format!("it depends on what is not on record: {}", blanks.join(", ")));
                return true;
            }
            Rejudged::Beside => {
                self.cannot("a key's scope or an open override decided, not the rules".to_owned());
                return true;
            }
            Rejudged::Unexplained => {
                self.cannot("the record does not hold what it was decided by".to_owned());
                return true;
            }
        };
        *(if allowed { &mut self.told.allowed } else { &mut self.told.refused }) += 1;
        let who = clean(leaf.who.as_ref().map_or("", |who| who.pid.as_str()), 64);
        let roles: Vec<String> = recorded.ask.principal.roles.iter().map(|role| clean(role, 64)).collect();
        let group = (allowed, who.clone(), roles.clone(), act.clone(), device.clone());
        // Groups are as many as callers; a bound that no fleet of people reaches.
        if self.changed.len() >= 20 * ROWS && !self.changed.contains_key(&group) {
            self.told.changed_left_out += 1;
            return true;
        }
        let changed = self.changed.entry(group).or_insert_with(|| Changed {
            allowed,
            who,
            roles,
            act: clean(&act, 64),
            device: device.clone(),
            count: 0,
            rules,
            examples: Vec::new(),
        });
        changed.count += 1;
        if changed.examples.len() < EXAMPLES {
            changed.examples.push(Example {
                log,
                record: entry.index,
                at_s: leaf.time.wall_ms.div_euclid(1000),
                about: clean(recorded.ask.resource.id(), 128),
                by: decision.rules.iter().map(|rule| clean(rule, 64)).collect(),
            });
        }
        true
    }

    fn cannot(&mut self, because: String) {
        *self.unknown.entry(because).or_default() += 1;
    }

    fn finish(self) -> Simulation {
        let mut told = self.told;
        told.unknown = self.unknown.into_iter().map(|(because, count)| Unknown { because, count }).collect();
        told.unknown.sort_by_key(|unknown| std::cmp::Reverse(unknown.count));
        told.changed = self.changed.into_values().collect();
        told.changed.sort_by(|one, other| {
            let key = |changed: &Changed| (changed.device.clone(), changed.act.clone(), changed.who.clone());
            other.count.cmp(&one.count).then_with(|| key(one).cmp(&key(other)))
        });
        told.changed_left_out += told.changed.len().saturating_sub(ROWS) as u64;
        told.changed.truncate(ROWS);
        told
    }
}

/// Records of a mirror; none if its first are still on their way.
fn size_of(directory: &Path) -> Result<Option<u64>, FleetError> {
    match reader::log_size(directory) {
        Ok(size) => Ok(Some(size)),
        Err(AuditError::Missing { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl fmt::Display for Simulation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = |at_s: i64| {
            jiff::Timestamp::from_second(at_s)
                .map_or_else(|_| at_s.to_string(), |time| time.strftime("%F %H:%M").to_string())
        };
        writeln!(
            formatter,
            "{} decisions of {} devices from {} to {} UTC ({} records read)",
            self.decisions,
            self.devices,
            day(self.since_s),
            day(self.until_s),
            self.records
        )?;
        let unknown: u64 = self.unknown.iter().map(|unknown| unknown.count).sum();
        writeln!(
            formatter,
            "{} would be refused, {} newly allowed, {} the same, {unknown} cannot be known",
            self.refused, self.allowed, self.same
        )?;
        for changed in &self.changed {
            let verb = if changed.allowed { "allowed" } else { "refused" };
            let by = if changed.rules.is_empty() { "no rule permits it".to_owned() } else { changed.rules.join(", ") };
            let records = changed.examples.iter().map(|example| format!("{}/{}", example.log, example.record));
            writeln!(
                formatter,
                "{verb:<8} {:>6}  {:<16} {:<14} {:<20} {}  by {by}  records {}",
                changed.count,
                changed.act,
                changed.roles.join(","),
                changed.device.as_str(),
                changed.who,
                records.collect::<Vec<_>>().join(" ")
            )?;
        }
        if self.changed_left_out > 0 {
            writeln!(formatter, "and {} more rows", self.changed_left_out)?;
        }
        for Unknown { because, count } in &self.unknown {
            writeln!(formatter, "unknown  {count:>6}  {because}")?;
        }
        for (count, what) in [
            (
                self.devices_cut,
                "devices have older records of these days that were not looked at: ask for more records",
            ),
            (self.devices_left_out, "devices were not looked at, for want of time: name fewer with `--where`"),
            (self.devices_without_records, "devices have sent no record yet"),
        ] {
            if count > 0 {
                writeln!(formatter, "{count} {what}")?;
            }
        }
        Ok(())
    }
}
