//! One thing that would be different, for machines and in words.

use std::collections::BTreeMap;

use outpost_contract::{DeviceId, Fingerprint};
use serde::Serialize;

use super::awaited::Waiting;
use super::form::{Grouping, Kind, Rights, Token, Work, joined};
use crate::people::Act;
use crate::people::together::in_lines;

/// What is done for a change; each is undone only by another file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// An enrolled device is let in no longer.
    Revoke {
        device: DeviceId,
    },
    /// A name that nobody enrolled under is forgotten, with its key.
    Forget {
        device: DeviceId,
    },
    /// A name is awaited.
    Await {
        device: DeviceId,
    },
    /// A device that is not enrolled may come with this key, or with none.
    Key {
        device: DeviceId,
        before: Option<Fingerprint>,
        after: Option<Fingerprint>,
    },
    Site {
        device: DeviceId,
        before: Option<String>,
        after: Option<String>,
    },
    Label {
        device: DeviceId,
        key: String,
        before: Option<String>,
        after: Option<String>,
    },
    Work {
        device: DeviceId,
        before: Option<Work>,
        after: Work,
    },
    Group {
        name: String,
        before: Option<Grouping>,
        after: Option<Grouping>,
    },
    Person {
        name: String,
        before: Option<Rights>,
        after: Option<Rights>,
    },
    Token {
        name: String,
        before: Option<Token>,
        after: Option<Token>,
    },
}

impl Step {
    /// The device that it is about, if it is about one.
    pub(super) fn device(&self) -> Option<&DeviceId> {
        match self {
            Self::Revoke { device }
            | Self::Forget { device }
            | Self::Await { device }
            | Self::Key { device, .. }
            | Self::Site { device, .. }
            | Self::Label { device, .. }
            | Self::Work { device, .. } => Some(device),
            Self::Group { .. } | Self::Person { .. } | Self::Token { .. } => None,
        }
    }
}

/// One thing that the file wants different from what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The act that the rules are asked for, as in `assign`.
    pub act: &'static str,
    /// Of what kind the thing is.
    pub kind: Kind,
    /// Its name.
    pub subject: String,
    /// What of it; empty for the whole.
    pub field: String,
    /// What it is; `null` for nothing.
    pub before: Option<String>,
    /// What it should be.
    pub after: Option<String>,
    /// True if something is taken away.
    pub removes: bool,
    /// The rollout that the device is taken out of by it, if one holds it.
    pub leaves: Option<Leaving>,
    /// The same in words.
    pub words: String,
    #[serde(skip)]
    pub(super) step: Step,
}

/// A place in a rollout that a device leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leaving {
    /// The rollout.
    pub rollout: String,
    /// The device's wave, from 1.
    pub wave: usize,
}

impl Change {
    /// Which act it is for the rules.
    pub(super) fn act(step: &Step) -> Act {
        match step {
            Step::Revoke { .. } => Act::Revoke,
            Step::Forget { .. } | Step::Await { .. } | Step::Key { .. } => Act::Enrol,
            Step::Site { .. } | Step::Label { .. } | Step::Work { .. } | Step::Group { .. } => Act::Assign,
            Step::Person { .. } | Step::Token { .. } => Act::Administer,
        }
    }

    /// The change that a step is, where these devices are held by rollouts.
    pub(super) fn new(step: Step, held: &BTreeMap<DeviceId, (String, usize)>) -> Self {
        let change = Self::from(step);
        let takes_out = matches!(change.step, Step::Work { .. } | Step::Revoke { .. });
        let place = change.step.device().filter(|_| takes_out).and_then(|device| held.get(device));
        let Some((rollout, wave)) = place else { return change };
        let leaves = Leaving { rollout: rollout.clone(), wave: wave + 1 };
        let words = format!("{}; leaves rollout {}, wave {}", change.words, leaves.rollout, leaves.wave);
        Self { words, leaves: Some(leaves), ..change }
    }
}

