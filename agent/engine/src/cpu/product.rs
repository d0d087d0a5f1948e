//! Products of packed matrices with a pass's activations, shared out among the threads.

use std::marker::PhantomData;
use std::ops::Range;

use super::Cpu;
use super::activations::{Activations, GROUP, Group};
use super::layouts::{self, Layout, Visitor};
use super::pack::Packed;
use super::panel;
use super::shares::Shares;
use super::simd::{Kernel, LANES, Simd};
use super::tile::{self, Brain, Element, Half, Products, Single};
use crate::gguf::Format;

/// Weights that a thread takes at a time, bytes: enough for the memory to stream, little enough to share out evenly.
const PIECE_BYTES: usize = 96 << 10;
/// Activations that are multiplied with all tiles of a piece before the next ones, bytes: what a core's own cache holds
/// beside a tile.
const TOKENS_BYTES: usize = 384 << 10;

/// A packed matrix and where its products go: (tokens, rows).
pub(crate) type Product<'a> = (&'a Packed, &'a mut [f32]);

/// Multiplies several matrices with the same activations, which have been quantised if one of them takes codes.
pub(crate) fn multiply(cpu: &Cpu, input: &Activations, products: &mut [Product<'_>]) {
    let bytes: usize = products.iter().map(|(packed, _)| packed.tiles() * packed.tile_bytes).sum();
    let piece_bytes = PIECE_BYTES.min(bytes / (4 * cpu.team.threads())).max(1);
    let mut pieces = 0;
    let shared: Vec<Shared<'_>> = products
        .iter_mut()
        .map(|(packed, output)| {
            let tiles = (piece_bytes / packed.tile_bytes).max(1);
            let first = pieces;
            pieces += packed.tiles().div_ceil(tiles);
            Shared { packed, output: Shares::new(output), tiles, first }
        })
        .collect();
    cpu.team.each(pieces, |piece| {
        let matrix = shared.partition_point(|shared| shared.first <= piece) - 1;
        let Shared { packed, output, tiles, first } = shared[matrix];
        let begin = (piece - first) * tiles;
        let tiles = begin..packed.tiles().min(begin + tiles);
        cpu.run(Piece { packed, input, tiles, output });
    });
}

/// A matrix as the threads see it.
#[derive(Clone, Copy)]
struct Shared<'a> {
    packed: &'a Packed,
    output: Shares<'a, f32>,
    /// Tiles to a piece.
    tiles: usize,
    /// The number of its first piece.
    first: usize,
}

/// Some tiles times all tokens.
struct Piece<'a> {
    packed: &'a Packed,
    input: &'a Activations,
    tiles: Range<usize>,
    output: Shares<'a, f32>,
}

impl Kernel for Piece<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self.packed.format {
            Format::F32 => self.each_tile::<S, Dense<Single>>(simd),
            Format::F16 => self.each_tile::<S, Dense<Half>>(simd),
            Format::BF16 => self.each_tile::<S, Dense<Brain>>(simd),
            format => {
                layouts::visit(format, Run { simd, piece: self });
            }
        }
    }
}

struct Run<'a, S> {
    simd: S,
    piece: Piece<'a>,
}

impl<S: Simd> Visitor for Run<'_, S> {
    type Output = ();

    #[inline(always)]
    fn layout<L: Layout>(self) {
        self.piece.each_tile::<S, Blocks<L>>(self.simd);
    }
}

/// A kernel with the activations that it takes.
trait TileKernel {
    /// Bytes of a token of so many columns.
    fn token_bytes(columns: usize) -> usize;
    /// Multiplies a tile with the `T` tokens from `first`.
    fn multiply<S: Simd, const T: usize>(
        simd: S,
        tile: &[u8],
        input: &Activations,
        first: usize,
        products: &mut [Products; T],
    );
    /// Multiplies a tile by matrix products, where there are some, with those of the tokens that make whole panels; gives
    /// their products by the number of their first token, and returns the first token that is left.
    #[inline(always)]
    fn multiply_panels<S: Simd>(
        _simd: S,
        _tile: &[u8],
        _input: &Activations,
        tokens: Range<usize>,
        _give: impl FnMut(usize, &[Products; panel::TOKENS]),
    ) -> usize {
        tokens.start
    }
}

struct Blocks<L>(PhantomData<L>);

impl<L: Layout> TileKernel for Blocks<L> {
    fn token_bytes(columns: usize) -> usize {
        columns / GROUP * size_of::<Group>()
    }

