//! A tensor of the new file, made row by row from what is stored: bounded memory however large the model.

use std::io;

use half::{bf16, f16};
use safetensors::Dtype;

use super::ConvertError;
use super::shards::{Shards, Stored};
use crate::gguf::Format;

/// Rows of `columns` weights, readable in any order.
#[derive(Debug)]
pub(super) struct Rows<'shards> {
    pub(super) rows: usize,
    pub(super) columns: usize,
    is_vector: bool,
    encoding: Encoding<'shards>,
    change: Change,
}

/// How the weights are stored.
#[derive(Debug)]
enum Encoding<'shards> {
    Plain(Numbers<'shards>),
    /// MLX: `bits` per weight, the first in the lowest bits of little-endian words; `weight = scale · code + bias` in each
    /// group of a row.
    Grouped {
        words: &'shards [u8],
        scales: Numbers<'shards>,
        biases: Numbers<'shards>,
        bits: usize,
        group: usize,
    },
    /// BitNet: four rows in one row of bytes, a quarter of the matrix apart, the first in the lowest bits; 0, 1 and 2 stand
    /// for −1, 0 and 1.
    Packed {
        bytes: &'shards [u8],
        scale: f32,
    },
}

/// What is done to the stored weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Change {
    None,
    /// Norms that are stored as their distance from 1.
    AddOne,
    /// Row order of heads whose halves turn together → heads whose neighbours do.
    PairRows {
        heads: usize,
    },
    /// Rounded to −1, 0 and 1 times this.
    Ternary {
        scale: f32,
    },
}

/// Numbers of one of the plain types.
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbers<'shards> {
    bytes: &'shards [u8],
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    F32,
    F16,
    BF16,
}

impl<'shards> Numbers<'shards> {
    pub(super) fn of(shards: &'shards Shards, name: &str, tensor: &Stored) -> Result<Self, ConvertError> {
        let kind = match tensor.kind {
            Dtype::F32 => Kind::F32,
            Dtype::F16 => Kind::F16,
            Dtype::BF16 => Kind::BF16,
            _ => return Err(wrong(name, tensor, "F32, F16 or BF16")),
        };
        Ok(Self { bytes: shards.bytes(tensor), kind })
    }

    /// The only number of a tensor that has no more.
    pub(super) fn first(self) -> f32 {
        self.get(0)
    }

    fn get(self, index: usize) -> f32 {
        let pair = || self.bytes.as_chunks::<2>().0[index];
        match self.kind {
            Kind::F32 => f32::from_le_bytes(self.bytes.as_chunks::<4>().0[index]),
            Kind::F16 => f16::from_le_bytes(pair()).to_f32(),
            Kind::BF16 => bf16::from_le_bytes(pair()).to_f32(),
        }
    }

    fn read(self, first: usize, output: &mut [f32]) {
        output.iter_mut().enumerate().for_each(|(at, number)| *number = self.get(first + at));
    }
}

impl<'shards> Rows<'shards> {
    /// A vector (one row) or a matrix, of a plain type.
    pub(super) fn plain(shards: &'shards Shards, name: &str, tensor: &Stored) -> Result<Self, ConvertError> {
        let (rows, columns) = match *tensor.shape {
            [columns] if columns > 0 => (1, columns),
            [rows, columns] if rows > 0 && columns > 0 => (rows, columns),
            _ => return Err(wrong(name, tensor, "a vector or a matrix")),
        };
        let encoding = Encoding::Plain(Numbers::of(shards, name, tensor)?);
        Ok(Self { rows, columns, is_vector: tensor.shape.len() == 1, encoding, change: Change::None })
    }

    /// A matrix in MLX's groups; `scales` and `biases` are the tensors beside it.
    pub(super) fn grouped(
        shards: &'shards Shards,
        [name, scales, biases]: [&str; 3],
        bits: usize,
        group: usize,
    ) -> Result<Self, ConvertError> {
        let find = |name: &str| shards.get(name).ok_or_else(|| ConvertError::MissingTensor { tensor: name.to_owned() });
        let tensor = find(name)?;
        let (rows, columns) = match *tensor.shape {
            [rows, words] if rows > 0 && words > 0 && tensor.kind == Dtype::U32 => (rows, words * 32 / bits),
            _ => return Err(wrong(name, tensor, "a U32 matrix")),
        };
        if !columns.is_multiple_of(group) {
            return Err(wrong(name, tensor, &format!("whole groups of {group} weights in every row")));
        }
        let beside = |name: &str| {
            let tensor = find(name)?;
            match tensor.shape == [rows, columns / group] {
                true => Numbers::of(shards, name, tensor),
                false => Err(wrong(name, tensor, &format!("shape [{rows}, {}]", columns / group))),
            }
        };
        let (scales, biases) = (beside(scales)?, beside(biases)?);
        let encoding = Encoding::Grouped { words: shards.bytes(tensor), scales, biases, bits, group };
        Ok(Self { rows, columns, is_vector: false, encoding, change: Change::None })
    }

