//! What an error in each input column of each matrix costs: the mean square of what the column is multiplied with.
//!
//! The output of a matrix is off by Σ error · input in each row. Over a text, where inputs have mean squares q, the square of
//! that is Σ q · error² on average if columns come independently: so errors are better made where q is small. This is what
//! `llama.cpp` calls an importance matrix (pull request 4861).

use std::collections::HashMap;

use super::QuantizeError;
use super::sample::Sample;
use crate::evaluate;
use crate::model::{Model, Place};

/// Columns that the sample hardly excites count as this part of the mean: another text may excite them.
const LEAST: f64 = 1e-3;

/// The mean squares of every matrix's input, by the tensor's name, as parts of their mean.
#[derive(Debug, Default)]
pub(super) struct Importance {
    places: HashMap<usize, Vec<f32>>,
    is_tied: bool,
    pub(super) tokens: usize,
}

impl Importance {
    /// Listens to the model while it reads the sample.
    ///
    /// # Errors
    /// Fails when the model cannot read it, or when what enters a matrix is no number.
    pub(super) fn of(
        model: &Model,
        sample: &Sample,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, QuantizeError> {
        let passages = sample.listened();
        let observer = evaluate::observed(model, &passages, progress)?;
        let tokens = passages.iter().map(|passage| passage.tokens.len()).sum();
        let mut found = Self { places: HashMap::new(), is_tied: model.is_tied(), tokens };
        let of_layer =
            |layer| [Place::Attention(layer), Place::Attended(layer), Place::FeedForward(layer), Place::Gated(layer)];
        for place in (0..model.figures().layers).flat_map(of_layer).chain([Place::Output]) {
            let Some(means) = observer.mean_squares(place) else { continue };
            let what = || format!("what enters a matrix ({place:?})");
            found
                .places
                .insert(place.index(), relative(&means).ok_or_else(|| QuantizeError::NotFinite { what: what() })?);
        }
        Ok(found)
    }

    /// What errors in each column of a tensor cost; nothing for a table whose rows are looked up.
    pub(super) fn columns(&self, tensor: &str) -> Option<&[f32]> {
        self.places.get(&place(tensor, self.is_tied)?.index()).map(Vec::as_slice)
    }
}

/// Where a tensor's input is seen.
fn place(tensor: &str, is_tied: bool) -> Option<Place> {
    let name = tensor.strip_suffix(".weight")?;
    match name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
        Some((layer, part)) => {
            let layer = usize::try_from(layer.parse::<u32>().ok()?).ok()?;
            match part {
                "attn_q" | "attn_k" | "attn_v" | "attn_qkv" => Some(Place::Attention(layer)),
                "attn_output" => Some(Place::Attended(layer)),
                "ffn_gate" | "ffn_up" => Some(Place::FeedForward(layer)),
                "ffn_down" => Some(Place::Gated(layer)),
                _ => None,
            }
        }
        None => (name == "output" || (name == "token_embd" && is_tied)).then_some(Place::Output),
    }
}

/// As parts of their mean; nothing where they are no numbers. All are 1 where nothing enters at all.
fn relative(means: &[f64]) -> Option<Vec<f32>> {
    let mean = means.iter().sum::<f64>() / means.len().max(1) as f64;
    if !mean.is_finite() {
        return None;
    }
    let one = |square: &f64| if mean > 0.0 { (square / mean).max(LEAST) as f32 } else { 1.0 };
    Some(means.iter().map(one).collect())
}

#[cfg(test)]
mod tests;
