//! The small set of operations between the matrix products: norms, rotary positions, attention, activations.

use rayon::prelude::*;

/// Multiply-adds below which attention stays on one thread.
const PARALLEL_FROM: usize = 1 << 17;

/// Which elements of a head turn together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pairing {
    /// `(2i, 2i + 1)`, as in `llama`.
    Neighbours,
    /// `(i, i + n/2)`, as in GPT-NeoX and most others.
    Halves,
}

/// How the feed-forward gate bends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// `x · sigmoid(x)`.
    Silu,
    /// GELU in its tanh form.
    #[expect(dead_code, reason = "gemma3 uses it; its family file follows")]
    GeluTanh,
    /// `max(x, 0)²`.
    #[expect(dead_code, reason = "bitnet uses it; its family file follows")]
    ReluSquared,
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

/// `gate = activation(gate) · up`.
pub(crate) fn activate(activation: Activation, gate: &mut [f32], up: &[f32]) {
    let bend: fn(f32) -> f32 = match activation {
        Activation::Silu => |x| x / (1.0 + (-x).exp()),
        Activation::GeluTanh => |x| {
            let inner = 0.797_884_6 * (x + 0.044_715 * x * x * x);
            0.5 * x * (1.0 + inner.tanh())
        },
        Activation::ReluSquared => |x| x.max(0.0) * x.max(0.0),
    };
    gate.iter_mut().zip(up).for_each(|(gate, up)| *gate = bend(*gate) * up);
}

/// Rotary positions: how fast each pair turns.
#[derive(Debug, Clone)]
pub(crate) struct Rope {
    pub(crate) pairing: Pairing,
    /// Radians per position, one per pair.
    pub(crate) speeds: Vec<f32>,
    /// Multiplies cosine and sine; 1 unless a family stretches its context.
    pub(crate) magnitude: f32,
}

impl Rope {
    /// Pair `i` of `rotated / 2` turns by `base^(-2i / rotated)` per position, divided by its divisor if there is one.
    pub(crate) fn new(pairing: Pairing, rotated: usize, base: f64, divisors: Option<&[f32]>) -> Self {
        let speeds = (0..rotated / 2)
            .map(|pair| {
                let divisor = divisors.map_or(1.0, |divisors| f64::from(divisors[pair]));
                (base.powf(-2.0 * pair as f64 / rotated as f64) / divisor) as f32
            })
            .collect();
        Self { pairing, speeds, magnitude: 1.0 }
    }

    /// (cosine, sine) of every pair at the positions from `first`: (tokens, pairs).
    pub(crate) fn turns(&self, first: usize, tokens: usize, turns: &mut Vec<(f32, f32)>) {
        turns.clear();
        for position in first..first + tokens {
            turns.extend(self.speeds.iter().map(|speed| {
                let (sine, cosine) = (position as f32 * speed).sin_cos();
                (cosine * self.magnitude, sine * self.magnitude)
            }));
        }
    }

    /// Turns the first elements of every head: `rows` is (tokens, heads, head_length).
    pub(crate) fn apply(&self, rows: &mut [f32], heads: usize, head_length: usize, turns: &[(f32, f32)]) {
        let pairs = self.speeds.len();
        for (row, turns) in rows.chunks_exact_mut(heads * head_length).zip(turns.chunks_exact(pairs)) {
            for head in row.chunks_exact_mut(head_length) {
                match self.pairing {
                    Pairing::Neighbours => {
                        for (pair, (cosine, sine)) in head.as_chunks_mut::<2>().0.iter_mut().zip(turns) {
                            let [x, y] = *pair;
                            *pair = [x * cosine - y * sine, x * sine + y * cosine];
                        }
                    }
                    Pairing::Halves => {
                        let (first, second) = head[..2 * pairs].split_at_mut(pairs);
                        for ((first, second), (cosine, sine)) in first.iter_mut().zip(second).zip(turns) {
                            let (x, y) = (*first, *second);
                            *first = x * cosine - y * sine;
                            *second = x * sine + y * cosine;
                        }
                    }
                }
            }
        }
    }
}

/// The figures of grouped-query attention over one layer's cache.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attention {
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) key_length: usize,
    pub(crate) value_length: usize,
    pub(crate) scale: f32,
    /// How many positions back a token sees, itself included; all when absent.
    pub(crate) window: Option<usize>,
}

impl Attention {
    /// Attends from `queries` (tokens, heads, key_length), standing at positions from `first`, to the cached `keys`
    /// (positions, kv_heads, key_length) and `values`, into `output` (tokens, heads, value_length).
    pub(crate) fn apply(&self, queries: &[f32], keys: &[f32], values: &[f32], first: usize, output: &mut [f32]) {
        let tokens = queries.len() / (self.heads * self.key_length);
        let one = |scores: &mut Vec<f32>, (index, output): (usize, &mut [f32])| {
            let (token, head) = (index / self.heads, index % self.heads);
            let query = &queries[index * self.key_length..(index + 1) * self.key_length];
            self.one_head(query, head * self.kv_heads / self.heads, first + token, keys, values, scores, output);
        };
        if tokens * (first + tokens) * self.heads * self.key_length < PARALLEL_FROM {
            let mut scores = Vec::new();
            output.chunks_exact_mut(self.value_length).enumerate().for_each(|item| one(&mut scores, item));
        } else {
            output.par_chunks_exact_mut(self.value_length).enumerate().for_each_init(Vec::new, one);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one inner loop, split from its caller only to be readable")]
    fn one_head(
        &self,
        query: &[f32],
        kv_head: usize,
        position: usize,
        keys: &[f32],
        values: &[f32],
        scores: &mut Vec<f32>,
        output: &mut [f32],
    ) {
        let begin = self.window.map_or(0, |window| (position + 1).saturating_sub(window));
        let (key_row, value_row) = (self.kv_heads * self.key_length, self.kv_heads * self.value_length);
        scores.clear();
        scores.extend((begin..=position).map(|seen| {
            let at = seen * key_row + kv_head * self.key_length;
            dot(query, &keys[at..at + self.key_length]) * self.scale
        }));
        softmax(scores);
        output.fill(0.0);
        for (seen, weight) in (begin..=position).zip(scores.iter()) {
            let at = seen * value_row + kv_head * self.value_length;
            let value = &values[at..at + self.value_length];
            output.iter_mut().zip(value).for_each(|(output, value)| *output += weight * value);
        }
    }
}

fn softmax(scores: &mut [f32]) {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = (*score - most).exp();
        sum += *score;
    }
    scores.iter_mut().for_each(|score| *score /= sum);
}
