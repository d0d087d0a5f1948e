//! The kernels: sixteen rows times a few tokens.

use super::activations::Group;
use super::codes::{Codes, LINES};
use super::layouts::Layout;
use super::scales::Scales;
use super::simd::{LANES, Line, Simd};

/// How far ahead of a single token's kernel weights are asked for, bytes: it runs as fast as the memory gives.
pub(crate) const AHEAD: usize = 4096;

/// Products of sixteen rows with one token.
pub(crate) type Products = [f32; LANES];

/// Multiplies a tile of a block format with `T` tokens of as many groups as the tile has.
///
/// The order of additions to a product does not depend on `T` or on the instructions: its bits are always the same.
#[inline(always)]
pub(super) fn blocks<S: Simd, L: Layout, const T: usize>(
    simd: S,
    tile: &[u8],
    tokens: [&[Group]; T],
    products: &mut [Products; T],
) {
    let groups = tokens[0].len();
    let tokens = tokens.map(|token| &token[..groups]);
    let run_bytes = run_bytes::<L>(L::Scales::RUN);
    for part in 0..S::PARTS {
        let mut sums = [simd.float(0.0); T];
        let mut first = 0;
        for run in tile.chunks(run_bytes) {
            let (scales, lines) = run.split_at(L::Scales::RUN_BYTES);
            if T == 1 {
                scales.as_chunks().0.iter().for_each(|line| simd.ahead(line, AHEAD));
            }
            let lines = lines.as_chunks::<{ size_of::<Line>() }>().0.chunks_exact(L::Codes::LINES);
            // What fills the last line of a tile is no group.
            let lines = lines.take(groups - first);
            for (at, lines) in lines.enumerate() {
                if T == 1 {
                    lines.iter().for_each(|line| simd.ahead(line, AHEAD));
                }
                let codes = L::Codes::read(simd, lines, part);
                let block = &scales[at / L::Scales::GROUPS * L::Scales::BYTES..][..L::Scales::BYTES];
                let scale = L::Scales::read(simd, block, at % L::Scales::GROUPS, part);
                for token in 0..T {
                    #[expect(
                        unsafe_code,
                        reason = "a check per group and token costs a tenth of the kernel; see SAFETY"
                    )]
                    // SAFETY: `first + at` is below `groups`, to which every token was cut above.
                    let group = unsafe { tokens[token].get_unchecked(first + at) };
                    sums[token] = add_group::<S, L>(simd, &codes, scale.scales, group, sums[token]);
                    if L::Scales::LEAST {
                        sums[token] = simd.fused(scale.least, simd.float(group.scaled_sum), sums[token]);
                    }
                }
            }
            first += L::Scales::RUN;
        }
        for token in 0..T {
            simd.store(sums[token], &mut products[token], part);
        }
    }
}

/// Bytes of so many groups at the begin of a run.
pub(super) const fn run_bytes<L: Layout>(groups: usize) -> usize {
    L::Scales::RUN_BYTES + groups * L::Codes::LINES * size_of::<Line>()
}

#[inline(always)]
fn add_group<S: Simd, L: Layout>(
    simd: S,
    codes: &[S::Whole; LINES],
    scales: [S::Float; 2],
    group: &Group,
    sum: S::Float,
) -> S::Float {
    let input = simd.float(group.scale);
    if L::Scales::HALVES {
        let mut sum = sum;
        for (half, scale) in scales.into_iter().enumerate() {
            let mut whole = start::<S, L>(simd, group.minus_sums[half]);
            for (codes, inputs) in codes.iter().zip(&group.codes).skip(4 * half).take(4) {
                whole = simd.dot(whole, *codes, *inputs);
            }
            sum = simd.fused(simd.multiply(simd.to_float(whole), input), scale, sum);
        }
        return sum;
    }
    let mut whole = start::<S, L>(simd, group.minus_sum);
    for (codes, inputs) in codes.iter().zip(&group.codes) {
        whole = match L::Codes::SIGNED {
            true => simd.dot_signed(whole, *codes, *inputs),
            false => simd.dot(whole, *codes, *inputs),
        };
    }
    simd.fused(simd.multiply(simd.to_float(whole), input), scales[0], sum)
}

/// What centres the codes on zero: their zero times the negative sum of the inputs.
#[inline(always)]
fn start<S: Simd, L: Layout>(simd: S, minus_sum: i32) -> S::Whole {
    match L::ZERO {
        _ if L::Codes::SIGNED => simd.signed_start(minus_sum),
        None => simd.whole(0),
        Some(zero) => simd.whole(minus_sum << zero),
    }
}

