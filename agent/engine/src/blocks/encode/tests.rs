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
