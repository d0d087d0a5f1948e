//! The vector operations that every kernel is written in, and their scalar twin.
//!
//! A kernel is one generic function over [`Simd`]; each set of instructions is one implementation. Whatever the width, the
//! order of the additions is that of sixteen lanes, and products are fused with sums everywhere: the results have the same
//! bits on every processor.

use half::f16;

use super::layouts::Layout;
use super::panel::{self, Panel};
use super::tile::Products;

/// Lanes of a whole line: what sixteen rows of weights, or sixteen numbers in a row, are taken in.
pub(crate) const LANES: usize = 16;
/// Sixteen lanes of four bytes.
pub(crate) type Line = [u8; 4 * LANES];

/// One set of instructions, as a proof that this processor has it.
pub(crate) trait Simd: Copy {
    /// Vectors that make up sixteen lanes.
    const PARTS: usize;
    /// Tokens whose sums a kernel keeps in registers.
    const TOKENS: usize;
    /// Whole numbers: 32 bits a lane, or four bytes.
    type Whole: Copy;
    /// F32.
    type Float: Copy;

    /// Lanes of one part of a line.
    fn line(self, line: &Line, part: usize) -> Self::Whole;
    fn whole(self, number: i32) -> Self::Whole;
    /// Asks for the line that lies so many bytes after this one, whose address need not exist.
    #[inline(always)]
    fn ahead(self, _line: &Line, _bytes: usize) {}
    /// The bits of every byte that the mask has.
    fn and(self, bytes: Self::Whole, mask: u8) -> Self::Whole;
    fn or(self, left: Self::Whole, right: Self::Whole) -> Self::Whole;
    /// Moves the bits of each lane down or up; what crosses from byte to byte is the caller's to mask away.
    fn down<const BITS: u32>(self, bytes: Self::Whole) -> Self::Whole;
    fn up<const BITS: u32>(self, bytes: Self::Whole) -> Self::Whole;
    fn add_whole(self, left: Self::Whole, right: Self::Whole) -> Self::Whole;
    /// Adds to each lane the product of its four codes, each below 128, with four inputs.
    fn dot(self, sum: Self::Whole, codes: Self::Whole, input: [i8; 4]) -> Self::Whole;
    /// What a sum of [`Simd::dot_signed`] begins with, given the negative sum of all inputs it will be fed.
    fn signed_start(self, minus_sum: i32) -> Self::Whole;
    /// As [`Simd::dot`] for codes from −128 to 127.
    fn dot_signed(self, sum: Self::Whole, codes: Self::Whole, input: [i8; 4]) -> Self::Whole;

    fn to_float(self, numbers: Self::Whole) -> Self::Float;
    /// To the nearest whole number, ties to even.
    fn round(self, numbers: Self::Float) -> Self::Whole;
    fn store_whole(self, numbers: Self::Whole, to: &mut [i32; LANES], part: usize);
    /// The bits of each lane, read as F32.
    fn bits(self, bits: Self::Whole) -> Self::Float;
    fn float(self, number: f32) -> Self::Float;
    fn load(self, numbers: &[f32; LANES], part: usize) -> Self::Float;
    fn store(self, numbers: Self::Float, to: &mut [f32; LANES], part: usize);
    /// F16, the lower byte first.
    fn load_halves(self, halves: &[[u8; 2]; LANES], part: usize) -> Self::Float;
    /// BF16: the upper half of an F32.
    fn load_brain(self, halves: &[[u8; 2]; LANES], part: usize) -> Self::Float;
    /// One number per lane from unsigned bytes.
    fn load_bytes(self, bytes: &[u8; LANES], part: usize) -> Self::Float;
    /// One number per lane from signed bytes.
    fn load_signed(self, bytes: &[u8; LANES], part: usize) -> Self::Float;
    fn add(self, left: Self::Float, right: Self::Float) -> Self::Float;
    fn subtract(self, left: Self::Float, right: Self::Float) -> Self::Float;
    fn multiply(self, left: Self::Float, right: Self::Float) -> Self::Float;
    fn divide(self, left: Self::Float, right: Self::Float) -> Self::Float;
    /// `left · right + sum`, rounded once.
    fn fused(self, left: Self::Float, right: Self::Float, sum: Self::Float) -> Self::Float;
    /// The larger; the second where they do not compare.
    fn larger(self, left: Self::Float, right: Self::Float) -> Self::Float;
    fn smaller(self, left: Self::Float, right: Self::Float) -> Self::Float;

