//! What a rollout is asked to do: what changes, for whom, in which steps, and what stops it.

use std::collections::{BTreeMap, BTreeSet};

use outpost_contract::{BuildVersion, DesiredModel, DeviceId, TargetPin};
use serde::{Deserialize, Serialize};

use crate::{Gates, Health, Refusal, Window};

/// Most waves that a rollout may be written with.
const MOST_WAVES: usize = 1000;

/// The whole order, as its author wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Who wrote it.
    pub author: String,
    /// What changes.
    pub change: Change,
    /// The steps, in order. Devices that no step takes come into one more, the last.
    pub waves: Vec<WaveSpec>,
    /// A gate passes when at least so many hundredths of its wave succeeded; 1 to 100.
    pub success_percent: u8,
    /// The rollout stops when more than so many hundredths of a wave failed; 0 to 100.
    pub error_percent: u8,
    /// A wave must have been good enough for so many seconds.
    #[serde(default)]
    pub soak_s: u32,
    /// What is demanded of each device's health.
    #[serde(default)]
    pub gates: Gates,
    /// When devices may be changed; empty: always. A roll-back does not wait for them.
    #[serde(default)]
    pub windows: Vec<Window>,
    /// Seconds after its order until a device that did not say how it ended counts as failed.
    pub deadline_s: u32,
    /// Seconds after the opening of its wave until a device whose window never opened counts as failed.
    #[serde(default = "eight_days_s")]
    pub window_deadline_s: u32,
    /// What happens when a gate fails or too many devices do.
    pub on_failure: OnFailure,
}

/// Every weekly window opens within it.
fn eight_days_s() -> u32 {
    8 * 24 * 3600
}

/// What a device is to run: the parts of its desired state that a rollout may change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// The model, if any.
    pub model: Option<DesiredModel>,
    /// The policy bundle, if any was pinned.
    pub policy: Option<TargetPin>,
    /// The version of the agent, if any was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildVersion>,
}

/// What changes; `None` leaves that part as it is on each device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Change {
    /// The new model.
    pub model: Option<DesiredModel>,
    /// The new policy bundle.
    pub policy: Option<TargetPin>,
    /// The new version of the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildVersion>,
}

impl Change {
    /// What a device that had this is to run.
    #[must_use]
    pub fn applied_to(&self, before: &Assignment) -> Assignment {
        Assignment {
            model: self.model.clone().or_else(|| before.model.clone()),
            policy: self.policy.clone().or_else(|| before.policy.clone()),
            build: self.build.clone().or_else(|| before.build.clone()),
        }
    }
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaveSpec {
    /// What people call it.
    pub name: String,
    /// Whom it takes, of those whom no step before took.
    pub take: Take,
    /// Who must agree before it opens; `None`: nobody.
    #[serde(default)]
    pub approval: Option<Approval>,
}

/// Whom a step takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Take {
    /// Hundredths of all members at the start, rounded up; 1 to 100.
    Percent(u8),
    /// So many.
    Count(u32),
    /// Those whom a selector names.
    Selector(Selector),
}

/// A text that names devices; only the caller's resolver knows what it means.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Selector(pub String);

/// Agreement that a step needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// How many different people; at least 1.
    pub people: u8,
    /// None of them may be the rollout's author.
    pub another_person: bool,
}

/// What happens when a gate fails or too many devices do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It stands still until a person decides.
    Pause,
    /// The devices of the step that failed get back what they had, and it ends.
    RollBackWave,
    /// All devices that were changed get back what they had, and it ends.
    RollBackAll,
}

/// What is known of a device at the moment it becomes a member.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// What it is to run now: what a roll-back gives back.
    pub before: Assignment,
    /// Its health now: what gates compare with.
    pub health: Health,
    /// How far its clocks are from UTC.
    pub utc_offset_minutes: i16,
}

/// A device that a rollout is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// The device.
    pub device: DeviceId,
    /// What is known of it.
    pub facts: Facts,
    /// Those of the steps' selectors that name it.
    pub selectors: BTreeSet<Selector>,
}

impl Spec {
    /// Whether it can be carried out at all, whoever the members are.
    ///
    /// # Errors
    /// The first thing that cannot.
    pub fn check(&self) -> Result<(), Refusal> {
        let invalid = |field, rule| Err(Refusal::InvalidSpec { field, rule });
        if self.change == Change::default() {
            return invalid("change", "must name a model, a policy bundle or a build of the agent");
        }
        if self.waves.is_empty() || self.waves.len() > MOST_WAVES {
            return invalid("waves", "must be 1 to 1000");
        }
        if !self.waves.iter().all(|wave| wave.take.is_well_formed()) {
            return invalid("waves.take", "must be 1 to 100 percent, at least 1 device, or a selector with a text");
        }
        let percents =
            self.waves.iter().map(|wave| if let Take::Percent(percent) = wave.take { percent.into() } else { 0 });
        if percents.sum::<u32>() > 100 {
            return invalid("waves.take", "must not name more than 100 percent together");
        }
        if self.waves.iter().filter_map(|wave| wave.approval.as_ref()).any(|approval| approval.people == 0) {
            return invalid("waves.approval.people", "must be at least 1");
        }
        if self.author.is_empty() {
            return invalid("author", "must name who wrote it");
        }
        if !(1..=100).contains(&self.success_percent) {
            return invalid("success_percent", "must be 1 to 100");
        }
        if self.error_percent > 100 {
            return invalid("error_percent", "must be 0 to 100");
        }
        if self.deadline_s == 0 || self.window_deadline_s == 0 {
            return invalid("deadline_s", "must be at least 1 second");
        }
        if !self.windows.iter().all(Window::is_well_formed) {
            return invalid("windows", "must name weekdays 0 (Monday) to 6 and minutes 0 to 1439");
        }
        Ok(())
    }

    /// Members of these devices, with the steps' selectors resolved by the caller.
    pub fn members(
        &self,
        devices: impl IntoIterator<Item = (DeviceId, Facts)>,
        resolve: impl Fn(&Selector) -> Vec<DeviceId>,
    ) -> Vec<Member> {
        let mut named: BTreeMap<DeviceId, BTreeSet<Selector>> = BTreeMap::new();
        for wave in &self.waves {
            if let Take::Selector(selector) = &wave.take {
                for device in resolve(selector) {
                    named.entry(device).or_default().insert(selector.clone());
                }
            }
        }
        let member =
            |(device, facts)| Member { selectors: named.get(&device).cloned().unwrap_or_default(), device, facts };
        devices.into_iter().map(member).collect()
    }
}

impl Take {
    fn is_well_formed(&self) -> bool {
        match self {
            Self::Percent(percent) => (1..=100).contains(percent),
            Self::Count(count) => *count > 0,
            Self::Selector(Selector(text)) => !text.trim().is_empty(),
        }
    }
}