/// Weights that stand alone.
pub(crate) trait Element {
    /// Sixteen of them.
    type Sixteen;
    fn sixteen(bytes: &[u8]) -> &[Self::Sixteen];
    fn load<S: Simd>(simd: S, weights: &Self::Sixteen, part: usize) -> S::Float;
}

#[derive(Debug)]
pub(crate) struct Single;
#[derive(Debug)]
pub(crate) struct Half;
#[derive(Debug)]
pub(super) struct Brain;

impl Element for Single {
    type Sixteen = [[u8; 4]; LANES];

    #[inline(always)]
    fn sixteen(bytes: &[u8]) -> &[Self::Sixteen] {
        bytes.as_chunks().0.as_chunks().0
    }

    #[inline(always)]
    fn load<S: Simd>(simd: S, weights: &Self::Sixteen, part: usize) -> S::Float {
        simd.load(&weights.map(f32::from_le_bytes), part)
    }
}

impl Element for Half {
    type Sixteen = [[u8; 2]; LANES];

    #[inline(always)]
    fn sixteen(bytes: &[u8]) -> &[Self::Sixteen] {
        bytes.as_chunks().0.as_chunks().0
    }

    #[inline(always)]
    fn load<S: Simd>(simd: S, weights: &Self::Sixteen, part: usize) -> S::Float {
        simd.load_halves(weights, part)
    }
}

impl Element for Brain {
    type Sixteen = [[u8; 2]; LANES];

    #[inline(always)]
    fn sixteen(bytes: &[u8]) -> &[Self::Sixteen] {
        bytes.as_chunks().0.as_chunks().0
    }

    #[inline(always)]
    fn load<S: Simd>(simd: S, weights: &Self::Sixteen, part: usize) -> S::Float {
        simd.load_brain(weights, part)
    }
}

/// Multiplies a tile of weights that stand alone with `T` tokens of as many columns. Even and odd columns are summed apart,
/// so that two sums are always in the works; the bits of a product do not depend on `T`.
#[inline(always)]
pub(crate) fn dense<S: Simd, E: Element, const T: usize>(
    simd: S,
    tile: &[u8],
    tokens: [&[f32]; T],
    products: &mut [Products; T],
) {
    let mut sums = [[[0.0; LANES]; 2]; T];
    add_dense::<S, E, T>(simd, E::sixteen(tile), tokens, &mut sums);
    for token in 0..T {
        for part in 0..S::PARTS {
            let [even, odd] = &sums[token];
            simd.store(simd.add(simd.load(even, part), simd.load(odd, part)), &mut products[token], part);
        }
    }
}

/// Adds the products with some columns, of which the first is even, to the sums of even and of odd columns.
#[inline(always)]
pub(crate) fn add_dense<S: Simd, E: Element, const T: usize>(
    simd: S,
    weights: &[E::Sixteen],
    tokens: [&[f32]; T],
    sums: &mut [[Products; 2]; T],
) {
    let columns = tokens[0].len();
    let tokens = tokens.map(|token| &token[..columns]);
    let weights = &weights[..columns];
    for part in 0..S::PARTS {
        let mut kept = [[simd.float(0.0); 2]; T];
        for token in 0..T {
            for odd in 0..2 {
                kept[token][odd] = simd.load(&sums[token][odd], part);
            }
        }
        let (pairs, last) = weights.as_chunks::<2>();
        for (pair, weights) in pairs.iter().enumerate() {
            for odd in 0..2 {
                let weights = E::load(simd, &weights[odd], part);
                for token in 0..T {
                    #[expect(unsafe_code, reason = "a check per weight and token costs much of the kernel; see SAFETY")]
                    // SAFETY: `2 · pair + odd` is below `columns`, to which every token was cut above.
                    let input = unsafe { *tokens[token].get_unchecked(2 * pair + odd) };
                    kept[token][odd] = simd.fused(weights, simd.float(input), kept[token][odd]);
                }
            }
        }
        for weights in last {
            let weights = E::load(simd, weights, part);
            for token in 0..T {
                kept[token][0] = simd.fused(weights, simd.float(tokens[token][columns - 1]), kept[token][0]);
            }
        }
        for token in 0..T {
            for odd in 0..2 {
                simd.store(kept[token][odd], &mut sums[token][odd], part);
            }
        }
    }
}
