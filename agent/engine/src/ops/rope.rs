//! Rotary positions: pairs of a head's elements turn by an angle that grows with the position.

use crate::cpu::simd::{Kernel, Simd};
use crate::cpu::{Cpu, Shares};
use crate::math;

/// Which elements of a head turn together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pairing {
    /// `(2i, 2i + 1)`, as in `llama`.
    Neighbours,
    /// `(i, i + n/2)`, as in GPT-NeoX and most others.
    Halves,
}

/// How fast each pair turns. Elements beyond the pairs stay as they are.
#[derive(Debug, Clone)]
pub(crate) struct Rope {
    pairing: Pairing,
    /// Radians per position, one per pair.
    speeds: Vec<f32>,
    /// What replaces `speeds` in a session that holds more than so many tokens: LongRoPE's second set.
    long: Option<(usize, Vec<f32>)>,
    /// Multiplies cosine and sine; 1 unless a family stretches its context.
    magnitude: f32,
}

impl Rope {
    /// Pair `i` of `rotated / 2` turns by `base^(-2i / rotated)` per position, divided by its divisor if there is one.
    pub(crate) fn new(pairing: Pairing, rotated: usize, base: f64, divisors: Option<&[f32]>) -> Self {
        Self { pairing, speeds: speeds(rotated, base, divisors), long: None, magnitude: 1.0 }
    }

    /// Positions count `divisor` times less: linear scaling.
    pub(crate) fn slowed(mut self, divisor: f64) -> Self {
        self.speeds.iter_mut().for_each(|speed| *speed = (f64::from(*speed) / divisor) as f32);
        self
    }

    /// Sessions made for more than `beyond` tokens turn by these divisors.
    pub(crate) fn long(mut self, beyond: usize, base: f64, divisors: &[f32]) -> Self {
        self.long = Some((beyond, speeds(2 * self.speeds.len(), base, Some(divisors))));
        self
    }

    /// Cosine and sine are multiplied by this.
    pub(crate) fn magnified(mut self, magnitude: f32) -> Self {
        self.magnitude = magnitude;
        self
    }

    /// Pairs that turn.
    pub(crate) fn pairs(&self) -> usize {
        self.speeds.len()
    }

    /// Appends (cosine, sine) of every pair at so many positions from `first`, in a session that holds `capacity` tokens:
    /// (tokens, pairs).
    pub(crate) fn turns(&self, capacity: usize, first: usize, tokens: usize, turns: &mut Vec<(f32, f32)>) {
        let speeds = match &self.long {
            Some((beyond, speeds)) if capacity > *beyond => speeds,
            _ => &self.speeds,
        };
        for position in first..first + tokens {
            turns.extend(speeds.iter().map(|speed| {
                let (sine, cosine) = math::sin_cos(position as f32 * speed);
                (cosine * self.magnitude, sine * self.magnitude)
            }));
        }
    }

    /// Turns the first elements of every head: `rows` is (tokens, heads, head_length).
    pub(crate) fn apply(&self, cpu: &Cpu, rows: &mut [f32], heads: usize, head_length: usize, turns: &[(f32, f32)]) {
        let (pairs, row_length) = (self.speeds.len(), heads * head_length);
        let per_piece = (PER_PIECE / row_length).max(1);
        let (tokens, rows) = (rows.len() / row_length, Shares::new(rows));
        cpu.team.each(tokens.div_ceil(per_piece), |piece| {
            let (from, to) = (piece * per_piece, tokens.min((piece + 1) * per_piece));
            #[expect(unsafe_code, reason = "each piece turns rows of its own; see SAFETY")]
            // SAFETY: pieces are disjoint ranges of rows.
            let rows = unsafe { rows.range(from * row_length..to * row_length) };
            let turns = &turns[from * pairs..to * pairs];
            cpu.run(Turn { pairing: self.pairing, rows, row_length, head_length, turns, pairs });
        });
    }
}

/// Elements that one thread turns at a time, in whole rows.
const PER_PIECE: usize = 8192;

struct Turn<'a> {
    pairing: Pairing,
    rows: &'a mut [f32],
    row_length: usize,
    head_length: usize,
    turns: &'a [(f32, f32)],
    pairs: usize,
}

impl Kernel for Turn<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) {
        let rows = self.rows.chunks_exact_mut(self.row_length).zip(self.turns.chunks_exact(self.pairs));
        for (row, turns) in rows {
            for head in row.chunks_exact_mut(self.head_length) {
                match self.pairing {
                    Pairing::Neighbours => {
                        for (pair, (cosine, sine)) in head.as_chunks_mut::<2>().0.iter_mut().zip(turns) {
                            let [x, y] = *pair;
                            *pair = [x * cosine - y * sine, x * sine + y * cosine];
                        }
                    }
                    Pairing::Halves => {
                        let (first, second) = head[..2 * self.pairs].split_at_mut(self.pairs);
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

fn speeds(rotated: usize, base: f64, divisors: Option<&[f32]>) -> Vec<f32> {
    let speed = |pair: usize| {
        let divisor = divisors.map_or(1.0, |divisors| f64::from(divisors[pair]));
        (math::power_f64(base, -2.0 * pair as f64 / rotated as f64) / divisor) as f32
    };
    (0..rotated / 2).map(speed).collect()
}
