//! A matrix with what some families add to its product: one scale for all weights, a bias per row.

use crate::cpu::{Activations, Cpu};
use crate::model::LoadError;
use crate::ops;
use crate::weights::{self, Loader, Matrix};

/// `output = scale · weight · input + bias`.
#[derive(Debug)]
pub(crate) struct Linear {
    pub(super) weight: Matrix,
    scale: Option<f32>,
    bias: Option<Vec<f32>>,
}

/// What a file may have beside `NAME.weight`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Beside {
    /// `NAME.bias`, one number per row.
    pub(crate) bias: bool,
    /// `NAME.scale`, one number.
    pub(crate) scale: bool,
}

impl Linear {
    /// `NAME.weight` with what stands beside it.
    pub(crate) fn load(
        loader: &mut Loader<'_>,
        name: &str,
        rows: usize,
        columns: usize,
        beside: Beside,
    ) -> Result<Self, LoadError> {
        let weight = loader.matrix(&format!("{name}.weight"), rows, columns)?;
        let bias = if beside.bias { loader.optional_vector(&format!("{name}.bias"), rows)? } else { None };
        let scale = if beside.scale { loader.optional_vector(&format!("{name}.scale"), 1)? } else { None };
        Ok(Self { weight, scale: scale.map(|scale| scale[0]), bias })
    }

    /// Several projections that lie one after the other in `NAME.weight`, so many rows each.
    pub(crate) fn load_fused<const N: usize>(
        loader: &mut Loader<'_>,
        name: &str,
        rows: [usize; N],
        columns: usize,
        beside: Beside,
    ) -> Result<[Self; N], LoadError> {
        let (all, weight) = (rows.iter().sum(), format!("{name}.weight"));
        let mut bias = if beside.bias { loader.optional_vector(&format!("{name}.bias"), all)? } else { None };
        let mut parts = Vec::with_capacity(N);
        let mut begin = 0;
        for rows in rows {
            let weight = loader.matrix_part(&weight, all, columns, begin..begin + rows)?;
            let rest = bias.as_mut().map(|bias| bias.split_off(rows));
            parts.push(Self { weight, scale: None, bias: std::mem::replace(&mut bias, rest) });
            begin += rows;
        }
        let parts: Result<[Self; N], _> = parts.try_into();
        Ok(parts.unwrap_or_else(|_| unreachable!("there is a part for each of the rows")))
    }
}

/// Multiplies several with the same input, each into its output (tokens, rows).
pub(crate) fn apply<const N: usize>(
    cpu: &Cpu,
    input: &mut Activations,
    outputs: [(&Linear, &mut [f32]); N],
) -> Result<(), candle_core::Error> {
    let mut outputs = outputs;
    weights::multiply(cpu, input, &mut outputs.each_mut().map(|(linear, output)| (&linear.weight, &mut **output)))?;
    for (linear, output) in outputs {
        if let Some(scale) = linear.scale {
            output.iter_mut().for_each(|element| *element *= scale);
        }
        if let Some(bias) = &linear.bias {
            ops::add_bias(output, bias);
        }
    }
    Ok(())
}
