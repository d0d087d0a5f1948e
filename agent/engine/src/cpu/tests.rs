//! Every kernel gives the products of its format's definition, and the same bits for all instructions and any company.

use super::activations::{Activations, GROUP};
use super::*;
use crate::blocks;
use crate::blocks::tests::Random;

const PACKED: [Format; 13] = [
    Format::F32,
    Format::F16,
    Format::BF16,
    Format::Q4_0,
    Format::Q4_1,
    Format::Q5_0,
    Format::Q5_1,
    Format::Q8_0,
    Format::Q4_K,
    Format::Q5_K,
    Format::Q6_K,
    Format::TQ2_0,
    Format::I2_S,
];

fn products(cpu: &Cpu, format: Format, rows: usize, columns: usize, bytes: &[u8], input: &[f32]) -> Vec<f32> {
    let packed =
        Packed::new(cpu, format, rows, columns, bytes, |_| {}).expect("there is memory").expect("it has a kernel");
    let mut activations = Activations::default();
    activations.set(input, columns);
    if packed.takes_codes() {
        activations.quantise(cpu);
    }
    let mut output = vec![0.0; input.len() / columns * rows];
    multiply(cpu, &activations, &mut [(&packed, &mut output)]);
    output
}

/// The activations as the kernels see them: 32 codes to a scale.
fn rounded(input: &[f32]) -> Vec<f32> {
    let mut activations = Activations::default();
    activations.set(input, input.len());
    activations.quantise(&Cpu::new(1, Some(Instructions::Scalar)).expect("no thread is needed"));
    let groups = activations.groups().iter();
    groups.flat_map(|group| group.codes.as_flattened().iter().map(|code| f32::from(*code) * group.scale)).collect()
}

#[test]
fn products_are_those_of_the_definition_whatever_the_instructions() {
    for (format, instructions) in
        PACKED.into_iter().flat_map(|f| Instructions::available().into_iter().map(move |i| (f, i)))
    {
        let (rows, columns, tokens) = (37, 512, 3);
        let mut random = Random::new(11);
        let bytes = random.blocks(format, rows * columns / format.block_weights() as usize);
        let input = random.input(tokens * columns);
        let cpu = Cpu::new(2, Some(instructions)).expect("threads start");
        let output = products(&cpu, format, rows, columns, &bytes, &input);
        let mut weights = vec![0.0; rows * columns];
        blocks::widen(format, &bytes, &mut weights);
        let exact = matches!(format, Format::F32 | Format::F16 | Format::BF16);
        for (token, input) in input.chunks_exact(columns).enumerate() {
            let seen = if exact { input.to_vec() } else { rounded(input) };
            for (row, weights) in weights.chunks_exact(columns).enumerate() {
                let terms = || weights.iter().zip(&seen).map(|(weight, input)| f64::from(*weight) * f64::from(*input));
                let (want, size): (f64, f64) = (terms().sum(), terms().map(f64::abs).sum());
                let got = f64::from(output[token * rows + row]);
                assert!(
                    (got - want).abs() <= 3e-6 * size,
                    "{} {instructions:?} row {row}: {got} for {want}",
                    format.name()
                );
            }
        }
    }
}

#[test]
fn a_packed_row_is_widened_to_the_same_numbers_as_its_blocks() {
    for format in PACKED {
        let (rows, columns) = (37, 768);
        let bytes = Random::new(5).blocks(format, rows * columns / format.block_weights() as usize);
        let cpu = Cpu::new(1, None).expect("no thread is needed");
        let packed =
            Packed::new(&cpu, format, rows, columns, &bytes, |_| {}).expect("there is memory").expect("a kernel");
        let (mut all, mut row) = (vec![0.0; rows * columns], vec![0.0; columns]);
        blocks::widen(format, &bytes, &mut all);
        for (index, expected) in all.chunks_exact(columns).enumerate() {
            packed.row(index, &mut row);
            assert!(row == expected, "{} row {index}", format.name());
        }
    }
}

