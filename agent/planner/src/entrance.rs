//! How a chosen variant comes into memory while another one serves: beside it, or after it has left.

use outpost_contract::{Measurements, VariantFacts};

use crate::memory::{KvType, Needs, Setting, budget, needs};
use crate::table::{rounded_down, rounded_up};
use crate::{Choice, Constraints};

/// Beside what serves, or after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entrance {
    /// Both fit: the old one serves until the new one does.
    Beside {
        /// What the new one needs.
        needed_bytes: u64,
        /// What there is for it now.
        usable_bytes: u64,
    },
    /// Only one fits: the old one has to leave first.
    AfterDraining {
        /// What the new one needs.
        needed_bytes: u64,
        /// What there is for it now.
        usable_bytes: u64,
    },
}

impl std::fmt::Display for Entrance {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Beside { needed_bytes, usable_bytes } => {
                let (needed, usable) = (rounded_down(needed_bytes), rounded_down(usable_bytes));
                write!(formatter, "beside the running model: needs {needed} of {usable} left")
            }
            Self::AfterDraining { needed_bytes, usable_bytes } => {
                let (needed, usable) = (rounded_up(needed_bytes), rounded_down(usable_bytes));
                let missing = rounded_up(needed_bytes.saturating_sub(usable_bytes));
                write!(
                    formatter,
                    "after the running model has left: needs {needed}, {usable} left beside it, {missing} missing"
                )
            }
        }
    }
}

/// Beside what serves if it fits into what is left now, as measured with the old one in memory; after it otherwise.
#[must_use]
pub fn entrance(choice: &Choice, measured_now: &Measurements) -> Entrance {
    // The agent itself is in memory already.
    let needed_bytes = choice.needs.total().saturating_sub(choice.needs.base_bytes);
    let usable_bytes = budget(measured_now).usable_bytes;
    if needed_bytes <= usable_bytes {
        Entrance::Beside { needed_bytes, usable_bytes }
    } else {
        Entrance::AfterDraining { needed_bytes, usable_bytes }
    }
}

/// The machine as it would be measured with a model out of memory that serves now, at the least: its weights and fixed
/// buffers. Its conversations take memory as they come, so theirs is not counted on.
#[must_use]
pub fn given_back(measured_now: &Measurements, serving: &VariantFacts, constraints: &Constraints) -> Measurements {
    let held = |facts: &VariantFacts| {
        let idle = Setting { context_tokens: 0, slots: 1, threads: 1, kv_type: KvType::default() };
        let Needs { weight_bytes, tokenizer_bytes, .. } = needs(facts, &idle);
        weight_bytes.saturating_add(tokenizer_bytes)
    };
    let bytes = held(serving).saturating_add(constraints.draft.as_ref().map_or(0, held));
    let available = measured_now.memory_available_bytes.saturating_add(bytes);
    Measurements {
        memory_available_bytes: available.min(measured_now.memory_total_bytes),
        memory_cgroup_headroom_bytes: measured_now
            .memory_cgroup_headroom_bytes
            .map(|headroom| headroom.saturating_add(bytes)),
        ..measured_now.clone()
    }
}
