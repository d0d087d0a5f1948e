//! The formats whose weights are −1, 0 or +1 times a scale: TQ1_0, TQ2_0 and BitNet's I2_S.

#![allow(non_camel_case_types, reason = "the names are the formats' own names")]

use super::Decode;
use super::plain::half_at;

/// 256 weights, five to a byte. A byte is a fraction of 256 whose digits in base 3 are the codes, less one: each
/// multiplication by 3 lifts the next digit above the point. The bytes of a run give their first digits, then their second
/// digits, and so on.
///
/// ```text
/// run of 32 bytes: weights 0–159 · run of 16: 160–239 · run of 4, four digits each: 240–255 · scale F16
/// ```
#[derive(Clone, Copy)]
pub(super) struct TQ1_0;

impl Decode<54, 256> for TQ1_0 {
    #[inline(always)]
    fn decode(self, block: &[u8; 54], output: &mut [f32; 256]) {
        let scale = half_at(block, 52);
        let (first, rest) = output.split_at_mut(160);
        let (second, third) = rest.split_at_mut(80);
        for (bytes, output) in [(&block[..32], first), (&block[32..48], second), (&block[48..52], third)] {
            for (power, output) in [1u8, 3, 9, 27, 81].into_iter().zip(output.chunks_exact_mut(bytes.len())) {
                for (byte, output) in bytes.iter().zip(output) {
                    let digit = (u16::from(byte.wrapping_mul(power)) * 3) >> 8;
                    *output = scale * (f32::from(digit) - 1.0);
                }
            }
        }
    }
}

/// 256 weights in two halves of 32 bytes: byte `i` of a half holds weights `i`, `i + 32`, `i + 64` and `i + 96` of it, the
/// lowest bits first, each code less one. The scale, an F16, stands last.
#[derive(Clone, Copy)]
pub(super) struct TQ2_0;

impl Decode<66, 256> for TQ2_0 {
    #[inline(always)]
    fn decode(self, block: &[u8; 66], output: &mut [f32; 256]) {
        let scale = half_at(block, 64);
        for (bytes, output) in block[..64].as_chunks::<32>().0.iter().zip(output.as_chunks_mut::<128>().0) {
            for (quarter, output) in output.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                for (byte, output) in bytes.iter().zip(output) {
                    *output = scale * (f32::from((byte >> (2 * quarter)) & 3) - 1.0);
                }
            }
        }
    }
}

/// 128 weights in 32 bytes: byte `i` holds weights `i`, `i + 32`, `i + 64` and `i + 96`, the highest bits first, each code
/// less one. The one scale of the whole tensor follows its last block and is not applied here.
#[derive(Clone, Copy)]
pub(super) struct I2_S;

impl Decode<32, 128> for I2_S {
    #[inline(always)]
    fn decode(self, block: &[u8; 32], output: &mut [f32; 128]) {
        for (quarter, output) in output.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            for (byte, output) in block.iter().zip(output) {
                *output = f32::from((byte >> (6 - 2 * quarter)) & 3) - 1.0;
            }
        }
    }
}
