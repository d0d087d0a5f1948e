//! The small set of operations between the matrix products: norms, rotary positions, attention, activations.

mod attention;
mod rope;
#[cfg(test)]
mod tests;

pub(crate) use attention::{Attention, Sight};
pub(crate) use rope::{Pairing, Rope};

use std::sync::LazyLock;

use candle_core::cpu::erf::erf_f32;
use half::f16;

/// How the feed-forward bends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// `x · sigmoid(x)`.
    Silu,
    /// GELU in its tanh form, in half precision: `llama.cpp` reads it from a table of halves, and a file is to answer here
    /// as it does there.
    GeluTanh,
    /// GELU exactly: `x/2 · (1 + erf(x / √2))`.
    Gelu,
    /// `max(x, 0)²`.
    ReluSquared,
}

impl Activation {
    fn bend(self) -> fn(f32) -> f32 {
        match self {
            Self::Silu => |x| x / (1.0 + (-x).exp()),
            Self::GeluTanh => gelu_of_halves,
            Self::Gelu => |x| 0.5 * x * (1.0 + erf_f32(x * std::f32::consts::FRAC_1_SQRT_2)),
            Self::ReluSquared => |x| x.max(0.0) * x.max(0.0),
        }
    }
}

fn gelu_of_halves(x: f32) -> f32 {
    /// One entry for every half.
    static TABLE: LazyLock<Vec<f32>> = LazyLock::new(|| {
        let gelu = |bits: u16| f16::from_f32(gelu_tanh(f16::from_bits(bits).to_f32())).to_f32();
        (0..=u16::MAX).map(gelu).collect()
    });
    match x {
        x if x <= -10.0 => 0.0,
        x if x >= 10.0 => x,
        x => TABLE[usize::from(f16::from_f32(x).to_bits())],
    }
}

fn gelu_tanh(x: f32) -> f32 {
    let inner = 0.797_884_6 * (x + 0.044_715 * x * x * x);
    0.5 * x * (1.0 + inner.tanh())
}

pub(crate) fn dot(left: &[f32], right: &[f32]) -> f32 {
    let (left_blocks, left_rest) = left.as_chunks::<16>();
    let (right_blocks, right_rest) = right.as_chunks::<16>();
    let mut sums = [0.0f32; 16];
    for (left, right) in left_blocks.iter().zip(right_blocks) {
        for (sum, (left, right)) in sums.iter_mut().zip(left.iter().zip(right)) {
            *sum += left * right;
        }
    }
    let tail: f32 = left_rest.iter().zip(right_rest).map(|(left, right)| left * right).sum();
    sums.iter().sum::<f32>() + tail
}

/// Root-mean-square norm of each row of `weight.len()` elements, in place.
pub(crate) fn rms_norm(rows: &mut [f32], weight: &[f32], epsilon: f32) {
    for row in rows.chunks_exact_mut(weight.len()) {
        let mean = dot(row, row) / weight.len() as f32;
        let scale = 1.0 / (mean + epsilon).sqrt();
        row.iter_mut().zip(weight).for_each(|(element, weight)| *element *= scale * weight);
    }
}

pub(crate) fn add(to: &mut [f32], what: &[f32]) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += what);
}

/// Adds `bias` to each row of `bias.len()` elements.
pub(crate) fn add_bias(rows: &mut [f32], bias: &[f32]) {
    rows.chunks_exact_mut(bias.len()).for_each(|row| add(row, bias));
}

/// Mean 0 and variance 1 in each row, then stretched and moved by learned weights.
#[derive(Debug)]
pub(crate) struct LayerNorm {
    pub(crate) weight: Vec<f32>,
    pub(crate) bias: Vec<f32>,
    pub(crate) epsilon: f32,
}

impl LayerNorm {
    /// In place, on rows of `weight.len()` elements.
    pub(crate) fn apply(&self, rows: &mut [f32]) {
        let length = self.weight.len() as f32;
        for row in rows.chunks_exact_mut(self.weight.len()) {
            let mean = row.iter().sum::<f32>() / length;
            row.iter_mut().for_each(|element| *element -= mean);
            let scale = 1.0 / (dot(row, row) / length + self.epsilon).sqrt();
            for ((element, weight), bias) in row.iter_mut().zip(&self.weight).zip(&self.bias) {
                *element = *element * scale * weight + bias;
            }
        }
    }
}

/// `elements = activation(elements)`.
pub(crate) fn bend(activation: Activation, elements: &mut [f32]) {
    let bend = activation.bend();
    elements.iter_mut().for_each(|element| *element = bend(*element));
}

/// `gate = activation(gate) · up`.
pub(crate) fn activate(activation: Activation, gate: &mut [f32], up: &[f32]) {
    let bend = activation.bend();
    gate.iter_mut().zip(up).for_each(|(gate, up)| *gate = bend(*gate) * up);
}

/// Keeps every element within ±`cap`, softly: `cap · tanh(x / cap)`.
pub(crate) fn softcap(elements: &mut [f32], cap: f32) {
    elements.iter_mut().for_each(|element| *element = cap * (*element / cap).tanh());
}
