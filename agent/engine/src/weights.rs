//! Weights as the graph uses them: shared, immutable, read from the memory map or handed to candle's quantised kernels.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use candle_core::quantized::{QStorage, QTensor};
use candle_core::{Device, Tensor};
use half::bf16;
use rayon::prelude::*;

use crate::gguf::{FileMap, Format, Gguf, TensorEntry};
use crate::model::LoadError;
use crate::ops;

/// Multiply-adds below which a matrix × vector is not worth a second thread.
const PARALLEL_FROM: usize = 1 << 19;
/// Rows that are widened to F32 at a time when a prompt is read through half-precision weights.
const ROWS_AT_ONCE: usize = 256;

/// A matrix of weights, `rows` outputs from `columns` inputs.
#[derive(Debug, Clone)]
pub(crate) struct Matrix {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    /// Formats that [`widen`] reads, left where the file has them.
    Plain { bytes: Bytes, format: Format },
    /// Blocks, in candle's layout.
    Blocks(Arc<QTensor>),
}

/// Where plain weights lie.
#[derive(Debug, Clone)]
enum Bytes {
    Mapped { map: Arc<FileMap>, range: Range<usize> },
    Owned(Arc<[u8]>),
}

impl Bytes {
    fn get(&self) -> &[u8] {
        match self {
            Self::Mapped { map, range } => &map.bytes()[range.clone()],
            Self::Owned(bytes) => bytes,
        }
    }
}

impl Matrix {
    /// Multiplies `input` (tokens, columns) into `output` (tokens, rows).
    pub(crate) fn apply(&self, input: &[f32], output: &mut [f32]) -> Result<(), candle_core::Error> {
        let tokens = input.len() / self.columns;
        match &self.kind {
            Kind::Plain { bytes, format } => {
                let weights = bytes.get();
                if tokens == 1 {
                    self.apply_one(weights, *format, input, output);
                    Ok(())
                } else {
                    self.apply_many(weights, *format, tokens, input, output)
                }
            }
            Kind::Blocks(blocks) => {
                let input = Tensor::from_slice(input, (tokens, self.columns), &Device::Cpu)?;
                let product = input.apply_op1_no_bwd(blocks.as_ref())?;
                copy_out(&product, output)
            }
        }
    }

    /// Widens one row to F32: how a token's embedding is looked up.
    pub(crate) fn row(&self, index: usize, output: &mut [f32]) -> Result<(), candle_core::Error> {
        match &self.kind {
            Kind::Plain { bytes, format } => {
                let bytes = bytes.get();
                let row_bytes = bytes.len() / self.rows;
                widen(*format, &bytes[index * row_bytes..(index + 1) * row_bytes], output);
                Ok(())
            }
            Kind::Blocks(blocks) => {
                let index = Tensor::from_slice(&[index as u32], 1, &Device::Cpu)?;
                copy_out(&blocks.embedding(&index)?, output)
            }
        }
    }

    fn apply_one(&self, weights: &[u8], format: Format, input: &[f32], output: &mut [f32]) {
        let row_bytes = weights.len() / self.rows;
        let one = |(row, output): (&[u8], &mut f32)| *output = dot(format, row, input);
        if self.rows * self.columns < PARALLEL_FROM {
            weights.chunks_exact(row_bytes).zip(output).for_each(one);
        } else {
            weights.par_chunks_exact(row_bytes).zip(output).with_min_len(32).for_each(one);
        }
    }

    fn apply_many(
        &self,
        weights: &[u8],
        format: Format,
        tokens: usize,
        input: &[f32],
        output: &mut [f32],
    ) -> Result<(), candle_core::Error> {
        let input = Tensor::from_slice(input, (tokens, self.columns), &Device::Cpu)?;
        let row_bytes = weights.len() / self.rows;
        for (block, bytes) in weights.chunks(row_bytes * ROWS_AT_ONCE).enumerate() {
            let rows = bytes.len() / row_bytes;
            let mut wide = vec![0.0; rows * self.columns];
            widen(format, bytes, &mut wide);
            let wide = Tensor::from_vec(wide, (rows, self.columns), &Device::Cpu)?;
            let product = input.matmul(&wide.t()?)?.flatten_all()?.to_vec1::<f32>()?;
            let begin = block * ROWS_AT_ONCE;
            for (from, to) in product.chunks_exact(rows).zip(output.chunks_exact_mut(self.rows)) {
                to[begin..begin + rows].copy_from_slice(from);
            }
        }
        Ok(())
    }

