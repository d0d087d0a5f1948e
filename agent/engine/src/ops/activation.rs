//! What bends the feed-forward.

use std::sync::LazyLock;

use candle_core::cpu::erf::erf_f32;
use half::f16;

use crate::cpu::simd::{Kernel, LANES, Simd};
use crate::cpu::{Cpu, Shares};
use crate::math;

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

pub(super) fn gelu_tanh(x: f32) -> f32 {
    let inner = 0.797_884_6 * (x + 0.044_715 * x * x * x);
    0.5 * x * (1.0 + math::tanh(inner))
}

/// Elements that one thread takes at a time.
const PER_PIECE: usize = 4096;

/// `elements = activation(elements)`.
pub(crate) fn bend(activation: Activation, elements: &mut [f32]) {
    elements.iter_mut().for_each(|element| *element = activation.of(*element));
}

/// `gate = activation(gate) · up`.
pub(crate) fn activate(cpu: &Cpu, activation: Activation, gate: &mut [f32], up: &[f32]) {
    let (length, gate) = (gate.len(), Shares::new(gate));
    cpu.team.each(length.div_ceil(PER_PIECE), |piece| {
        let here = piece * PER_PIECE..length.min((piece + 1) * PER_PIECE);
        #[expect(unsafe_code, reason = "each piece changes elements of its own; see SAFETY")]
        // SAFETY: pieces are disjoint ranges.
        let gate = unsafe { gate.range(here.clone()) };
        match activation {
            Activation::Silu => cpu.run(Silu { gate, up: &up[here] }),
            other => gate.iter_mut().zip(&up[here]).for_each(|(gate, up)| *gate = other.of(*gate) * up),
        }
    });
}

impl Activation {
    fn of(self, x: f32) -> f32 {
        match self {
            Self::Silu => x / (1.0 + math::exp(-x)),
            Self::GeluTanh => gelu_of_halves(x),
            Self::Gelu => 0.5 * x * (1.0 + erf_f32(x * std::f32::consts::FRAC_1_SQRT_2)),
            Self::ReluSquared => x.max(0.0) * x.max(0.0),
        }
    }
}

struct Silu<'a> {
    gate: &'a mut [f32],
    up: &'a [f32],
}

impl Kernel for Silu<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (gates, gates_rest) = self.gate.as_chunks_mut::<LANES>();
        let (ups, ups_rest) = self.up.as_chunks::<LANES>();
        for (gate, up) in gates.iter_mut().zip(ups) {
            silu(simd, gate, up);
        }
        let (mut gate, mut up) = ([0.0; LANES], [0.0; LANES]);
        gate[..gates_rest.len()].copy_from_slice(gates_rest);
        up[..ups_rest.len()].copy_from_slice(ups_rest);
        silu(simd, &mut gate, &up);
        gates_rest.copy_from_slice(&gate[..gates_rest.len()]);
    }
}

/// `x / (1 + e^−x) · up`.
#[inline(always)]
fn silu<S: Simd>(simd: S, gate: &mut [f32; LANES], up: &[f32; LANES]) {
    for part in 0..S::PARTS {
        let x = simd.load(gate, part);
        let below = simd.add(simd.float(1.0), simd.exponential(simd.subtract(simd.float(0.0), x)));
        simd.store(simd.multiply(simd.divide(x, below), simd.load(up, part)), gate, part);
    }
}
