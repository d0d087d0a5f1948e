//! Blocks of weights in every format that is read here: widened to F32, multiplied with a vector, and encoded.
//!
//! Each format is one type whose `decode` makes weights of a block's bytes, written so that its definition can be read in it.
//! [`visit`] is the only table of them; what is done with blocks (widening a row, multiplying it with one input or with a
//! few) is written once for all. Nothing here touches the heap. This is the clear twin that faster kernels are tested
//! against.

pub(crate) mod encode;
mod legacy;
mod nonlinear;
mod plain;
#[cfg_attr(target_arch = "x86_64", path = "processor/x86_64.rs")]
#[cfg_attr(not(target_arch = "x86_64"), path = "processor/any.rs")]
mod processor;
mod super_blocks;
mod ternary;

use crate::gguf::Format;

/// Most inputs that [`dot_few`] takes at once.
pub(crate) const FEW: usize = 8;
/// Partial sums of a product: the compiler makes vectors of them.
const LANES: usize = 16;

/// Widens blocks to F32. I2_S gives its codes, −1, 0 and +1: its scale is the tensor's, not the block's.
pub(crate) fn widen(format: Format, blocks: &[u8], output: &mut [f32]) {
    processor::widen(format, blocks, output);
}

/// The product of one row with one input of the same length.
#[cfg(test)]
pub(crate) fn dot(format: Format, row: &[u8], input: &[f32]) -> f32 {
    let mut product = [0.0];
    dot_few(format, row, input, &mut product);
    product[0]
}

/// The products of one row with up to [`FEW`] inputs that lie one after the other: each block is widened once for all of
/// them. Every product has the same bits as [`dot`] of that input alone, on every machine.
pub(crate) fn dot_few(format: Format, row: &[u8], inputs: &[f32], products: &mut [f32]) {
    processor::dot_few(format, row, inputs, products);
}

/// What [`widen`] computes, compiled once for every set of instructions that [`processor`] chooses from.
#[inline(always)]
fn widen_blocks(format: Format, blocks: &[u8], output: &mut [f32]) {
    visit(format, Widen { blocks, output });
}

/// What [`dot_few`] computes, compiled as often.
#[inline(always)]
fn multiply_row(format: Format, row: &[u8], inputs: &[f32], products: &mut [f32]) {
    match products.len() {
        1 => visit(format, Dot::<1> { row, inputs, products }),
        2 => visit(format, Dot::<2> { row, inputs, products }),
        _ => visit(format, Dot::<FEW> { row, inputs, products }),
    }
}

/// A format: how one of its blocks is read. Formats without blocks are taken [`LANES`] weights at a time.
trait Decode<const BYTES: usize, const WEIGHTS: usize>: Copy {
    /// The weights of a block.
    fn decode(self, block: &[u8; BYTES], output: &mut [f32; WEIGHTS]);
}

/// Something done with the blocks of one format.
trait Visitor {
    fn blocks<const BYTES: usize, const WEIGHTS: usize>(self, format: impl Decode<BYTES, WEIGHTS>);
}

/// The table of formats. Inlined, like everything below it, into each compilation of [`processor`].
#[inline(always)]
fn visit(format: Format, visitor: impl Visitor) {
    match format {
        Format::F32 => visitor.blocks(plain::F32),
        Format::F16 => visitor.blocks(plain::F16),
        Format::BF16 => visitor.blocks(plain::BF16),
        Format::Q4_0 => visitor.blocks(legacy::Q4_0),
        Format::Q4_1 => visitor.blocks(legacy::Q4_1),
        Format::Q5_0 => visitor.blocks(legacy::Q5_0),
        Format::Q5_1 => visitor.blocks(legacy::Q5_1),
        Format::Q8_0 => visitor.blocks(legacy::Q8_0),
        Format::Q2_K => visitor.blocks(super_blocks::Q2_K),
        Format::Q3_K => visitor.blocks(super_blocks::Q3_K),
        Format::Q4_K => visitor.blocks(super_blocks::Q4_K),
        Format::Q5_K => visitor.blocks(super_blocks::Q5_K),
        Format::Q6_K => visitor.blocks(super_blocks::Q6_K),
        Format::IQ4_NL => visitor.blocks(nonlinear::IQ4_NL),
        Format::IQ4_XS => visitor.blocks(nonlinear::IQ4_XS),
        Format::TQ1_0 => visitor.blocks(ternary::TQ1_0),
        Format::TQ2_0 => visitor.blocks(ternary::TQ2_0),
        Format::I2_S => visitor.blocks(ternary::I2_S),
    }
}

