//! Weights made into blocks: for every format that is written here, scales are searched so that the squared error is small.
//!
//! A block depends on its own weights only, so a tensor can be encoded in pieces, by any number of threads, to the same bytes.
//! Weights must be finite.

mod cost;
mod legacy;
mod search;
mod super_blocks;
mod ternary;

use cost::{Cost, Equal};
use half::f16;

use crate::blocks::widen;
use crate::gguf::Format;

/// The formats that [`encode`] writes.
pub(crate) const WRITTEN: &[Format] = &[
    Format::F32,
    Format::F16,
    Format::Q8_0,
    Format::Q5_1,
    Format::Q5_0,
    Format::Q4_0,
    Format::Q4_K,
    Format::Q5_K,
    Format::Q6_K,
    Format::TQ2_0,
];

/// Encodes weights into the bytes of their blocks; both are whole blocks and fit each other.
///
/// # Panics
/// In a format that is not among [`WRITTEN`].
pub(crate) fn encode(format: Format, weights: &[f32], blocks: &mut [u8]) {
    encode_at_cost(format, weights, Equal, blocks);
}

/// As [`encode`], where the squared error of each weight costs as much as `costs` says, a finite number of at least zero. No
/// block costs more than [`encode`]'s of the same weights: where the search finds nothing better, that one is taken.
pub(crate) fn encode_weighted(format: Format, weights: &[f32], costs: &[f32], blocks: &mut [u8]) {
    encode(format, weights, blocks);
    if matches!(format, Format::F32 | Format::F16 | Format::TQ2_0) {
        return;
    }
    let mut searched = vec![0; blocks.len()];
    encode_at_cost(format, weights, costs, &mut searched);
    let [mut wide, mut searched_wide] = [vec![0.0; weights.len()], vec![0.0; weights.len()]];
    widen(format, blocks, &mut wide);
    widen(format, &searched, &mut searched_wide);
    let (bytes, together) = (format.block_bytes() as usize, format.block_weights() as usize);
    for (at, (block, searched)) in blocks.chunks_exact_mut(bytes).zip(searched.chunks_exact(bytes)).enumerate() {
        let here = at * together..(at + 1) * together;
        let cost = |wide: &[f32]| cost_of(&weights[here.clone()], &wide[here.clone()], &costs[here.clone()]);
        if cost(&searched_wide) < cost(&wide) {
            block.copy_from_slice(searched);
        }
    }
}

/// What it costs to have some numbers in place of the weights.
pub(crate) fn cost_of(weights: &[f32], instead: &[f32], costs: &[f32]) -> f64 {
    let off = |(weight, instead): (&f32, &f32)| f64::from(*weight) - f64::from(*instead);
    weights.iter().zip(instead).map(off).zip(costs).map(|(off, cost)| f64::from(*cost) * off * off).sum()
}

fn encode_at_cost(format: Format, weights: &[f32], cost: impl Cost, blocks: &mut [u8]) {
    match format {
        Format::F32 => each(weights, cost, blocks, |[weight]: &[f32; 1], _, bytes| *bytes = weight.to_le_bytes()),
        Format::F16 => {
            each(weights, cost, blocks, |[weight]: &[f32; 1], _, bytes| *bytes = to_half(*weight).to_le_bytes());
        }
        Format::Q8_0 => each(weights, cost, blocks, legacy::q8_0),
        Format::Q5_1 => each(weights, cost, blocks, legacy::q5_1),
        Format::Q5_0 => each(weights, cost, blocks, legacy::q5_0),
        Format::Q4_0 => each(weights, cost, blocks, legacy::q4_0),
        Format::Q4_K => each(weights, cost, blocks, super_blocks::q4_k),
        Format::Q5_K => each(weights, cost, blocks, super_blocks::q5_k),
        Format::Q6_K => each(weights, cost, blocks, super_blocks::q6_k),
        Format::TQ2_0 => each(weights, cost, blocks, |weights, _, block| ternary::tq2_0(weights, block)),
        other => panic!("{} is not among the formats that are written", other.name()),
    }
}

fn each<C: Cost, const BYTES: usize, const WEIGHTS: usize>(
    weights: &[f32],
    cost: C,
    blocks: &mut [u8],
    encode: impl Fn(&[f32; WEIGHTS], C, &mut [u8; BYTES]),
) {
    let blocks = blocks.as_chunks_mut::<BYTES>().0;
    for (at, (weights, block)) in weights.as_chunks::<WEIGHTS>().0.iter().zip(blocks).enumerate() {
        encode(weights, cost.skip(at * WEIGHTS), block);
    }
}

/// The nearest half; what is too large for one becomes the largest.
fn to_half(number: f32) -> f16 {
    f16::from_f32(number.clamp(-65_504.0, 65_504.0))
}

/// Stores a scale as a half and gives back what a reader will see.
fn put_half(number: f32, bytes: &mut [u8]) -> f32 {
    let half = to_half(number);
    bytes[..2].copy_from_slice(&half.to_le_bytes());
    half.to_f32()
}

#[cfg(test)]
mod tests;
