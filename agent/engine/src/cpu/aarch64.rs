//! The vector operations of 64-bit Arm: NEON, which all of them have, with dot products of bytes, which most have.

use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};

use super::i8mm::I8mm;
use super::layouts::Layout;
use super::panel::{self, Panel};
use super::simd::{Kernel, LANES, Line, Simd};
use super::tile::Products;

/// NEON with the dot products of Armv8.2, perhaps with matrix products beside them. A register has four lanes of four bytes.
#[derive(Clone, Copy)]
pub(crate) struct Neon(Option<I8mm>);

impl Neon {
    /// The proof that this processor has these instructions, if it has.
    pub(crate) fn find() -> Option<Self> {
        // The lines of packed weights are little-endian, and so must the lanes be that they are loaded to.
        let all = cfg!(target_endian = "little")
            && is_aarch64_feature_detected!("neon")
            && is_aarch64_feature_detected!("dotprod");
        all.then_some(Self(None))
    }

    /// The features that it is compiled for, and whether the processor has each.
    pub(super) fn features() -> Vec<(&'static str, bool)> {
        vec![("neon", is_aarch64_feature_detected!("neon")), ("dotprod", is_aarch64_feature_detected!("dotprod"))]
    }

    /// The same with those of matrix products.
    pub(super) fn features_with_matrices() -> Vec<(&'static str, bool)> {
        [Self::features(), vec![("i8mm", is_aarch64_feature_detected!("i8mm"))]].concat()
    }

    /// The same with matrix products of bytes, if it has them too.
    pub(crate) fn find_with_matrices() -> Option<Self> {
        Self::find()?;
        I8mm::find().map(|i8mm| Self(Some(i8mm)))
    }

    /// Runs a kernel compiled for these instructions.
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[expect(unsafe_code, reason = "a function for some processors only is called with the proof in hand")]
        // SAFETY: a value of this type is made by `find` alone, after it saw the features that `run_neon` asks for.
        unsafe {
            run_neon(self, kernel)
        }
    }
}

#[target_feature(enable = "neon,dotprod")]
fn run_neon<K: Kernel>(simd: Neon, kernel: K) -> K::Output {
    kernel.run(simd)
}

/// Adds to each lane the four products of its signed bytes. Written out, as the language has no stable name for it yet.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn signed_dot(sum: int32x4_t, left: int32x4_t, right: int32x4_t) -> int32x4_t {
    let mut sum = sum;
    #[expect(unsafe_code, reason = "the instruction has no stable intrinsic")]
    // SAFETY: one instruction, which this function's features include, from registers to a register.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {left:v}.16b, {right:v}.16b",
            sum = inout(vreg) sum,
            left = in(vreg) left,
            right = in(vreg) right,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}

/// An operation that is one or a few intrinsics.
macro_rules! intrinsics {
    ($($body:tt)*) => {{
        #[expect(unsafe_code, reason = "intrinsics exist on some processors only")]
        // SAFETY: `self` proves that the processor has the instructions. Loads and stores stay within the references that
        // they are given: a part is below `PARTS`, and the parts of one line are its bytes in turn, with no alignment asked.
        unsafe { $($body)* }
    }};
}

impl Simd for Neon {
    const PARTS: usize = 4;
    const TOKENS: usize = 8;
    type Whole = int32x4_t;
    type Float = float32x4_t;

    #[inline(always)]
    fn has_matrices(self) -> bool {
        self.0.is_some()
    }

    #[inline(always)]
    fn multiply_panels<L: Layout>(
        self,
        tile: &[u8],
        panels: (&[Panel], usize),
        give: impl FnMut(usize, &[Products; panel::TOKENS]),
    ) {
        if let Some(i8mm) = self.0 {
            i8mm.multiply::<L>(self, tile, panels, give);
        }
    }

    #[inline(always)]
    fn line(self, line: &Line, part: usize) -> int32x4_t {
        debug_assert!(part < 4);
        intrinsics!(vreinterpretq_s32_u8(vld1q_u8(line.as_ptr().add(16 * part))))
    }

    #[inline(always)]
    fn ahead(self, line: &Line, bytes: usize) {
        #[expect(unsafe_code, reason = "the instruction has no stable intrinsic")]
        // SAFETY: a hint, which changes nothing and never faults wherever it points.
        unsafe {
            asm!(
                "prfm pldl1keep, [{at}]",
                at = in(reg) line.as_ptr().wrapping_add(bytes),
                options(readonly, nostack, preserves_flags)
            );
        }
    }

    #[inline(always)]
    fn whole(self, number: i32) -> int32x4_t {
        intrinsics!(vdupq_n_s32(number))
    }

    #[inline(always)]
    fn and(self, bytes: int32x4_t, mask: u8) -> int32x4_t {
        intrinsics!(vandq_s32(bytes, vreinterpretq_s32_u8(vdupq_n_u8(mask))))
    }

    #[inline(always)]
    fn or(self, left: int32x4_t, right: int32x4_t) -> int32x4_t {
        intrinsics!(vorrq_s32(left, right))
    }

