//! One conversation's memory: the keys and values of every position read so far, allocated once.

use crate::arch::Figures;
use crate::model::Model;

/// Bytes of one cached key or value element: the cache is F32.
pub const KV_BYTES_PER_ELEMENT: u64 = 4;

/// The cache of one conversation. Made for one model and of use with no other.
#[derive(Debug)]
pub struct Session {
    pub(crate) layers: Vec<LayerCache>,
    /// Positions read so far.
    pub(crate) length: usize,
    capacity: usize,
}

/// Keys (positions, kv_heads, key_length) and values (positions, kv_heads, value_length) of one layer.
#[derive(Debug)]
pub(crate) struct LayerCache {
    pub(crate) keys: Vec<f32>,
    pub(crate) values: Vec<f32>,
}

impl Session {
    /// Allocates room for so many tokens. The pages become real memory as they are first written.
    #[must_use]
    pub fn new(model: &Model, context_tokens: usize) -> Self {
        let Figures { layers, kv_heads, key_length, value_length, .. } = model.figures();
        let layer = || LayerCache {
            keys: vec![0.0; context_tokens * kv_heads * key_length],
            values: vec![0.0; context_tokens * kv_heads * value_length],
        };
        Self { layers: (0..*layers).map(|_| layer()).collect(), length: 0, capacity: context_tokens }
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

    /// Forgets the conversation and keeps the memory for the next one.
    pub fn clear(&mut self) {
        self.length = 0;
    }
}
