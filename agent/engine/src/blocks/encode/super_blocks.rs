//! Encoders of the formats of 256 weights: Q4_K, Q5_K and Q6_K.

use super::cost::Cost;
use super::put_half;
use super::search::{affine, code, error, inverse, nearest, symmetric};

pub(super) fn q4_k(weights: &[f32; 256], cost: impl Cost, block: &mut [u8; 144]) {
    let codes = eight_parts(weights, cost, 15.0, &mut block[..16]);
    put_low_bits(&codes, &mut block[16..]);
}

pub(super) fn q5_k(weights: &[f32; 256], cost: impl Cost, block: &mut [u8; 176]) {
    let codes = eight_parts(weights, cost, 31.0, &mut block[..16]);
    for (at, byte) in block[16..48].iter_mut().enumerate() {
        *byte = (0..8).fold(0, |bits, part| bits | (codes[32 * part + at] >> 4) << part);
    }
    put_low_bits(&codes, &mut block[48..]);
}

pub(super) fn q6_k(weights: &[f32; 256], cost: impl Cost, block: &mut [u8; 210]) {
    const BOUNDS: [f32; 2] = [-32.0, 31.0];
    let parts = weights.as_chunks::<16>().0;
    let mut scales = [0.0f32; 16];
    for (at, (part, scale)) in parts.iter().zip(&mut scales).enumerate() {
        *scale = symmetric(part, cost.skip(16 * at), BOUNDS);
    }
    let widest = scales.iter().fold(0.0f32, |most, scale| if scale.abs() > most.abs() { *scale } else { most });
    // Eight bits reach one further below zero than above it.
    let scale = put_half(widest / -128.0, &mut block[208..]);
    let mut codes = [0u8; 256];
    for (at, (part, wanted)) in parts.iter().zip(scales).enumerate() {
        let middle = nearest((wanted * inverse(scale)).clamp(-128.0, 127.0));
        let tries = [middle - 1.0, middle, middle + 1.0].into_iter().filter(|tried| (-128.0..=127.0).contains(tried));
        let part_scale = best(tries, |tried| error(part, cost.skip(16 * at), scale * tried, 0.0, BOUNDS));
        block[192 + at] = (part_scale as i8).cast_unsigned();
        let inverse = inverse(scale * part_scale);
        for (code_of, weight) in codes[16 * at..].iter_mut().zip(part) {
            *code_of = (code(*weight, 0.0, inverse, BOUNDS) + 32.0) as u8;
        }
    }
    let (lower, upper) = block[..192].split_at_mut(128);
    for (half, codes) in codes.as_chunks::<128>().0.iter().enumerate() {
        for (at, byte) in lower[64 * half..64 * half + 64].iter_mut().enumerate() {
            *byte = codes[at] & 15 | (codes[at + 64] & 15) << 4;
        }
        for (at, byte) in upper[32 * half..32 * half + 32].iter_mut().enumerate() {
            *byte = codes[at] >> 4 | codes[at + 32] >> 4 << 2 | codes[at + 64] >> 4 << 4 | codes[at + 96] >> 4 << 6;
        }
    }
}

/// Finds scale and least value of eight parts of 32 weights, stores them as six-bit codes under two halves in `head`, and
/// gives the codes of the weights. Around each pair's nearest codes, its neighbours are tried too: rounding one moves the
/// best of the other.
fn eight_parts(weights: &[f32; 256], cost: impl Cost, most: f32, head: &mut [u8]) -> [u8; 256] {
    let parts = weights.as_chunks::<32>().0;
    let mut wanted = [(0.0f32, 0.0f32); 8];
    for (at, (part, wanted)) in parts.iter().zip(&mut wanted).enumerate() {
        let (scale, least) = affine(part, cost.skip(32 * at), most, true);
        *wanted = (scale, -least);
    }
    let widest = wanted.iter().fold((0.0f32, 0.0f32), |most, pair| (most.0.max(pair.0), most.1.max(pair.1)));
    let (halves, packed) = head.split_at_mut(4);
    let scale = put_half(widest.0 / 63.0, &mut halves[..2]);
    let least = put_half(widest.1 / 63.0, &mut halves[2..]);
    let (inverse_scale, inverse_least) = (inverse(scale), inverse(least));
    let around = |middle: f32| [-1.0, 0.0, 1.0].map(|step| (middle + step).clamp(0.0, 63.0));
    let bounds = [0.0, most];
    let mut codes = [0u8; 256];
    for (at, (part, wanted)) in parts.iter().zip(wanted).enumerate() {
        let scales = around(nearest((wanted.0 * inverse_scale).min(63.0)));
        let leasts = around(nearest((wanted.1 * inverse_least).min(63.0)));
        let tries = scales.into_iter().flat_map(|scale| leasts.map(|least| (scale, least)));
        let cost = cost.skip(32 * at);
        let pair = best(tries, |pair| error(part, cost, scale * pair.0, -least * pair.1, bounds));
        put_six_bit_pair(packed, at, pair.0 as u8, pair.1 as u8);
        let inverse = inverse(scale * pair.0);
        for (code_of, weight) in codes[32 * at..].iter_mut().zip(part) {
            *code_of = code(*weight, -least * pair.1, inverse, bounds) as u8;
        }
    }
    codes
}

/// The try with the smallest error, the first of equals.
fn best<T: Copy + Default>(tries: impl Iterator<Item = T>, error: impl Fn(T) -> f32) -> T {
    let (mut best, mut smallest) = (T::default(), f32::INFINITY);
    for tried in tries {
        let error = error(tried);
        if error < smallest {
            (best, smallest) = (tried, error);
        }
    }
    best
}

/// The counterpart of reading a pair: the upper two bits of the last four parts lie above those of the first four.
fn put_six_bit_pair(packed: &mut [u8], part: usize, scale: u8, least: u8) {
    if part < 4 {
        // The first four parts come first, so nothing stands in the upper bits yet that must be kept.
        packed[part] = scale;
        packed[part + 4] = least;
    } else {
        packed[part + 4] = scale & 15 | (least & 15) << 4;
        packed[part - 4] |= scale >> 4 << 6;
        packed[part] |= least >> 4 << 6;
    }
}

/// An even part in the low and the next part in the high four bits of 32 bytes.
fn put_low_bits(codes: &[u8; 256], bytes: &mut [u8]) {
    for (codes, bytes) in codes.as_chunks::<64>().0.iter().zip(bytes.as_chunks_mut::<32>().0) {
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = codes[at] & 15 | (codes[at + 32] & 15) << 4;
        }
    }
}