    #[inline(always)]
    fn down<const BITS: u32>(self, bytes: int32x4_t) -> int32x4_t {
        // A move up by a negative number is one down, with zeros from above as the lanes have no sign.
        let by = intrinsics!(vdupq_n_s32(-BITS.cast_signed()));
        intrinsics!(vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(bytes), by)))
    }

    #[inline(always)]
    fn up<const BITS: u32>(self, bytes: int32x4_t) -> int32x4_t {
        intrinsics!(vshlq_s32(bytes, vdupq_n_s32(BITS.cast_signed())))
    }

    #[inline(always)]
    fn add_whole(self, left: int32x4_t, right: int32x4_t) -> int32x4_t {
        intrinsics!(vaddq_s32(left, right))
    }

    /// Codes below 128 have no sign.
    #[inline(always)]
    fn dot(self, sum: int32x4_t, codes: int32x4_t, input: [i8; 4]) -> int32x4_t {
        self.dot_signed(sum, codes, input)
    }

    #[inline(always)]
    fn signed_start(self, _minus_sum: i32) -> int32x4_t {
        intrinsics!(vdupq_n_s32(0))
    }

    #[inline(always)]
    fn dot_signed(self, sum: int32x4_t, codes: int32x4_t, input: [i8; 4]) -> int32x4_t {
        let input = intrinsics!(vdupq_n_s32(i32::from_le_bytes(input.map(i8::cast_unsigned))));
        intrinsics!(signed_dot(sum, codes, input))
    }

    #[inline(always)]
    fn to_float(self, numbers: int32x4_t) -> float32x4_t {
        intrinsics!(vcvtq_f32_s32(numbers))
    }

    #[inline(always)]
    fn round(self, numbers: float32x4_t) -> int32x4_t {
        intrinsics!(vcvtnq_s32_f32(numbers))
    }

    #[inline(always)]
    fn store_whole(self, numbers: int32x4_t, to: &mut [i32; LANES], part: usize) {
        debug_assert!(part < 4);
        intrinsics!(vst1q_s32(to.as_mut_ptr().add(4 * part), numbers));
    }

    #[inline(always)]
    fn bits(self, bits: int32x4_t) -> float32x4_t {
        intrinsics!(vreinterpretq_f32_s32(bits))
    }

    #[inline(always)]
    fn float(self, number: f32) -> float32x4_t {
        intrinsics!(vdupq_n_f32(number))
    }

    #[inline(always)]
    fn load(self, numbers: &[f32; LANES], part: usize) -> float32x4_t {
        debug_assert!(part < 4);
        intrinsics!(vld1q_f32(numbers.as_ptr().add(4 * part)))
    }

    #[inline(always)]
    fn store(self, numbers: float32x4_t, to: &mut [f32; LANES], part: usize) {
        debug_assert!(part < 4);
        intrinsics!(vst1q_f32(to.as_mut_ptr().add(4 * part), numbers));
    }

    #[inline(always)]
    fn load_halves(self, halves: &[[u8; 2]; LANES], part: usize) -> float32x4_t {
        debug_assert!(part < 4);
        let halves = intrinsics!(vld1_u8(halves.as_ptr().add(4 * part).cast()));
        intrinsics!(vcvt_f32_f16(vreinterpret_f16_u8(halves)))
    }

    #[inline(always)]
    fn load_brain(self, halves: &[[u8; 2]; LANES], part: usize) -> float32x4_t {
        debug_assert!(part < 4);
        let halves = intrinsics!(vld1_u8(halves.as_ptr().add(4 * part).cast()));
        intrinsics!(vreinterpretq_f32_u32(vshll_n_u16::<16>(vreinterpret_u16_u8(halves))))
    }

    #[inline(always)]
    fn load_bytes(self, bytes: &[u8; LANES], part: usize) -> float32x4_t {
        let wide = intrinsics!(vmovl_u8(vcreate_u8(four(bytes, part))));
        intrinsics!(vcvtq_f32_u32(vmovl_u16(vget_low_u16(wide))))
    }

    #[inline(always)]
    fn load_signed(self, bytes: &[u8; LANES], part: usize) -> float32x4_t {
        let wide = intrinsics!(vmovl_s8(vcreate_s8(four(bytes, part))));
        intrinsics!(vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide))))
    }

    #[inline(always)]
    fn add(self, left: float32x4_t, right: float32x4_t) -> float32x4_t {
        intrinsics!(vaddq_f32(left, right))
    }

    #[inline(always)]
    fn subtract(self, left: float32x4_t, right: float32x4_t) -> float32x4_t {
        intrinsics!(vsubq_f32(left, right))
    }

    #[inline(always)]
    fn multiply(self, left: float32x4_t, right: float32x4_t) -> float32x4_t {
        intrinsics!(vmulq_f32(left, right))
    }

    #[inline(always)]
    fn divide(self, left: float32x4_t, right: float32x4_t) -> float32x4_t {
        intrinsics!(vdivq_f32(left, right))
    }

    #[inline(always)]
    fn fused(self, left: float32x4_t, right: float32x4_t, sum: float32x4_t) -> float32x4_t {
        intrinsics!(vfmaq_f32(sum, left, right))
    }

    #[inline(always)]
    fn larger(self, left: float32x4_t, right: float32x4_t) -> float32x4_t {
        // Not the maximum, which would be no number wherever one of the two is none.
        intrinsics!(vbslq_f32(vcgtq_f32(left, right), left, right))
    }

    #[inline(always)]
    fn smaller(self, left: float32x4_t, right: float32x4_t) -> float32x4_t {
        intrinsics!(vbslq_f32(vcltq_f32(left, right), left, right))
    }
}

/// The bytes of one part, the first the lowest.
#[inline(always)]
fn four(bytes: &[u8; LANES], part: usize) -> u64 {
    u64::from(u32::from_le_bytes(bytes.as_chunks().0[part]))
}
