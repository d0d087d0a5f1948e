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

use super::plain::half_at;

/// Sixteen parts of 16 weights. Byte `i` of 32 holds weights `i`, `i + 32`, `i + 64` and `i + 96` of its half.
pub(super) fn q2_k(block: &[u8; 84], output: &mut [f32; 256]) {
    let (scale, least) = (half_at(block, 80), half_at(block, 82));
    for (part, output) in output.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let (part_scale, part_least) = (scale * f32::from(block[part] & 15), least * f32::from(block[part] >> 4));
        let (from, shift) = two_bits_of(part);
        for (codes, output) in block[16 + from..].iter().zip(output) {
            *output = part_scale * f32::from((codes >> shift) & 3) - part_least;
        }
    }
}

/// Sixteen parts of 16 weights, codes as in Q2_K; bit `i` of byte `j` of the third bits belongs to weight `32 · i + j`.
pub(super) fn q3_k(block: &[u8; 110], output: &mut [f32; 256]) {
    let scale = half_at(block, 108);
    let (thirds, codes, scales) = (&block[..32], &block[32..96], &block[96..108]);
    for (part, output) in output.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        // Lower four bits: parts 0–7 low, 8–15 high in bytes 0–7. Upper two: four to a byte, in bytes 8–11.
        let lower = (scales[part % 8] >> (4 * (part / 8))) & 15;
        let upper = (scales[8 + part % 4] >> (2 * (part / 4))) & 3;
        let part_scale = scale * (f32::from(lower | upper << 4) - 32.0);
        let (from, shift) = two_bits_of(part);
        let (third, thirds) = (part / 2, &thirds[16 * (part % 2)..]);
        for ((codes, thirds), output) in codes[from..].iter().zip(thirds).zip(output) {
            let code = (codes >> shift) & 3 | ((thirds >> third) & 1) << 2;
            *output = part_scale * (f32::from(code) - 4.0);
        }
    }
}

/// Eight parts of 32 weights; 32 bytes hold an even part in their low and the next part in their high four bits.
pub(super) fn q4_k(block: &[u8; 144], output: &mut [f32; 256]) {
    let (scale, least) = (half_at(block, 0), half_at(block, 2));
    let (scales, codes) = block[4..].split_at(12);
    for (part, output) in output.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (part_scale, part_least) = six_bit_pair(scales, part);
        let (part_scale, part_least) = (scale * f32::from(part_scale), least * f32::from(part_least));
        let shift = 4 * (part % 2);
        for (codes, output) in codes[32 * (part / 2)..].iter().zip(output) {
            *output = part_scale * f32::from((codes >> shift) & 15) - part_least;
        }
    }
}

/// As Q4_K; bit `i` of byte `j` of the fifth bits belongs to weight `32 · i + j`.
pub(super) fn q5_k(block: &[u8; 176], output: &mut [f32; 256]) {
    let (scale, least) = (half_at(block, 0), half_at(block, 2));
    let (scales, fifths, codes) = (&block[4..16], &block[16..48], &block[48..]);
    for (part, output) in output.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (part_scale, part_least) = six_bit_pair(scales, part);
        let (part_scale, part_least) = (scale * f32::from(part_scale), least * f32::from(part_least));
        let shift = 4 * (part % 2);
        for ((codes, fifths), output) in codes[32 * (part / 2)..].iter().zip(fifths).zip(output) {
            let code = (codes >> shift) & 15 | ((fifths >> part) & 1) << 4;
            *output = part_scale * f32::from(code) - part_least;
        }
    }
}

/// Sixteen parts of 16 weights in two halves. Of each half, 64 bytes hold weights 0–63 in their low and 64–127 in their high
/// four bits, and byte `i` of 32 holds the upper bits of weights `i`, `i + 32`, `i + 64` and `i + 96`.
pub(super) fn q6_k(block: &[u8; 210], output: &mut [f32; 256]) {
    let scale = half_at(block, 208);
    let (lower, upper, scales) = (&block[..128], &block[128..192], &block[192..208]);
    for (part, output) in output.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let part_scale = scale * f32::from(scales[part].cast_signed());
        let (half, at) = (part / 8, 16 * (part % 8));
        let (lower, lower_shift) = (&lower[64 * half + at % 64..], 4 * (at / 64));
        let (upper, upper_shift) = (&upper[32 * half + at % 32..], 2 * (at / 32));
        for ((lower, upper), output) in lower.iter().zip(upper).zip(output) {
            let code = (lower >> lower_shift) & 15 | ((upper >> upper_shift) & 3) << 4;
            *output = part_scale * (f32::from(code) - 32.0);
        }
    }
}

/// First byte and shift of a part of 16 two-bit codes.
#[inline(always)]
fn two_bits_of(part: usize) -> (usize, usize) {
    (32 * (part / 8) + 16 * (part % 2), 2 * (part % 8 / 2))
}

/// Scale and least value of one of eight parts: those of the first four parts are the low six bits of bytes 0–3 and 4–7;
/// those of the last four have their low four bits in bytes 8–11 and their upper two above those of the first four.
#[inline(always)]
pub(super) fn six_bit_pair(scales: &[u8], part: usize) -> (u8, u8) {
    if part < 4 {
        return (scales[part] & 63, scales[part + 4] & 63);
    }
    let low = scales[part + 4];
    (low & 15 | (scales[part - 4] >> 6) << 4, low >> 4 | (scales[part] >> 6) << 4)
}