#[test]
fn a_product_has_the_same_bits_for_all_instructions_threads_and_company() {
    for format in PACKED {
        let (rows, columns, tokens) = (50, 768, 21);
        let mut random = Random::new(7);
        let bytes = random.blocks(format, rows * columns / format.block_weights() as usize);
        let input = random.input(tokens * columns);
        let alone: Vec<u32> = {
            let cpu = Cpu::new(1, Some(Instructions::Scalar)).expect("no thread is needed");
            let tokens = input.chunks_exact(columns);
            tokens.flat_map(|input| products(&cpu, format, rows, columns, &bytes, input)).map(f32::to_bits).collect()
        };
        for instructions in Instructions::available() {
            for threads in [1, 3] {
                let cpu = Cpu::new(threads, Some(instructions)).expect("threads start");
                let together = products(&cpu, format, rows, columns, &bytes, &input);
                let together: Vec<u32> = together.into_iter().map(f32::to_bits).collect();
                assert!(together == alone, "{} {instructions:?}", format.name());
            }
        }
    }
}

#[test]
fn activations_are_off_by_half_a_step_at_most() {
    let mut input = Random::new(3).input(4 * GROUP);
    input[GROUP..2 * GROUP].fill(0.0);
    for instructions in Instructions::available() {
        let cpu = Cpu::new(1, Some(instructions)).expect("no thread is needed");
        let mut activations = Activations::default();
        activations.set(&input, input.len());
        activations.quantise(&cpu);
        for (numbers, group) in input.chunks_exact(GROUP).zip(activations.groups()) {
            let codes = group.codes.as_flattened();
            for (number, code) in numbers.iter().zip(codes) {
                assert!((number - f32::from(*code) * group.scale).abs() <= 0.500_01 * group.scale, "{instructions:?}");
            }
            let sum: i32 = codes.iter().map(|code| i32::from(*code)).sum();
            assert_eq!(group.minus_sum, -sum);
            assert_eq!(group.minus_sums[0] + group.minus_sums[1], -sum);
        }
    }
}

#[test]
fn the_extremes_of_codes_do_not_overflow() {
    // Every code −128 against inputs of ±127: the largest sums there are.
    let columns = 64;
    let block: Vec<u8> = half::f16::ONE.to_le_bytes().into_iter().chain([0x80; 32]).collect();
    let bytes = block.repeat(columns / 32);
    for sign in [1.0f32, -1.0] {
        let input = vec![sign * 127.0; columns];
        for instructions in Instructions::available() {
            let cpu = Cpu::new(1, Some(instructions)).expect("no thread is needed");
            let output = products(&cpu, Format::Q8_0, 1, columns, &bytes, &input);
            assert_eq!(output, [-128.0 * 127.0 * sign * columns as f32], "{instructions:?}");
        }
    }
}

#[test]
fn every_format_says_truly_whether_it_has_a_kernel() {
    let cpu = Cpu::new(1, None).expect("no thread is needed");
    for format in Format::all() {
        let blocks = Random::new(1).blocks(format, 512 / format.block_weights() as usize);
        let packed = Packed::new(&cpu, format, 1, 512, &blocks, |_| {}).expect("there is memory");
        assert_eq!(format.has_kernel(), packed.is_some(), "{}", format.name());
        assert_eq!(format.has_kernel(), PACKED.contains(&format), "{}", format.name());
    }
}

#[test]
fn a_shape_or_format_without_a_kernel_is_left_to_others() {
    let cpu = Cpu::new(1, None).expect("no thread is needed");
    let blocks = Random::new(1).blocks(Format::IQ4_NL, 2);
    assert!(Packed::new(&cpu, Format::IQ4_NL, 1, 64, &blocks, |_| {}).expect("there is memory").is_none());
    let blocks = Random::new(1).blocks(Format::I2_S, 3);
    assert!(Packed::new(&cpu, Format::I2_S, 1, 384, &blocks, |_| {}).expect("there is memory").is_none());
}

#[test]
fn a_set_of_instructions_is_there_when_the_processor_has_all_its_features() {
    for instructions in Instructions::ALL {
        let features = instructions.features();
        let has_all = features.as_ref().is_some_and(|features| features.iter().all(|(_, has)| *has));
        assert_eq!(Instructions::available().contains(&instructions), has_all, "{instructions:?}: {features:?}");
    }
}
