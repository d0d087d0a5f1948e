//! Encoder of TQ2_0: weights −1, 0 and +1 times a scale.

use super::put_half;
use super::search::{code, inverse};

/// The best scale there is. If the k largest of the weights, by magnitude, become ±1 and the others 0, the best scale is the
/// mean of their magnitudes and takes (Σ|w|)² / k off the squared error: every k is tried. Weights that are ternary already
/// keep their scale.
pub(super) fn tq2_0(weights: &[f32; 256], block: &mut [u8; 66]) {
    let mut magnitudes = weights.map(f32::abs);
    magnitudes.sort_unstable_by(|left, right| right.total_cmp(left));
    let (mut sum, mut merit, mut scale) = (0.0f64, 0.0, 0.0);
    for (count, magnitude) in (1..).map(f64::from).zip(magnitudes) {
        sum += f64::from(magnitude);
        if sum * sum / count > merit {
            (merit, scale) = (sum * sum / count, sum / count);
        }
    }
    let inverse = inverse(put_half(scale as f32, &mut block[64..]));
    let codes = weights.map(|weight| (code(weight, 0.0, inverse, [-1.0, 1.0]) + 1.0) as u8);
    for (bytes, codes) in block[..64].as_chunks_mut::<32>().0.iter_mut().zip(codes.as_chunks::<128>().0) {
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = codes[at] | codes[at + 32] << 2 | codes[at + 64] << 4 | codes[at + 96] << 6;
        }
    }
}
