//! Pages: keys and values of 32 positions, laid out as the attention kernel multiplies with them.
//!
//! ```text
//! layer   head after head: its keys, then its values
//! keys    16 positions: element 0 of each, element 1 of each …; the next 16 positions
//! values  16 elements: those of position 0, of position 1 …; the next 16 elements
//! ```
//! So sixteen scores, and sixteen elements of an answer, are one vector each.

use std::ops::Range;

use half::f16;

use crate::cpu::simd::LANES;

/// Positions of a page.
pub const PAGE_TOKENS: usize = 32;

/// What keys and values are kept as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KvType {
    /// Half precision.
    #[default]
    F16,
    /// Single precision, for measuring against references.
    F32,
}

impl KvType {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
        }
    }
}

/// The figures of one layer's part of a page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageShape {
    pub(crate) kv_heads: usize,
    pub(crate) key_length: usize,
    pub(crate) value_length: usize,
    pub(crate) kv_type: KvType,
}

impl PageShape {
    /// Bytes of one layer.
    pub(crate) fn layer_bytes(&self) -> usize {
        self.kv_heads * (self.key_bytes() + self.value_bytes())
    }

    fn key_bytes(&self) -> usize {
        PAGE_TOKENS * self.key_length * self.kv_type.bytes()
    }

    fn value_bytes(&self) -> usize {
        PAGE_TOKENS * self.value_length.next_multiple_of(LANES) * self.kv_type.bytes()
    }

    /// The keys of sixteen positions, the first or second of a head.
    pub(crate) fn keys(&self, head: usize, half: usize) -> Range<usize> {
        let begin = head * (self.key_bytes() + self.value_bytes()) + half * self.key_bytes() / 2;
        begin..begin + self.key_bytes() / 2
    }

    /// Sixteen elements of the values of a head at all positions.
    pub(crate) fn values(&self, head: usize, sixteen: usize) -> Range<usize> {
        let bytes = PAGE_TOKENS * LANES * self.kv_type.bytes();
        let begin = head * (self.key_bytes() + self.value_bytes()) + self.key_bytes() + sixteen * bytes;
        begin..begin + bytes
    }

    /// Writes one position of one layer: `key` is (kv_heads, key_length), `value` (kv_heads, value_length).
    pub(crate) fn write(&self, layer: &mut [u8], slot: usize, key: &[f32], value: &[f32]) {
        match self.kv_type {
            KvType::F16 => self.write_as::<2>(layer, slot, key, value, |number| f16::from_f32(number).to_le_bytes()),
            KvType::F32 => self.write_as::<4>(layer, slot, key, value, f32::to_le_bytes),
        }
    }

    #[inline(always)]
    fn write_as<const BYTES: usize>(
        &self,
        layer: &mut [u8],
        slot: usize,
        key: &[f32],
        value: &[f32],
        bytes: impl Fn(f32) -> [u8; BYTES],
    ) {
        for (head, key) in key.chunks_exact(self.key_length).enumerate() {
            let keys = layer[self.keys(head, slot / LANES)].as_chunks_mut::<BYTES>().0;
            for (to, number) in keys.iter_mut().skip(slot % LANES).step_by(LANES).zip(key) {
                *to = bytes(*number);
            }
        }
        for (head, value) in value.chunks_exact(self.value_length).enumerate() {
            for (sixteen, value) in value.chunks(LANES).enumerate() {
                let values = layer[self.values(head, sixteen)].as_chunks_mut::<BYTES>().0;
                let to = &mut values[slot * LANES..(slot + 1) * LANES];
                to.iter_mut().zip(value).for_each(|(to, number)| *to = bytes(*number));
            }
        }
    }
}