    /// Whether matrix products of bytes are to be had beside these instructions.
    #[inline(always)]
    fn has_matrices(self) -> bool {
        false
    }

    /// Multiplies a tile by matrix products with panels of so many groups; gives the products of each panel by its number.
    /// Does nothing where there are none.
    #[inline(always)]
    fn multiply_panels<L: Layout>(
        self,
        _tile: &[u8],
        (_panels, _groups): (&[Panel], usize),
        _give: impl FnMut(usize, &[Products; panel::TOKENS]),
    ) {
    }

    /// `e` to the power of each lane, to about one part in ten million; 0 below −87 and finite above 88.
    #[inline(always)]
    fn exponential(self, numbers: Self::Float) -> Self::Float {
        // e^x = 2^n · e^r with |r| ≤ ln 2 / 2; the polynomial for e^r is that of Cephes' `expf`.
        let x = self.smaller(self.larger(numbers, self.float(-87.3)), self.float(88.3));
        let n = self.round(self.multiply(x, self.float(std::f32::consts::LOG2_E)));
        let whole = self.to_float(n);
        let r = self.fused(whole, self.float(-0.693_359_4), x);
        let r = self.fused(whole, self.float(2.121_944_4e-4), r);
        let mut p = self.float(1.987_569_1e-4);
        for factor in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
            p = self.fused(p, r, self.float(factor));
        }
        let p = self.fused(self.multiply(p, r), r, self.add(r, self.float(1.0)));
        let power = self.up::<23>(self.add_whole(n, self.whole(127)));
        self.multiply(p, self.bits(power))
    }
}

/// A computation that every set of instructions gets a compilation of its own for.
pub(crate) trait Kernel {
    type Output;
    /// Must be `#[inline(always)]`, with all it calls: only then is it compiled for the instructions of `simd`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// No vector instructions at all: the definition of every operation.
#[derive(Clone, Copy)]
pub(crate) struct Scalar;

#[inline(always)]
fn each<T: Copy, U: Copy + Default>(numbers: [T; LANES], change: impl Fn(T) -> U) -> [U; LANES] {
    let mut changed = [U::default(); LANES];
    changed.iter_mut().zip(numbers).for_each(|(changed, number)| *changed = change(number));
    changed
}

#[inline(always)]
fn pairs<T: Copy, U: Copy + Default>(left: [T; LANES], right: [T; LANES], change: impl Fn(T, T) -> U) -> [U; LANES] {
    let mut changed = [U::default(); LANES];
    let both = left.into_iter().zip(right);
    changed.iter_mut().zip(both).for_each(|(changed, (left, right))| *changed = change(left, right));
    changed
}

impl Simd for Scalar {
    const PARTS: usize = 1;
    const TOKENS: usize = 4;
    type Whole = [i32; LANES];
    type Float = [f32; LANES];

    #[inline(always)]
    fn line(self, line: &Line, _part: usize) -> Self::Whole {
        let mut lanes = [0; LANES];
        lanes.iter_mut().zip(line.as_chunks().0).for_each(|(lane, bytes)| *lane = i32::from_le_bytes(*bytes));
        lanes
    }

    #[inline(always)]
    fn whole(self, number: i32) -> Self::Whole {
        [number; LANES]
    }

    #[inline(always)]
    fn and(self, bytes: Self::Whole, mask: u8) -> Self::Whole {
        each(bytes, |lane| lane & i32::from_le_bytes([mask; 4]))
    }

    #[inline(always)]
    fn or(self, left: Self::Whole, right: Self::Whole) -> Self::Whole {
        pairs(left, right, |left, right| left | right)
    }

    #[inline(always)]
    fn down<const BITS: u32>(self, bytes: Self::Whole) -> Self::Whole {
        each(bytes, |lane| (lane.cast_unsigned() >> BITS).cast_signed())
    }

    #[inline(always)]
    fn up<const BITS: u32>(self, bytes: Self::Whole) -> Self::Whole {
        each(bytes, |lane| lane << BITS)
    }

