//! A graphics processor: it holds the matrices and multiplies by them; the rest of the graph is the same everywhere.
//!
//! Rows of activations travel there and back for every product, a few kilobytes each; the weights travel once, at load.

use std::panic::catch_unwind;
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{DType, Device, Module, Tensor};

use crate::backends::Backend;
use crate::blocks::widen;
use crate::gguf::Format;

/// Weights that are widened at a time on their way to a processor that does not know their format.
const WIDENED_AT_ONCE: usize = 1 << 20;

/// An open graphics processor.
#[derive(Debug, Clone)]
pub(crate) struct Accelerator {
    device: Device,
    backend: Backend,
}

/// A matrix that lies there.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    device: Device,
    weights: Arc<QMatMul>,
}

impl Accelerator {
    /// Opens the backend that is asked for, or the first that works; none is the main processor.
    ///
    /// # Errors
    /// Fails, in words for the operator, when the backend that was asked for is not in this binary or does not open.
    pub(crate) fn open(wanted: Option<Backend>) -> Result<Option<Self>, String> {
        match wanted {
            Some(Backend::Cpu) => Ok(None),
            Some(backend) if !Backend::COMPILED.contains(&backend) => Err(format!(
                "this binary was built without it; build with `--features {}`, or choose `cpu`",
                backend.name()
            )),
            Some(backend) => Self::on(backend).map(Some),
            None => Ok(Backend::COMPILED.iter().skip(1).find_map(|backend| Self::on(*backend).ok())),
        }
    }

    fn on(backend: Backend) -> Result<Self, String> {
        // The loader of the vendor's library panics where there is none.
        let opened = catch_unwind(|| match backend {
            Backend::Cpu => Ok(Device::Cpu),
            Backend::Cuda => Device::new_cuda(0),
            Backend::Metal => Device::new_metal(0),
        });
        match opened {
            Ok(Ok(device)) => Ok(Self { device, backend }),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("its driver is not installed".to_owned()),
        }
    }

    pub(crate) fn backend(&self) -> Backend {
        self.backend
    }

    /// Takes a matrix of (rows, columns) there. Formats that candle has kernels for stay as they are; the others are
    /// widened to half precision.
    pub(crate) fn upload(
        &self,
        format: Format,
        bytes: &[u8],
        rows: usize,
        columns: usize,
    ) -> Result<Remote, candle_core::Error> {
        let weights = match known(format) {
            Some(known) => {
                let storage = QStorage::from_data(bytes.into(), &self.device, known)?;
                QMatMul::from_qtensor(QTensor::new(storage, (rows, columns))?)?
            }
            None => QMatMul::TensorF16(self.widened(format, bytes, rows, columns)?),
        };
        Ok(Remote { device: self.device.clone(), weights: Arc::new(weights) })
    }

    fn widened(&self, format: Format, bytes: &[u8], rows: usize, columns: usize) -> Result<Tensor, candle_core::Error> {
        let row_bytes = bytes.len() / rows;
        let rows_at_once = (WIDENED_AT_ONCE / columns).max(1);
        let parts = bytes.chunks(row_bytes * rows_at_once).map(|bytes| {
            let mut wide = vec![0.0; bytes.len() / row_bytes * columns];
            widen(format, bytes, &mut wide);
            Tensor::from_vec(wide, (bytes.len() / row_bytes, columns), &self.device)?.to_dtype(DType::F16)
        });
        Tensor::cat(&parts.collect::<Result<Vec<_>, _>>()?, 0)
    }
}

impl Remote {
    /// Multiplies `input` (tokens, columns) into `output` (tokens, rows).
    pub(crate) fn apply(&self, input: &[f32], columns: usize, output: &mut [f32]) -> Result<(), candle_core::Error> {
        let input = Tensor::from_slice(input, (input.len() / columns, columns), &self.device)?;
        let product = self.weights.forward(&input)?.flatten_all()?.to_vec1::<f32>()?;
        output.copy_from_slice(&product);
        Ok(())
    }
}

/// What candle calls a format, where it knows it.
fn known(format: Format) -> Option<GgmlDType> {
    Some(match format {
        Format::F32 => GgmlDType::F32,
        Format::F16 => GgmlDType::F16,
        Format::BF16 => GgmlDType::BF16,
        Format::Q4_0 => GgmlDType::Q4_0,
        Format::Q4_1 => GgmlDType::Q4_1,
        Format::Q5_0 => GgmlDType::Q5_0,
        Format::Q5_1 => GgmlDType::Q5_1,
        Format::Q8_0 => GgmlDType::Q8_0,
        Format::Q2_K => GgmlDType::Q2K,
        Format::Q3_K => GgmlDType::Q3K,
        Format::Q4_K => GgmlDType::Q4K,
        Format::Q5_K => GgmlDType::Q5K,
        Format::Q6_K => GgmlDType::Q6K,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
