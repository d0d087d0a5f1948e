//! Where a rollout stands: its phase, its waves, its devices. Written down whole, read back whole.

use std::collections::{BTreeMap, BTreeSet};

use outpost_contract::{DeviceId, ReasonCode};
use serde::{Deserialize, Serialize};

use crate::{Approval, Facts, Gate, Member, Refusal, Spec, Take};

/// One rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    pub(crate) spec: Spec,
    pub(crate) phase: Phase,
    pub(crate) waves: Vec<Wave>,
    pub(crate) devices: BTreeMap<DeviceId, Device>,
    /// Seconds that were seen to pass since the first step.
    pub(crate) elapsed_s: u64,
    pub(crate) last_now_s: Option<i64>,
    /// Orders given so far; the next has the next number.
    pub(crate) orders: u64,
}

/// What a rollout does now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Written, not started.
    Draft,
    /// Opens waves, assigns devices.
    Running,
    /// Assigns nothing; listens.
    Paused(Stop),
    /// Devices get back what they had.
    RollingBack(End),
    /// For good.
    Ended(End),
}

/// Why a rollout stands still or went back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// A person said so.
    Operator,
    /// Too few devices of this wave succeeded, and no more can.
    GateFailed(usize),
    /// Too many devices of this wave failed.
    Errors(usize),
    /// All devices of this wave left the rollout: nothing speaks for going on.
    NoEvidence(usize),
}

/// How a rollout ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// All gates passed.
    Completed,
    /// Every device left it.
    NobodyLeft,
    /// A person stopped it.
    Aborted,
    /// It stopped itself and went back.
    RolledBack(Stop),
}

/// One step of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wave {
    /// What people call it.
    pub name: String,
    /// Who must agree before it opens.
    pub approval: Option<Approval>,
    /// Who did.
    pub approved_by: BTreeSet<String>,
    /// Whether people were told that they must.
    pub approval_asked: bool,
    /// When it opened, in elapsed seconds.
    pub opened_s: Option<u64>,
    /// Since when enough devices are good, in elapsed seconds.
    pub good_since_s: Option<u64>,
    /// Its gate passed.
    pub passed: bool,
}

/// One device of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Its wave, from 0.
    pub wave: usize,
    /// What was known of it when it became a member.
    pub facts: Facts,
    /// How far it is.
    pub status: Status,
    /// Number of the last order that it was given; 0: none.
    pub order: u64,
    /// Sequence of the newest report that was heard.
    pub heard: u64,
}

/// How far a device is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Its wave or its window has not opened, or it is to be tried again.
    Waiting {
        /// Since when it could have been given an order, in elapsed seconds, if its wave is open.
        since_s: Option<u64>,
    },
    /// Ordered to change.
    Assigned {
        /// When, in elapsed seconds.
        at_s: u64,
    },
    /// The change is in force, and the device is well.
    Succeeded,
    /// It is not.
    Failed(Failure),
    /// It gets back what it had.
    RollingBack {
        /// When it was ordered to, in elapsed seconds; `None` as long as that had no room in a step.
        at_s: Option<u64>,
    },
    /// What it had is in force again.
    RolledBack,
    /// It was ordered back, but did not get there.
    NotRolledBack(Failure),
    /// Never ordered to change.
    Untouched,
    /// Ordered to change when a person stopped the rollout without going back.
    LeftUnderway,
    /// Something newer rules it.
    Superseded {
        /// What: a rollout's name or an operator's act.
        by: String,
    },
    /// It is no device of the fleet any more.
    Revoked,
}

/// Why a device failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// It will not do it.
    Refused(ReasonCode),
    /// It does it, but not well.
    Gate(Gate),
    /// It did not say how it ended.
    TimedOut,
    /// Its window never opened.
    NoWindow,
}

impl Status {
    /// Its name, as it is spelled when it is written down.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Waiting { .. } => "waiting",
            Self::Assigned { .. } => "assigned",
            Self::Succeeded => "succeeded",
            Self::Failed(_) => "failed",
            Self::RollingBack { .. } => "rolling_back",
            Self::RolledBack => "rolled_back",
            Self::NotRolledBack(_) => "not_rolled_back",
            Self::Untouched => "untouched",
            Self::LeftUnderway => "left_underway",
            Self::Superseded { .. } => "superseded",
            Self::Revoked => "revoked",
        }
    }

    /// Nothing is awaited of the device.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Waiting { .. } | Self::Assigned { .. } | Self::RollingBack { .. })
    }

    /// The rollout neither counts the device nor orders anything for it.
    #[must_use]
    pub fn has_left(&self) -> bool {
        matches!(self, Self::Superseded { .. } | Self::Revoked)
    }
}

/// How the devices of a wave do.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) counted: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) open: u64,
}

impl State {
    /// A rollout that waits for its start.
    ///
    /// # Errors
    /// The order cannot be carried out.
    pub fn new(spec: Spec) -> Result<Self, Refusal> {
        spec.check()?;
        Ok(Self {
            spec,
            phase: Phase::Draft,
            waves: Vec::new(),
            devices: BTreeMap::new(),
            elapsed_s: 0,
            last_now_s: None,
            orders: 0,
        })
    }

