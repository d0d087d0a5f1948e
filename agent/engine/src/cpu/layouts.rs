//! The block formats that have kernels: how a row's block is taken apart, and how sixteen rows are laid out.

#![allow(non_camel_case_types, reason = "the names are the formats' own names")]

use super::codes::{Bytes, Codes, Five, Four, Six, Two};
use super::pack::element_bytes;
use super::scales::{Least, Mixed, One, Parts, Scales, Super};
use super::simd::LANES;
use crate::gguf::Format;

/// A format with a kernel.
pub(crate) trait Layout {
    type Codes: Codes;
    type Scales: Scales;
    /// Bytes of a block, which has as many groups as its scales lie together for.
    const BLOCK: usize;
    /// What is subtracted from every code, as a power of two.
    const ZERO: Option<u32> = None;
    /// The codes of one group of a block.
    fn codes(block: &[u8], group: usize, codes: &mut [u8; 32]);
    /// Writes the scales of a block to where those of its row lie.
    fn scales(block: &[u8], row: usize, scales: &mut [u8]);
}

/// Something done with one layout.
pub(crate) trait Visitor {
    type Output;
    fn layout<L: Layout>(self) -> Self::Output;
}

/// Calls a visitor with the layout of a format; `None` where the format has no kernel. Inlined, or kernels that come through
/// here would be compiled for no instructions at all.
#[inline(always)]
pub(crate) fn visit<V: Visitor>(format: Format, visitor: V) -> Option<V::Output> {
    Some(match format {
        Format::Q4_0 => visitor.layout::<Q4_0>(),
        Format::Q4_1 => visitor.layout::<Q4_1>(),
        Format::Q5_0 => visitor.layout::<Q5_0>(),
        Format::Q5_1 => visitor.layout::<Q5_1>(),
        Format::Q8_0 => visitor.layout::<Q8_0>(),
        Format::Q4_K => visitor.layout::<Q4_K>(),
        Format::Q5_K => visitor.layout::<Q5_K>(),
        Format::Q6_K => visitor.layout::<Q6_K>(),
        Format::TQ2_0 => visitor.layout::<TQ2_0>(),
        Format::I2_S => visitor.layout::<I2_S>(),
        _ => return None,
    })
}

/// Whether products in a format come from a kernel; otherwise they are computed row by row, several times slower.
pub(crate) fn has_kernel(format: Format) -> bool {
    struct Known;
    impl Visitor for Known {
        type Output = ();
        fn layout<L: Layout>(self) {}
    }
    element_bytes(format).is_some() || visit(format, Known).is_some()
}

/// Copies the half at a place of the block to the row's place among sixteen.
fn half(block: &[u8], at: usize, row: usize, to: &mut [u8]) {
    to[2 * row..2 * row + 2].copy_from_slice(&block[at..at + 2]);
}

/// Sixteen bytes of two codes each: the low halves, then the high.
fn nibbles(bytes: &[u8], codes: &mut [u8; 32]) {
    let (low, high) = codes.split_at_mut(16);
    for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
        *low = byte & 15;
        *high = byte >> 4;
    }
}

/// Adds the fifth bits: bit `i` belongs to code `i`.
fn fifths(bits: &[u8], codes: &mut [u8; 32]) {
    let bits = bits.first_chunk().map_or(0, |bits| u32::from_le_bytes(*bits));
    for (at, code) in codes.iter_mut().enumerate() {
        *code |= ((bits >> at & 1) << 4) as u8;
    }
}

pub(crate) struct Q4_0;

impl Layout for Q4_0 {
    type Codes = Four;
    type Scales = One;
    const BLOCK: usize = 18;
    const ZERO: Option<u32> = Some(3);

    fn codes(block: &[u8], _group: usize, codes: &mut [u8; 32]) {
        nibbles(&block[2..18], codes);
    }

    fn scales(block: &[u8], row: usize, scales: &mut [u8]) {
        half(block, 0, row, scales);
    }
}

pub(crate) struct Q4_1;

impl Layout for Q4_1 {
    type Codes = Four;
    type Scales = Least;
    const BLOCK: usize = 20;

    fn codes(block: &[u8], _group: usize, codes: &mut [u8; 32]) {
        nibbles(&block[4..20], codes);
    }

    fn scales(block: &[u8], row: usize, scales: &mut [u8]) {
        half(block, 0, row, scales);
        half(block, 2, LANES + row, scales);
    }
}

pub(crate) struct Q5_0;

impl Layout for Q5_0 {
    type Codes = Five;
    type Scales = One;
    const BLOCK: usize = 22;
    const ZERO: Option<u32> = Some(4);

    fn codes(block: &[u8], _group: usize, codes: &mut [u8; 32]) {
        nibbles(&block[6..22], codes);
        fifths(&block[2..6], codes);
    }

    fn scales(block: &[u8], row: usize, scales: &mut [u8]) {
        half(block, 0, row, scales);
    }
}

pub(crate) struct Q5_1;

impl Layout for Q5_1 {
    type Codes = Five;
    type Scales = Least;
    const BLOCK: usize = 24;

    fn codes(block: &[u8], _group: usize, codes: &mut [u8; 32]) {
        nibbles(&block[8..24], codes);
        fifths(&block[4..8], codes);
    }

    fn scales(block: &[u8], row: usize, scales: &mut [u8]) {
        half(block, 0, row, scales);
        half(block, 2, LANES + row, scales);
    }
}

