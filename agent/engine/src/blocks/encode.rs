//! Weights made into blocks: for every format that is written here, scales are searched so that the squared error is small.
//!
//! A block depends on its own weights only, so a tensor can be encoded in pieces, by any number of threads, to the same bytes.
//! Weights must be finite.

mod legacy;
mod search;
mod super_blocks;
mod ternary;

use half::f16;

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
    match format {
        Format::F32 => each(weights, blocks, |[weight]: &[f32; 1], bytes| *bytes = weight.to_le_bytes()),
        Format::F16 => each(weights, blocks, |[weight]: &[f32; 1], bytes| *bytes = to_half(*weight).to_le_bytes()),
        Format::Q8_0 => each(weights, blocks, legacy::q8_0),
        Format::Q5_1 => each(weights, blocks, legacy::q5_1),
        Format::Q5_0 => each(weights, blocks, legacy::q5_0),
        Format::Q4_0 => each(weights, blocks, legacy::q4_0),
        Format::Q4_K => each(weights, blocks, super_blocks::q4_k),
        Format::Q5_K => each(weights, blocks, super_blocks::q5_k),
        Format::Q6_K => each(weights, blocks, super_blocks::q6_k),
        Format::TQ2_0 => each(weights, blocks, ternary::tq2_0),
        other => panic!("{} is not among the formats that are written", other.name()),
    }
}

fn each<const BYTES: usize, const WEIGHTS: usize>(
    weights: &[f32],
    blocks: &mut [u8],
    encode: impl Fn(&[f32; WEIGHTS], &mut [u8; BYTES]),
) {
    let blocks = blocks.as_chunks_mut::<BYTES>().0;
    weights.as_chunks::<WEIGHTS>().0.iter().zip(blocks).for_each(|(weights, block)| encode(weights, block));
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