    /// A matrix of random weights in a format: for measuring kernels.
    pub(crate) fn random(rows: usize, columns: usize, format: Format) -> Result<Self, candle_core::Error> {
        let values: Vec<f32> = (0..rows * columns).map(|index| ((index * 7919) % 251) as f32 / 251.0 - 0.5).collect();
        let values = Tensor::from_vec(values, (rows, columns), &Device::Cpu)?;
        let blocks = QTensor::quantize(&values, format.candle())?;
        let kind = match is_plain(format) {
            true => Kind::Plain { bytes: Bytes::Owned(blocks.data()?.into_owned().into()), format },
            false => Kind::Blocks(Arc::new(blocks)),
        };
        Ok(Self { rows, columns, kind })
    }
}

/// Hands blocks to candle. Tensors are aligned to at least 8 bytes in the file and the map begins on a page; the strictest
/// field of any block has 4.
fn load_blocks(bytes: &[u8], format: Format, rows: usize, columns: usize) -> Result<Kind, candle_core::Error> {
    let storage = QStorage::from_data(bytes.into(), &Device::Cpu, format.candle())?;
    let blocks = QTensor::new(storage, (rows, columns))?;
    // These kernels of candle's take two blocks at a time and panic on rows of an odd number: such rows are widened.
    let by_twos = matches!(format, Format::Q4_1 | Format::Q5_0);
    if by_twos && !columns.is_multiple_of(64) {
        let wide = blocks.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
        let wide: Vec<u8> = wide.iter().flat_map(|weight| weight.to_le_bytes()).collect();
        return Ok(Kind::Plain { bytes: Bytes::Owned(wide.into()), format: Format::F32 });
    }
    Ok(Kind::Blocks(Arc::new(blocks)))
}

fn copy_out(product: &Tensor, output: &mut [f32]) -> Result<(), candle_core::Error> {
    let (storage, layout) = product.storage_and_layout();
    match &*storage {
        candle_core::Storage::Cpu(storage) => {
            let begin = layout.start_offset();
            output.copy_from_slice(&storage.as_slice::<f32>()?[begin..begin + output.len()]);
            Ok(())
        }
        _ => Err(candle_core::Error::Msg("the product is not in this machine's memory".to_owned())),
    }
}

/// Widens weights to F32.
fn widen(format: Format, bytes: &[u8], output: &mut [f32]) {
    match format {
        Format::F32 => {
            for (bytes, output) in bytes.as_chunks::<4>().0.iter().zip(output) {
                *output = f32::from_le_bytes(*bytes);
            }
        }
        Format::F16 => {
            for (bytes, output) in bytes.as_chunks::<2>().0.iter().zip(output) {
                *output = half_to_f32(u16::from_le_bytes(*bytes));
            }
        }
        Format::Q8_0 => each_block::<34>(bytes, output, |block, output| {
            let scale = half_at(block, 0);
            output.iter_mut().zip(&block[2..]).for_each(|(output, code)| *output = scale * f32::from(*code as i8));
        }),
        Format::Q4_0 => each_block::<18>(bytes, output, |block, output| {
            let scale = half_at(block, 0);
            let (low, high) = output.split_at_mut(16);
            for ((low, high), codes) in low.iter_mut().zip(high).zip(&block[2..]) {
                *low = scale * (f32::from(codes & 15) - 8.0);
                *high = scale * (f32::from(codes >> 4) - 8.0);
            }
        }),
        Format::Q5_1 => each_block::<24>(bytes, output, |block, output| {
            let (scale, least) = (half_at(block, 0), half_at(block, 2));
            let fifths = u32::from_le_bytes([block[4], block[5], block[6], block[7]]);
            let (low, high) = output.split_at_mut(16);
            for (at, ((low, high), codes)) in low.iter_mut().zip(high).zip(&block[8..]).enumerate() {
                // The fifth bit of weight i is bit i.
                *low = scale * f32::from(codes & 15 | (((fifths >> at) & 1) << 4) as u8) + least;
                *high = scale * f32::from(codes >> 4 | (((fifths >> (at + 16)) & 1) << 4) as u8) + least;
            }
        }),
        _ => {
            for (bytes, output) in bytes.as_chunks::<2>().0.iter().zip(output) {
                *output = bf16::from_le_bytes(*bytes).to_f32();
            }
        }
    }
}

