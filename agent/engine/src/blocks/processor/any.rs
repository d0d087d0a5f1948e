//! Blocks are read as the compiler makes it for every processor of this architecture.

use crate::gguf::Format;

pub(super) fn widen(format: Format, blocks: &[u8], output: &mut [f32]) {
    super::widen_blocks(format, blocks, output);
}

pub(super) fn dot_few(format: Format, row: &[u8], inputs: &[f32], products: &mut [f32]) {
    super::multiply_row(format, row, inputs, products);
}