    /// A matrix in BitNet's packing, with the scale that stands beside it.
    pub(super) fn packed(
        shards: &'shards Shards,
        name: &str,
        tensor: &Stored,
        scale: f32,
    ) -> Result<Self, ConvertError> {
        let (rows, columns) = match *tensor.shape {
            [rows, columns] if rows > 0 && columns > 0 && tensor.kind == Dtype::U8 => (rows * 4, columns),
            _ => return Err(wrong(name, tensor, "a U8 matrix of packed rows")),
        };
        let bytes = shards.bytes(tensor);
        if bytes.iter().any(|byte| byte & (byte >> 1) & 0b0101_0101 != 0) {
            return Err(wrong(name, tensor, "codes 0, 1 and 2 only"));
        }
        let encoding = Encoding::Packed { bytes, scale };
        Ok(Self { rows, columns, is_vector: false, encoding, change: Change::None })
    }

    pub(super) fn changed(mut self, change: Change) -> Self {
        self.change = change;
        self
    }

    /// The shape in the new file, the fastest-running first.
    pub(super) fn shape(&self) -> Vec<u64> {
        if self.is_vector { vec![self.columns as u64] } else { vec![self.columns as u64, self.rows as u64] }
    }

    /// The mean of all absolute weights, as they are stored.
    pub(super) fn mean_magnitude(&self) -> f32 {
        let mut row = vec![0.0; self.columns];
        let mut sum = 0.0;
        for index in 0..self.rows {
            self.stored(index, &mut row);
            sum += row.iter().map(|weight| f64::from(weight.abs())).sum::<f64>();
        }
        (sum / (self.rows as f64 * self.columns as f64)) as f32
    }

    /// One row as it belongs in the new file.
    pub(super) fn read(&self, index: usize, output: &mut [f32]) {
        match self.change {
            Change::PairRows { heads } => self.stored(paired(index, self.rows / heads), output),
            _ => self.stored(index, output),
        }
        match self.change {
            Change::None | Change::PairRows { .. } => {}
            Change::AddOne => output.iter_mut().for_each(|weight| *weight += 1.0),
            Change::Ternary { scale } => {
                output.iter_mut().for_each(|weight| {
                    *weight = (*weight / scale).round_ties_even().clamp(-1.0, 1.0) * scale;
                });
            }
        }
    }

    fn stored(&self, row: usize, output: &mut [f32]) {
        let first = row * self.columns;
        match self.encoding {
            Encoding::Plain(numbers) => numbers.read(first, output),
            Encoding::Grouped { words, scales, biases, bits, group } => {
                // Words are little endian, so the codes' order in words is their order in bytes.
                let per_byte = 8 / bits;
                let mask = u8::MAX >> (8 - bits);
                for (at, weight) in output.iter_mut().enumerate() {
                    let place = first + at;
                    let code = (words[place / per_byte] >> (place % per_byte * bits)) & mask;
                    *weight = scales.get(place / group).mul_add(f32::from(code), biases.get(place / group));
                }
            }
            Encoding::Packed { bytes, scale } => {
                let (quarter, shift) = (self.rows / 4, row / (self.rows / 4) * 2);
                let bytes = &bytes[row % quarter * self.columns..][..self.columns];
                for (weight, byte) in output.iter_mut().zip(bytes) {
                    *weight = (f32::from((byte >> shift) & 3) - 1.0) * scale;
                }
            }
        }
    }
}

/// The stored row that belongs at this place: in each head, pair `i` is rows `i` and `i + half` where halves turn together,
/// rows `2i` and `2i + 1` where neighbours do.
fn paired(row: usize, head: usize) -> usize {
    let (begin, at) = (row / head * head, row % head);
    begin + at / 2 + at % 2 * (head / 2)
}

/// Appends a row in one of the plain formats. A number that becomes infinite in half precision is an error: the file would
/// answer nonsense.
pub(super) fn encode(format: Format, row: &[f32], bytes: &mut Vec<u8>) -> io::Result<()> {
    match format {
        Format::F32 => row.iter().for_each(|weight| bytes.extend_from_slice(&weight.to_le_bytes())),
        Format::BF16 => row.iter().for_each(|weight| bytes.extend_from_slice(&bf16::from_f32(*weight).to_le_bytes())),
        _ => {
            for weight in row {
                let half = f16::from_f32(*weight);
                if half.is_infinite() && weight.is_finite() {
                    return Err(io::Error::other(format!("it holds {weight}, more than F16 can; choose BF16 or F32")));
                }
                bytes.extend_from_slice(&half.to_le_bytes());
            }
        }
    }
    Ok(())
}

pub(super) fn wrong(name: &str, tensor: &Stored, expected: &str) -> ConvertError {
    ConvertError::Tensor { tensor: name.to_owned(), found: tensor.describe(), expected: expected.to_owned() }
}
