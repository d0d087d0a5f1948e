//! The vector operations of x86-64: AVX2 with FMA and F16C, the same with VNNI on 256 bits, AVX-512 with VNNI.

use std::arch::x86_64::*;

use super::simd::{Kernel, LANES, Line, Simd};

/// AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

/// AVX2, FMA, F16C and AVX-VNNI.
#[derive(Clone, Copy)]
pub(crate) struct AvxVnni(());

/// AVX-512 F, BW, VL and VNNI.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

/// Declares how a set of instructions is found and how a kernel is compiled for it.
macro_rules! instructions {
    ($name:ident, $run:ident, $enable:literal, [$($feature:tt),+]) => {
        impl $name {
            /// The proof that this processor has these instructions, if it has.
            pub(crate) fn find() -> Option<Self> {
                let all = $(is_x86_feature_detected!($feature))&&+;
                all.then_some(Self(()))
            }

            /// The features that it is compiled for, and whether the processor has each.
            pub(super) fn features() -> Vec<(&'static str, bool)> {
                vec![$(($feature, is_x86_feature_detected!($feature))),+]
            }

            /// Runs a kernel compiled for these instructions.
            pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
                #[expect(unsafe_code, reason = "a function for some processors only is called with the proof in hand")]
                // SAFETY: a value of this type is made by `find` alone, after it saw the features that `$run` asks for.
                unsafe {
                    $run(self, kernel)
                }
            }
        }

        #[target_feature(enable = $enable)]
        fn $run<K: Kernel>(simd: $name, kernel: K) -> K::Output {
            kernel.run(simd)
        }
    };
}

instructions!(Avx2, run_avx2, "avx2,fma,f16c", ["avx2", "fma", "f16c"]);
instructions!(AvxVnni, run_avx_vnni, "avx2,fma,f16c,avxvnni", ["avx2", "fma", "f16c", "avxvnni"]);
instructions!(
    Avx512,
    run_avx512,
    "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni",
    ["avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512vnni"]
);

/// An operation that is one or a few intrinsics.
macro_rules! intrinsics {
    ($($body:tt)*) => {{
        #[expect(unsafe_code, reason = "intrinsics exist on some processors only")]
        // SAFETY: `self` proves that the processor has the instructions. Loads and stores stay within the references that
        // they are given: a part is below `PARTS`, and the parts of one line are its bytes in turn, with no alignment asked.
        unsafe { $($body)* }
    }};
}

