//! Grouped-query attention over pages: scores and answers are products of the same kernel that multiplies weights.

use std::cell::RefCell;
use std::ops::Range;

use crate::cpu::simd::{Kernel, LANES, Simd};
use crate::cpu::tile::{self, Element, Half, Single};
use crate::cpu::{Cpu, Shares};
use crate::session::{KvType, PAGE_TOKENS, PageShape};

/// The figures of attention in one layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attention {
    pub(crate) heads: usize,
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
    /// So many from the first, before it and after.
    All(usize),
}

impl Sight {
    fn seen(self, position: usize) -> Range<usize> {
        match self {
            Self::Back => 0..position + 1,
            Self::Window(window) => (position + 1).saturating_sub(window)..position + 1,
            Self::All(positions) => 0..positions,
        }
    }
}

/// What one sequence asks of the pages of one layer.
pub(crate) struct Asked<'a, P> {
    /// (tokens, heads, key_length)
    pub(crate) queries: &'a [f32],
    /// The position of the first.
    pub(crate) first: usize,
    /// Pages by index: one layer's part.
    pub(crate) pages: P,
    /// (tokens, heads, value_length)
    pub(crate) output: Shares<'a, f32>,
}

/// Queries that are answered together: heads that share keys, of neighbouring tokens.
const TOGETHER: usize = 8;

impl Attention {
    /// Answers all queries of several sequences. An answer has the same bits in any company.
    pub(crate) fn apply<'p, P: Fn(usize) -> &'p [u8] + Sync>(
        &self,
        cpu: &Cpu,
        shape: PageShape,
        asked: &[Asked<'_, P>],
    ) {
        let sharing = self.heads / shape.kv_heads;
        let blocks =
            |asked: &Asked<'_, P>| (asked.queries.len() / (shape.key_length * shape.kv_heads)).div_ceil(TOGETHER);
        let most = asked.iter().map(blocks).max().unwrap_or(0);
        // The last tokens see most: they come first, so that no thread is left with a long piece at the end.
        cpu.team.each(asked.len() * most * shape.kv_heads, |piece| {
            let (block, rest) =
                (most - 1 - piece / (asked.len() * shape.kv_heads), piece % (asked.len() * shape.kv_heads));
            let (asked, kv_head) = (&asked[rest / shape.kv_heads], rest % shape.kv_heads);
            let queries = asked.queries.len() / (shape.key_length * shape.kv_heads);
            let here = block * TOGETHER..queries.min((block + 1) * TOGETHER);
            if !here.is_empty() {
                // Taken here and not in the kernel, which must be one piece of code for its instructions.
                SCRATCH.with_borrow_mut(|scratch| {
                    cpu.run(Piece { attention: self, shape, asked, kv_head, sharing, queries: here, scratch });
                });
            }
        });
    }
}

/// Some queries of one head of keys.
struct Piece<'a, P> {
    attention: &'a Attention,
    shape: PageShape,
    asked: &'a Asked<'a, P>,
    kv_head: usize,
    /// Heads of queries to a head of keys.
    sharing: usize,
    /// Counted token by token, each with its `sharing` heads.
    queries: Range<usize>,
    scratch: &'a mut Scratch,
}

#[derive(Debug, Default)]
struct Scratch {
    /// (queries, positions)
    scores: Vec<f32>,
    /// (queries, value_length in whole lanes), even and odd positions apart.
    sums: Vec<[[f32; LANES]; 2]>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl<'p, P: Fn(usize) -> &'p [u8]> Kernel for Piece<'_, P> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self.shape.kv_type {
            KvType::F16 => self.all::<S, Half>(simd),
            KvType::F32 => self.all::<S, Single>(simd),
        }
    }
}

