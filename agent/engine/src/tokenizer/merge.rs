//! Merges neighbouring symbols, the best pair first, in n log n: what byte-pair and SentencePiece vocabularies share.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// No neighbour, no token.
const NONE: usize = usize::MAX;

/// A stretch of a text on its way to becoming a token.
#[derive(Debug, Clone, Copy)]
pub(super) struct Symbol {
    pub(super) start: usize,
    /// Equal to `start` once a neighbour has taken this symbol in.
    pub(super) end: usize,
    /// The token it is, if it is one.
    pub(super) id: Option<u32>,
    before: usize,
    after: usize,
}

/// A chain of symbols.
#[derive(Debug, Default)]
pub(super) struct Chain(Vec<Symbol>);

impl Chain {
    pub(super) fn push(&mut self, start: usize, end: usize, id: Option<u32>) {
        let index = self.0.len();
        let before = index.checked_sub(1).unwrap_or(NONE);
        if let Some(last) = self.0.last_mut() {
            last.after = index;
        }
        self.0.push(Symbol { start, end, id, before, after: NONE });
    }

    /// Merges until no two neighbours can be. `join`: how good merging two neighbours is, higher first, and which token
    /// comes of it. Of equally good pairs the leftmost goes first.
    pub(super) fn merge<Rank: Ord + Copy>(&mut self, join: impl Fn(&Symbol, &Symbol) -> Option<(Rank, u32)>) {
        let symbols = &mut self.0;
        let mut waiting = BinaryHeap::new();
        let look = |symbols: &[Symbol], left: usize, right: usize| {
            let (first, second) = (&symbols[left], &symbols[right]);
            let (rank, id) = join(first, second)?;
            Some((rank, Reverse(left), right, second.end - first.start, id))
        };
        waiting.extend((1..symbols.len()).filter_map(|right| look(symbols, right - 1, right)));
        while let Some((_, Reverse(left), right, length, id)) = waiting.pop() {
            let (first, second) = (symbols[left], symbols[right]);
            // Either was merged with another since: a symbol only ever grows to its right, so lengths tell.
            let gone = first.start == first.end || second.start == second.end;
            if gone || second.end - first.start != length || first.after != right {
                continue;
            }
            symbols[left].end = second.end;
            symbols[left].id = Some(id);
            symbols[left].after = second.after;
            symbols[right].end = second.start;
            if second.after != NONE {
                symbols[second.after].before = left;
                waiting.extend(look(symbols, left, second.after));
            }
            if first.before != NONE {
                waiting.extend(look(symbols, first.before, left));
            }
        }
    }

    /// What is left, in order.
    pub(super) fn symbols(&self) -> impl Iterator<Item = &Symbol> {
        self.0.iter().filter(|symbol| symbol.start != symbol.end)
    }
}
