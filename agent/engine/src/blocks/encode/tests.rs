//! Encoders lose no more than the reference of `ggml` does on the same weights, and no weights make them stumble.

use super::*;
use crate::blocks::tests::Random;
use crate::blocks::widen;

/// Root of the mean squared error, as a part of the weights' own, that `ggml`'s reference encoders leave on the weights of
/// [`gaussian`] and [`laplacian`] when they know nothing of what the weights are for (no importance matrix).
const REFERENCE: &[(Format, [f64; 2])] = &[
    (Format::Q8_0, [0.005335, 0.006734]),
    (Format::Q5_1, [0.037727, 0.044413]),
    (Format::Q5_0, [0.042586, 0.053542]),
    (Format::Q4_0, [0.085647, 0.107157]),
    (Format::Q4_K, [0.071092, 0.084969]),
    (Format::Q5_K, [0.035989, 0.042912]),
    (Format::Q6_K, [0.017677, 0.021702]),
    (Format::TQ2_0, [0.808341, 0.825444]),
];

fn gaussian() -> Vec<f32> {
    let mut random = Random::new(11);
    let mut one = || {
        let (size, turn) = (random.unit(), random.unit());
        (0.02 * (-2.0 * size.ln()).sqrt() * (std::f64::consts::TAU * turn).cos()) as f32
    };
    (0..65_536).map(|_| one()).collect()
}

fn laplacian() -> Vec<f32> {
    let mut random = Random::new(12);
    let mut one = || {
        let at = random.unit() - 0.5;
        (-0.02 * at.signum() * (1.0 - 2.0 * at.abs()).ln()) as f32
    };
    (0..65_536).map(|_| one()).collect()
}

fn there_and_back(format: Format, weights: &[f32]) -> Vec<f32> {
    let bytes = format.bytes_for(weights.len() as u64).expect("whole blocks") as usize;
    // Whatever lay in the buffer before must not shine through.
    let mut blocks = vec![0xA5; bytes];
    encode(format, weights, &mut blocks);
    let mut wide = vec![f32::NAN; weights.len()];
    widen(format, &blocks, &mut wide);
    wide
}

/// Root of the mean squared error as a part of the weights' own.
fn loss(format: Format, weights: &[f32]) -> f64 {
    let sum = |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|number| number * number).sum::<f64>();
    let back = there_and_back(format, weights);
    let off = sum(&mut weights.iter().zip(&back).map(|(weight, back)| f64::from(*weight) - f64::from(*back)));
    (off / sum(&mut weights.iter().map(|weight| f64::from(*weight)))).sqrt()
}

#[test]
fn no_encoder_loses_more_than_the_reference_does() {
    let samples = [gaussian(), laplacian()];
    for (format, reference) in REFERENCE {
        for (weights, reference) in samples.iter().zip(reference) {
            let ratio = loss(*format, weights) / reference;
            assert!(ratio <= 1.0, "{}: {ratio:.4} times the reference's error", format.name());
        }
    }
}

#[test]
fn weights_that_a_format_can_hold_come_back() {
    let ternary: Vec<f32> = (0..2_048).map(|index| [0.0, 0.75, -0.75, 0.75, 0.0][index % 5]).collect();
    let whole: Vec<f32> = (0..2_048).map(|index| (index % 13) as f32 - 6.0).collect();
    assert_eq!(there_and_back(Format::TQ2_0, &ternary), ternary);
    assert_eq!(there_and_back(Format::F32, &whole), whole);
    assert_eq!(there_and_back(Format::F16, &whole), whole);
    for (format, bound) in [(Format::Q8_0, 0.005), (Format::Q6_K, 0.005), (Format::Q5_0, 0.03), (Format::Q5_1, 0.03)] {
        let off = loss(format, &whole);
        assert!(off < bound, "{}: {off}", format.name());
    }
}

#[test]
fn weights_of_any_size_are_encoded_to_numbers() {
    let sizes = [0.0, f32::MIN_POSITIVE / 4.0, 1e-12, 1e-6, 1.0, 1e4, 1e9, f32::MAX];
    for format in WRITTEN {
        for size in sizes {
            for shape in [[1.0, 1.0], [1.0, -1.0], [1.0, 0.0], [-1.0, -0.5]] {
                let weights: Vec<f32> = (0..256).map(|index| size * shape[index % 2]).collect();
                let back = there_and_back(*format, &weights);
                assert!(back.iter().all(|weight| weight.is_finite()), "{} of {size} {shape:?}", format.name());
                if (1e-3..=1e4).contains(&size) {
                    let bound = if *format == Format::TQ2_0 { 0.4 } else { 0.08 };
                    assert!(loss(*format, &weights) < bound, "{} of {size} {shape:?}", format.name());
                }
            }
        }
    }
}

/// Costs of very different sizes, some of them nothing.
fn costs(count: usize) -> Vec<f32> {
    let mut random = Random::new(13);
    (0..count).map(|index| if index % 37 == 0 { 0.0 } else { (random.unit() * 12.0 - 6.0).exp() as f32 }).collect()
}

/// What a tensor's errors cost when it was encoded with regard to the costs, and without.
fn with_and_without(format: Format, weights: &[f32], costs: &[f32]) -> [f64; 2] {
    let bytes = format.bytes_for(weights.len() as u64).expect("whole blocks") as usize;
    let mut blocks = [vec![0xA5; bytes], vec![0xA5; bytes]];
    encode_weighted(format, weights, costs, &mut blocks[0]);
    encode(format, weights, &mut blocks[1]);
    blocks.map(|blocks| {
        let mut wide = vec![f32::NAN; weights.len()];
        widen(format, &blocks, &mut wide);
        cost_of(weights, &wide, costs)
    })
}

#[test]
fn what_costs_are_known_for_costs_less() {
    let weights = gaussian();
    let costs = costs(weights.len());
    for format in [Format::Q8_0, Format::Q5_1, Format::Q5_0, Format::Q4_0, Format::Q4_K, Format::Q5_K, Format::Q6_K] {
        let [with, without] = with_and_without(format, &weights, &costs);

        assert!(with < 0.95 * without, "{}: {with} instead of {without}", format.name());
    }
}

#[test]
fn equal_costs_change_little_and_none_change_nothing() {
    let weights = laplacian();
    for format in WRITTEN {
        let [with, without] = with_and_without(*format, &weights, &vec![1.0; weights.len()]);
        assert!(with <= without, "{}: {with} after {without}", format.name());
        let bytes = format.bytes_for(weights.len() as u64).expect("whole blocks") as usize;
        let mut blocks = [vec![0; bytes], vec![0; bytes]];
        encode_weighted(*format, &weights, &vec![0.0; weights.len()], &mut blocks[0]);
        encode(*format, &weights, &mut blocks[1]);
        assert!(blocks[0] == blocks[1], "{}", format.name());
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn no_block_costs_more_than_without_regard_to_the_costs(
        weights in proptest::collection::vec(-1e3f32..1e3, 512),
        costs in proptest::collection::vec(0.0f32..1e6, 512),
        size in -20i32..10,
    ) {
        let weights: Vec<f32> = weights.iter().map(|weight| weight * 2.0f32.powi(size)).collect();
        for format in WRITTEN {
            let together = format.block_weights().max(32) as usize;
            for (weights, costs) in weights.chunks_exact(together).zip(costs.chunks_exact(together)) {
                let [with, without] = with_and_without(*format, weights, costs);
                proptest::prop_assert!(with <= without, "{}: {} after {}", format.name(), with, without);
            }
        }
    }
}
