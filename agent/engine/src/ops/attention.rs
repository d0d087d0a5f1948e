//! Grouped-query attention over one layer's cache, a ring where the layer looks through a window.

use std::ops::Range;

use super::dot;
use crate::cpu::{Cpu, Shares};

/// The figures of attention in one layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attention {
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) key_length: usize,
    pub(crate) value_length: usize,
    pub(crate) scale: f32,
    pub(crate) sight: Sight,
}

/// Which positions a token sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Itself and all before it.
    Back,
    /// Itself and so many before it that they are this many together.
    Window(usize),
    /// All that are cached, before it and after.
    All,
}

impl Sight {
    /// What the token at a position sees of a cache of so many rows.
    fn seen(self, position: usize, rows: usize) -> Range<usize> {
        match self {
            Self::Back => 0..position + 1,
            Self::Window(window) => (position + 1).saturating_sub(window)..position + 1,
            Self::All => 0..rows,
        }
    }
}

impl Attention {
    /// Attends from `queries` (tokens, heads, key_length), standing at positions from `first`, to the cached `keys`
    /// (rows, kv_heads, key_length) and `values` (rows, kv_heads, value_length), into `output` (tokens, heads,
    /// value_length). Position `p` lies in row `p % rows`; the caller keeps as many rows as the sight needs.
    pub(crate) fn apply(&self, cpu: &Cpu, queries: &[f32], keys: &[f32], values: &[f32], first: usize, output: &mut [f32]) {
        let tokens = queries.len() / (self.heads * self.key_length);
        let rows = keys.len() / (self.kv_heads * self.key_length);
        let one = |scores: &mut Vec<f32>, (index, output): (usize, &mut [f32])| {
            let (token, head) = (index / self.heads, index % self.heads);
            let query = &queries[index * self.key_length..(index + 1) * self.key_length];
            let seen = self.sight.seen(first + token, rows);
            self.one_head(query, head * self.kv_heads / self.heads, seen, keys, values, scores, output);
        };
        let output = Shares::new(output);
        cpu.team.each(tokens * self.heads, |index| {
            #[expect(unsafe_code, reason = "each piece writes an output of its own; see SAFETY")]
            // SAFETY: pieces are disjoint ranges.
            let output = unsafe { output.range(index * self.value_length..(index + 1) * self.value_length) };
            one(&mut Vec::new(), (index, output));
        });
    }

    #[expect(clippy::too_many_arguments, reason = "one inner loop, split from its caller only to be readable")]
    fn one_head(
        &self,
        query: &[f32],
        kv_head: usize,
        seen: Range<usize>,
        keys: &[f32],
        values: &[f32],
        scores: &mut Vec<f32>,
        output: &mut [f32],
    ) {
        let (key_row, value_row) = (self.kv_heads * self.key_length, self.kv_heads * self.value_length);
        let slots = Slots::new(seen, keys.len() / key_row);
        scores.clear();
        for slots in slots.both() {
            scores.extend(slots.map(|slot| {
                let at = slot * key_row + kv_head * self.key_length;
                dot(query, &keys[at..at + self.key_length]) * self.scale
            }));
        }
        softmax(scores);
        output.fill(0.0);
        let mut weights = scores.iter();
        for slots in slots.both() {
            for (slot, weight) in slots.zip(&mut weights) {
                let at = slot * value_row + kv_head * self.value_length;
                let value = &values[at..at + self.value_length];
                output.iter_mut().zip(value).for_each(|(output, value)| *output += weight * value);
            }
        }
    }
}

/// The rows of a ring in which successive positions lie: up to its end, then from its begin.
#[derive(Debug, Clone, Copy)]
struct Slots {
    begin: usize,
    before_wrap: usize,
    after_wrap: usize,
}

impl Slots {
    fn new(positions: Range<usize>, rows: usize) -> Self {
        debug_assert!(positions.len() <= rows, "a token sees more than the ring holds");
        let begin = positions.start % rows;
        let before_wrap = positions.len().min(rows - begin);
        Self { begin, before_wrap, after_wrap: positions.len() - before_wrap }
    }

    fn both(self) -> [Range<usize>; 2] {
        [self.begin..self.begin + self.before_wrap, 0..self.after_wrap]
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
