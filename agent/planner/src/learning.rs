//! What measured answers teach of predictions: a smoothed ratio, within bounds.

use outpost_contract::{Correction, Learned, Measurements, VariantFacts};

/// Nothing teaches that a prediction is wrong by more than this factor: something else was measured then.
pub const MOST_CORRECTION_MILLI: u32 = 4_000;
/// The same, the other way.
pub const LEAST_CORRECTION_MILLI: u32 = 250;

/// A new answer counts for one part in so many, once as many were heard; before, all count alike.
const SMOOTHED_OVER: u64 = 8;

/// What is known after another answer was measured. One that is off by more than any correction is not believed.
#[must_use]
pub fn learn(known: Learned, predicted_ns: u64, measured_ns: u64) -> Learned {
    let ratio = u128::from(measured_ns) * 1_000 / u128::from(predicted_ns.max(1));
    let Some(ratio) = u32::try_from(ratio).ok().filter(|ratio| is_believed(*ratio)) else { return known };
    let answers = known.answers.saturating_add(1);
    let parts = i64::try_from(answers.min(SMOOTHED_OVER)).unwrap_or(1);
    let before = i64::from(known.ratio_milli.clamp(LEAST_CORRECTION_MILLI, MOST_CORRECTION_MILLI));
    let smoothed = match known.answers {
        0 => i64::from(ratio),
        _ => before + (i64::from(ratio) - before) / parts,
    };
    Learned { ratio_milli: u32::try_from(smoothed).unwrap_or(ratio), answers }
}

fn is_believed(ratio_milli: u32) -> bool {
    (LEAST_CORRECTION_MILLI..=MOST_CORRECTION_MILLI).contains(&ratio_milli)
}

/// What answers taught of this very variant.
#[must_use]
pub fn learned<'a>(facts: &VariantFacts, measurements: &'a Measurements) -> Option<&'a Correction> {
    let is_of = |correction: &&Correction| {
        correction.model == facts.model.model && correction.quantisation == facts.quantisation
    };
    measurements.corrections.iter().find(is_of)
}

/// A predicted time as what was learned corrects it, within bounds.
#[must_use]
pub fn corrected(predicted_ns: u64, learned: &Learned) -> u64 {
    if learned.answers == 0 {
        return predicted_ns;
    }
    let ratio = learned.ratio_milli.clamp(LEAST_CORRECTION_MILLI, MOST_CORRECTION_MILLI);
    u64::try_from(u128::from(predicted_ns) * u128::from(ratio) / 1_000).unwrap_or(u64::MAX)
}
