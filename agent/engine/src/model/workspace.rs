//! Buffers that a pass through the decoder needs and the next pass uses again.

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
}

impl Workspace {
    pub(crate) fn resize(&mut self, figures: &Figures, tokens: usize) {
        self.stream.resize(tokens * figures.embedding, 0.0);
        self.block.resize(tokens * figures.embedding, 0.0);
        self.queries.resize(tokens * figures.heads * figures.key_length, 0.0);
        self.keys.resize(tokens * figures.kv_heads * figures.key_length, 0.0);
        self.values.resize(tokens * figures.kv_heads * figures.value_length, 0.0);
        self.up.resize(tokens * figures.feed_forward, 0.0);
    }
}
