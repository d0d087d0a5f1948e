//! One conversation's memory: the keys and values of the positions that may still be seen, allocated once.
//!
//! A layer that looks through a window keeps a ring of `window + pass_tokens` positions and forgets what no token will see
//! again; the others keep all. Position `p` lies in row `p % rows`.

use crate::arch::Figures;
use crate::model::Model;

/// Bytes of one cached key or value element: the cache is F32.
pub const KV_BYTES_PER_ELEMENT: u64 = 4;

/// Tokens of one session that a pass may read, unless a session is made for another number.
pub const PASS_TOKENS: usize = 128;

/// The cache of one conversation. Made for one model and of use with no other.
#[derive(Debug)]
pub struct Session {
    pub(crate) layers: Vec<LayerCache>,
    /// Positions read so far.
    pub(crate) length: usize,
    capacity: usize,
    pass_tokens: usize,
}

/// Keys (rows, kv_heads, key_length) and values (rows, kv_heads, value_length) of one layer.
#[derive(Debug)]
pub(crate) struct LayerCache {
    pub(crate) keys: Vec<f32>,
    pub(crate) values: Vec<f32>,
    rows: usize,
}

impl LayerCache {
    /// Writes keys and values of successive positions from `first` into their rows.
    pub(crate) fn write(&mut self, first: usize, keys: &[f32], values: &[f32]) {
        let (key_row, value_row) = (self.keys.len() / self.rows, self.values.len() / self.rows);
        let begin = first % self.rows;
        let before_wrap = (keys.len() / key_row).min(self.rows - begin);
        for (cache, row, new) in [(&mut self.keys, key_row, keys), (&mut self.values, value_row, values)] {
            let (before, after) = new.split_at(before_wrap * row);
            cache[begin * row..][..before.len()].copy_from_slice(before);
            cache[..after.len()].copy_from_slice(after);
        }
    }
}

/// Positions that each layer of a model keeps in a session of so many tokens.
pub(crate) fn rows(model: &Model, context_tokens: usize, pass_tokens: usize) -> impl Iterator<Item = usize> {
    let kept = move |window: Option<usize>| match window {
        Some(window) => context_tokens.min(window.saturating_add(pass_tokens)),
        None => context_tokens,
    };
    model.windows().map(kept)
}

impl Session {
    /// Allocates room for so many tokens, of which a pass reads [`PASS_TOKENS`] at the most. The pages become real memory
    /// as they are first written; all together they are [`Model::session_bytes`].
    #[must_use]
    pub fn new(model: &Model, context_tokens: usize) -> Self {
        Self::for_passes_of(model, context_tokens, PASS_TOKENS)
    }

    /// As [`Session::new`], with room in the windowed layers for passes of so many tokens.
    #[must_use]
    pub fn for_passes_of(model: &Model, context_tokens: usize, pass_tokens: usize) -> Self {
        let Figures { kv_heads, key_length, value_length, .. } = model.figures();
        let pass_tokens = pass_tokens.max(1);
        // A cache of no rows would have no row length.
        let layer = |rows: usize| LayerCache {
            keys: vec![0.0; rows.max(1) * kv_heads * key_length],
            values: vec![0.0; rows.max(1) * kv_heads * value_length],
            rows: rows.max(1),
        };
        let layers = rows(model, context_tokens, pass_tokens).map(layer).collect();
        Self { layers, length: 0, capacity: context_tokens, pass_tokens }
    }

    /// Tokens read so far.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Tokens that fit.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Tokens that one pass may read.
    pub(crate) fn pass_tokens(&self) -> usize {
        self.pass_tokens
    }

    /// Bytes of all keys and values.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let elements = |layer: &LayerCache| (layer.keys.len() + layer.values.len()) as u64;
        self.layers.iter().map(elements).sum::<u64>() * KV_BYTES_PER_ELEMENT
    }

    /// Forgets the conversation and keeps the memory for the next one.
    pub fn clear(&mut self) {
        self.length = 0;
    }
}
