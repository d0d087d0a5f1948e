//! Weights as the graph uses them: shared, immutable, read block by block from where the file's memory map has them.

mod loader;

use std::ops::Range;
use std::sync::Arc;

use candle_core::{Device, Tensor};
pub(crate) use loader::Loader;
use rayon::prelude::*;

use crate::accelerator::Remote;
use crate::blocks::{self, FEW};
use crate::gguf::{FileMap, Format};

/// Multiply-adds below which a product is not worth a second thread.
const PARALLEL_FROM: usize = 1 << 19;
/// Rows that one thread takes at a time.
const ROWS_PER_TASK: usize = 32;
/// Weights that are widened to F32 at a time when a prompt is read: 2 MiB, which a core's own cache holds.
const WIDE_AT_ONCE: usize = 1 << 19;

/// A matrix of weights, `rows` outputs from `columns` inputs.
#[derive(Debug, Clone)]
pub(crate) struct Matrix {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    format: Format,
    bytes: Bytes,
    /// Multiplies every weight: 1 except in formats whose scale is the tensor's.
    scale: f32,
    /// The same matrix on a graphics processor, which then does the products.
    remote: Option<Remote>,
}

/// Where the blocks lie.
#[derive(Debug, Clone)]
enum Bytes {
    Mapped { map: Arc<FileMap>, range: Range<usize> },
    Owned(Arc<[u8]>),
}

impl Matrix {
    /// Multiplies `input` (tokens, columns) into `output` (tokens, rows). A token's products have the same bits in any
    /// company of up to [`FEW`].
    pub(crate) fn apply(&self, input: &[f32], output: &mut [f32]) -> Result<(), candle_core::Error> {
        match (&self.remote, input.len() / self.columns) {
            (_, 0) => {}
            (Some(remote), _) => remote.apply(input, self.columns, output)?,
            (None, 1) => self.apply_one(input, output),
            (None, tokens @ 2..=FEW) => self.apply_few(tokens, input, output),
            (None, tokens) => self.apply_many(tokens, input, output)?,
        }
        if self.scale != 1.0 {
            output.iter_mut().for_each(|product| *product *= self.scale);
        }
        Ok(())
    }

    /// Widens one row to F32: how a token's embedding is looked up.
    pub(crate) fn row(&self, index: usize, output: &mut [f32]) {
        let row_bytes = self.row_bytes();
        blocks::widen(self.format, &self.bytes()[index * row_bytes..(index + 1) * row_bytes], output);
        if self.scale != 1.0 {
            output.iter_mut().for_each(|weight| *weight *= self.scale);
        }
    }

    fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped { map, range } => &map.bytes()[range.clone()],
            Bytes::Owned(bytes) => bytes,
        }
    }

    fn row_bytes(&self) -> usize {
        self.bytes().len() / self.rows
    }

    fn apply_one(&self, input: &[f32], output: &mut [f32]) {
        let one = |(row, product): (&[u8], &mut f32)| *product = blocks::dot(self.format, row, input);
        let rows = (self.bytes(), self.row_bytes());
        if self.rows * self.columns < PARALLEL_FROM {
            rows.0.chunks_exact(rows.1).zip(output).for_each(one);
        } else {
            rows.0.par_chunks_exact(rows.1).zip(output).with_min_len(ROWS_PER_TASK).for_each(one);
        }
    }

    /// A few sequences that are answered together: every block is widened once for all of them.
    fn apply_few(&self, tokens: usize, input: &[f32], output: &mut [f32]) {
        let one = |(row, products): (&[u8], &mut [f32])| blocks::dot_few(self.format, row, input, products);
        let rows = (self.bytes(), self.row_bytes());
        let mut products = vec![0.0; self.rows * tokens]; // (rows, tokens)
        if self.rows * self.columns * tokens < PARALLEL_FROM {
            rows.0.chunks_exact(rows.1).zip(products.chunks_exact_mut(tokens)).for_each(one);
        } else {
            let rows = rows.0.par_chunks_exact(rows.1).with_min_len(ROWS_PER_TASK);
            rows.zip(products.par_chunks_exact_mut(tokens)).for_each(one);
        }
        for (token, output) in output.chunks_exact_mut(self.rows).enumerate() {
            let of_token = products.iter().skip(token).step_by(tokens);
            output.iter_mut().zip(of_token).for_each(|(output, product)| *output = *product);
        }
    }

    /// A prompt: some rows at a time are widened and multiplied as F32 matrices.
    fn apply_many(&self, tokens: usize, input: &[f32], output: &mut [f32]) -> Result<(), candle_core::Error> {
        let input = Tensor::from_slice(input, (tokens, self.columns), &Device::Cpu)?;
        let row_bytes = self.row_bytes();
        let rows_at_once = (WIDE_AT_ONCE / self.columns).max(1);
        for (block, bytes) in self.bytes().chunks(row_bytes * rows_at_once).enumerate() {
            let rows = bytes.len() / row_bytes;
            let mut wide = vec![0.0; rows * self.columns];
            bytes
                .par_chunks_exact(row_bytes)
                .zip(wide.par_chunks_exact_mut(self.columns))
                .with_min_len(ROWS_PER_TASK)
                .for_each(|(row, wide)| blocks::widen(self.format, row, wide));
            let wide = Tensor::from_vec(wide, (rows, self.columns), &Device::Cpu)?;
            let product = input.matmul(&wide.t()?)?.flatten_all()?.to_vec1::<f32>()?;
            let begin = block * rows_at_once;
            for (from, to) in product.chunks_exact(rows).zip(output.chunks_exact_mut(self.rows)) {
                to[begin..begin + rows].copy_from_slice(from);
            }
        }
        Ok(())
    }

    /// A matrix of these blocks, not of a file: for measuring kernels.
    pub(crate) fn owned(rows: usize, columns: usize, format: Format, blocks: Vec<u8>) -> Self {
        Self { rows, columns, format, bytes: Bytes::Owned(blocks.into()), scale: 1.0, remote: None }
    }
}

#[cfg(test)]
mod tests;
