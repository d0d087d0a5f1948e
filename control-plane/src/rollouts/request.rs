//! A rollout as people write it: in a file, in a form, on the command line; and what it means.

use outpost_contract::{BuildVersion, DesiredModel, DeviceId, ModelId, TargetKind, TargetName};
use outpost_rollout::{Approval, Change, Gates, OnFailure, Selector, Spec, Take, WaveSpec, Window};
use serde::{Deserialize, Serialize};

use crate::builds::of_version;
use crate::fleet::{Fleet, FleetError};
use crate::inventory::words::clean;

/// Hundredths of the devices in each wave if nothing is said.
pub const DEFAULT_WAVES: [u8; 3] = [5, 20, 75];

const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// What changes, for whom, in which steps, and what stops it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutRequest {
    /// Its name, as devices are named.
    pub name: String,
    /// Whom it is for, a selector; who comes under it later joins.
    #[serde(rename = "for", default = "all")]
    pub selector: String,
    /// The new model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelId>,
    /// Smallest context that is of use, tokens.
    #[serde(default = "tokens_512")]
    pub minimum_context_tokens: u32,
    /// The new policy bundle: its target in the catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<TargetName>,
    /// The new version of the agent: each device takes the build for its own kind of machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildVersion>,
    /// The steps; without any, 5, 20 and 75 percent.
    #[serde(default)]
    pub waves: Vec<WaveRequest>,
    /// A gate passes when so many hundredths of its wave do well.
    #[serde(default = "percent_90")]
    pub success_percent: u8,
    /// The rollout stops when more hundredths of a wave failed.
    #[serde(default = "percent_10")]
    pub error_percent: u8,
    /// For how long a wave must do well, seconds.
    #[serde(default = "ten_minutes_s")]
    pub soak_s: u32,
    /// When a device that does not say how it ended has failed, seconds after its order.
    #[serde(default = "one_day_s")]
    pub deadline_s: u32,
    /// What happens when a gate fails or too many devices do.
    #[serde(default = "roll_back_all")]
    pub on_failure: OnFailure,
    /// What each device's health must be.
    #[serde(default)]
    pub gates: Gates,
    /// When devices may be changed, in their local time; without any, always.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<WindowRequest>,
}

/// One step. It takes a share, a number or those whom a selector means, of the devices that no step before took.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaveRequest {
    /// What people call it; without it, what it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Hundredths of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// So many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// A selector.
    #[serde(rename = "where", default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// How many people must agree before it opens; never its author.
    #[serde(default)]
    pub approvals: u8,
}

/// Hours of the week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowRequest {
    /// `monday` to `sunday`; without any, every day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<String>,
    /// When it opens, `22:00`.
    pub from: String,
    /// When it closes, on the next day if that is not later.
    pub to: String,
}

fn all() -> String {
    "all".to_owned()
}

fn tokens_512() -> u32 {
    512
}

fn percent_90() -> u8 {
    90
}

fn percent_10() -> u8 {
    10
}

fn ten_minutes_s() -> u32 {
    600
}

fn one_day_s() -> u32 {
    24 * 3600
}

fn roll_back_all() -> OnFailure {
    OnFailure::RollBackAll
}

impl RolloutRequest {
    /// A rollout of this name with nothing said: for all, in three waves.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            selector: all(),
            model: None,
            minimum_context_tokens: tokens_512(),
            policy: None,
            build: None,
            waves: Vec::new(),
            success_percent: percent_90(),
            error_percent: percent_10(),
            soak_s: ten_minutes_s(),
            deadline_s: one_day_s(),
            on_failure: roll_back_all(),
            gates: Gates::default(),
            windows: Vec::new(),
        }
    }

    /// What changes, in words.
    #[must_use]
    pub fn change(&self) -> String {
        let model = self.model.as_ref().map(|model| format!("model `{model}`"));
        let policy = self.policy.as_ref().map(|policy| format!("policy `{policy}`"));
        let build = self.build.as_ref().map(|build| format!("agent `{build}`"));
        model.into_iter().chain(policy).chain(build).collect::<Vec<_>>().join(" and ")
    }

    pub(super) fn checked_name(&self) -> Result<&str, FleetError> {
        match self.name.parse::<DeviceId>() {
            Ok(_) => Ok(&self.name),
            Err(_) => {
                let rule = "write 1 to 64 of a-z, 0-9 and `-`, as in `qwen3-in-march`";
                Err(wrong(format!("`{}` is no name for a rollout: {rule}", clean(&self.name, 64))))
            }
        }
    }

    /// What the machine is asked to do.
    pub(super) fn spec(&self, fleet: &Fleet, author: &str) -> Result<Spec, FleetError> {
        let targets = fleet.inner.database.targets()?;
        let policy = self.policy.as_ref().map(|name| fleet.staged_policy(name.as_str()));
        if let Some(model) = &self.model {
            let is_of_it =
                |kind: &TargetKind| matches!(kind, TargetKind::Variant(facts) if facts.model.model == *model);
            if !targets.iter().any(|target| is_of_it(&target.kind)) {
                return Err(FleetError::UnknownModel(model.to_string()));
            }
        }
        if let Some(version) = &self.build
            && of_version(&targets, version).next().is_none()
        {
            return Err(FleetError::UnknownBuild(version.clone()));
        }
        let model = self.model.clone().map(|model| DesiredModel {
            model,
            variants: Vec::new(),
            minimum_context_tokens: self.minimum_context_tokens,
        });
        let waves = match self.waves.is_empty() {
            true => {
                DEFAULT_WAVES.map(|percent| WaveRequest { percent: Some(percent), ..WaveRequest::default() }).into()
            }
            false => self.waves.clone(),
        };
        let waves = waves.iter().enumerate().map(|(at, wave)| wave.spec(at + 1)).collect::<Result<_, _>>()?;
        let windows = self.windows.iter().map(WindowRequest::window).collect::<Result<_, _>>()?;
        let spec = Spec {
            author: author.to_owned(),
            change: Change { model, policy: policy.transpose()?, build: self.build.clone() },
            waves,
            success_percent: self.success_percent,
            error_percent: self.error_percent,
            soak_s: self.soak_s,
            gates: self.gates.clone(),
            windows,
            deadline_s: self.deadline_s,
            window_deadline_s: 8 * 24 * 3600,
            on_failure: self.on_failure,
        };
        spec.check()?;
        Ok(spec)
    }
}

