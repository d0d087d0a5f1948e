//! The formats of 256 weights whose parts have small whole scales under one F16: Q2_K to Q6_K.
//!
//! ```text
//! Q2_K  16 × (scale 4 bits, least 4 bits) · 64 × 4 codes · scale F16 · least F16
//! Q3_K  32 × 8 third bits · 64 × 4 codes · 16 scales of 6 bits in 12 bytes · scale F16
//! Q4_K  scale F16 · least F16 · 8 × (scale, least) of 6 bits in 12 bytes · 128 × 2 codes
//! Q5_K  scale F16 · least F16 · 8 × (scale, least) of 6 bits in 12 bytes · 32 × 8 fifth bits · 128 × 2 codes
//! Q6_K  128 × 2 codes (lower four bits) · 64 × 4 (upper two bits) · 16 scales i8 · scale F16
//!
//! Q2_K, Q4_K, Q5_K   w = scale · part's scale · code − least · part's least
//! Q3_K               w = scale · (part's scale − 32) · (code − 4)
//! Q6_K               w = scale · part's scale · (code − 32)
//! ```

#![allow(non_camel_case_types, reason = "the names are the formats' own names")]

use super::Decode;
use super::plain::half_at;

/// Sixteen parts of 16 weights. Byte `i` of 32 holds weights `i`, `i + 32`, `i + 64` and `i + 96` of its half.
#[derive(Clone, Copy)]
pub(super) struct Q2_K;

impl Decode<84, 256> for Q2_K {
    #[inline(always)]
    fn decode(self, block: &[u8; 84], output: &mut [f32; 256]) {
        let (scale, least) = (half_at(block, 80), half_at(block, 82));
        let (parts, runs) = (&block[..16], &block.as_chunks::<16>().0[1..5]);
        for (at, output) in output.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let (scale, least) = (scale * f32::from(parts[at] & 15), least * f32::from(parts[at] >> 4));
            let run = &runs[2 * (at / 8) + at % 2];
            let weight = |code: u32| scale * code as f32 - least;
            match at % 8 / 2 {
                0 => each(run, output, |byte| weight(byte & 3)),
                1 => each(run, output, |byte| weight(byte >> 2 & 3)),
                2 => each(run, output, |byte| weight(byte >> 4 & 3)),
                _ => each(run, output, |byte| weight(byte >> 6)),
            }
        }
    }
}

/// Sixteen parts of 16 weights, codes as in Q2_K; bit `i` of byte `j` of the third bits belongs to weight `32 · i + j`.
#[derive(Clone, Copy)]
pub(super) struct Q3_K;

impl Decode<110, 256> for Q3_K {
    #[inline(always)]
    fn decode(self, block: &[u8; 110], output: &mut [f32; 256]) {
        let scale = half_at(block, 108);
        let (thirds, runs) = block.as_chunks::<16>().0.split_at(2);
        let parts = &block[96..108];
        for (at, output) in output.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            // Lower four bits: parts 0–7 low, 8–15 high in bytes 0–7. Upper two: four to a byte, in bytes 8–11.
            let lower = (parts[at % 8] >> (4 * (at / 8))) & 15;
            let upper = (parts[8 + at % 4] >> (2 * (at / 4))) & 3;
            let scale = scale * (f32::from(lower | upper << 4) - 32.0);
            let (run, thirds) = (&runs[2 * (at / 8) + at % 2], &thirds[at % 2]);
            let weight = |code: u32, third: u32| scale * ((code & 3 | (third & 1) << 2) as f32 - 4.0);
            match at / 2 {
                0 => pairs(run, thirds, output, weight),
                1 => pairs(run, thirds, output, |byte, third| weight(byte >> 2, third >> 1)),
                2 => pairs(run, thirds, output, |byte, third| weight(byte >> 4, third >> 2)),
                3 => pairs(run, thirds, output, |byte, third| weight(byte >> 6, third >> 3)),
                4 => pairs(run, thirds, output, |byte, third| weight(byte, third >> 4)),
                5 => pairs(run, thirds, output, |byte, third| weight(byte >> 2, third >> 5)),
                6 => pairs(run, thirds, output, |byte, third| weight(byte >> 4, third >> 6)),
                _ => pairs(run, thirds, output, |byte, third| weight(byte >> 6, third >> 7)),
            }
        }
    }
}

/// Eight parts of 32 weights; 32 bytes hold an even part in their low and the next part in their high four bits.
#[derive(Clone, Copy)]
pub(super) struct Q4_K;

