//! Weights that stand alone, sixteen at a time: F32, F16 and BF16.

use super::{Decode, LANES};

#[derive(Clone, Copy)]
pub(super) struct F32;

impl Decode<{ 4 * LANES }, LANES> for F32 {
    #[inline(always)]
    fn decode(self, block: &[u8; 4 * LANES], output: &mut [f32; LANES]) {
        for (bytes, output) in block.as_chunks::<4>().0.iter().zip(output) {
            *output = f32::from_le_bytes(*bytes);
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct F16;

impl Decode<{ 2 * LANES }, LANES> for F16 {
    #[inline(always)]
    fn decode(self, block: &[u8; 2 * LANES], output: &mut [f32; LANES]) {
        for (bytes, output) in block.as_chunks::<2>().0.iter().zip(output) {
            *output = widen_half(u16::from_le_bytes(*bytes));
        }
    }
}

/// The upper half of an F32.
#[derive(Clone, Copy)]
pub(super) struct BF16;

impl Decode<{ 2 * LANES }, LANES> for BF16 {
    #[inline(always)]
    fn decode(self, block: &[u8; 2 * LANES], output: &mut [f32; LANES]) {
        for (bytes, output) in block.as_chunks::<2>().0.iter().zip(output) {
            *output = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
        }
    }
}

/// The F16 at a place of a block: scales are stored so.
#[inline(always)]
pub(super) fn half_at(block: &[u8], at: usize) -> f32 {
    widen_half(u16::from_le_bytes([block[at], block[at + 1]]))
}

/// Half precision to F32 without a branch, so that the compiler makes vectors of it on every machine: the exponent's bias
/// differs by 112. Exact for every number; infinities, which no weight is, become 65,536 and more.
#[inline(always)]
pub(super) fn widen_half(bits: u16) -> f32 {
    const TWO_TO_112: f32 = f32::from_bits((112 + 127) << 23);
    let magnitude = f32::from_bits(u32::from(bits & 0x7FFF) << 13) * TWO_TO_112;
    f32::from_bits(magnitude.to_bits() | (u32::from(bits & 0x8000) << 16))
}