impl WaveRequest {
    fn spec(&self, number: usize) -> Result<WaveSpec, FleetError> {
        let (take, words) = match (self.percent, self.count, &self.selector) {
            (Some(percent), None, None) => (Take::Percent(percent), format!("{percent} percent")),
            (None, Some(count), None) => (Take::Count(count), format!("{count} devices")),
            (None, None, Some(selector)) => (Take::Selector(Selector(selector.clone())), clean(selector, 40)),
            _ => {
                return Err(wrong(format!("wave {number} must have one of `percent`, `count` and `where`")));
            }
        };
        let name = self.name.as_deref().map_or(words, |name| clean(name, 40));
        let approval = (self.approvals > 0).then_some(Approval { people: self.approvals, another_person: true });
        Ok(WaveSpec { name, take, approval })
    }
}

impl WindowRequest {
    fn window(&self) -> Result<Window, FleetError> {
        let day = |name: &String| match DAYS.iter().position(|day| *day == name.to_lowercase()) {
            Some(at) => Ok(u8::try_from(at).unwrap_or(0)),
            None => Err(wrong(format!("`{}` is no day: write `monday` to `sunday`", clean(name, 20)))),
        };
        let weekdays = match self.days.is_empty() {
            true => (0..7).collect(),
            false => self.days.iter().map(day).collect::<Result<_, _>>()?,
        };
        Ok(Window { weekdays, from_minute: minute(&self.from)?, to_minute: minute(&self.to)? })
    }
}

/// `22:30` as minutes of the day.
fn minute(text: &str) -> Result<u16, FleetError> {
    let read = || {
        let (hours, minutes) = text.split_once(':')?;
        let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
        (hours < 24 && minutes < 60).then(|| hours * 60 + minutes)
    };
    read().ok_or_else(|| wrong(format!("`{}` is no time of the day: write `22:30`", clean(text, 20))))
}

fn wrong(words: String) -> FleetError {
    FleetError::RolloutRequest(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_only_what_differs_and_times_are_times() {
        let text = "name = \"a\"\nfor = \"label.role=till\"\nmodel = \"m\"\n[[waves]]\npercent = 1\napprovals = 1\n\
            [[waves]]\nwhere = \"site=store-1\"\n[[windows]]\ndays = [\"Friday\"]\nfrom = \"22:00\"\nto = \"06:30\"\n\
            [gates]\nspeed_percent_of_before = 90\n";
        let request: RolloutRequest = toml::from_str(text).unwrap();
        assert_eq!(request.soak_s, 600);
        let window = request.windows[0].window().unwrap();
        assert_eq!(window, Window { weekdays: vec![4], from_minute: 1320, to_minute: 390 });
        assert_eq!(request.waves[0].spec(1).unwrap().name, "1 percent");
        assert_eq!(request.waves[1].spec(2).unwrap().take, Take::Selector(Selector("site=store-1".into())));
        for text in ["24:00", "7", "12:60", "", "a:b", "-1:00"] {
            assert!(minute(text).unwrap_err().to_string().contains("time of the day"), "{text}");
        }
        assert!(toml::from_str::<RolloutRequest>("name = \"a\"\nsoak = 1").is_err(), "what is not known is refused");
        assert!(WaveRequest::default().spec(1).unwrap_err().to_string().contains("wave 1 must have one of"));
        let again: RolloutRequest = serde_json::from_str(&serde_json::to_string(&request).unwrap()).unwrap();
        assert_eq!(again, request);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_time_of_the_day_or_refused(text in "[0-9:]{0,7}|\\PC{0,20}") {
            if let Ok(minute) = minute(&text) {
                proptest::prop_assert!(minute < 24 * 60, "{text}");
            }
        }
    }
}