    /// The same without its devices, for whoever writes those down one by one.
    #[must_use]
    pub fn without_devices(&self) -> Self {
        Self {
            spec: self.spec.clone(),
            phase: self.phase.clone(),
            waves: self.waves.clone(),
            devices: BTreeMap::new(),
            elapsed_s: self.elapsed_s,
            last_now_s: self.last_now_s,
            orders: self.orders,
        }
    }

    /// The whole again, with the devices that were written down apart.
    #[must_use]
    pub fn with_devices(self, devices: BTreeMap<DeviceId, Device>) -> Self {
        Self { devices, ..self }
    }

    /// Seconds that were seen to pass since the first step: what the times of waves and devices count in.
    #[must_use]
    pub fn elapsed_s(&self) -> u64 {
        self.elapsed_s
    }

    /// When it last heard anything, seconds since 1970-01-01 UTC.
    #[must_use]
    pub fn last_now_s(&self) -> Option<i64> {
        self.last_now_s
    }

    /// What it was asked to do.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// What it does now.
    #[must_use]
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Its steps.
    #[must_use]
    pub fn waves(&self) -> &[Wave] {
        &self.waves
    }

    /// Its devices.
    #[must_use]
    pub fn devices(&self) -> &BTreeMap<DeviceId, Device> {
        &self.devices
    }

    /// It was started and has not ended.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !matches!(self.phase, Phase::Draft | Phase::Ended(_))
    }

    /// It is active and the device is one that it may still order something for.
    #[must_use]
    pub fn holds(&self, device: &DeviceId) -> bool {
        self.is_active() && self.devices.get(device).is_some_and(|device| !device.status.has_left())
    }

    /// How each wave does.
    pub(crate) fn tallies(&self) -> Vec<Tally> {
        let mut tallies = vec![Tally::default(); self.waves.len()];
        for device in self.devices.values().filter(|device| !device.status.has_left()) {
            let tally = &mut tallies[device.wave];
            tally.counted += 1;
            match device.status {
                Status::Succeeded => tally.succeeded += 1,
                Status::Failed(_) => tally.failed += 1,
                _ => tally.open += 1,
            }
        }
        tallies
    }

    /// Puts the members into waves.
    pub(crate) fn enter(&mut self, members: &[Member]) -> Result<(), Refusal> {
        let mut left: BTreeMap<&DeviceId, &Member> = members.iter().map(|member| (&member.device, member)).collect();
        if left.is_empty() {
            return Err(Refusal::NoDevices);
        }
        let all = left.len();
        let mut waves = Vec::new();
        let mut devices = BTreeMap::new();
        for wave in &self.spec.waves {
            let first = |count: usize| left.values().copied().take(count).collect::<Vec<_>>();
            let taken = match &wave.take {
                Take::Percent(percent) => first((all * usize::from(*percent)).div_ceil(100)),
                Take::Count(count) => first(usize::try_from(*count).unwrap_or(usize::MAX)),
                Take::Selector(selector) => {
                    left.values().copied().filter(|member| member.selectors.contains(selector)).collect()
                }
            };
            // A small fleet is whole before its last share.
            if left.is_empty() && matches!(wave.take, Take::Percent(_)) {
                continue;
            }
            if taken.is_empty() {
                return Err(Refusal::EmptyWave { name: wave.name.clone() });
            }
            for member in taken {
                left.remove(&member.device);
                devices.insert(member.device.clone(), Device::new(member, waves.len()));
            }
            waves.push(Wave::new(wave.name.clone(), wave.approval.clone()));
        }
        if !left.is_empty() {
            for member in left.into_values() {
                devices.insert(member.device.clone(), Device::new(member, waves.len()));
            }
            let approval = waves.last().and_then(|wave: &Wave| wave.approval.clone());
            waves.push(Wave::new("rest".to_owned(), approval));
        }
        (self.waves, self.devices) = (waves, devices);
        Ok(())
    }

    /// Puts a late joiner into the last wave if that has not opened, else into one more.
    pub(crate) fn join(&mut self, member: &Member) {
        if self.waves.last().is_none_or(|wave| wave.opened_s.is_some()) {
            let approval = self.waves.last().and_then(|wave| wave.approval.clone());
            self.waves.push(Wave::new("late".to_owned(), approval));
        }
        self.devices.insert(member.device.clone(), Device::new(member, self.waves.len() - 1));
    }
}

impl Wave {
    fn new(name: String, approval: Option<Approval>) -> Self {
        let approved_by = BTreeSet::new();
        Self { name, approval, approved_by, approval_asked: false, opened_s: None, good_since_s: None, passed: false }
    }

    /// All who must agree did.
    pub(crate) fn is_approved(&self) -> bool {
        self.approval.as_ref().is_none_or(|approval| self.approved_by.len() >= usize::from(approval.people))
    }
}

impl Device {
    fn new(member: &Member, wave: usize) -> Self {
        Self { wave, facts: member.facts.clone(), status: Status::Waiting { since_s: None }, order: 0, heard: 0 }
    }

    /// Its wave is open, and so is its window.
    pub(crate) fn may_be_assigned(&self, spec: &Spec, now_s: i64) -> bool {
        let offset = self.facts.utc_offset_minutes;
        let in_window = || spec.windows.is_empty() || spec.windows.iter().any(|window| window.is_open(now_s, offset));
        matches!(self.status, Status::Waiting { since_s: Some(_) }) && in_window()
    }
}
