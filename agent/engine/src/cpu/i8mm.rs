//! Matrix products of bytes of 64-bit Arm (i8mm): eight columns of two rows times two tokens in one instruction.
//!
//! Whole sums are exact and what follows them is done in the order of every other kernel, so products have the same bits.

use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};

use super::aarch64::Neon;
use super::codes::{Codes, LINES};
use super::layouts::Layout;
use super::panel::{Panel, TOKENS};
use super::scales::Scales;
use super::simd::{LANES, Line, Simd};
use super::tile::{Products, run_bytes};

/// The proof that this processor has matrix products of bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct I8mm(());

/// Eight columns each of two rows, or of two tokens.
type Pair = int8x16_t;

impl I8mm {
    /// The proof, if there is one.
    pub(super) fn find() -> Option<Self> {
        is_aarch64_feature_detected!("i8mm").then_some(Self(()))
    }

    /// Multiplies a tile with panels of `groups` groups each; gives the products of each panel by its number.
    #[inline(always)]
    pub(super) fn multiply<L: Layout>(
        self,
        simd: Neon,
        tile: &[u8],
        (panels, groups): (&[Panel], usize),
        mut give: impl FnMut(usize, &[Products; TOKENS]),
    ) {
        let mut products = [[0.0; LANES]; TOKENS];
        for (at, panels) in panels.chunks_exact(groups).enumerate() {
            for part in 0..Neon::PARTS {
                self.multiply_part::<L>(simd, tile, panels, part, &mut products);
            }
            give(at, &products);
        }
    }

    /// Products of one part's rows with sixteen tokens.
    #[inline(always)]
    fn multiply_part<L: Layout>(
        self,
        simd: Neon,
        tile: &[u8],
        panels: &[Panel],
        part: usize,
        products: &mut [Products; TOKENS],
    ) {
        let mut sums = [simd.float(0.0); TOKENS];
        let mut rest = panels.iter();
        for run in tile.chunks(run_bytes::<L>(L::Scales::RUN)) {
            let (scales, lines) = run.split_at(L::Scales::RUN_BYTES);
            let lines = lines.as_chunks::<{ size_of::<Line>() }>().0.chunks_exact(L::Codes::LINES);
            // What fills the last line of a tile is no group.
            for (at, (lines, panel)) in lines.zip(rest.by_ref().take(L::Scales::RUN)).enumerate() {
                let rows = pairs::<L>(simd, L::Codes::read(simd, lines, part));
                let block = &scales[at / L::Scales::GROUPS * L::Scales::BYTES..][..L::Scales::BYTES];
                let scale = L::Scales::read(simd, block, at % L::Scales::GROUPS, part);
                let halves = if L::Scales::HALVES { 2 } else { 1 };
                for (pair, sums) in sums.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                    for half in 0..halves {
                        let octets = half * rows.len() / halves..(half + 1) * rows.len() / halves;
                        let whole = octets.fold([simd.whole(0); 2], |[upper, lower], octet| {
                            let tokens = tokens(panel.pair(pair, octet));
                            [self.add(upper, rows[octet][0], tokens), self.add(lower, rows[octet][1], tokens)]
                        });
                        for (token, sum) in sums.iter_mut().enumerate() {
                            let input = simd.float(panel.scales[2 * pair + token]);
                            let product = simd.multiply(simd.to_float(of_token(whole, token)), input);
                            *sum = simd.fused(product, scale.scales[half], *sum);
                        }
                    }
                    if L::Scales::LEAST {
                        for (token, sum) in sums.iter_mut().enumerate() {
                            *sum = simd.fused(scale.least, simd.float(panel.scaled_sums[2 * pair + token]), *sum);
                        }
                    }
                }
            }
        }
        for (sum, products) in sums.into_iter().zip(products) {
            simd.store(sum, products, part);
        }
    }

    /// Adds the products of two rows with two tokens: row 0 with both, then row 1 with both.
    #[inline(always)]
    fn add(self, sums: int32x4_t, rows: Pair, tokens: Pair) -> int32x4_t {
        let mut sums = sums;
        #[expect(unsafe_code, reason = "the instruction has no stable intrinsic")]
        // SAFETY: one instruction, which `self` proves to be there, from registers to a register.
        unsafe {
            asm!(
                ".arch_extension i8mm",
                "smmla {sums:v}.4s, {rows:v}.16b, {tokens:v}.16b",
                sums = inout(vreg) sums,
                rows = in(vreg) rows,
                tokens = in(vreg) tokens,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        sums
    }
}

/// The codes of four rows by octets of columns: rows 0 and 1, rows 2 and 3. Signed, centred on zero where the format does so.
#[inline(always)]
fn pairs<L: Layout>(_simd: Neon, codes: [int32x4_t; LINES]) -> [[Pair; 2]; LINES / 2] {
    let zero = match L::ZERO {
        Some(power) if !L::Codes::SIGNED => 1i8 << power,
        _ => 0,
    };
    #[expect(unsafe_code, reason = "intrinsics exist on some processors only")]
    // SAFETY: a `Neon` proves that the processor has the instructions, which only move registers' bytes.
    std::array::from_fn(|octet| unsafe {
        let [first, second] = [codes[2 * octet], codes[2 * octet + 1]];
        [vzip1q_s32(first, second), vzip2q_s32(first, second)]
            .map(|pair| vsubq_s8(vreinterpretq_s8_s32(pair), vdupq_n_s8(zero)))
    })
}

/// The codes of two tokens.
#[inline(always)]
fn tokens(codes: &[i8; 16]) -> Pair {
    #[expect(unsafe_code, reason = "intrinsics exist on some processors only")]
    // SAFETY: every 64-bit Arm processor that a `Neon` was found on has this; sixteen bytes are read from sixteen.
    unsafe {
        vld1q_s8(codes.as_ptr())
    }
}

/// The sums of four rows with one of two tokens.
#[inline(always)]
fn of_token([upper, lower]: [int32x4_t; 2], token: usize) -> int32x4_t {
    #[expect(unsafe_code, reason = "intrinsics exist on some processors only")]
    // SAFETY: as in `tokens`; only lanes are moved.
    unsafe {
        if token == 0 { vuzp1q_s32(upper, lower) } else { vuzp2q_s32(upper, lower) }
    }
}
