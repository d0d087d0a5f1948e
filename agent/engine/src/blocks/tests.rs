//! Every format is read as its definition says, and a product is what widening and multiplying give.

mod definition;

use candle_core::Device;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};

use super::*;

/// Random bytes, the same at every run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2) + 1)
    }

    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    /// From 0 to 1, both excluded.
    pub(crate) fn unit(&mut self) -> f64 {
        (f64::from(self.next() >> 8) + 0.5) / f64::from(1 << 24)
    }

    /// Blocks of a format whose scales are below 2, so that no weight is infinite.
    pub(crate) fn blocks(&mut self, format: Format, count: usize) -> Vec<u8> {
        let bytes = format.block_bytes() as usize;
        let mut blocks: Vec<u8> = (0..count * bytes).map(|_| self.next() as u8).collect();
        for block in blocks.chunks_exact_mut(bytes) {
            for last_byte in scales_end(format) {
                block[*last_byte] &= 0xBF;
            }
        }
        blocks
    }

    pub(crate) fn input(&mut self, length: usize) -> Vec<f32> {
        (0..length).map(|_| (self.unit() * 2.0 - 1.0) as f32).collect()
    }
}

/// The bytes that hold sign and exponent of a block's scales, or of a weight that stands alone.
fn scales_end(format: Format) -> &'static [usize] {
    match format {
        Format::F32 => &[3],
        Format::F16 | Format::BF16 | Format::Q4_0 | Format::Q5_0 | Format::Q8_0 | Format::IQ4_NL | Format::IQ4_XS => {
            &[1]
        }
        Format::Q4_1 | Format::Q5_1 | Format::Q4_K | Format::Q5_K => &[1, 3],
        Format::Q2_K => &[81, 83],
        Format::Q3_K => &[109],
        Format::Q6_K => &[209],
        Format::TQ1_0 => &[53],
        Format::TQ2_0 => &[65],
        Format::I2_S => &[],
    }
}

fn widened(format: Format, blocks: &[u8]) -> Vec<f32> {
    let count = blocks.len() / format.block_bytes() as usize;
    let mut wide = vec![f32::NAN; count * format.block_weights() as usize];
    widen(format, blocks, &mut wide);
    wide
}

fn assert_near(format: Format, got: &[f32], expected: &[f64]) {
    assert_eq!(got.len(), expected.len());
    let most = expected.iter().fold(0.0, |most, weight| weight.abs().max(most));
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let off = (f64::from(*got) - expected).abs();
        assert!(off <= 1e-6 * most, "{} weight {index}: {got} instead of {expected}", format.name());
    }
}

#[test]
fn every_format_is_read_as_its_definition_says_bit_by_bit() {
    for format in Format::all() {
        let blocks = Random::new(1).blocks(format, 7);
        let weights = format.block_weights() as usize;
        let expected: Vec<f64> = blocks
            .chunks_exact(format.block_bytes() as usize)
            .flat_map(|block| (0..weights).map(|index| definition::weight(format, block, index)))
            .collect();
        assert_near(format, &widened(format, &blocks), &expected);
    }
}

#[test]
fn every_format_is_read_as_an_independent_reader_reads_it() {
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/blocks/blocks.bin");
    let bytes = std::fs::read(fixture).expect("the fixture is in the tree");
    let mut rest = bytes.as_slice();
    let mut take = |count: usize| rest.split_off(..count);
    let mut formats = 0;
    while let Some(head) = take(8) {
        let [id, count] = [0, 4].map(|at| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
        let format = Format::from_id(id, "").expect("we read every format of the fixture");
        let blocks = take(count as usize * format.block_bytes() as usize).expect("the blocks are there");
        let answers = take(512 * 4).expect("the weights are there");
        let answers: Vec<f64> =
            answers.as_chunks::<4>().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect();
        assert_near(format, &widened(format, blocks), &answers);
        formats += 1;
    }
    assert_eq!(formats, 15);
}

#[test]
fn every_format_that_candle_knows_is_read_as_candle_reads_it() {
    let known = [
        (Format::F32, GgmlDType::F32),
        (Format::F16, GgmlDType::F16),
        (Format::BF16, GgmlDType::BF16),
        (Format::Q4_0, GgmlDType::Q4_0),
        (Format::Q4_1, GgmlDType::Q4_1),
        (Format::Q5_0, GgmlDType::Q5_0),
        (Format::Q5_1, GgmlDType::Q5_1),
        (Format::Q8_0, GgmlDType::Q8_0),
        (Format::Q2_K, GgmlDType::Q2K),
        (Format::Q3_K, GgmlDType::Q3K),
        (Format::Q4_K, GgmlDType::Q4K),
        (Format::Q5_K, GgmlDType::Q5K),
        (Format::Q6_K, GgmlDType::Q6K),
    ];
    for (format, kind) in known {
        let blocks = Random::new(2).blocks(format, 6);
        let weights = 6 * format.block_weights() as usize;
        let storage = QStorage::from_data(blocks.as_slice().into(), &Device::Cpu, kind).expect("candle takes it");
        let tensor = QTensor::new(storage, (1, weights)).expect("the shape fits");
        let wide = tensor.dequantize(&Device::Cpu).and_then(|wide| wide.flatten_all()?.to_vec1::<f32>());
        let wide: Vec<f64> = wide.expect("candle widens it").into_iter().map(f64::from).collect();
        assert_near(format, &widened(format, &blocks), &wide);
    }
}

#[test]
fn a_product_is_what_widening_and_multiplying_give() {
    for format in Format::all() {
        let mut random = Random::new(3);
        // Formats of single weights may end anywhere, not only after sixteen.
        let row = random.blocks(format, 37);
        let wide = widened(format, &row);
        let input = random.input(wide.len());
        let terms = || wide.iter().zip(&input).map(|(weight, input)| f64::from(*weight) * f64::from(*input));
        let (expected, size) = (terms().sum::<f64>(), terms().map(f64::abs).sum::<f64>());
        let got = f64::from(dot(format, &row, &input));
        assert!((got - expected).abs() <= 1e-6 * size, "{}: {got} instead of {expected}", format.name());
    }
}

#[test]
fn inputs_taken_together_give_the_same_bits_as_each_alone() {
    for format in Format::all() {
        let mut random = Random::new(4);
        let row = random.blocks(format, 19);
        let columns = widened(format, &row).len();
        for count in 1..=FEW {
            let inputs = random.input(count * columns);
            let mut together = vec![0.0; count];
            dot_few(format, &row, &inputs, &mut together);
            for (input, product) in inputs.chunks_exact(columns).zip(&together) {
                assert_eq!(dot(format, &row, input).to_bits(), product.to_bits(), "{}", format.name());
            }
        }
    }
}

#[test]
fn every_half_is_widened_exactly() {
    for bits in (0..=u16::MAX).filter(|bits| bits & 0x7C00 != 0x7C00) {
        assert_eq!(plain::widen_half(bits).to_bits(), ::half::f16::from_bits(bits).to_f32().to_bits(), "{bits:#x}");
    }
}