/// Whether [`widen`] reads a format. The others go through candle, whose worker pool waits at a barrier in every product:
/// on a busy machine that costs a time slice each, hundreds of times what the product of a small model takes.
fn is_plain(format: Format) -> bool {
    matches!(format, Format::F32 | Format::F16 | Format::BF16 | Format::Q8_0 | Format::Q5_1 | Format::Q4_0)
}

/// Calls `one` for every block of 32 weights.
fn each_block<const N: usize>(bytes: &[u8], output: &mut [f32], one: impl Fn(&[u8; N], &mut [f32; 32])) {
    bytes.as_chunks::<N>().0.iter().zip(output.as_chunks_mut::<32>().0).for_each(|(block, output)| one(block, output));
}

fn half_at(block: &[u8], at: usize) -> f32 {
    half_to_f32(u16::from_le_bytes([block[at], block[at + 1]]))
}

/// Half precision to F32 without a branch, so that the compiler makes vectors of it on every machine: the exponent's bias
/// differs by 112. Exact for every number; infinities, which no weight is, become 65,536 and more.
#[inline(always)]
fn half_to_f32(bits: u16) -> f32 {
    const TWO_TO_112: f32 = f32::from_bits((112 + 127) << 23);
    let magnitude = f32::from_bits(u32::from(bits & 0x7FFF) << 13) * TWO_TO_112;
    f32::from_bits(magnitude.to_bits() | (u32::from(bits & 0x8000) << 16))
}

fn dot(format: Format, row: &[u8], input: &[f32]) -> f32 {
    if format == Format::F32 {
        return dot_f32(row, input);
    }
    let mut wide = [0.0; 64];
    // 64 weights are whole blocks in every format that comes here.
    let bytes = (64 / format.block_weights() * format.block_bytes()) as usize;
    row.chunks(bytes)
        .zip(input.chunks(64))
        .map(|(bytes, input)| {
            let wide = &mut wide[..input.len()];
            widen(format, bytes, wide);
            ops::dot(wide, input)
        })
        .sum()
}

fn dot_f32(row: &[u8], input: &[f32]) -> f32 {
    let (blocks, rest) = input.as_chunks::<16>();
    let mut sums = [0.0f32; 16];
    for (bytes, input) in row.as_chunks::<64>().0.iter().zip(blocks) {
        for (sum, (weight, input)) in sums.iter_mut().zip(bytes.as_chunks::<4>().0.iter().zip(input)) {
            *sum += f32::from_le_bytes(*weight) * input;
        }
    }
    let tail = &row[blocks.len() * 64..];
    let tail: f32 =
        tail.as_chunks::<4>().0.iter().zip(rest).map(|(weight, input)| f32::from_le_bytes(*weight) * input).sum();
    sums.iter().sum::<f32>() + tail
}

/// Takes tensors out of a file by name, checks their shapes, and in the end names what nobody took.
#[derive(Debug)]
pub(crate) struct Loader<'file> {
    gguf: &'file Gguf,
    taken: HashSet<String>,
}

impl<'file> Loader<'file> {
    pub(crate) fn new(gguf: &'file Gguf) -> Self {
        Self { gguf, taken: HashSet::new() }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.gguf.tensor(name).is_some()
    }

    /// A matrix of exactly this shape.
    pub(crate) fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> Result<Matrix, LoadError> {
        self.matrix_part(name, rows, columns, 0..rows)
    }

    /// Some rows of a matrix: families that store several projections in one tensor are cut here.
    pub(crate) fn matrix_part(
        &mut self,
        name: &str,
        all_rows: usize,
        columns: usize,
        part: Range<usize>,
    ) -> Result<Matrix, LoadError> {
        let entry = self.take(name, &[columns as u64, all_rows as u64])?;
        let row_bytes = entry.range.len() / all_rows;
        let range = entry.range.start + part.start * row_bytes..entry.range.start + part.end * row_bytes;
        let map = self.gguf.map();
        let kind = match entry.format {
            format if is_plain(format) => {
                Kind::Plain { bytes: Bytes::Mapped { map: Arc::clone(map), range }, format: entry.format }
            }
            format => load_blocks(&map.bytes()[range], format, part.len(), columns)
                .map_err(|source| LoadError::Kernel { tensor: name.to_owned(), source })?,
        };
        Ok(Matrix { rows: part.len(), columns, kind })
    }

