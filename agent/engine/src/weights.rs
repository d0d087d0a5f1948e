//! Weights as the graph uses them: packed for the kernels where there is one, else read from where the file's map has them.

mod loader;

use std::ops::Range;
use std::sync::Arc;

pub(crate) use loader::Loader;

use crate::accelerator::Remote;
use crate::blocks::{self, FEW};
use crate::cpu::{self, Activations, Cpu, Packed, Shares};
use crate::gguf::{FileMap, Format};

/// Rows without a kernel that one thread takes at a time.
const ROWS_PER_PIECE: usize = 32;

/// A matrix of weights, `rows` outputs from `columns` inputs.
#[derive(Debug)]
pub(crate) struct Matrix {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    format: Format,
    bytes: Bytes,
    /// Multiplies every weight: 1 except in formats whose scale is the tensor's.
    scale: f32,
    products: Products,
}

/// How a matrix is multiplied with.
#[derive(Debug)]
enum Products {
    /// By a kernel of the main processor, from tiles.
    Packed(Packed),
    /// Row by row from the file's blocks: slower, for formats without a kernel.
    Rows,
    /// On a graphics processor.
    Remote(Remote),
    /// Not at all: a table whose rows are looked up.
    None,
}

/// Where the blocks lie.
#[derive(Debug, Clone)]
enum Bytes {
    Mapped {
        map: Arc<FileMap>,
        range: Range<usize>,
    },
    Owned(Arc<[u8]>),
    /// Only in the tiles any more.
    Packed,
}

/// A matrix and where its products go: (tokens, rows).
pub(crate) type Product<'a> = (&'a Matrix, &'a mut [f32]);

/// Multiplies several matrices with the same input. A token's products have the same bits in any company.
pub(crate) fn multiply(
    cpu: &Cpu,
    input: &mut Activations,
    products: &mut [Product<'_>],
) -> Result<(), candle_core::Error> {
    if input.tokens() == 0 {
        return Ok(());
    }
    let mut packed = Vec::with_capacity(products.len());
    for (matrix, output) in products.iter_mut() {
        match &matrix.products {
            Products::Packed(tiles) => packed.push((tiles, &mut **output)),
            Products::Remote(remote) => remote.apply(input.rows(), matrix.columns, output)?,
            Products::Rows | Products::None => matrix.multiply_rows(cpu, input, output),
        }
    }
    if packed.iter().any(|(packed, _)| packed.takes_codes()) {
        input.quantise(cpu);
    }
    cpu::multiply(cpu, input, &mut packed);
    for (matrix, output) in products.iter_mut().filter(|(matrix, _)| matrix.scale != 1.0) {
        output.iter_mut().for_each(|product| *product *= matrix.scale);
    }
    Ok(())
}

impl Matrix {
    /// Widens one row to F32: how a token's embedding is looked up.
    pub(crate) fn row(&self, index: usize, output: &mut [f32]) {
        match &self.products {
            Products::Packed(packed) => packed.row(index, output),
            _ => {
                let row_bytes = self.row_bytes();
                blocks::widen(self.format, &self.bytes()[index * row_bytes..(index + 1) * row_bytes], output);
            }
        }
        if self.scale != 1.0 {
            output.iter_mut().for_each(|weight| *weight *= self.scale);
        }
    }

    fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped { map, range } => &map.bytes()[range.clone()],
            Bytes::Owned(bytes) => bytes,
            Bytes::Packed => &[],
        }
    }

    fn row_bytes(&self) -> usize {
        self.bytes().len() / self.rows
    }

    /// Packs the weights for the kernels, if they have one, and lets go of the file while it does.
    fn pack(&mut self, cpu: &Cpu) -> std::io::Result<()> {
        let let_go = |stretch: Range<usize>| {
            if let Bytes::Mapped { map, range } = &self.bytes {
                map.let_go(range.start + stretch.start..range.start + stretch.end);
            }
        };
        let packed = Packed::new(cpu, self.format, self.rows, self.columns, self.bytes(), let_go)?;
        let Some(packed) = packed else {
            self.products = Products::Rows;
            return Ok(());
        };
        self.bytes = Bytes::Packed;
        self.products = Products::Packed(packed);
        Ok(())
    }

    /// Row by row, each block being widened once for a few tokens.
    fn multiply_rows(&self, cpu: &Cpu, input: &Activations, output: &mut [f32]) {
        let (rows, row_bytes, tokens) = (self.rows, self.row_bytes(), input.tokens());
        let output = Shares::new(output);
        cpu.team.each(rows.div_ceil(ROWS_PER_PIECE), |piece| {
            for row in piece * ROWS_PER_PIECE..rows.min((piece + 1) * ROWS_PER_PIECE) {
                let blocks = &self.bytes()[row * row_bytes..(row + 1) * row_bytes];
                for (few, inputs) in input.rows().chunks(FEW * self.columns).enumerate() {
                    let mut products = [0.0; FEW];
                    let products = &mut products[..FEW.min(tokens - few * FEW)];
                    blocks::dot_few(self.format, blocks, inputs, products);
                    for (token, product) in (few * FEW..).zip(products) {
                        let at = token * rows + row;
                        #[expect(unsafe_code, reason = "each piece writes the products of its own rows; see SAFETY")]
                        // SAFETY: pieces are disjoint ranges of rows; each product is one number of its own.
                        let output = unsafe { output.range(at..at + 1) };
                        output[0] = *product;
                    }
                }
            }
        });
    }

    /// A matrix of these blocks, not of a file: for measuring kernels.
    ///
    /// # Errors
    /// Fails when the system gives no memory.
    pub(crate) fn owned(
        cpu: &Cpu,
        rows: usize,
        columns: usize,
        format: Format,
        blocks: Vec<u8>,
    ) -> std::io::Result<Self> {
        let bytes = Bytes::Owned(blocks.into());
        let mut matrix = Self { rows, columns, format, bytes, scale: 1.0, products: Products::None };
        matrix.pack(cpu)?;
        Ok(matrix)
    }

    /// The same rows so many times over, where they are whole tiles: for measuring kernels, too.
    ///
    /// # Errors
    /// Fails when the system gives no memory.
    pub(crate) fn repeated(self, cpu: &Cpu, times: usize) -> std::io::Result<Self> {
        let (rows, products) = match &self.products {
            Products::Packed(packed) => (self.rows * times, Products::Packed(packed.repeated(cpu, times)?)),
            _ => return Ok(self),
        };
        Ok(Self { rows, products, ..self })
    }
}

#[cfg(test)]
mod tests;
