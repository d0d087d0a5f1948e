//! What is faster is never predicted to be slower, what is more is never predicted to be faster, and no number is too large.

use outpost_contract::{Correction, Footprint, GoldenPrompts, KernelSpeed, Learned, Matrices, ModelFacts, PassSpeed};
use proptest::prelude::*;

use super::*;
use crate::learning::{LEAST_CORRECTION_MILLI, MOST_CORRECTION_MILLI, learn};

/// Figures of a variant and a machine, in the order that [`facts`] and [`machine`] take them.
type Figures = [u64; 24];

/// A model of 28 layers on two usual cores.
const USUAL: Figures = [
    // Layers, embedding, vocabulary, queries, feed-forward; heads of keys, their length, layers with windows, how far those see.
    28,
    1_024,
    151_936,
    2_048,
    3_072,
    8,
    128,
    0,
    0,
    // Weights and bytes of the layers and bytes of the output in one format, and in another.
    300_000_000,
    169_000_000,
    0,
    140_000_000,
    115_000_000,
    127_000_000,
    // Nanoseconds of a layer; elements, keys and values fetched, cached and multiplied, and logits in a second.
    6_000,
    1_000_000_000,
    8_000_000_000,
    16_000_000_000,
    50_000_000_000,
    100_000_000,
    // Bytes from memory and from the cache, multiply-adds of a kernel in a second.
    30_000_000_000,
    60_000_000_000,
    150_000_000_000,
];

fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn facts(figures: &Figures) -> VariantFacts {
    let matrices = |format: &str, [layer_weights, layer_bytes, output_bytes]: [u64; 3]| Matrices {
        format: format.to_owned(),
        layer_weights,
        layer_bytes,
        output_bytes,
    };
    let footprint = Footprint {
        weight_bytes: figures[10],
        kv_heads: narrow(figures[5]),
        key_length: narrow(figures[6]),
        value_length: narrow(figures[6]),
        attended_elements: narrow(figures[3]),
        windowed_layers: narrow(figures[7]),
        window_tokens: narrow(figures[8]),
        matrices: vec![
            matrices("Q4_K", [figures[9], figures[10], figures[11]]),
            matrices("Q6_K", [figures[12], figures[13], figures[14]]),
        ],
        ..Footprint::default()
    };
    let model = ModelFacts {
        model: "m".parse().unwrap(),
        architecture: "qwen3".into(),
        licence: "apache-2.0".into(),
        parameters: 600_000_000,
        context_tokens: 32_768,
        layers: narrow(figures[0]),
        embedding_length: narrow(figures[1]),
        vocabulary: narrow(figures[2]),
        kv_elements_per_layer: 2_048,
        feed_forward_length: narrow(figures[4]),
        query_elements: narrow(figures[3]),
    };
    VariantFacts {
        release: 1,
        model,
        quantisation: "Q4_K_M".into(),
        file_bytes: 400_000_000,
        weight_bytes: 400_000_000,
        quality_milli: 4_800,
        golden: GoldenPrompts::default(),
        origin: None,
        footprint: Some(Box::new(footprint)),
    }
}

fn machine(figures: &Figures) -> Measurements {
    let kernel = |format: &str| KernelSpeed {
        format: format.to_owned(),
        threads: 2,
        decode_bytes_per_second: figures[21],
        prefill_macs_per_second: figures[23],
        cached_bytes_per_second: Some(figures[22]),
    };
    let pass = PassSpeed {
        threads: 2,
        cache_bytes: 32 << 20,
        layer_ns: figures[15],
        elements_per_second: figures[16],
        fetched_elements_per_second: figures[17],
        attended_elements_per_second: figures[18],
        attended_macs_per_second: figures[19],
        logits_per_second: figures[20],
    };
    Measurements {
        cores: 2,
        memory_read_bytes_per_second: figures[21],
        kernels: vec![kernel("Q4_K"), kernel("Q6_K")],
        passes: vec![pass],
        ..Measurements::default()
    }
}

fn times(figures: &Figures, tokens: u32) -> [Option<u64>; 2] {
    let (facts, machine) = (facts(figures), machine(figures));
    let run = Run { threads: 2, depth_tokens: tokens };
    [next_token_ns(&facts, &machine, &run), first_token_ns(&facts, &machine, 2, tokens)]
}

#[test]
fn a_usual_model_takes_what_its_parts_take() {
    let [next, first] = times(&USUAL, 0);
    // 411 MB at 30 GB/s and 151,936 logits at 100 M/s are 15.2 ms; 28 layers of 6 µs and 0.36 M elements are 0.5 ms.
    assert!((15_500_000..16_000_000).contains(&next.unwrap()), "{next:?}");
    let [_, thousand] = times(&USUAL, 1_000);
    // 440 G multiply-adds at 150 G/s are 2.93 s; 28 × 0.5 M positions × 4,096 at 50 G/s are 1.15 s.
    assert!((4_000_000_000..4_700_000_000).contains(&thousand.unwrap()), "{thousand:?}");
    assert!(first.unwrap() < thousand.unwrap() / 10);
}

#[test]
fn a_device_that_counted_no_matrices_is_told_by_size_and_says_so() {
    let mut facts = facts(&USUAL);
    facts.footprint = None;
    let told = speed(&facts, &machine(&USUAL));
    assert_eq!((told.basis, told.tokens_per_second_milli), (Basis::Size, 75_000));
    assert_eq!(first_token_ns(&facts, &machine(&USUAL), 2, 100), None);
    assert_eq!(told.to_string(), "about 75.0 tokens/s (predicted from its size)");
}

