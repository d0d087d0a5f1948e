//! What the policies are told of a model: by the device that holds it, and by the bundle that approves it.

use serde::{Deserialize, Serialize};

/// A model, as the caller of the policies knows it. Write what is known and leave the rest to `Default`, which is the
/// least that can be said: no licence, no class, not approved.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct ModelFacts {
    /// Its name.
    pub id: String,
    /// SPDX identifier of its licence; empty if unknown.
    pub licence: String,
    /// Its parameter class.
    pub class: ModelClass,
    /// Its family, as `qwen3`; empty if unknown.
    pub family: String,
    /// Its quantisation, as `Q4_K_M`; empty if unknown.
    pub quantisation: String,
    /// Whether somebody has approved it. The bundle's own word on a model, where it has one, counts instead.
    pub approved: bool,
    /// Until when the approval holds, seconds since 1970-01-01 UTC; `None` is without end.
    pub approved_until_s: Option<i64>,
}

/// How large a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelClass {
    /// Nobody knows.
    #[default]
    Unknown,
    /// Below 100 million parameters.
    Tiny,
    /// 100 million to 1.4 billion.
    Micro,
    /// 1.5 to 13.9 billion.
    Small,
    /// 14 to 30 billion.
    Medium,
    /// More.
    Large,
}

impl ModelClass {
    /// Every class.
    pub const ALL: [Self; 6] = [Self::Unknown, Self::Tiny, Self::Micro, Self::Small, Self::Medium, Self::Large];

    /// The class of a model with so many parameters.
    #[must_use]
    pub fn of_parameters(parameters: u64) -> Self {
        match parameters {
            0 => Self::Unknown,
            1..100_000_000 => Self::Tiny,
            100_000_000..1_450_000_000 => Self::Micro,
            1_450_000_000..13_950_000_000 => Self::Small,
            13_950_000_000..=30_000_000_000 => Self::Medium,
            _ => Self::Large,
        }
    }

    /// The word in policies.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Tiny => "tiny",
            Self::Micro => "micro",
            Self::Small => "small",
            Self::Medium => "medium",
            Self::Large => "large",
        }
    }
}

/// What a bundle says of a model, in `models.toml`. What it says counts before what the device says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelEntry {
    /// Whether the model is approved; a model that is listed at all is, unless told otherwise.
    #[serde(default = "yes")]
    pub approved: bool,
    /// The last day of the approval, `YYYY-MM-DD`, by UTC; without it the approval has no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_until: Option<String>,
    /// The licence that the approval was given for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// The parameter class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<ModelClass>,
    /// The family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
}

fn yes() -> bool {
    true
}
