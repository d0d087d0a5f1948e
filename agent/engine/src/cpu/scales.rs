//! What the codes of sixteen rows are multiplied with, and how it lies in memory.
//!
//! ```text
//! One     per group: scale F16 × 16                                 w = scale · (code − zero)
//! Least   per group: scale F16 × 16 · least F16 × 16                w = scale · code + least
//! Super   per 8 groups: scale F16 × 16                              w = scale · (code − zero)
//! Parts   per 8 groups: scale F16 × 16 · 16 × (part i8 × 16)        w = scale · part · (code − zero), 16 columns to a part
//! Mixed   per 8 groups: scale, least F16 × 16 · 8 × (part u8 × 16) · 8 × (part u8 × 16)
//!                                                                   w = scale · part − least · part, 32 columns to a part
//! ```

use super::simd::{LANES, Simd};

/// Sixteen halves.
const HALVES: usize = 2 * LANES;

/// The scales of one group, and what is added to every weight.
#[derive(Clone, Copy)]
pub(crate) struct Scale<S: Simd> {
    /// Of the first and the second half of the group; the same unless [`Scales::HALVES`].
    pub(crate) scales: [S::Float; 2],
    /// Zero unless [`Scales::LEAST`].
    pub(crate) least: S::Float,
}

/// One way to lay out scales.
pub(crate) trait Scales {
    /// Groups that share their scales' place: those of one block.
    const GROUPS: usize;
    /// Bytes that they take.
    const BYTES: usize;
    /// Groups whose scales lie together before their codes, so that both come to whole lines.
    const RUN: usize;
    /// Bytes of the scales of a run.
    const RUN_BYTES: usize = Self::RUN / Self::GROUPS * Self::BYTES;
    /// Each half of a group has a scale of its own.
    const HALVES: bool = false;
    /// Weights have a least value.
    const LEAST: bool = false;
    /// One part of the scales of a group; `at` counts within those that lie together.
    fn read<S: Simd>(simd: S, bytes: &[u8], at: usize, part: usize) -> Scale<S>;
}

#[inline(always)]
fn halves<S: Simd>(simd: S, bytes: &[u8], at: usize, part: usize) -> S::Float {
    let halves = bytes[at * HALVES..].as_chunks::<2>().0;
    simd.load_halves(halves.first_chunk().unwrap_or(&[[0; 2]; LANES]), part)
}

#[inline(always)]
fn sixteen(bytes: &[u8], at: usize) -> &[u8; LANES] {
    bytes[at..].first_chunk().unwrap_or(&[0; LANES])
}

#[inline(always)]
fn alone<S: Simd>(simd: S, scale: S::Float) -> Scale<S> {
    Scale { scales: [scale; 2], least: simd.float(0.0) }
}

#[derive(Debug)]
pub(crate) struct One;

impl Scales for One {
    const GROUPS: usize = 1;
    const BYTES: usize = HALVES;
    const RUN: usize = 2;

    #[inline(always)]
    fn read<S: Simd>(simd: S, bytes: &[u8], _at: usize, part: usize) -> Scale<S> {
        alone(simd, halves(simd, bytes, 0, part))
    }
}

#[derive(Debug)]
pub(crate) struct Least;

impl Scales for Least {
    const GROUPS: usize = 1;
    const BYTES: usize = 2 * HALVES;
    const RUN: usize = 1;
    const LEAST: bool = true;

    #[inline(always)]
    fn read<S: Simd>(simd: S, bytes: &[u8], _at: usize, part: usize) -> Scale<S> {
        Scale { scales: [halves(simd, bytes, 0, part); 2], least: halves(simd, bytes, 1, part) }
    }
}

#[derive(Debug)]
pub(crate) struct Super;

impl Scales for Super {
    const GROUPS: usize = 8;
    const BYTES: usize = HALVES;
    const RUN: usize = 16;

    #[inline(always)]
    fn read<S: Simd>(simd: S, bytes: &[u8], _at: usize, part: usize) -> Scale<S> {
        alone(simd, halves(simd, bytes, 0, part))
    }
}

#[derive(Debug)]
pub(crate) struct Parts;

impl Scales for Parts {
    const GROUPS: usize = 8;
    const BYTES: usize = HALVES + 16 * LANES;
    const RUN: usize = 16;
    const HALVES: bool = true;

    #[inline(always)]
    fn read<S: Simd>(simd: S, bytes: &[u8], at: usize, part: usize) -> Scale<S> {
        let mut scales = [halves(simd, bytes, 0, part); 2];
        for (half, scale) in scales.iter_mut().enumerate() {
            let parts = sixteen(bytes, HALVES + (2 * at + half) * LANES);
            *scale = simd.multiply(*scale, simd.load_signed(parts, part));
        }
        Scale { scales, least: simd.float(0.0) }
    }
}

#[derive(Debug)]
pub(crate) struct Mixed;

impl Scales for Mixed {
    const GROUPS: usize = 8;
    const BYTES: usize = 2 * HALVES + 16 * LANES;
    const RUN: usize = 8;
    const LEAST: bool = true;

    #[inline(always)]
    fn read<S: Simd>(simd: S, bytes: &[u8], at: usize, part: usize) -> Scale<S> {
        let scales = sixteen(bytes, 2 * HALVES + at * LANES);
        let leasts = sixteen(bytes, 2 * HALVES + (8 + at) * LANES);
        let scale = simd.multiply(halves(simd, bytes, 0, part), simd.load_bytes(scales, part));
        let least = simd.multiply(halves(simd, bytes, 1, part), simd.load_bytes(leasts, part));
        Scale { scales: [scale; 2], least: simd.subtract(simd.float(0.0), least) }
    }
}