    #[inline(always)]
    fn multiply<S: Simd, const T: usize>(
        simd: S,
        tile: &[u8],
        input: &Activations,
        first: usize,
        products: &mut [Products; T],
    ) {
        let groups = input.columns() / GROUP;
        let tokens = std::array::from_fn(|at| &input.groups()[(first + at) * groups..(first + at + 1) * groups]);
        tile::blocks::<S, L, T>(simd, tile, tokens, products);
    }

    #[inline(always)]
    fn multiply_panels<S: Simd>(
        simd: S,
        tile: &[u8],
        input: &Activations,
        tokens: Range<usize>,
        mut give: impl FnMut(usize, &[Products; panel::TOKENS]),
    ) -> usize {
        let groups = input.columns() / GROUP;
        let panels = tokens.start / panel::TOKENS..tokens.end / panel::TOKENS;
        if !simd.has_matrices() || panels.is_empty() {
            return tokens.start;
        }
        let panels = &input.panels()[panels.start * groups..panels.end * groups];
        simd.multiply_panels::<L>(tile, (panels, groups), |panel, products| {
            give(tokens.start + panel * panel::TOKENS, products);
        });
        tokens.end / panel::TOKENS * panel::TOKENS
    }
}

struct Dense<E>(PhantomData<E>);

impl<E: Element> TileKernel for Dense<E> {
    fn token_bytes(columns: usize) -> usize {
        columns * size_of::<f32>()
    }

    #[inline(always)]
    fn multiply<S: Simd, const T: usize>(
        simd: S,
        tile: &[u8],
        input: &Activations,
        first: usize,
        products: &mut [Products; T],
    ) {
        let columns = input.columns();
        let tokens = std::array::from_fn(|at| &input.rows()[(first + at) * columns..(first + at + 1) * columns]);
        tile::dense::<S, E, T>(simd, tile, tokens, products);
    }
}

impl Piece<'_> {
    /// Multiplies every tile with all tokens, 8, 4, 2 or 1 at a time, so that tokens stay in the cache for all tiles and a
    /// tile for all of those tokens.
    #[inline(always)]
    fn each_tile<S: Simd, K: TileKernel>(self, simd: S) {
        let tokens = self.input.tokens();
        let together =
            (TOKENS_BYTES / K::token_bytes(self.packed.columns).max(1)).max(1).next_multiple_of(panel::TOKENS);
        for begin in (0..tokens).step_by(together) {
            let end = tokens.min(begin + together);
            for tile in self.tiles.clone() {
                let (packed, output) = (self.packed, &self.output);
                let give = |first, products: &[Products; panel::TOKENS]| give(packed, output, tile, first, products);
                let mut first = K::multiply_panels(simd, packed.tile(tile), self.input, begin..end, give);
                while first < end {
                    first += match end - first {
                        8.. if S::TOKENS >= 8 => self.few::<S, K, 8>(simd, tile, first),
                        4.. => self.few::<S, K, 4>(simd, tile, first),
                        2.. => self.few::<S, K, 2>(simd, tile, first),
                        _ => self.few::<S, K, 1>(simd, tile, first),
                    };
                }
            }
        }
    }

    #[inline(always)]
    fn few<S: Simd, K: TileKernel, const T: usize>(&self, simd: S, tile: usize, first: usize) -> usize {
        let mut products = [[0.0; LANES]; T];
        K::multiply::<S, T>(simd, self.packed.tile(tile), self.input, first, &mut products);
        give(self.packed, &self.output, tile, first, &products);
        T
    }
}

/// Writes the products of a tile with some tokens to where they belong.
#[inline(always)]
fn give(packed: &Packed, output: &Shares<'_, f32>, tile: usize, first: usize, products: &[Products]) {
    let rows = packed.rows;
    let width = LANES.min(rows - tile * LANES);
    for (token, products) in (first..).zip(products) {
        let at = token * rows + tile * LANES;
        #[expect(unsafe_code, reason = "each piece writes the products of its own rows; see SAFETY")]
        // SAFETY: pieces are disjoint ranges of tiles, so of rows; a token's products are its own.
        let output = unsafe { output.range(at..at + width) };
        // Sixteen are two or four moves, any other number a call.
        match output.first_chunk_mut() {
            Some(output) => *output = *products,
            None => output.copy_from_slice(&products[..width]),
        }
    }
}