/// The operations of 256 bits that both AVX2 sets share.
macro_rules! on_256_bits {
    () => {
        const PARTS: usize = 2;
        const TOKENS: usize = 4;
        type Whole = __m256i;
        type Float = __m256;

        #[inline(always)]
        fn line(self, line: &Line, part: usize) -> __m256i {
            debug_assert!(part < 2);
            intrinsics!(_mm256_loadu_si256(line.as_ptr().add(32 * part).cast()))
        }

        #[inline(always)]
        fn ahead(self, line: &Line, bytes: usize) {
            // A hint, which never faults wherever it points.
            intrinsics!(_mm_prefetch::<_MM_HINT_T0>(line.as_ptr().wrapping_add(bytes).cast()));
        }

        #[inline(always)]
        fn whole(self, number: i32) -> __m256i {
            intrinsics!(_mm256_set1_epi32(number))
        }

        #[inline(always)]
        fn and(self, bytes: __m256i, mask: u8) -> __m256i {
            intrinsics!(_mm256_and_si256(bytes, _mm256_set1_epi8(mask.cast_signed())))
        }

        #[inline(always)]
        fn or(self, left: __m256i, right: __m256i) -> __m256i {
            intrinsics!(_mm256_or_si256(left, right))
        }

        #[inline(always)]
        fn down<const BITS: u32>(self, bytes: __m256i) -> __m256i {
            intrinsics!(_mm256_srl_epi32(bytes, _mm_cvtsi32_si128(BITS.cast_signed())))
        }

        #[inline(always)]
        fn up<const BITS: u32>(self, bytes: __m256i) -> __m256i {
            intrinsics!(_mm256_sll_epi32(bytes, _mm_cvtsi32_si128(BITS.cast_signed())))
        }

        #[inline(always)]
        fn add_whole(self, left: __m256i, right: __m256i) -> __m256i {
            intrinsics!(_mm256_add_epi32(left, right))
        }

        #[inline(always)]
        fn to_float(self, numbers: __m256i) -> __m256 {
            intrinsics!(_mm256_cvtepi32_ps(numbers))
        }

        #[inline(always)]
        fn round(self, numbers: __m256) -> __m256i {
            intrinsics!(_mm256_cvtps_epi32(numbers))
        }

        #[inline(always)]
        fn store_whole(self, numbers: __m256i, to: &mut [i32; LANES], part: usize) {
            debug_assert!(part < 2);
            intrinsics!(_mm256_storeu_si256(to.as_mut_ptr().add(8 * part).cast(), numbers));
        }

        #[inline(always)]
        fn bits(self, bits: __m256i) -> __m256 {
            intrinsics!(_mm256_castsi256_ps(bits))
        }

        #[inline(always)]
        fn float(self, number: f32) -> __m256 {
            intrinsics!(_mm256_set1_ps(number))
        }

        #[inline(always)]
        fn load(self, numbers: &[f32; LANES], part: usize) -> __m256 {
            debug_assert!(part < 2);
            intrinsics!(_mm256_loadu_ps(numbers.as_ptr().add(8 * part)))
        }

        #[inline(always)]
        fn store(self, numbers: __m256, to: &mut [f32; LANES], part: usize) {
            debug_assert!(part < 2);
            intrinsics!(_mm256_storeu_ps(to.as_mut_ptr().add(8 * part), numbers))
        }

        #[inline(always)]
        fn load_halves(self, halves: &[[u8; 2]; LANES], part: usize) -> __m256 {
            debug_assert!(part < 2);
            intrinsics!(_mm256_cvtph_ps(_mm_loadu_si128(halves.as_ptr().add(8 * part).cast())))
        }

        #[inline(always)]
        fn load_brain(self, halves: &[[u8; 2]; LANES], part: usize) -> __m256 {
            debug_assert!(part < 2);
            intrinsics!({
                let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(halves.as_ptr().add(8 * part).cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
            })
        }

        #[inline(always)]
        fn load_bytes(self, bytes: &[u8; LANES], part: usize) -> __m256 {
            debug_assert!(part < 2);
            intrinsics!({
                let bytes = _mm_loadl_epi64(bytes.as_ptr().add(8 * part).cast());
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes))
            })
        }

        #[inline(always)]
        fn load_signed(self, bytes: &[u8; LANES], part: usize) -> __m256 {
            debug_assert!(part < 2);
            intrinsics!({
                let bytes = _mm_loadl_epi64(bytes.as_ptr().add(8 * part).cast());
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))
            })
        }

        #[inline(always)]
        fn add(self, left: __m256, right: __m256) -> __m256 {
            intrinsics!(_mm256_add_ps(left, right))
        }

        #[inline(always)]
        fn subtract(self, left: __m256, right: __m256) -> __m256 {
            intrinsics!(_mm256_sub_ps(left, right))
        }

        #[inline(always)]
        fn multiply(self, left: __m256, right: __m256) -> __m256 {
            intrinsics!(_mm256_mul_ps(left, right))
        }

        #[inline(always)]
        fn divide(self, left: __m256, right: __m256) -> __m256 {
            intrinsics!(_mm256_div_ps(left, right))
        }

        #[inline(always)]
        fn fused(self, left: __m256, right: __m256, sum: __m256) -> __m256 {
            intrinsics!(_mm256_fmadd_ps(left, right, sum))
        }

        #[inline(always)]
        fn larger(self, left: __m256, right: __m256) -> __m256 {
            intrinsics!(_mm256_max_ps(left, right))
        }

        #[inline(always)]
        fn smaller(self, left: __m256, right: __m256) -> __m256 {
            intrinsics!(_mm256_min_ps(left, right))
        }
    };
}

