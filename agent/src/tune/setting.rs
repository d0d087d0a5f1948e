//! A setting is how a variant is run; here they are named, told apart and enumerated.

use std::collections::BTreeSet;
use std::fmt;

use outpost_engine::session;
use outpost_planner as planner;
use serde::{Deserialize, Serialize};

/// What keys and values are kept as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Kv {
    /// Half precision: what the service keeps.
    F16,
    /// Single precision: what the other is measured against.
    F32,
}

impl Kv {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::F16, Self::F32];

    /// Whether a model can be served so.
    pub(crate) fn is_served(self) -> bool {
        self == Self::F16
    }

    pub(crate) fn of_planner(self) -> planner::KvType {
        match self {
            Self::F16 => planner::KvType::F16,
            Self::F32 => planner::KvType::F32,
        }
    }

    pub(crate) fn of_engine(self) -> session::KvType {
        match self {
            Self::F16 => session::KvType::F16,
            Self::F32 => session::KvType::F32,
        }
    }
}

impl fmt::Display for Kv {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::F16 => "F16",
            Self::F32 => "F32",
        })
    }
}

/// How a variant is run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Setting {
    /// The variant's name, as in `Q4_0`.
    pub(crate) variant: String,
    /// What keys and values are kept as.
    pub(crate) kv: Kv,
    /// Context of one conversation, tokens.
    pub(crate) context_tokens: u32,
    /// Conversations at once.
    pub(crate) slots: u32,
    /// Threads of the engine.
    pub(crate) threads: u32,
}

impl Setting {
    /// What has to be measured for it. A longer context takes memory, not time: not while conversations are as long.
    pub(crate) fn run(&self) -> Run {
        Run { variant: self.variant.clone(), kv: self.kv, slots: self.slots, threads: self.threads }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}, {} tokens", self.run(), self.context_tokens)
    }
}

/// What is measured: settings that differ in their context alone share it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Run {
    pub(crate) variant: String,
    pub(crate) kv: Kv,
    pub(crate) slots: u32,
    pub(crate) threads: u32,
}

impl fmt::Display for Run {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { variant, kv, slots, threads } = self;
        let plural = if *threads == 1 { "" } else { "s" };
        write!(formatter, "{variant} with {kv} keys, {slots} at once, {threads} thread{plural}")
    }
}

/// Everything that may be combined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Space {
    pub(crate) variants: Vec<String>,
    pub(crate) kvs: Vec<Kv>,
    pub(crate) contexts: Vec<u32>,
    pub(crate) slots: Vec<u32>,
    pub(crate) threads: Vec<u32>,
}

impl Space {
    /// Every combination once: in the order of the variants, then so that a model is loaded as seldom as can be.
    pub(crate) fn settings(&self) -> Vec<Setting> {
        let mut seen = BTreeSet::new();
        let mut all = Vec::new();
        for variant in &self.variants {
            for &threads in &self.threads {
                for &kv in &self.kvs {
                    for &slots in &self.slots {
                        for &context_tokens in &self.contexts {
                            let setting = Setting { variant: variant.clone(), kv, context_tokens, slots, threads };
                            if [threads, slots, context_tokens].iter().all(|count| *count > 0)
                                && seen.insert(setting.clone())
                            {
                                all.push(setting);
                            }
                        }
                    }
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_combination_is_there_once_and_none_is_empty(
            variants in proptest::collection::vec("[A-C]", 0..4),
            counts in proptest::collection::vec(proptest::collection::vec(0_u32..4, 0..4), 3),
        ) {
            let [contexts, slots, threads] = [0, 1, 2].map(|index: usize| counts[index].clone());
            let space = Space { variants: variants.clone(), kvs: Kv::ALL.to_vec(), contexts, slots, threads };
            let all = space.settings();
            let distinct: BTreeSet<_> = all.iter().collect();
            prop_assert_eq!(distinct.len(), all.len());
            let kinds = |list: &[u32]| list.iter().filter(|count| **count > 0).collect::<BTreeSet<_>>().len();
            let names = variants.iter().collect::<BTreeSet<_>>().len();
            let expected = names * 2 * counts.iter().map(|list| kinds(list)).product::<usize>();
            prop_assert_eq!(all.len(), expected);
        }
    }

    #[test]
    fn settings_that_differ_in_their_context_alone_are_measured_once() {
        let setting =
            |context_tokens| Setting { variant: "Q8_0".into(), kv: Kv::F16, context_tokens, slots: 4, threads: 1 };
        assert_eq!(setting(512).run(), setting(4_096).run());
        assert_eq!(setting(512).to_string(), "Q8_0 with F16 keys, 4 at once, 1 thread, 512 tokens");
    }
}
