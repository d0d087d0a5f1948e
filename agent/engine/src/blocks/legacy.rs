//! The formats of 32 weights and one scale: Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0.
//!
//! Byte `i` of the codes holds weight `i` in its low and weight `i + 16` in its high four bits. The `_0` formats centre their
//! codes on zero; the `_1` formats add a least value.
//!
//! ```text
//! Q4_0  scale F16 · 16 × 2 codes              w = scale · (code − 8)
//! Q4_1  scale F16 · least F16 · 16 × 2 codes  w = scale · code + least
//! Q5_0  scale F16 · fifth bits u32 · codes    w = scale · (code − 16)
//! Q5_1  scale F16 · least F16 · fifth bits u32 · codes
//! Q8_0  scale F16 · 32 × i8                   w = scale · code
//! ```

use super::Decode;
use super::plain::half_at;

#[derive(Clone, Copy)]
pub(super) struct Q4_0;

impl Decode<18, 32> for Q4_0 {
    #[inline(always)]
    fn decode(self, block: &[u8; 18], output: &mut [f32; 32]) {
        let scale = half_at(block, 0);
        let (low, high) = output.split_at_mut(16);
        for ((low, high), codes) in low.iter_mut().zip(high).zip(&block[2..]) {
            *low = scale * (f32::from(codes & 15) - 8.0);
            *high = scale * (f32::from(codes >> 4) - 8.0);
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Q4_1;

impl Decode<20, 32> for Q4_1 {
    #[inline(always)]
    fn decode(self, block: &[u8; 20], output: &mut [f32; 32]) {
        let (scale, least) = (half_at(block, 0), half_at(block, 2));
        let (low, high) = output.split_at_mut(16);
        for ((low, high), codes) in low.iter_mut().zip(high).zip(&block[4..]) {
            *low = scale * f32::from(codes & 15) + least;
            *high = scale * f32::from(codes >> 4) + least;
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Q5_0;

impl Decode<22, 32> for Q5_0 {
    #[inline(always)]
    fn decode(self, block: &[u8; 22], output: &mut [f32; 32]) {
        let scale = half_at(block, 0);
        five_bits([block[2], block[3], block[4], block[5]], &block[6..], output, |code| scale * (code - 16.0));
    }
}

#[derive(Clone, Copy)]
pub(super) struct Q5_1;

impl Decode<24, 32> for Q5_1 {
    #[inline(always)]
    fn decode(self, block: &[u8; 24], output: &mut [f32; 32]) {
        let (scale, least) = (half_at(block, 0), half_at(block, 2));
        five_bits([block[4], block[5], block[6], block[7]], &block[8..], output, |code| scale * code + least);
    }
}

#[derive(Clone, Copy)]
pub(super) struct Q8_0;

impl Decode<34, 32> for Q8_0 {
    #[inline(always)]
    fn decode(self, block: &[u8; 34], output: &mut [f32; 32]) {
        let scale = half_at(block, 0);
        output.iter_mut().zip(&block[2..]).for_each(|(output, code)| *output = scale * f32::from(code.cast_signed()));
    }
}

/// Codes of five bits: bit `i` of `fifths` is the highest bit of weight `i`.
#[inline(always)]
fn five_bits(fifths: [u8; 4], codes: &[u8], output: &mut [f32; 32], weight: impl Fn(f32) -> f32) {
    let fifths = u32::from_le_bytes(fifths);
    let (low, high) = output.split_at_mut(16);
    for (at, ((low, high), codes)) in low.iter_mut().zip(high).zip(codes).enumerate() {
        *low = weight(f32::from(codes & 15 | (((fifths >> at) & 1) << 4) as u8));
        *high = weight(f32::from(codes >> 4 | (((fifths >> (at + 16)) & 1) << 4) as u8));
    }
}