impl Simd for Avx2 {
    on_256_bits!();

    #[inline(always)]
    fn dot(self, sum: __m256i, codes: __m256i, input: [i8; 4]) -> __m256i {
        intrinsics!({
            let input = _mm256_set1_epi32(four(input));
            // Below 128 · 127 · 2, so the pairs never reach the ends of 16 bits.
            let pairs = _mm256_maddubs_epi16(codes, input);
            _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        })
    }

    #[inline(always)]
    fn signed_start(self, _minus_sum: i32) -> __m256i {
        self.whole(0)
    }

    #[inline(always)]
    fn dot_signed(self, sum: __m256i, codes: __m256i, input: [i8; 4]) -> __m256i {
        intrinsics!({
            let input = _mm256_sign_epi8(_mm256_set1_epi32(four(input)), codes);
            // At most 128 · 127 · 2 = 32,512: inputs are never −128.
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(codes), input);
            _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        })
    }
}

impl Simd for AvxVnni {
    on_256_bits!();

    #[inline(always)]
    fn dot(self, sum: __m256i, codes: __m256i, input: [i8; 4]) -> __m256i {
        intrinsics!(_mm256_dpbusd_avx_epi32(sum, codes, _mm256_set1_epi32(four(input))))
    }

    /// Codes are moved up by 128, which the sum pays back.
    #[inline(always)]
    fn signed_start(self, minus_sum: i32) -> __m256i {
        self.whole(minus_sum << 7)
    }

    #[inline(always)]
    fn dot_signed(self, sum: __m256i, codes: __m256i, input: [i8; 4]) -> __m256i {
        let codes = intrinsics!(_mm256_xor_si256(codes, _mm256_set1_epi8(-128)));
        self.dot(sum, codes, input)
    }
}

impl Simd for Avx512 {
    const PARTS: usize = 1;
    const TOKENS: usize = 8;
    type Whole = __m512i;
    type Float = __m512;

    #[inline(always)]
    fn line(self, line: &Line, _part: usize) -> __m512i {
        intrinsics!(_mm512_loadu_si512(line.as_ptr().cast()))
    }

    #[inline(always)]
    fn ahead(self, line: &Line, bytes: usize) {
        // A hint, which never faults wherever it points.
        intrinsics!(_mm_prefetch::<_MM_HINT_T0>(line.as_ptr().wrapping_add(bytes).cast()));
    }

    #[inline(always)]
    fn whole(self, number: i32) -> __m512i {
        intrinsics!(_mm512_set1_epi32(number))
    }

    #[inline(always)]
    fn and(self, bytes: __m512i, mask: u8) -> __m512i {
        intrinsics!(_mm512_and_si512(bytes, _mm512_set1_epi8(mask.cast_signed())))
    }

    #[inline(always)]
    fn or(self, left: __m512i, right: __m512i) -> __m512i {
        intrinsics!(_mm512_or_si512(left, right))
    }

    #[inline(always)]
    fn down<const BITS: u32>(self, bytes: __m512i) -> __m512i {
        intrinsics!(_mm512_srli_epi32::<BITS>(bytes))
    }

    #[inline(always)]
    fn up<const BITS: u32>(self, bytes: __m512i) -> __m512i {
        intrinsics!(_mm512_slli_epi32::<BITS>(bytes))
    }

    #[inline(always)]
    fn add_whole(self, left: __m512i, right: __m512i) -> __m512i {
        intrinsics!(_mm512_add_epi32(left, right))
    }

    #[inline(always)]
    fn dot(self, sum: __m512i, codes: __m512i, input: [i8; 4]) -> __m512i {
        intrinsics!(_mm512_dpbusd_epi32(sum, codes, _mm512_set1_epi32(four(input))))
    }

