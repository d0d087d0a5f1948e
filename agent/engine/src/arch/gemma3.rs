//! Gemma 3: five layers of six look through a window and rotate by their own base; norms before and after every block.

use super::{Figures, Keys, LARGEST_CONTEXT, LayerTraits, Norms, Traits, linear_divisor, rope_base, rotated};
use crate::gguf::{Array, Value};
use crate::model::LoadError;
use crate::ops::{Activation, Pairing, Rope};
use crate::weights::Loader;

/// `general.architecture` of these files.
pub(super) const ARCHITECTURE: &str = "gemma3";

/// The base of windowed layers, where the file does not say.
const WINDOWED_BASE: f64 = 10_000.0;
/// Every sixth layer sees everything, where the file does not say.
const PERIOD: usize = 6;
/// Layers of the 27B model, whose attention is scaled by the share of a head in the embedding and not by its length.
const LAYERS_OF_27B: usize = 62;

pub(super) fn describe(keys: &Keys<'_>, figures: &Figures, _: &mut Loader<'_>) -> Result<Traits, LoadError> {
    // Gemma 2's cap on attention scores; Gemma 3 replaced it by the norms of query and key.
    if let Some(cap) = keys.number("attn_logit_softcapping", 0.0, f64::MAX)?.filter(|cap| *cap != 0.0) {
        return Err(keys.bad("attn_logit_softcapping", cap));
    }
    let rotated = rotated(keys, figures)?;
    let global = Rope::new(Pairing::Halves, rotated, rope_base(keys)?, None).slowed(linear_divisor(keys)?);
    let base = keys.number("rope.freq_base_swa", 1.0, 1e12)?.unwrap_or(WINDOWED_BASE);
    let windowed = Rope::new(Pairing::Halves, rotated, base, None);
    let scaled_by = match figures.layers {
        LAYERS_OF_27B => figures.embedding / figures.heads,
        _ => figures.key_length,
    };
    Ok(Traits {
        layers: layers(keys, figures.layers)?,
        ropes: vec![global, windowed],
        activation: Activation::GeluTanh,
        embedding_scale: (figures.embedding as f32).sqrt(),
        attention_scale: 1.0 / (scaled_by as f32).sqrt(),
        norms: Norms { query_and_key: true, after_blocks: true, ..Norms::default() },
        softcap: keys.number("final_logit_softcapping", 0.0, 1e6)?.filter(|cap| *cap > 0.0).map(|cap| cap as f32),
        ..Traits::plain(figures, Rope::new(Pairing::Halves, rotated, 1.0, None))
    })
}

/// Which layers look through a window: all but every sixth, or as `attention.sliding_window_pattern` says (a period, or a
/// yes or no per layer). None where there is no window.
pub(super) fn layers(keys: &Keys<'_>, count: usize) -> Result<Vec<LayerTraits>, LoadError> {
    const WINDOW: &str = "attention.sliding_window";
    const PATTERN: &str = "attention.sliding_window_pattern";
    let none = keys.get(WINDOW).is_none_or(|value| value.as_count() == Some(0));
    if none {
        return Ok(vec![LayerTraits::default(); count]);
    }
    let window = keys.count(WINDOW, None, LARGEST_CONTEXT)?;
    let windowed: Vec<bool> = match keys.get(PATTERN) {
        Some(Value::Array(Array::Bool(layers))) if layers.len() >= count => layers.clone(),
        Some(Value::Array(_)) => return Err(keys.bad(PATTERN, "a list of another kind or shorter than the layers")),
        _ => {
            let period = keys.count(PATTERN, Some(PERIOD), LARGEST_CONTEXT)?;
            (0..count).map(|layer| (layer + 1) % period != 0).collect()
        }
    };
    let traits = |windowed: bool| match windowed {
        true => LayerTraits { rope: 1, window: Some(window) },
        false => LayerTraits::default(),
    };
    Ok(windowed.into_iter().take(count).map(traits).collect())
}
