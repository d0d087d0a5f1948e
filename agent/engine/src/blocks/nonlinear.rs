//! The formats whose four-bit codes stand for unevenly spaced values, dense around zero: IQ4_NL and IQ4_XS.

#![allow(non_camel_case_types, reason = "the names are the formats' own names")]

use super::Decode;
use super::plain::half_at;

/// What a code stands for, before its scale.
pub(super) const VALUES: [f32; 16] =
    [-127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0];

/// 32 weights: a scale in F16, then codes as in Q4_0.
#[derive(Clone, Copy)]
pub(super) struct IQ4_NL;

impl Decode<18, 32> for IQ4_NL {
    #[inline(always)]
    fn decode(self, block: &[u8; 18], output: &mut [f32; 32]) {
        look_up(half_at(block, 0), &block[2..].as_chunks().0[0], output);
    }
}

/// 256 weights in eight parts of 32. Scales have six bits, less 32, times one F16.
///
/// ```text
/// scale F16 · upper two bits of each part's scale, u16 · lower four bits, 4 bytes · codes, 16 bytes per part
/// ```
#[derive(Clone, Copy)]
pub(super) struct IQ4_XS;

impl Decode<136, 256> for IQ4_XS {
    #[inline(always)]
    fn decode(self, block: &[u8; 136], output: &mut [f32; 256]) {
        let scale = half_at(block, 0);
        let upper = u16::from_le_bytes([block[2], block[3]]);
        let (lower, codes) = (&block[4..8], block[8..].as_chunks::<16>().0);
        for (part, output) in output.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let low = (lower[part / 2] >> (4 * (part % 2))) & 15;
            let high = ((upper >> (2 * part)) & 3) as u8;
            look_up(scale * (f32::from(low | high << 4) - 32.0), &codes[part], output);
        }
    }
}

#[inline(always)]
fn look_up(scale: f32, codes: &[u8; 16], output: &mut [f32; 32]) {
    let (low, high) = output.split_at_mut(16);
    for ((low, high), codes) in low.iter_mut().zip(high).zip(codes) {
        *low = scale * VALUES[usize::from(codes & 15)];
        *high = scale * VALUES[usize::from(codes >> 4)];
    }
}