struct Widen<'a> {
    blocks: &'a [u8],
    output: &'a mut [f32],
}

impl Visitor for Widen<'_> {
    #[inline(always)]
    fn blocks<const BYTES: usize, const WEIGHTS: usize>(self, format: impl Decode<BYTES, WEIGHTS>) {
        let (blocks, rest) = self.blocks.as_chunks::<BYTES>();
        let (outputs, last) = self.output.as_chunks_mut::<WEIGHTS>();
        for (block, output) in blocks.iter().zip(outputs) {
            format.decode(block, output);
        }
        if WEIGHTS == LANES && !last.is_empty() {
            last.copy_from_slice(&widen_rest(rest, format)[..last.len()]);
        }
    }
}

/// Multiplies a row with at most `INPUTS` inputs.
struct Dot<'a, const INPUTS: usize> {
    row: &'a [u8],
    inputs: &'a [f32],
    products: &'a mut [f32],
}

impl<const INPUTS: usize> Visitor for Dot<'_, INPUTS> {
    #[inline(always)]
    fn blocks<const BYTES: usize, const WEIGHTS: usize>(self, format: impl Decode<BYTES, WEIGHTS>) {
        let columns = self.inputs.len() / self.products.len();
        let (blocks, rest) = self.row.as_chunks::<BYTES>();
        let mut sums = [[0.0f32; LANES]; INPUTS];
        let mut wide = [0.0; WEIGHTS];
        for (index, block) in blocks.iter().enumerate() {
            format.decode(block, &mut wide);
            let begin = index * WEIGHTS;
            for (sums, input) in sums.iter_mut().zip(self.inputs.chunks_exact(columns)) {
                multiply(sums, &wide, &input[begin..begin + WEIGHTS]);
            }
        }
        let begin = blocks.len() * WEIGHTS;
        if WEIGHTS == LANES && begin < columns {
            let wide = widen_rest(rest, format);
            for (sums, input) in sums.iter_mut().zip(self.inputs.chunks_exact(columns)) {
                let rest = &input[begin..];
                sums.iter_mut().zip(wide.iter().zip(rest)).for_each(|(sum, (wide, input))| *sum += wide * input);
            }
        }
        for (product, sums) in self.products.iter_mut().zip(&sums) {
            *product = sums.iter().sum();
        }
    }
}

/// Adds the products of equally many weights and inputs, a multiple of [`LANES`], to the partial sums.
#[inline(always)]
fn multiply(sums: &mut [f32; LANES], wide: &[f32], input: &[f32]) {
    let mut kept = *sums;
    for (wide, input) in wide.as_chunks::<LANES>().0.iter().zip(input.as_chunks::<LANES>().0) {
        for (sum, (wide, input)) in kept.iter_mut().zip(wide.iter().zip(input)) {
            *sum += wide * input;
        }
    }
    *sums = kept;
}

/// Widens what does not fill a block: only formats of single weights come here, since rows of the others are whole blocks.
#[inline(always)]
fn widen_rest<const BYTES: usize, const WEIGHTS: usize>(
    rest: &[u8],
    format: impl Decode<BYTES, WEIGHTS>,
) -> [f32; WEIGHTS] {
    let (mut block, mut wide) = ([0; BYTES], [0.0; WEIGHTS]);
    block[..rest.len()].copy_from_slice(rest);
    format.decode(&block, &mut wide);
    wide
}

#[cfg(test)]
pub(crate) mod tests;
