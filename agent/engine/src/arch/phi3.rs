//! Phi-3 and Phi-4: query, key and value in one tensor, gate and up in another; only the first elements of a head rotate,
//! and LongRoPE divides their speeds by one of two sets.
//!
//! Which set: the long one in every session that is made for more tokens than `rope.scaling.original_context_length`,
//! however few it has read, as `llama.cpp` decides; so what a session has cached never turns at two speeds. (Transformers
//! decides by the length reached so far, and its answers differ from both near that length.) A sliding window in the
//! metadata is not applied, as `llama.cpp` does not: converters have written it wrongly.

use super::{Figures, Keys, LARGEST_CONTEXT, Traits, divisors, linear_divisor, rope_base, rotated};
use crate::model::LoadError;
use crate::ops::{Pairing, Rope};
use crate::weights::Loader;

const LONG: &str = "rope_factors_long.weight";
const SHORT: &str = "rope_factors_short.weight";

pub(super) fn describe(keys: &Keys<'_>, figures: &Figures, loader: &mut Loader<'_>) -> Result<Traits, LoadError> {
    let (rotated, base) = (rotated(keys, figures)?, rope_base(keys)?);
    let magnitude = keys.number("rope.scaling.attn_factor", 1e-3, 1e3)?.unwrap_or(1.0) as f32;
    let original = keys.count("rope.scaling.original_context_length", Some(figures.context_tokens), LARGEST_CONTEXT)?;
    let rope = if keys.text("rope.scaling.type")? == Some("longrope") || loader.has(LONG) || loader.has(SHORT) {
        let short = divisors(loader, SHORT, rotated / 2)?;
        let long = divisors(loader, LONG, rotated / 2)?;
        Rope::new(Pairing::Halves, rotated, base, Some(&short)).long(original, base, &long)
    } else {
        Rope::new(Pairing::Halves, rotated, base, None).slowed(linear_divisor(keys)?)
    };
    Ok(Traits { fused: true, biases: true, ..Traits::plain(figures, rope.magnified(magnitude)) })
}