pub(crate) struct Q8_0;

impl Layout for Q8_0 {
    type Codes = Bytes;
    type Scales = One;
    const BLOCK: usize = 34;

    fn codes(block: &[u8], _group: usize, codes: &mut [u8; 32]) {
        codes.copy_from_slice(&block[2..34]);
    }

    fn scales(block: &[u8], row: usize, scales: &mut [u8]) {
        half(block, 0, row, scales);
    }
}

/// Scale and least of the eight parts, six bits each in twelve bytes, as bytes; then those of the block.
fn mixed_scales(block: &[u8], row: usize, scales: &mut [u8]) {
    half(block, 0, row, scales);
    half(block, 2, LANES + row, scales);
    let (bits, parts) = (&block[4..16], &mut scales[4 * LANES..]);
    for part in 0..8 {
        let (scale, least) = match part {
            0..4 => (bits[part] & 63, bits[part + 4] & 63),
            _ => (bits[part + 4] & 15 | (bits[part - 4] >> 6) << 4, bits[part + 4] >> 4 | (bits[part] >> 6) << 4),
        };
        parts[part * LANES + row] = scale;
        parts[(8 + part) * LANES + row] = least;
    }
}

/// Half of each of 32 bytes: the low half for even groups.
fn half_bytes(bytes: &[u8], group: usize, codes: &mut [u8; 32]) {
    let run = &bytes[32 * (group / 2)..][..32];
    match group % 2 {
        0 => codes.iter_mut().zip(run).for_each(|(code, byte)| *code = byte & 15),
        _ => codes.iter_mut().zip(run).for_each(|(code, byte)| *code = byte >> 4),
    }
}

pub(crate) struct Q4_K;

impl Layout for Q4_K {
    type Codes = Four;
    type Scales = Mixed;
    const BLOCK: usize = 144;

    fn codes(block: &[u8], group: usize, codes: &mut [u8; 32]) {
        half_bytes(&block[16..144], group, codes);
    }

    fn scales(block: &[u8], row: usize, scales: &mut [u8]) {
        mixed_scales(block, row, scales);
    }
}

pub(crate) struct Q5_K;

impl Layout for Q5_K {
    type Codes = Five;
    type Scales = Mixed;
    const BLOCK: usize = 176;

    fn codes(block: &[u8], group: usize, codes: &mut [u8; 32]) {
        half_bytes(&block[48..176], group, codes);
        let fifths = &block[16..48];
        codes.iter_mut().zip(fifths).for_each(|(code, fifth)| *code |= (fifth >> group & 1) << 4);
    }

    fn scales(block: &[u8], row: usize, scales: &mut [u8]) {
        mixed_scales(block, row, scales);
    }
}

pub(crate) struct Q6_K;

impl Layout for Q6_K {
    type Codes = Six;
    type Scales = Parts;
    const BLOCK: usize = 210;
    const ZERO: Option<u32> = Some(5);

    /// Each half of the block has 128 weights: byte `i` of its 64 holds weight `i` low and weight `i + 64` high, byte `i`
    /// of 32 the upper bits of weights `i`, `i + 32`, `i + 64` and `i + 96`.
    fn codes(block: &[u8], group: usize, codes: &mut [u8; 32]) {
        let (half, quarter) = (group / 4, group % 4);
        let lower = &block[64 * half + 32 * (quarter % 2)..][..32];
        let upper = &block[128 + 32 * half..][..32];
        let (lower_by, upper_by) = (4 * (quarter / 2), 2 * quarter);
        for ((code, lower), upper) in codes.iter_mut().zip(lower).zip(upper) {
            *code = lower >> lower_by & 15 | (upper >> upper_by & 3) << 4;
        }
    }

    fn scales(block: &[u8], row: usize, scales: &mut [u8]) {
        half(block, 208, row, scales);
        for part in 0..16 {
            scales[2 * LANES + part * LANES + row] = block[192 + part];
        }
    }
}

pub(crate) struct TQ2_0;

impl Layout for TQ2_0 {
    type Codes = Two;
    type Scales = Super;
    const BLOCK: usize = 66;
    const ZERO: Option<u32> = Some(0);

    fn codes(block: &[u8], group: usize, codes: &mut [u8; 32]) {
        let run = &block[32 * (group / 4)..][..32];
        codes.iter_mut().zip(run).for_each(|(code, byte)| *code = byte >> (2 * (group % 4)) & 3);
    }

    fn scales(block: &[u8], row: usize, scales: &mut [u8]) {
        half(block, 64, row, scales);
    }
}

/// Two blocks of 128 at a time; the scale is the tensor's.
pub(crate) struct I2_S;

impl Layout for I2_S {
    type Codes = Two;
    type Scales = Super;
    const BLOCK: usize = 64;
    const ZERO: Option<u32> = Some(0);

    fn codes(block: &[u8], group: usize, codes: &mut [u8; 32]) {
        let run = &block[32 * (group / 4)..][..32];
        codes.iter_mut().zip(run).for_each(|(code, byte)| *code = byte >> (6 - 2 * (group % 4)) & 3);
    }

    fn scales(_block: &[u8], row: usize, scales: &mut [u8]) {
        scales[2 * row..2 * row + 2].copy_from_slice(&half::f16::ONE.to_le_bytes());
    }
}