    /// Codes are moved up by 128, which the sum pays back.
    #[inline(always)]
    fn signed_start(self, minus_sum: i32) -> __m512i {
        self.whole(minus_sum << 7)
    }

    #[inline(always)]
    fn dot_signed(self, sum: __m512i, codes: __m512i, input: [i8; 4]) -> __m512i {
        let codes = intrinsics!(_mm512_xor_si512(codes, _mm512_set1_epi8(-128)));
        self.dot(sum, codes, input)
    }

    #[inline(always)]
    fn to_float(self, numbers: __m512i) -> __m512 {
        intrinsics!(_mm512_cvtepi32_ps(numbers))
    }

    #[inline(always)]
    fn round(self, numbers: __m512) -> __m512i {
        intrinsics!(_mm512_cvtps_epi32(numbers))
    }

    #[inline(always)]
    fn store_whole(self, numbers: __m512i, to: &mut [i32; LANES], _part: usize) {
        intrinsics!(_mm512_storeu_si512(to.as_mut_ptr().cast(), numbers));
    }

    #[inline(always)]
    fn bits(self, bits: __m512i) -> __m512 {
        intrinsics!(_mm512_castsi512_ps(bits))
    }

    #[inline(always)]
    fn float(self, number: f32) -> __m512 {
        intrinsics!(_mm512_set1_ps(number))
    }

    #[inline(always)]
    fn load(self, numbers: &[f32; LANES], _part: usize) -> __m512 {
        intrinsics!(_mm512_loadu_ps(numbers.as_ptr()))
    }

    #[inline(always)]
    fn store(self, numbers: __m512, to: &mut [f32; LANES], _part: usize) {
        intrinsics!(_mm512_storeu_ps(to.as_mut_ptr(), numbers))
    }

    #[inline(always)]
    fn load_halves(self, halves: &[[u8; 2]; LANES], _part: usize) -> __m512 {
        intrinsics!(_mm512_cvtph_ps(_mm256_loadu_si256(halves.as_ptr().cast())))
    }

    #[inline(always)]
    fn load_brain(self, halves: &[[u8; 2]; LANES], _part: usize) -> __m512 {
        intrinsics!({
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(halves.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        })
    }

    #[inline(always)]
    fn load_bytes(self, bytes: &[u8; LANES], _part: usize) -> __m512 {
        intrinsics!(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(bytes.as_ptr().cast()))))
    }

    #[inline(always)]
    fn load_signed(self, bytes: &[u8; LANES], _part: usize) -> __m512 {
        intrinsics!(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(bytes.as_ptr().cast()))))
    }

    #[inline(always)]
    fn add(self, left: __m512, right: __m512) -> __m512 {
        intrinsics!(_mm512_add_ps(left, right))
    }

    #[inline(always)]
    fn subtract(self, left: __m512, right: __m512) -> __m512 {
        intrinsics!(_mm512_sub_ps(left, right))
    }

    #[inline(always)]
    fn multiply(self, left: __m512, right: __m512) -> __m512 {
        intrinsics!(_mm512_mul_ps(left, right))
    }

    #[inline(always)]
    fn divide(self, left: __m512, right: __m512) -> __m512 {
        intrinsics!(_mm512_div_ps(left, right))
    }

    #[inline(always)]
    fn fused(self, left: __m512, right: __m512, sum: __m512) -> __m512 {
        intrinsics!(_mm512_fmadd_ps(left, right, sum))
    }

    #[inline(always)]
    fn larger(self, left: __m512, right: __m512) -> __m512 {
        intrinsics!(_mm512_max_ps(left, right))
    }

    #[inline(always)]
    fn smaller(self, left: __m512, right: __m512) -> __m512 {
        intrinsics!(_mm512_min_ps(left, right))
    }
}

#[inline(always)]
fn four(input: [i8; 4]) -> i32 {
    i32::from_le_bytes(input.map(i8::cast_unsigned))
}
