//! Scales that make the squared error small: codes from a candidate scale, the best scale for those codes, and again.
//!
//! Every weight's squared error counts as often as its column matters: this is the search that `llama.cpp` published with the
//! k-quants (pull request 1684) and their importance matrices (pull request 4861), here with exact least squares per candidate.

use super::cost::Cost;

/// How far beyond and short of the widest scale the candidates go, in codes, and their distance.
const REACH: f32 = 1.5;
const STEP: f32 = 0.125;

/// The whole number that is nearest to a number below 2²² (ties to even), in a way that the compiler makes vectors of.
pub(super) fn nearest(number: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0; // 1.5 · 2²³: what is added to it loses everything behind the point.
    (number + SHIFT) - SHIFT
}

/// 1 / number, or 0 for 0 and what is so small that nothing can be divided by it.
pub(super) fn inverse(number: f32) -> f32 {
    let inverse = 1.0 / number;
    if inverse.is_finite() { inverse } else { 0.0 }
}

/// The code of one weight, between two bounds.
pub(super) fn code(weight: f32, least: f32, inverse: f32, bounds: [f32; 2]) -> f32 {
    nearest(((weight - least) * inverse).clamp(bounds[0], bounds[1]))
}

/// Sum of squared errors of `scale · code + least`.
pub(super) fn error(weights: &[f32], cost: impl Cost, scale: f32, least: f32, bounds: [f32; 2]) -> f32 {
    let inverse = inverse(scale);
    let mut sums = [0.0; 16];
    for (at, weights) in weights.as_chunks::<16>().0.iter().enumerate() {
        let costs = cost.sixteen(at);
        for (lane, (sum, weight)) in sums.iter_mut().zip(weights).enumerate() {
            let off = scale * code(*weight, least, inverse, bounds) + least - weight;
            *sum += costs[lane] * (off * off);
        }
    }
    sums.iter().sum()
}

/// The scale of `scale · code`, with codes between the bounds; it may be negative. 0 where all weights are.
///
/// For the codes c that a scale gives to weights w whose errors cost q, the best scale is Σqwc / Σqc², and what it takes off
/// the error is (Σqwc)² / Σqc²: the candidate with the most wins.
pub(super) fn symmetric(weights: &[f32], cost: impl Cost, bounds: [f32; 2]) -> f32 {
    let extreme = weights.iter().fold(0.0f32, |most, weight| if weight.abs() > most.abs() { *weight } else { most });
    if extreme.abs() < f32::MIN_POSITIVE {
        return 0.0;
    }
    let (mut best, mut merit) = (0.0, 0.0);
    for bound in bounds {
        for step in steps() {
            let [wc, cc, _] = sums(weights, cost, 0.0, (bound + step) / extreme, bounds);
            if cc > 0.0 && wc * wc > merit * cc {
                (best, merit) = (wc / cc, wc * wc / cc);
            }
        }
    }
    best
}

/// Scale and least value of `scale · code + least`, with codes from 0 to `most`. With `below_zero`, the least value is 0 at
/// most, for formats that store how far below zero it lies.
///
/// For given codes, both come from the normal equations of the least squares.
pub(super) fn affine(weights: &[f32], cost: impl Cost, most: f32, below_zero: bool) -> (f32, f32) {
    let lowest = weights.iter().copied().fold(f32::INFINITY, f32::min);
    let lowest = if below_zero { lowest.min(0.0) } else { lowest };
    let highest = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let span = highest - lowest;
    if !(span > f32::MIN_POSITIVE && span.is_finite()) {
        return (0.0, lowest);
    }
    let bounds = [0.0, most];
    let (count, total) = (cost.total(weights.len()), cost.weighed(weights));
    let mut best = (span / most, lowest);
    let mut smallest = error(weights, cost, best.0, best.1, bounds);
    for step in steps() {
        let mut next = (span / (most + step), lowest);
        // Once from the candidate's codes, once more from the codes that its answer gives.
        for _ in 0..2 {
            let [wc, cc, c] = sums(weights, cost, next.1, inverse(next.0), bounds);
            let determinant = count * cc - c * c;
            if determinant <= 0.0 {
                break;
            }
            next = ((count * wc - total * c) / determinant, (cc * total - c * wc) / determinant);
            if below_zero && next.1 > 0.0 {
                next = (wc / cc, 0.0);
            }
            let error = error(weights, cost, next.0, next.1, bounds);
            if next.0 > 0.0 && error < smallest {
                (best, smallest) = (next, error);
            }
        }
    }
    best
}

fn steps() -> impl Iterator<Item = f32> {
    let count = (2.0 * REACH / STEP) as i32;
    (0..=count).map(|at| at as f32 * STEP - REACH)
}

/// Σ cost · weight · code, Σ cost · code², Σ cost · code.
fn sums(weights: &[f32], cost: impl Cost, least: f32, inverse: f32, bounds: [f32; 2]) -> [f32; 3] {
    let mut lanes = [[0.0f32; 16]; 3];
    for (at, weights) in weights.as_chunks::<16>().0.iter().enumerate() {
        let costs = cost.sixteen(at);
        for (lane, weight) in weights.iter().enumerate() {
            let code = code(*weight, least, inverse, bounds);
            let costly = costs[lane] * code;
            lanes[0][lane] += weight * costly;
            lanes[1][lane] += code * costly;
            lanes[2][lane] += costly;
        }
    }
    lanes.map(|lanes| lanes.iter().sum())
}
