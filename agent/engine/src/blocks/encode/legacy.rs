//! Encoders of the formats of 32 weights: Q8_0, Q5_1, Q5_0 and Q4_0.

use super::cost::Cost;
use super::put_half;
use super::search::{affine, code, inverse, symmetric};

/// The widest scale where all errors cost the same: with 255 codes, any search gains less than a thousandth.
pub(super) fn q8_0<C: Cost>(weights: &[f32; 32], cost: C, block: &mut [u8; 34]) {
    const BOUNDS: [f32; 2] = [-127.0, 127.0];
    let most = weights.iter().fold(0.0f32, |most, weight| most.max(weight.abs()));
    let scale = if C::EQUAL { most / 127.0 } else { symmetric(weights, cost, BOUNDS) };
    let inverse = inverse(put_half(scale, &mut block[..2]));
    for (weight, byte) in weights.iter().zip(&mut block[2..]) {
        *byte = (code(*weight, 0.0, inverse, BOUNDS) as i8).cast_unsigned();
    }
}

pub(super) fn q4_0(weights: &[f32; 32], cost: impl Cost, block: &mut [u8; 18]) {
    const BOUNDS: [f32; 2] = [-8.0, 7.0];
    let inverse = inverse(put_half(symmetric(weights, cost, BOUNDS), &mut block[..2]));
    let codes = weights.map(|weight| (code(weight, 0.0, inverse, BOUNDS) + 8.0) as u8);
    put_low_bits(&codes, &mut block[2..]);
}

pub(super) fn q5_0(weights: &[f32; 32], cost: impl Cost, block: &mut [u8; 22]) {
    const BOUNDS: [f32; 2] = [-16.0, 15.0];
    let inverse = inverse(put_half(symmetric(weights, cost, BOUNDS), &mut block[..2]));
    let codes = weights.map(|weight| (code(weight, 0.0, inverse, BOUNDS) + 16.0) as u8);
    block[2..6].copy_from_slice(&fifths(&codes));
    put_low_bits(&codes, &mut block[6..]);
}

pub(super) fn q5_1(weights: &[f32; 32], cost: impl Cost, block: &mut [u8; 24]) {
    let (scale, least) = affine(weights, cost, 31.0, false);
    let least = put_half(least, &mut block[2..4]);
    let inverse = inverse(put_half(scale, &mut block[..2]));
    let codes = weights.map(|weight| code(weight, least, inverse, [0.0, 31.0]) as u8);
    block[4..8].copy_from_slice(&fifths(&codes));
    put_low_bits(&codes, &mut block[8..]);
}

/// Weight `i` in the low and weight `i + 16` in the high four bits of byte `i`.
fn put_low_bits(codes: &[u8; 32], bytes: &mut [u8]) {
    let (low, high) = codes.split_at(16);
    for ((low, high), byte) in low.iter().zip(high).zip(bytes) {
        *byte = low & 15 | (high & 15) << 4;
    }
}

/// Bit `i` is the fifth bit of weight `i`.
fn fifths(codes: &[u8; 32]) -> [u8; 4] {
    codes.iter().enumerate().fold(0u32, |bits, (at, code)| bits | u32::from(code >> 4) << at).to_le_bytes()
}