impl From<Step> for Change {
    /// Of a step that takes nobody out of a rollout.
    fn from(step: Step) -> Self {
        let device = |device: &DeviceId| (Kind::Device, device.to_string());
        let text = |value: &Option<String>| value.clone();
        let ((kind, subject), field, before, after) = match &step {
            Step::Revoke { device: name } => (device(name), String::new(), Some("enrolled".to_owned()), None),
            Step::Forget { device: name } => (device(name), String::new(), Some("awaited".to_owned()), None),
            Step::Await { device: name } => (device(name), String::new(), None, Some("awaited".to_owned())),
            Step::Key { device: name, before, after } => {
                let key = |key: &Option<Fingerprint>| key.map(|key| key.to_string());
                (device(name), "key".to_owned(), key(before), key(after))
            }
            Step::Site { device: name, before, after } => (device(name), "site".to_owned(), text(before), text(after)),
            Step::Label { device: name, key, before, after } => {
                (device(name), format!("label {key}"), text(before), text(after))
            }
            Step::Work { device: name, before, after } => {
                let before = before.as_ref().map(ToString::to_string);
                (device(name), "model".to_owned(), before, Some(after.to_string()))
            }
            Step::Group { name, before, after } => {
                ((Kind::Group, name.clone()), String::new(), before.as_ref().map(group), after.as_ref().map(group))
            }
            Step::Person { name, before, after } => {
                ((Kind::Person, name.clone()), String::new(), before.as_ref().map(rights), after.as_ref().map(rights))
            }
            Step::Token { name, before, after } => {
                ((Kind::Token, name.clone()), String::new(), before.as_ref().map(token), after.as_ref().map(token))
            }
        };
        let removes = after.is_none();
        let what = match (kind, field.as_str()) {
            (Kind::Device, "") => subject.clone(),
            (Kind::Device, field) => format!("{subject}: {field}"),
            (kind, _) => format!("{} {subject}:", kind.name()),
        };
        let words = match &step {
            Step::Revoke { .. } => format!("{what}: revoked"),
            Step::Forget { .. } => format!("{what}: awaited no longer, its key is forgotten"),
            Step::Await { .. } => format!("{what}: awaited"),
            _ => {
                let nothing = if kind == Kind::Device { "none" } else { "nothing" };
                let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| nothing.to_owned());
                format!("{what} {} → {}", shown(&before), shown(&after))
            }
        };
        Self { act: Self::act(&step).name(), kind, subject, field, before, after, removes, leaves: None, words, step }
    }
}

/// What would be done, and what is left to others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct FleetPlan {
    /// What the file wants different; what is taken away comes first.
    pub changes: Vec<Change>,
    /// What is here and not in the file, and stays: with `--prune` it is among the changes.
    pub left: Vec<Change>,
    /// Enrolled devices that cannot be told yet what they should run, and what they wait for.
    pub waiting: Vec<Waiting>,
    /// What a file cannot do, and the command that can.
    pub notes: Vec<String>,
}

impl FleetPlan {
    /// The acts that it takes, each with the names that it concerns, as records hold them.
    #[must_use]
    pub fn acts(&self) -> Vec<(&'static str, String)> {
        let mut subjects: BTreeMap<&'static str, Vec<&str>> = BTreeMap::new();
        for change in &self.changes {
            subjects.entry(change.act).or_default().push(&change.subject);
        }
        let lines = |(act, names): (&'static str, Vec<&str>)| in_lines(&names).into_iter().map(move |line| (act, line));
        subjects.into_iter().flat_map(lines).collect()
    }

    /// What the rules are asked, one by one.
    pub(crate) fn asked(&self) -> Vec<(Act, String)> {
        let mut asked: Vec<_> =
            self.changes.iter().map(|change| (Change::act(&change.step), change.subject.clone())).collect();
        asked.sort();
        asked.dedup();
        asked
    }
}

fn group(group: &Grouping) -> String {
    let members = group.members.iter().map(DeviceId::as_str).collect::<Vec<_>>().join(" ");
    let whom = match &group.selector {
        Some(selector) => format!("where {selector}"),
        None if members.is_empty() => "no members".to_owned(),
        None => format!("members {members}"),
    };
    if group.description.is_empty() { whom } else { format!("{whom} ({})", group.description) }
}

fn rights(rights: &Rights) -> String {
    let disabled = if rights.disabled { ", disabled" } else { "" };
    format!("{}{disabled}", joined(&rights.roles))
}

fn token(token: &Token) -> String {
    let scope = if token.scope.is_empty() { "all of its roles".to_owned() } else { joined(&token.scope) };
    format!("{} for {scope}", joined(&token.roles))
}