    /// A vector of exactly this length, as F32.
    pub(crate) fn vector(&mut self, name: &str, length: usize) -> Result<Vec<f32>, LoadError> {
        let entry = self.take(name, &[length as u64])?;
        if !matches!(entry.format, Format::F32 | Format::F16 | Format::BF16) {
            return Err(LoadError::VectorFormat { tensor: name.to_owned(), format: entry.format.name() });
        }
        let mut vector = vec![0.0; length];
        widen(entry.format, self.gguf.bytes(entry), &mut vector);
        Ok(vector)
    }

    /// The vector if the file has it.
    pub(crate) fn optional_vector(&mut self, name: &str, length: usize) -> Result<Option<Vec<f32>>, LoadError> {
        if self.has(name) { self.vector(name, length).map(Some) } else { Ok(None) }
    }

    /// A tensor that nobody took means a graph that differs from ours: its answers would be silently wrong.
    pub(crate) fn nothing_left(&self) -> Result<(), LoadError> {
        match self.gguf.tensors().iter().find(|tensor| !self.taken.contains(&tensor.name)) {
            None => Ok(()),
            Some(tensor) => Err(LoadError::UnknownTensor { tensor: tensor.name.clone() }),
        }
    }

    fn take(&mut self, name: &str, shape: &[u64]) -> Result<&'file TensorEntry, LoadError> {
        let entry = self.gguf.tensor(name).ok_or_else(|| LoadError::MissingTensor { tensor: name.to_owned() })?;
        if entry.shape != shape {
            return Err(LoadError::TensorShape {
                tensor: name.to_owned(),
                expected: shape.to_vec(),
                got: entry.shape.clone(),
            });
        }
        self.taken.insert(name.to_owned());
        Ok(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_readers_of_blocks_agree_with_candles() {
        let values: Vec<f32> = (0..4 * 96).map(|index| ((index * 37) % 101) as f32 / 17.0 - 3.0).collect();
        let values = Tensor::from_vec(values, (4, 96), &Device::Cpu).expect("the shape fits");
        for format in [Format::F32, Format::F16, Format::BF16, Format::Q8_0, Format::Q5_1, Format::Q4_0] {
            let blocks = QTensor::quantize(&values, format.candle()).expect("it quantises");
            let expected = blocks.dequantize(&Device::Cpu).and_then(|wide| wide.flatten_all()?.to_vec1::<f32>());
            let mut wide = vec![0.0; 4 * 96];
            widen(format, &blocks.data().expect("it is in memory"), &mut wide);
            assert_eq!(wide, expected.expect("it widens"), "{}", format.name());
        }
    }

    #[test]
    fn every_half_is_widened_exactly() {
        for bits in (0..=u16::MAX).filter(|bits| bits & 0x7C00 != 0x7C00) {
            assert_eq!(half_to_f32(bits).to_bits(), half::f16::from_bits(bits).to_f32().to_bits(), "{bits:#x}");
        }
    }

    #[test]
    fn one_token_and_many_give_the_same_products() {
        for format in [Format::Q8_0, Format::Q5_1, Format::Q4_0, Format::F16, Format::Q4_K] {
            let matrix = Matrix::random(300, 256, format).expect("it quantises");
            let input: Vec<f32> = (0..512).map(|index| (index % 23) as f32 / 23.0 - 0.5).collect();
            let (mut one, mut many) = (vec![0.0; 600], vec![0.0; 600]);
            matrix.apply(&input, &mut many).expect("it computes");
            for (input, output) in input.chunks(256).zip(one.chunks_mut(300)) {
                matrix.apply(input, output).expect("it computes");
            }
            let worst = one.iter().zip(&many).map(|(one, many)| (one - many).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-3, "{}: {worst}", format.name());
        }
    }
}