#[test]
fn a_format_that_was_not_measured_is_as_fast_as_one_that_lies_alike_and_else_a_guess() {
    let told = |format: &str| {
        let (mut facts, mut machine) = (facts(&USUAL), machine(&USUAL));
        machine.kernels[0].format = "Q5_1".into();
        facts.footprint.as_mut().unwrap().matrices[0].format = format.into();
        let speed = speed(&facts, &machine);
        (speed.basis, speed.tokens_per_second_milli)
    };
    let measured = told("Q5_1");
    assert_eq!((told("Q5_0"), told("Q5_K"), measured.0), (measured, measured, Basis::Measured));
    assert!(told("Q3_K").0 == Basis::Bandwidth && told("Q3_K").1 < measured.1);
}

#[test]
fn a_window_and_a_cache_make_answers_faster() {
    let [plain, read] = times(&USUAL, 8_000);
    let mut windowed = USUAL;
    (windowed[7], windowed[8]) = (20, 512);
    let [next, first] = times(&windowed, 8_000);
    assert!(next < plain && first < read);
    let mut small = USUAL;
    for bytes in [10, 11, 13, 14] {
        small[bytes] /= 100;
    }
    // A hundredth of the bytes, from the cache, takes less than half of a hundredth.
    let next = |figures: &Figures| times(figures, 0)[0].unwrap();
    let weights = |figures: &Figures| {
        let mut none = *figures;
        [10, 11, 13, 14].into_iter().for_each(|bytes| none[bytes] = 0);
        next(figures) - next(&none)
    };
    assert!(weights(&small) * 190 < weights(&USUAL), "{} {}", weights(&small), weights(&USUAL));
}

#[test]
fn what_answers_taught_is_applied_and_named() {
    let learned = Learned { ratio_milli: 2_000, answers: 3 };
    let correction = Correction {
        model: "m".parse().unwrap(),
        quantisation: "Q4_K_M".into(),
        decode: learned,
        first_token: Learned::default(),
    };
    let plain = speed(&facts(&USUAL), &machine(&USUAL));
    let taught = Measurements { corrections: vec![correction], ..machine(&USUAL) };
    let corrected = speed(&facts(&USUAL), &taught);
    assert_eq!(corrected.basis, Basis::Corrected(3));
    assert!(corrected.tokens_per_second_milli.abs_diff(plain.tokens_per_second_milli / 2) <= 1);
    assert!(corrected.to_string().ends_with("(corrected by 3 answers)"));
    let mut other = facts(&USUAL);
    other.quantisation = "Q8_0".into();
    assert_eq!(speed(&other, &taught).basis, Basis::Measured, "another variant was not heard of");
}

proptest! {
    #[test]
    fn what_is_faster_is_never_slower_and_what_is_more_never_faster(place in 0usize..24, factor in 2u64..9, tokens in 0u32..20_000) {
        let mut other = USUAL;
        // A window of 512 tokens, so that both of its figures matter.
        (other[7], other[8]) = (14, 512);
        let before = times(&other, tokens);
        other[place] *= factor;
        let after = times(&other, tokens);
        for (before, after) in before.into_iter().zip(after) {
            let (before, after) = (before.unwrap(), after.unwrap());
            // Whole picoseconds are lost on the way.
            let slack = before / 1_000_000 + 10;
            match place {
                // More of the model, its layers with windows and longer heads apart: those see less, or share more.
                0..=5 | 8..=15 => prop_assert!(after + slack >= before, "{place}: {before} {after}"),
                16.. => prop_assert!(after <= before + slack, "{place}: {before} {after}"),
                _ => {}
            }
        }
    }

    #[test]
    fn no_number_is_too_large(figures: Figures, tokens: u32, threads: u32, ratio_milli: u32, answers: u64) {
        let (facts, mut machine) = (facts(&figures), machine(&figures));
        let learned = Learned { ratio_milli, answers };
        machine.corrections = vec![Correction {
            model: facts.model.model.clone(),
            quantisation: facts.quantisation.clone(),
            decode: learned,
            first_token: learned,
        }];
        let _ = next_token_ns(&facts, &machine, &Run { threads, depth_tokens: tokens });
        let _ = first_token_ns(&facts, &machine, threads, tokens);
        let _ = speed(&facts, &machine).to_string();
    }

    #[test]
    fn a_correction_stays_within_its_bounds(answers in prop::collection::vec((any::<u64>(), any::<u64>()), 0..40), predicted in 1u64..1_000_000_000_000) {
        let mut learned = Learned::default();
        for (predicted, measured) in answers {
            learned = learn(learned, predicted, measured);
        }
        let bounds = predicted / 1_000 * u64::from(LEAST_CORRECTION_MILLI)..=predicted.div_ceil(1_000) * u64::from(MOST_CORRECTION_MILLI);
        prop_assert!(bounds.contains(&corrected(predicted, &learned)));
    }

    #[test]
    fn answers_that_agree_teach_their_ratio_and_one_that_does_not_moves_it_little(ratio in 260u64..3_900, other in 260u64..3_900) {
        let mut learned = Learned::default();
        for _ in 0..20 {
            learned = learn(learned, 1_000_000, ratio * 1_000);
        }
        prop_assert_eq!((u64::from(learned.ratio_milli), learned.answers), (ratio, 20));
        let moved = learn(learned, 1_000_000, other * 1_000);
        prop_assert!(u64::from(moved.ratio_milli).abs_diff(ratio) <= ratio.abs_diff(other) / 8);
    }
}
