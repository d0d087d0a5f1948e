//! Leaves out what need not be measured: what does not fit, what has too few bits, what would be too slow whatever is measured.

use std::collections::BTreeMap;

use outpost_contract::{Measurements, VariantFacts};
use outpost_planner::{self as planner, Basis, budget, needs, rounded_down, rounded_up, speed};
use serde::{Deserialize, Serialize};

use super::figures::thousandths;
use super::limits::Limits;
use super::setting::Setting;

/// A predicted speed may be wrong by so much: what is predicted to be slower than the limit by more is not measured.
const PREDICTION_FACTOR: u64 = 2;

/// A setting that is not measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pruned {
    pub(crate) setting: Setting,
    /// Why, in one sentence with the numbers.
    pub(crate) because: String,
}

/// Memory that a setting needs, by the planner's count.
pub(crate) fn needs_of(facts: &VariantFacts, setting: &Setting) -> u64 {
    let Setting { kv, context_tokens, slots, threads, .. } = *setting;
    needs(facts, &planner::Setting { context_tokens, slots, threads, kv_type: kv.of_planner() }).total()
}

/// Keeps what is worth measuring, in its order. Every setting's variant must have facts; one without is left out as unknown.
pub(crate) fn prune(
    settings: Vec<Setting>,
    facts: &BTreeMap<String, VariantFacts>,
    measurements: &Measurements,
    limits: &Limits,
) -> (Vec<Setting>, Vec<Pruned>) {
    let (mut kept, mut pruned) = (Vec::new(), Vec::new());
    for setting in settings {
        let reason = match facts.get(&setting.variant) {
            Some(facts) => reason(&setting, facts, measurements, limits),
            None => Some(format!("nothing is known of `{}`", setting.variant)),
        };
        match reason {
            Some(because) => pruned.push(Pruned { setting, because }),
            None => kept.push(setting),
        }
    }
    (kept, pruned)
}

fn reason(setting: &Setting, facts: &VariantFacts, measurements: &Measurements, limits: &Limits) -> Option<String> {
    let trained = facts.model.context_tokens;
    if setting.context_tokens > trained {
        return Some(format!("the model was trained for {trained} tokens, not {}", setting.context_tokens));
    }
    if facts.quality_milli < limits.minimum_quality_milli {
        let [own, asked] = [facts.quality_milli, limits.minimum_quality_milli].map(|milli| thousandths(milli.into()));
        return Some(format!("has {own} bits per weight, {asked} are asked for"));
    }
    let (needed, usable) = (needs_of(facts, setting), budget(measurements).usable_bytes);
    if needed > usable {
        let missing = rounded_up(needed - usable);
        return Some(format!("needs {}, {} available: {missing} missing", rounded_up(needed), rounded_down(usable)));
    }
    let predicted = speed(facts, measurements);
    let minimum = limits.minimum_tokens_per_second_milli;
    let is_too_slow = predicted.tokens_per_second_milli.saturating_mul(PREDICTION_FACTOR) < minimum;
    (predicted.basis != Basis::Nothing && is_too_slow).then(|| {
        format!("would decode {predicted}, {} tokens/s are asked for: not even half of it", thousandths(minimum))
    })
}

#[cfg(test)]
mod tests {
    use outpost_contract::KernelSpeed;
    use proptest::prelude::*;

    use super::super::setting::{Kv, Space};
    use super::*;

    fn facts(quantisation: &str, weight_bytes: u64) -> VariantFacts {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/outpost-demo-f16.gguf");
        let info = outpost_engine::gguf::Gguf::open(&path).unwrap().info();
        let demo = crate::facts::variant("demo".parse().unwrap(), 1, &info);
        let bits = weight_bytes * 8_000 / info.parameters;
        let quality_milli = u32::try_from(bits).unwrap();
        VariantFacts { quantisation: quantisation.to_owned(), weight_bytes, quality_milli, footprint: None, ..demo }
    }

    fn machine(available: u64) -> Measurements {
        let kernel = |format: &str| KernelSpeed {
            format: format.to_owned(),
            threads: 2,
            decode_bytes_per_second: 1_000_000_000,
            prefill_macs_per_second: 1_000_000_000,
            cached_bytes_per_second: None,
        };
        Measurements {
            memory_total_bytes: available,
            memory_available_bytes: available,
            kernels: vec![kernel("F16"), kernel("Q4_0")],
            ..Measurements::default()
        }
    }

    fn all() -> (Vec<Setting>, BTreeMap<String, VariantFacts>) {
        let facts =
            BTreeMap::from([("F16".to_owned(), facts("F16", 10 << 20)), ("Q4_0".to_owned(), facts("Q4_0", 3 << 20))]);
        let space = Space {
            variants: vec!["F16".into(), "Q4_0".into()],
            kvs: Kv::ALL.to_vec(),
            contexts: vec![256, 512, 1_024],
            slots: vec![1, 4],
            threads: vec![1, 2],
        };
        (space.settings(), facts)
    }

    #[test]
    fn each_reason_is_told_with_its_numbers() {
        let (settings, facts) = all();
        let because = |measurements: &Measurements, limits: Limits, variant: &str| {
            let (_, pruned) = prune(settings.clone(), &facts, measurements, &limits);
            let reasons =
                pruned.into_iter().filter(|one| one.setting.variant == variant && one.setting.context_tokens < 1_024);
            reasons.map(|one| one.because).next().unwrap_or_default()
        };
        let large = machine(4 << 30);
        assert_eq!(because(&large, Limits::default(), "F16"), "");
        let bits = Limits { minimum_quality_milli: 8_000, ..Limits::default() };
        assert_eq!(because(&large, bits, "Q4_0"), "has 4.7 bits per weight, 8.0 are asked for");
        let fast = Limits { minimum_tokens_per_second_milli: 400_000, ..Limits::default() };
        assert!(because(&large, fast, "F16").ends_with("400 tokens/s are asked for: not even half of it"));
        assert_eq!(because(&large, fast, "Q4_0"), "", "predicted at more than half of it, it is measured");
        assert!(because(&machine(64 << 20), Limits::default(), "F16").contains("missing"));
        let (_, pruned) = prune(settings.clone(), &facts, &large, &Limits::default());
        let long = pruned.iter().find(|one| one.setting.context_tokens == 1_024).unwrap();
        assert_eq!(long.because, "the model was trained for 512 tokens, not 1024");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_that_does_not_fit_is_kept(available in 0_u64..(1 << 30), speed in 0_u64..2_000_000) {
            let (settings, facts) = all();
            let (measurements, limits) =
                (machine(available), Limits { minimum_tokens_per_second_milli: speed, ..Limits::default() });
            let (kept, pruned) = prune(settings.clone(), &facts, &measurements, &limits);
            prop_assert_eq!(kept.len() + pruned.len(), settings.len());
            let usable = budget(&measurements).usable_bytes;
            for setting in &kept {
                prop_assert!(needs_of(&facts[&setting.variant], setting) <= usable);
            }
            prop_assert!(pruned.iter().all(|one| !one.because.is_empty()));
        }
    }
}