    #[inline(always)]
    fn add_whole(self, left: Self::Whole, right: Self::Whole) -> Self::Whole {
        pairs(left, right, i32::wrapping_add)
    }

    #[inline(always)]
    fn dot(self, sum: Self::Whole, codes: Self::Whole, input: [i8; 4]) -> Self::Whole {
        self.dot_signed(sum, codes, input)
    }

    #[inline(always)]
    fn signed_start(self, _minus_sum: i32) -> Self::Whole {
        [0; LANES]
    }

    #[inline(always)]
    fn dot_signed(self, sum: Self::Whole, codes: Self::Whole, input: [i8; 4]) -> Self::Whole {
        pairs(sum, codes, |sum, codes| {
            let products = codes.to_le_bytes().into_iter().zip(input);
            products.fold(sum, |sum, (code, input)| sum + i32::from(code.cast_signed()) * i32::from(input))
        })
    }

    #[inline(always)]
    fn to_float(self, numbers: Self::Whole) -> Self::Float {
        each(numbers, |number| number as f32)
    }

    #[inline(always)]
    fn round(self, numbers: Self::Float) -> Self::Whole {
        each(numbers, |number| number.round_ties_even() as i32)
    }

    #[inline(always)]
    fn store_whole(self, numbers: Self::Whole, to: &mut [i32; LANES], _part: usize) {
        *to = numbers;
    }

    #[inline(always)]
    fn bits(self, bits: Self::Whole) -> Self::Float {
        each(bits, |bits| f32::from_bits(bits.cast_unsigned()))
    }

    #[inline(always)]
    fn float(self, number: f32) -> Self::Float {
        [number; LANES]
    }

    #[inline(always)]
    fn load(self, numbers: &[f32; LANES], _part: usize) -> Self::Float {
        *numbers
    }

    #[inline(always)]
    fn store(self, numbers: Self::Float, to: &mut [f32; LANES], _part: usize) {
        *to = numbers;
    }

    #[inline(always)]
    fn load_halves(self, halves: &[[u8; 2]; LANES], _part: usize) -> Self::Float {
        each(*halves, |half| f16::from_le_bytes(half).to_f32())
    }

    #[inline(always)]
    fn load_brain(self, halves: &[[u8; 2]; LANES], _part: usize) -> Self::Float {
        each(*halves, |[low, high]| f32::from_bits(u32::from_le_bytes([0, 0, low, high])))
    }

    #[inline(always)]
    fn load_bytes(self, bytes: &[u8; LANES], _part: usize) -> Self::Float {
        each(*bytes, f32::from)
    }

    #[inline(always)]
    fn load_signed(self, bytes: &[u8; LANES], _part: usize) -> Self::Float {
        each(*bytes, |byte| f32::from(byte.cast_signed()))
    }

    #[inline(always)]
    fn add(self, left: Self::Float, right: Self::Float) -> Self::Float {
        pairs(left, right, |left, right| left + right)
    }

    #[inline(always)]
    fn subtract(self, left: Self::Float, right: Self::Float) -> Self::Float {
        pairs(left, right, |left, right| left - right)
    }

    #[inline(always)]
    fn multiply(self, left: Self::Float, right: Self::Float) -> Self::Float {
        pairs(left, right, |left, right| left * right)
    }

    #[inline(always)]
    fn divide(self, left: Self::Float, right: Self::Float) -> Self::Float {
        pairs(left, right, |left, right| left / right)
    }

    #[inline(always)]
    fn fused(self, left: Self::Float, right: Self::Float, sum: Self::Float) -> Self::Float {
        let mut fused = sum;
        let factors = left.into_iter().zip(right);
        fused.iter_mut().zip(factors).for_each(|(sum, (left, right))| *sum = left.mul_add(right, *sum));
        fused
    }

    #[inline(always)]
    fn larger(self, left: Self::Float, right: Self::Float) -> Self::Float {
        pairs(left, right, |left, right| if left > right { left } else { right })
    }

    #[inline(always)]
    fn smaller(self, left: Self::Float, right: Self::Float) -> Self::Float {
        pairs(left, right, |left, right| if left < right { left } else { right })
    }
}
