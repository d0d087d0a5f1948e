//! Buffers that a pass through the decoder needs and the next pass uses again.

use super::Observer;
use crate::arch::Figures;
use crate::cpu::Activations;

/// Scratch memory of one computing thread; grows to the largest chunk it has seen.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    /// The residual stream: (tokens, embedding).
    pub(crate) stream: Vec<f32>,
    /// What a block begins with: (tokens, embedding).
    pub(crate) normed: Activations,
    /// What a block ends with: (tokens, embedding).
    pub(crate) block: Vec<f32>,
    /// (tokens, heads, key_length)
    pub(crate) queries: Vec<f32>,
    /// (tokens, kv_heads, key_length)
    pub(crate) keys: Vec<f32>,
    /// (tokens, kv_heads, value_length)
    pub(crate) values: Vec<f32>,
    /// (tokens, heads, value_length)
    pub(crate) attended: Activations,
    /// (tokens, feed_forward)
    pub(crate) gate: Activations,
    /// (tokens, feed_forward)
    pub(crate) up: Vec<f32>,
    /// (cosine, sine) per rotary table: (tokens, pairs). No family has more than two tables.
    pub(crate) turns: [Vec<(f32, f32)>; 2],
    /// The answer of a pass: (wanted, vocabulary).
    pub(crate) logits: Vec<f32>,
    /// Sees what enters every matrix, where somebody wants to know.
    pub(crate) observer: Option<Box<Observer>>,
}

impl Workspace {
    /// Room for passes of so many tokens, so many of which are asked for their logits: within these nothing grows, and what a
    /// pass takes is what the planner counts. Memory that no pass has written to yet is none.
    pub(crate) fn with_room(figures: &Figures, pairs: &[usize], tokens: usize, wanted: usize) -> Self {
        let room = |row: usize| Vec::with_capacity(tokens * row);
        let mut turns: [Vec<(f32, f32)>; 2] = Default::default();
        turns.iter_mut().zip(pairs).for_each(|(turns, pairs)| turns.reserve_exact(tokens * pairs));
        Self {
            stream: room(figures.embedding),
            normed: Activations::with_room(tokens, figures.embedding),
            block: room(figures.embedding),
            queries: room(figures.heads * figures.key_length),
            keys: room(figures.kv_heads * figures.key_length),
            values: room(figures.kv_heads * figures.value_length),
            attended: Activations::with_room(tokens, figures.heads * figures.value_length),
            gate: Activations::with_room(tokens, figures.feed_forward),
            up: room(figures.feed_forward),
            turns,
            logits: Vec::with_capacity(wanted * figures.vocabulary),
            observer: None,
        }
    }

    pub(crate) fn resize(&mut self, figures: &Figures, tokens: usize) {
        self.stream.resize(tokens * figures.embedding, 0.0);
        self.block.resize(tokens * figures.embedding, 0.0);
        self.queries.resize(tokens * figures.heads * figures.key_length, 0.0);
        self.keys.resize(tokens * figures.kv_heads * figures.key_length, 0.0);
        self.values.resize(tokens * figures.kv_heads * figures.value_length, 0.0);
        self.up.resize(tokens * figures.feed_forward, 0.0);
    }
}
