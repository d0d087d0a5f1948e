//! The small set of operations between the matrix products: norms, rotary positions, attention, activations.

mod activation;
mod attention;
mod norm;
mod rope;
#[cfg(test)]
mod tests;

pub(crate) use activation::{Activation, activate, bend};
pub(crate) use attention::{Asked, Attention, Sight};
pub(crate) use norm::{LayerNorm, dot, rms_norm, rms_norm_of};
pub(crate) use rope::{Pairing, Rope};

use crate::math;

pub(crate) fn add(to: &mut [f32], what: &[f32]) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += what);
}

/// Adds `bias` to each row of `bias.len()` elements.
pub(crate) fn add_bias(rows: &mut [f32], bias: &[f32]) {
    rows.chunks_exact_mut(bias.len()).for_each(|row| add(row, bias));
}

/// Keeps every element within ±`cap`, softly: `cap · tanh(x / cap)`.
pub(crate) fn softcap(elements: &mut [f32], cap: f32) {
    elements.iter_mut().for_each(|element| *element = cap * math::tanh(*element / cap));
}
