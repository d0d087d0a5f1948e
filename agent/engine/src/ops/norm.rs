//! Norms of rows.

use crate::cpu::simd::{Kernel, LANES, Simd};
use crate::cpu::{Cpu, Shares};

/// Elements that one thread takes at a time, in whole rows.
const PER_PIECE: usize = 8192;

/// The product of two vectors of the same length.
#[inline(always)]
pub(crate) fn dot(left: &[f32], right: &[f32]) -> f32 {
    let (left_blocks, left_rest) = left.as_chunks::<LANES>();
    let (right_blocks, right_rest) = right.as_chunks::<LANES>();
    let mut sums = [0.0f32; LANES];
    for (left, right) in left_blocks.iter().zip(right_blocks) {
        for (sum, (left, right)) in sums.iter_mut().zip(left.iter().zip(right)) {
            *sum += left * right;
        }
    }
    let tail: f32 = left_rest.iter().zip(right_rest).map(|(left, right)| left * right).sum();
    sums.iter().sum::<f32>() + tail
}

/// Root-mean-square norm of each row of `weight.len()` elements, in place.
pub(crate) fn rms_norm(cpu: &Cpu, rows: &mut [f32], weight: &[f32], epsilon: f32) {
    let rows = Shares::new(rows);
    each_row(cpu, rows, weight.len(), |rows| cpu.run(RmsNorm { rows, weight, epsilon }));
}

/// As [`rms_norm`], from some rows into others.
pub(crate) fn rms_norm_of(cpu: &Cpu, from: &[f32], weight: &[f32], epsilon: f32, to: &mut [f32]) {
    to.copy_from_slice(from);
    rms_norm(cpu, to, weight, epsilon);
}

/// Shares rows out among the threads.
fn each_row(cpu: &Cpu, rows: Shares<'_, f32>, length: usize, change: impl Fn(&mut [f32]) + Sync) {
    let per_piece = (PER_PIECE / length.max(1)).max(1) * length;
    cpu.team.each(rows.length().div_ceil(per_piece.max(1)), |piece| {
        let here = piece * per_piece..rows.length().min((piece + 1) * per_piece);
        #[expect(unsafe_code, reason = "each piece changes rows of its own; see SAFETY")]
        // SAFETY: pieces are disjoint ranges.
        change(unsafe { rows.range(here) });
    });
}

struct RmsNorm<'a> {
    rows: &'a mut [f32],
    weight: &'a [f32],
    epsilon: f32,
}

impl Kernel for RmsNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) {
        for row in self.rows.chunks_exact_mut(self.weight.len()) {
            let mean = dot(row, row) / self.weight.len() as f32;
            let scale = 1.0 / (mean + self.epsilon).sqrt();
            row.iter_mut().zip(self.weight).for_each(|(element, weight)| *element *= scale * weight);
        }
    }
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