impl<'p, P: Fn(usize) -> &'p [u8]> Piece<'_, P> {
    #[inline(always)]
    fn all<S: Simd, E: Element>(mut self, simd: S) {
        let mut first = self.queries.start;
        while first < self.queries.end {
            first += match self.queries.end - first {
                8.. if S::TOKENS >= 8 => self.few::<S, E, 8>(simd, first),
                4.. => self.few::<S, E, 4>(simd, first),
                2.. => self.few::<S, E, 2>(simd, first),
                _ => self.few::<S, E, 1>(simd, first),
            };
        }
    }

    /// Which head of which token a query is.
    #[inline(always)]
    fn place(&self, query: usize) -> usize {
        query / self.sharing * self.attention.heads + self.kv_head * self.sharing + query % self.sharing
    }

    #[inline(always)]
    fn few<S: Simd, E: Element, const T: usize>(&mut self, simd: S, first: usize) -> usize {
        let seen: [Range<usize>; T] =
            std::array::from_fn(|at| self.attention.sight.seen(self.asked.first + (first + at) / self.sharing));
        // The positions that any of them sees, in whole lanes for the scores.
        let begin = seen.iter().map(|seen| seen.start).min().unwrap_or(0) / LANES * LANES;
        let end = seen.iter().map(|seen| seen.end).max().unwrap_or(0);
        let width = (end - begin).next_multiple_of(LANES);
        let mut scratch = std::mem::take(self.scratch);
        scratch.scores.resize(scratch.scores.len().max(T * width), 0.0);
        self.score::<S, E, T>(simd, first, begin..end, width, &mut scratch.scores);
        let mut sums = [0.0; T];
        for (at, scores) in scratch.scores.chunks_exact_mut(width).take(T).enumerate() {
            sums[at] = soften(simd, scores, seen[at].start - begin..seen[at].end - begin);
        }
        self.answer::<S, E, T>(simd, first, begin..end, width, &sums, &mut scratch);
        *self.scratch = scratch;
        T
    }

    /// Scores of sixteen positions at a time.
    #[inline(always)]
    fn score<S: Simd, E: Element, const T: usize>(
        &self,
        simd: S,
        first: usize,
        positions: Range<usize>,
        width: usize,
        scores: &mut [f32],
    ) {
        let key_length = self.shape.key_length;
        let queries: [&[f32]; T] =
            std::array::from_fn(|at| &self.asked.queries[self.place(first + at) * key_length..][..key_length]);
        for position in positions.clone().step_by(LANES) {
            let page = (self.asked.pages)(position / PAGE_TOKENS);
            let keys = &page[self.shape.keys(self.kv_head, position % PAGE_TOKENS / LANES)];
            let mut products = [[0.0; LANES]; T];
            tile::dense::<S, E, T>(simd, keys, queries, &mut products);
            for (at, products) in products.iter().enumerate() {
                let to = at * width + position - positions.start;
                let to = scores[to..to + LANES].first_chunk_mut().expect("scores come in whole lanes");
                for part in 0..S::PARTS {
                    let scaled = simd.multiply(simd.load(products, part), simd.float(self.attention.scale));
                    simd.store(scaled, to, part);
                }
            }
        }
    }

    /// Sums of values, each weighted by its softened score.
    #[inline(always)]
    fn answer<S: Simd, E: Element, const T: usize>(
        &self,
        simd: S,
        first: usize,
        positions: Range<usize>,
        width: usize,
        weights: &[f32; T],
        scratch: &mut Scratch,
    ) {
        let value_length = self.shape.value_length;
        let sixteens = value_length.div_ceil(LANES);
        let Scratch { scores, sums } = scratch;
        sums.clear();
        sums.resize(sixteens * T, [[0.0; LANES]; 2]);
        let mut position = positions.start;
        while position < positions.end {
            let page = (self.asked.pages)(position / PAGE_TOKENS);
            let until = positions.end.min((position / PAGE_TOKENS + 1) * PAGE_TOKENS);
            let scores: [&[f32]; T] = std::array::from_fn(|at| {
                &scores[at * width + position - positions.start..at * width + until - positions.start]
            });
            for (sixteen, sums) in sums.as_chunks_mut::<T>().0.iter_mut().enumerate() {
                let values = E::sixteen(&page[self.shape.values(self.kv_head, sixteen)]);
                tile::add_dense::<S, E, T>(simd, &values[position % PAGE_TOKENS..], scores, sums);
            }
            position = until;
        }
        for (sixteen, sums) in sums.as_chunks::<T>().0.iter().enumerate() {
            let width = LANES.min(value_length - sixteen * LANES);
            for at in 0..T {
                let mut answer = [0.0; LANES];
                for part in 0..S::PARTS {
                    let both = simd.add(simd.load(&sums[at][0], part), simd.load(&sums[at][1], part));
                    simd.store(simd.multiply(both, simd.float(1.0 / weights[at])), &mut answer, part);
                }
                let to = self.place(first + at) * value_length + sixteen * LANES;
                #[expect(unsafe_code, reason = "each piece writes the answers of its own queries; see SAFETY")]
                // SAFETY: pieces are disjoint in sequence, head of keys or queries, and so in what `place` gives.
                let output = unsafe { self.asked.output.range(to..to + width) };
                output.copy_from_slice(&answer[..width]);
            }
        }
    }
}

/// Makes weights of the scores that are seen, `e^(score − most)`, and zero of the others; gives their sum.
#[inline(always)]
fn soften<S: Simd>(simd: S, scores: &mut [f32], seen: Range<usize>) -> f32 {
    scores[..seen.start].fill(f32::NEG_INFINITY);
    scores[seen.end..].fill(f32::NEG_INFINITY);
    let lanes = scores.as_chunks_mut::<LANES>().0;
    let mut most = [f32::NEG_INFINITY; LANES];
    for part in 0..S::PARTS {
        let mut larger = simd.float(f32::NEG_INFINITY);
        for scores in lanes.iter() {
            larger = simd.larger(simd.load(scores, part), larger);
        }
        simd.store(larger, &mut most, part);
    }
    let most = simd.float(most.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    for scores in lanes.iter_mut() {
        for part in 0..S::PARTS {
            let below = simd.subtract(simd.load(scores, part), most);
            simd.store(simd.exponential(below), scores, part);
        }
    }
    // The exponential of what is not seen is tiny, not zero.
    scores[..seen.start].fill(0.0);
    scores[seen.end..].fill(0.0);
    let mut sums = [0.0; LANES];
    for part in 0..S::PARTS {
        let mut sum = simd.float(0.0);
        for scores in scores.as_chunks::<LANES>().0 {
            sum = simd.add(sum, simd.load(scores, part));
        }
        simd.store(sum, &mut sums, part);
    }
    sums.iter().sum()
}
