//! What a fleet file says: devices, groups, people, tokens, each by its name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use outpost_contract::{DeviceId, Fingerprint, ModelId};
use serde::Serialize;

use crate::db::Assignment;

/// Smallest context that is of use if nothing is said, tokens; as on the command line.
pub(super) const MINIMUM_CONTEXT: u32 = 512;

/// A kind of thing that the file lists. Only kinds that stand in a file are anything that `--prune` looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `[[device]]`.
    Device,
    /// `[[group]]`.
    Group,
    /// `[[person]]`.
    Person,
    /// `[[token]]`.
    Token,
}

impl Kind {
    /// As its section is written.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Group => "group",
            Self::Person => "person",
            Self::Token => "token",
        }
    }
}

/// A fleet, as it is wanted or as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(super) devices: BTreeMap<DeviceId, Device>,
    pub(super) groups: BTreeMap<String, Grouping>,
    pub(super) people: BTreeMap<String, Rights>,
    pub(super) tokens: BTreeMap<String, Token>,
}

/// `[[device]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Device {
    /// The key that it has, or may enrol with.
    pub(super) key: Option<Fingerprint>,
    pub(super) site: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
    /// What it is told to run; `None` says nothing about it.
    pub(super) work: Option<Work>,
}

/// What a device is told to run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Work {
    /// No model.
    Idle,
    /// This one.
    Model { model: ModelId, minimum_context_tokens: u32 },
}

impl Work {
    pub(super) fn of(assignment: Assignment) -> Self {
        match assignment.model {
            None => Self::Idle,
            Some(model) => Self::Model { model, minimum_context_tokens: assignment.minimum_context_tokens },
        }
    }

    pub(super) fn assignment(&self) -> Assignment {
        match self {
            Self::Idle => Assignment { model: None, minimum_context_tokens: MINIMUM_CONTEXT },
            Self::Model { model, minimum_context_tokens } => {
                Assignment { model: Some(model.clone()), minimum_context_tokens: *minimum_context_tokens }
            }
        }
    }

    pub(super) fn model(&self) -> Option<&ModelId> {
        match self {
            Self::Idle => None,
            Self::Model { model, .. } => Some(model),
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => formatter.write_str("nothing"),
            Self::Model { model, minimum_context_tokens: MINIMUM_CONTEXT } => write!(formatter, "{model}"),
            Self::Model { model, minimum_context_tokens } => {
                write!(formatter, "{model} with a context of {minimum_context_tokens}")
            }
        }
    }
}

/// `[[group]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Grouping {
    pub(super) description: String,
    /// As selectors print.
    pub(super) selector: Option<String>,
    pub(super) members: BTreeSet<DeviceId>,
}

/// `[[person]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rights {
    pub(super) roles: BTreeSet<String>,
    pub(super) disabled: bool,
}

/// `[[token]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) roles: BTreeSet<String>,
    pub(super) scope: BTreeSet<String>,
}

/// Words of a set, parted by blanks.
pub(super) fn joined(words: &BTreeSet<String>) -> String {
    words.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}
