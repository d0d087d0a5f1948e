//! How fast keys and values are read, from memory and from the cache, for one query and for many.

use std::hint::black_box;

use super::{Window, per_second};
use crate::cpu::{Cpu, Shares};
use crate::ops::{Asked, Attention, Sight};
use crate::session::{KvType, PAGE_TOKENS, PageShape};

/// Elements of a measured head.
const HEAD: usize = 128;
/// Heads of keys, unless there are more threads: pages of them are as large as usual models have them.
const HEADS: usize = 8;
/// Positions that a last cache holds and the cores' own do not: 8 MiB of them.
const FEW: usize = 2_048;
/// Tokens of a prompt that are read together.
const CHUNK: usize = 64;

/// How fast attention is when all threads have work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Figures {
    /// Elements of keys and values per second, read from memory for one query each.
    pub(super) fetched: u64,
    /// The same from the cache.
    pub(super) cached: u64,
    /// Multiply-adds per second where many queries are answered together.
    pub(super) macs: u64,
}

/// Keys and values of one layer.
#[derive(Debug)]
pub(super) struct Pages {
    shape: PageShape,
    pages: Vec<Vec<u8>>,
}

impl Pages {
    /// About so many bytes for so many threads.
    pub(super) fn new(threads: usize, bytes: u64) -> Self {
        let kv_heads = HEADS.next_multiple_of(threads.max(1));
        let shape = PageShape { kv_heads, key_length: HEAD, value_length: HEAD, kv_type: KvType::F16 };
        let count = (bytes as usize / shape.layer_bytes()).max(FEW.div_ceil(PAGE_TOKENS));
        // Some number in half precision; memory that nobody wrote to would be read as one page.
        Self { shape, pages: (0..count).map(|_| vec![0x2C; shape.layer_bytes()]).collect() }
    }

    pub(super) fn measure(&self, cpu: &Cpu) -> Figures {
        let all = self.pages.len() * PAGE_TOKENS;
        Figures {
            fetched: self.read(cpu, 1, all, Window::of_ms(30)),
            cached: self.read(cpu, 1, FEW.min(all), Window::of_ms(8)),
            macs: self.read(cpu, CHUNK, FEW.min(all), Window::of_ms(15)),
        }
    }

    /// Elements per second and query that so many tokens read which are the last of so many positions.
    fn read(&self, cpu: &Cpu, tokens: usize, positions: usize, window: Window) -> u64 {
        let PageShape { kv_heads, key_length, value_length, .. } = self.shape;
        let queries = vec![0.01; tokens * kv_heads * key_length];
        let mut output = vec![0.0; tokens * kv_heads * value_length];
        let attention = Attention { heads: kv_heads, scale: 0.1, sight: Sight::Back };
        let first = positions - tokens;
        let seen: usize = (0..tokens).map(|token| first + token + 1).sum();
        let pass = || {
            let pages = |page: usize| self.pages[page].as_slice();
            let asked = Asked { queries: &queries, first, pages, output: Shares::new(&mut output) };
            attention.apply(cpu, self.shape, &[asked]);
            black_box(&output);
        };
        per_second((seen * kv_heads * (key_length + value_length)) as f64, window, pass)
    }
}
