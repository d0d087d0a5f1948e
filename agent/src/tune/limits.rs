//! What is asked of a choice: the planner's words, and one that only measuring can answer.

use serde::{Deserialize, Serialize};

use crate::args;

/// What is best among those that keep every limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Objective {
    /// Closest to the largest variant.
    #[default]
    Quality,
    /// Most tokens per second.
    Speed,
    /// Least memory.
    Memory,
}

impl From<args::Objective> for Objective {
    fn from(objective: args::Objective) -> Self {
        match objective {
            args::Objective::Quality => Self::Quality,
            args::Objective::Speed => Self::Speed,
            args::Objective::Memory => Self::Memory,
        }
    }
}

impl Objective {
    /// In one word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Quality => "quality",
            Self::Speed => "speed",
            Self::Memory => "memory",
        }
    }
}

/// What is asked of a choice beside fitting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    /// What is best among those that keep the others.
    pub(crate) objective: Objective,
    /// Slowest decoding of one conversation while all are answered, thousandths of a token per second; 0 for any.
    pub(crate) minimum_tokens_per_second_milli: u64,
    /// Fewest bits per weight times 1,000; 0 for any.
    pub(crate) minimum_quality_milli: u32,
    /// Smallest share of tokens that the reference would choose, too, in millionths; 0 for any.
    pub(crate) minimum_agreement_ppm: u32,
}
