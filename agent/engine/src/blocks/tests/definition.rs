//! The definitions of the formats once more, as a formula for one weight over single bits: slow, and written apart.

use half::{bf16, f16};

use crate::gguf::Format;

/// Weight `index` of a block.
pub(super) fn weight(format: Format, block: &[u8], index: usize) -> f64 {
    let (b, i) = (Block(block), index);
    match format {
        Format::F32 => f64::from(f32::from_bits(b.bits(0, 32))),
        Format::F16 => b.half(0),
        Format::BF16 => f64::from(bf16::from_bits(b.bits(0, 16) as u16).to_f32()),
        Format::Q4_0 => b.half(0) * (b.nibble(2, i) - 8.0),
        Format::Q4_1 => b.half(0) * b.nibble(4, i) + b.half(2),
        Format::Q5_0 => b.half(0) * (b.nibble(6, i) + 16.0 * b.number(16 + i, 1) - 16.0),
        Format::Q5_1 => b.half(0) * (b.nibble(8, i) + 16.0 * b.number(32 + i, 1)) + b.half(2),
        Format::Q8_0 => b.half(0) * b.signed(2 + i),
        Format::Q2_K => {
            let (scale, least) = (b.number(8 * (i / 16), 4), b.number(8 * (i / 16) + 4, 4));
            b.half(80) * scale * b.quarter(16, i) - b.half(82) * least
        }
        Format::Q3_K => {
            let part = i / 16;
            let scale = b.number(8 * (96 + part % 8) + 4 * (part / 8), 4);
            let scale = scale + 16.0 * b.number(8 * (104 + part % 4) + 2 * (part / 4), 2) - 32.0;
            let code = b.quarter(32, i) + 4.0 * b.number(8 * (i % 32) + i / 32, 1);
            b.half(108) * scale * (code - 4.0)
        }
        Format::Q4_K => {
            let (scale, least) = b.six_bits(i / 32);
            let code = b.number(8 * (16 + 32 * (i / 64) + i % 32) + 4 * (i / 32 % 2), 4);
            b.half(0) * scale * code - b.half(2) * least
        }
        Format::Q5_K => {
            let (scale, least) = b.six_bits(i / 32);
            let code = b.number(8 * (48 + 32 * (i / 64) + i % 32) + 4 * (i / 32 % 2), 4);
            let code = code + 16.0 * b.number(8 * (16 + i % 32) + i / 32, 1);
            b.half(0) * scale * code - b.half(2) * least
        }
        Format::Q6_K => {
            let code = b.number(8 * (64 * (i / 128) + i % 64) + 4 * (i / 64 % 2), 4) + 16.0 * b.quarter(128, i);
            b.half(208) * b.signed(192 + i / 16) * (code - 32.0)
        }
        Format::IQ4_NL => b.half(0) * UNEVEN[b.nibble(2, i) as usize],
        Format::IQ4_XS => {
            let part = i / 32;
            let scale = b.number(32 + 4 * part, 4) + 16.0 * b.number(16 + 2 * part, 2) - 32.0;
            b.half(0) * scale * UNEVEN[b.nibble(8 + 16 * part, i % 32) as usize]
        }
        Format::TQ1_0 => {
            let (byte, digit) = match i {
                0..160 => (i % 32, i / 32),
                160..240 => (32 + i % 16, (i - 160) / 16),
                _ => (48 + i % 4, (i - 240) / 4),
            };
            let fraction = f64::from(block[byte]) / 256.0 * 3f64.powi(digit as i32);
            b.half(52) * ((fraction.fract() * 3.0).floor() - 1.0)
        }
        Format::TQ2_0 => b.half(64) * (b.quarter(0, i) - 1.0),
        Format::I2_S => b.number(8 * (i % 32) + 6 - 2 * (i / 32), 2) - 1.0,
    }
}

const UNEVEN: [f64; 16] =
    [-127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0];

struct Block<'a>(&'a [u8]);

impl Block<'_> {
    /// Bit `n` of a block is bit `n % 8` of byte `n / 8`.
    fn bits(&self, from: usize, count: usize) -> u32 {
        (0..count).map(|at| u32::from(self.0[(from + at) / 8] >> ((from + at) % 8) & 1) << at).sum()
    }

    fn number(&self, from: usize, count: usize) -> f64 {
        f64::from(self.bits(from, count))
    }

    fn half(&self, byte: usize) -> f64 {
        f16::from_bits(self.bits(8 * byte, 16) as u16).to_f64()
    }

    fn signed(&self, byte: usize) -> f64 {
        f64::from(self.0[byte] as i8)
    }

    /// Of 32 weights, 16 lie in the low and 16 in the high halves of 16 bytes.
    fn nibble(&self, byte: usize, index: usize) -> f64 {
        self.number(8 * (byte + index % 16) + 4 * (index / 16), 4)
    }

    /// Of 128 weights, 32 lie in the lowest two bits of 32 bytes, 32 in the next, and so on.
    fn quarter(&self, byte: usize, index: usize) -> f64 {
        self.number(8 * (byte + 32 * (index / 128) + index % 32) + 2 * (index / 32 % 4), 2)
    }

    /// Scale and least value of a part of Q4_K and Q5_K, packed in bytes 4 to 15.
    fn six_bits(&self, part: usize) -> (f64, f64) {
        match part {
            0..4 => (self.number(8 * (4 + part), 6), self.number(8 * (8 + part), 6)),
            _ => (
                self.number(8 * (8 + part), 4) + 16.0 * self.number(8 * part + 6, 2),
                self.number(8 * (8 + part) + 4, 4) + 16.0 * self.number(8 * (4 + part) + 6, 2),
            ),
        }
    }
}
