//! Candidates, measurements and policy in; the chosen variant and the reasons out; pure.
//!
//! The control plane asks the same code "what if" that a device asks "what now": same input, same answer, with the reason in
//! the answer.

mod class;
mod entrance;
mod judge;
mod keep;
mod learning;
mod memory;
pub mod picture;
mod speed;
mod table;
mod times;

#[cfg(test)]
mod tests;

use outpost_contract::{Measurements, ModelId, TargetName, VariantFacts};

pub use class::Class;
pub use entrance::{Entrance, entrance, given_back};
use judge::Judge;
pub use learning::{LEAST_CORRECTION_MILLI, MOST_CORRECTION_MILLI, corrected, learn, learned};
pub use memory::{
    Budget, CHECKED_TOGETHER, KV_BYTES_PER_ELEMENT, KvType, Needs, PAGE_TOKENS, PREFILL_CHUNK_TOKENS, SCORED_TOGETHER,
    Setting, budget, needs,
};
pub use speed::{Basis, Run, Speed, first_token_ns, next_token_ns, speed};
pub use table::{rounded_down, rounded_up};
pub use times::READ_TOGETHER;

/// One variant that may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its name in the catalogue.
    pub target: TargetName,
    /// What the catalogue says of it.
    pub facts: VariantFacts,
}

/// What makes one fitting candidate better than another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Objective {
    /// Closest to the original; among equals the faster.
    #[default]
    Quality,
    /// Most tokens per second; among equals the closer to the original.
    Speed,
    /// Least memory; among equals the closer to the original.
    Memory,
}

/// What is asked of a choice beside fitting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraints {
    /// Smallest context that is of use, tokens.
    pub minimum_context_tokens: u32,
    /// Longest context worth its memory, tokens.
    pub maximum_context_tokens: u32,
    /// Conversations at once that are wanted; fewer are planned if nothing fits otherwise.
    pub slots: u32,
    /// Slowest decoding that is of use, thousandths of a token per second; 0 for any.
    pub minimum_tokens_per_second_milli: u64,
    /// What keys and values are kept as.
    pub kv_type: KvType,
    /// Models that somebody approved; `None` where none needs to be.
    pub approved_models: Option<Vec<ModelId>>,
    /// SPDX identifiers that may run; `None` for all.
    pub allowed_licences: Option<Vec<String>>,
    /// Classes of size that may run; `None` for all.
    pub allowed_classes: Option<Vec<Class>>,
    /// Quality below which an answer is of no use, bits per weight times 1,000; 0 for any.
    pub minimum_quality_milli: u32,
    /// What serves now. It stays the choice while it keeps every constraint, unless another one is better by a margin: a box
    /// whose memory goes up and down a little must not change its model each time.
    pub serving: Option<TargetName>,
    /// Candidates whose file would have to be fetched first, so that the disk must have room for it.
    pub to_fetch: Vec<TargetName>,
    /// A smaller model that guesses ahead for whichever is chosen, and needs memory beside it.
    pub draft: Option<VariantFacts>,
    /// What is best among those that keep every constraint.
    pub objective: Objective,
}

impl Default for Constraints {
    fn default() -> Self {
        Self {
            minimum_context_tokens: 512,
            // A conversation longer than this is rare on a box, and its memory would be taken from other conversations.
            maximum_context_tokens: 8_192,
            slots: 4,
            minimum_tokens_per_second_milli: 0,
            kv_type: KvType::default(),
            approved_models: None,
            allowed_licences: None,
            allowed_classes: None,
            minimum_quality_milli: 0,
            serving: None,
            to_fetch: Vec::new(),
            draft: None,
            objective: Objective::Quality,
        }
    }
}

/// The variant to run, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Its name in the catalogue.
    pub target: TargetName,
    /// Context of one conversation, tokens.
    pub context_tokens: u32,
    /// Conversations at once.
    pub slots: u32,
    /// Threads of the engine.
    pub threads: u32,
    /// What keys and values are kept as.
    pub kv_type: KvType,
    /// Predicted memory.
    pub needs: Needs,
    /// Predicted speed.
    pub speed: Speed,
}

/// What became of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is the choice.
    Chosen,
    /// Another one is better, or it broke a constraint.
    Lost,
}

/// The first constraint that a candidate breaks, for machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// Nobody approved its model.
    Approval,
    /// Its licence is not allowed.
    Licence,
    /// Its class of size is not allowed.
    Class,
    /// It is further from the original than is of use.
    Quality {
        /// Thousandths of a bit per weight that are missing.
        missing_milli: u32,
    },
    /// Its context is shorter than is of use.
    Context,
    /// Memory is missing.
    Memory {
        /// How much.
        missing_bytes: u64,
    },
    /// Room on the disk for its file is missing.
    Disk {
        /// How much.
        missing_bytes: u64,
    },
    /// It would decode too slowly, or nothing was measured that says how fast.
    Speed {
        /// How fast, thousandths of a token per second.
        tokens_per_second_milli: u64,
    },
}

/// One candidate's fate, with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Its name in the catalogue.
    pub target: TargetName,
    /// Its quantisation.
    pub quantisation: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Why, in one sentence with the numbers.
    pub because: String,
    /// The constraint that it broke, if it broke one.
    pub broken: Option<Broken>,
    /// Bytes that were missing, if memory was the reason.
    pub missing_bytes: u64,
    /// Memory that it needs: as chosen, or with the smallest useful context.
    pub needs: Needs,
    /// Predicted speed.
    pub speed: Speed,
}

/// The answer: at most one choice, and a verdict on every candidate in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What to run; `None` if nothing fits.
    pub choice: Option<Choice>,
    /// Every candidate's fate.
    pub verdicts: Vec<Verdict>,
    /// The memory that there was to plan with.
    pub budget: Budget,
}

impl Plan {
    /// The plan as a table for people: one line per candidate.
    #[must_use]
    pub fn table(&self) -> String {
        table::render(self)
    }
}

/// Chooses, of the candidates that keep every constraint, the best by the objective, with the longest context that fits.
///
/// If nothing fits with as many conversations at once as are wanted, half as many are tried, down to one: a box that answers
/// its callers in turn is of more use than one that refuses.
#[must_use]
pub fn plan(candidates: &[Candidate], measurements: &Measurements, constraints: &Constraints) -> Plan {
    let judge = |slots: u32| Judge { measurements, constraints, slots, budget: budget(measurements) };
    let mut slots = constraints.slots.max(1);
    loop {
        let plan = judge(slots).plan(candidates);
        if plan.choice.is_some() || slots == 1 {
            return plan;
        }
        slots /= 2;
    }
}