impl Decode<144, 256> for Q4_K {
    #[inline(always)]
    fn decode(self, block: &[u8; 144], output: &mut [f32; 256]) {
        let (scales, leasts) = part_scales(&block.as_chunks().0[0]);
        let runs = block[16..].as_chunks::<32>().0;
        for (at, output) in output.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let (scale, least) = (scales[at], leasts[at]);
            match at % 2 {
                0 => each(&runs[at / 2], output, |byte| scale * (byte & 15) as f32 - least),
                _ => each(&runs[at / 2], output, |byte| scale * (byte >> 4) as f32 - least),
            }
        }
    }
}

/// As Q4_K; bit `i` of byte `j` of the fifth bits belongs to weight `32 · i + j`.
#[derive(Clone, Copy)]
pub(super) struct Q5_K;

impl Decode<176, 256> for Q5_K {
    #[inline(always)]
    fn decode(self, block: &[u8; 176], output: &mut [f32; 256]) {
        let (scales, leasts) = part_scales(&block.as_chunks().0[0]);
        let runs = block[16..].as_chunks::<32>().0;
        let (fifths, runs) = (&runs[0], &runs[1..]);
        for (at, output) in output.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let (scale, least) = (scales[at], leasts[at]);
            let weight = |code: u32, fifth: u32| scale * (code | (fifth & 1) << 4) as f32 - least;
            match at % 2 {
                0 => pairs(&runs[at / 2], fifths, output, |byte, fifth| weight(byte & 15, fifth >> at)),
                _ => pairs(&runs[at / 2], fifths, output, |byte, fifth| weight(byte >> 4, fifth >> at)),
            }
        }
    }
}

/// Sixteen parts of 16 weights in two halves. Of each half, 64 bytes hold weights 0–63 in their low and 64–127 in their high
/// four bits, and byte `i` of 32 holds the upper bits of weights `i`, `i + 32`, `i + 64` and `i + 96`.
#[derive(Clone, Copy)]
pub(super) struct Q6_K;

impl Decode<210, 256> for Q6_K {
    #[inline(always)]
    fn decode(self, block: &[u8; 210], output: &mut [f32; 256]) {
        let scale = half_at(block, 208);
        let runs = block.as_chunks::<16>().0;
        let (lower, upper, parts) = (&runs[..8], &runs[8..12], &runs[12]);
        let scales = parts.map(|part| scale * f32::from(part.cast_signed()));
        for (at, output) in output.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let scale = scales[at];
            let (lower, upper) = (&lower[4 * (at / 8) + at % 4], &upper[2 * (at / 8) + at % 2]);
            let weight = |low: u32, high: u32| scale * ((low & 15 | (high & 3) << 4) as f32 - 32.0);
            match at % 8 / 2 {
                0 => pairs(lower, upper, output, weight),
                1 => pairs(lower, upper, output, |low, high| weight(low, high >> 2)),
                2 => pairs(lower, upper, output, |low, high| weight(low >> 4, high >> 4)),
                _ => pairs(lower, upper, output, |low, high| weight(low >> 4, high >> 6)),
            }
        }
    }
}

/// One weight from each byte. Callers shift by a constant: the compiler makes vectors of such loops only.
#[inline(always)]
fn each<const N: usize>(bytes: &[u8; N], output: &mut [f32; N], weight: impl Fn(u32) -> f32) {
    for (byte, output) in bytes.iter().zip(output) {
        *output = weight(u32::from(*byte));
    }
}

/// One weight from each byte and its companion in a second run.
#[inline(always)]
fn pairs<const N: usize>(bytes: &[u8; N], others: &[u8; N], output: &mut [f32; N], weight: impl Fn(u32, u32) -> f32) {
    for ((byte, other), output) in bytes.iter().zip(others).zip(output) {
        *output = weight(u32::from(*byte), u32::from(*other));
    }
}

/// Scales and least values of eight parts, from the 16 bytes that Q4_K and Q5_K begin with. Those of the first four parts
/// are the low six bits of bytes 4–7 and 8–11; those of the last four have their low four bits in bytes 12–15 and their upper
/// two above those of the first four.
#[inline(always)]
fn part_scales(head: &[u8; 16]) -> ([f32; 8], [f32; 8]) {
    let (scale, least) = (half_at(head, 0), half_at(head, 2));
    let (mut scales, mut leasts) = ([0.0; 8], [0.0; 8]);
    for at in 0..4 {
        let [first, second, both] = [4, 8, 12].map(|run| head[run + at]);
        scales[at] = scale * f32::from(first & 63);
        leasts[at] = least * f32::from(second & 63);
        scales[at + 4] = scale * f32::from(both & 15 | first >> 6 << 4);
        leasts[at + 4] = least * f32::from(both >> 4 | second >> 6 << 4);
    }
    (scales, leasts)
}
