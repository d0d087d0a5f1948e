//! Takes tensors out of a file by name, checks their shapes, and in the end names what nobody took.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use super::{Bytes, Matrix, Products};
use crate::accelerator::Accelerator;
use crate::blocks;
use crate::cpu::Cpu;
use crate::gguf::{Format, Gguf, TensorEntry};
use crate::model::LoadError;

/// The tensors of one file, each of which some part of the graph must take.
#[derive(Debug)]
pub(crate) struct Loader<'file> {
    gguf: &'file Gguf,
    cpu: &'file Cpu,
    accelerator: Option<&'file Accelerator>,
    taken: HashSet<String>,
}

impl<'file> Loader<'file> {
    pub(crate) fn new(gguf: &'file Gguf, cpu: &'file Cpu) -> Self {
        Self { gguf, cpu, accelerator: None, taken: HashSet::new() }
    }

    /// Matrices are put on this processor from now on.
    pub(crate) fn accelerate(&mut self, accelerator: Option<&'file Accelerator>) {
        self.accelerator = accelerator;
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.gguf.tensor(name).is_some()
    }

    /// A matrix of exactly this shape, to multiply with.
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
        let mut matrix = self.table_part(name, all_rows, columns, part)?;
        match self.accelerator {
            Some(accelerator) => {
                let remote = accelerator.upload(matrix.format, matrix.bytes(), matrix.rows, columns);
                let remote = remote.map_err(|source| LoadError::Upload { tensor: name.to_owned(), source })?;
                matrix.products = Products::Remote(remote);
            }
            None => matrix.pack(self.cpu).map_err(|source| LoadError::Memory { tensor: name.to_owned(), source })?,
        }
        Ok(matrix)
    }

    /// A matrix of exactly this shape whose rows are looked up and never multiplied.
    pub(crate) fn table(&mut self, name: &str, rows: usize, columns: usize) -> Result<Matrix, LoadError> {
        self.table_part(name, rows, columns, 0..rows)
    }

    fn table_part(
        &mut self,
        name: &str,
        all_rows: usize,
        columns: usize,
        part: Range<usize>,
    ) -> Result<Matrix, LoadError> {
        let entry = self.take(name, &[columns as u64, all_rows as u64])?;
        let format = entry.format;
        // The validator saw to it that a row is whole blocks and that all of them, and the tail, are in the file.
        let row_bytes = columns / format.block_weights() as usize * format.block_bytes() as usize;
        let range = entry.range.start + part.start * row_bytes..entry.range.start + part.end * row_bytes;
        let scale = self.gguf.scale(entry);
        if !scale.is_finite() {
            return Err(LoadError::Scale { tensor: name.to_owned(), scale });
        }
        let bytes = Bytes::Mapped { map: Arc::clone(self.gguf.map()), range };
        Ok(Matrix { rows: part.len(), columns, format, bytes, scale, products: Products::None })
    }

    /// A vector of exactly this length, as F32.
    pub(crate) fn vector(&mut self, name: &str, length: usize) -> Result<Vec<f32>, LoadError> {
        let entry = self.take(name, &[length as u64])?;
        if !matches!(entry.format, Format::F32 | Format::F16 | Format::BF16) {
            return Err(LoadError::VectorFormat { tensor: name.to_owned(), format: entry.format.name() });
        }
        let mut vector = vec![0.0; length];
        blocks::widen(entry.format, self.gguf.bytes(entry), &mut vector);
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
