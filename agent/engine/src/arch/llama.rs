//! Llama 2 and 3, and Mistral: neighbours rotate together; Llama 3.1 and later divide their speeds by `rope_freqs`.

use super::{Figures, Keys, Traits, divisors, linear_divisor, rope_base, rotated};
use crate::model::LoadError;
use crate::ops::{Pairing, Rope};
use crate::weights::Loader;

pub(super) fn describe(keys: &Keys<'_>, figures: &Figures, loader: &mut Loader<'_>) -> Result<Traits, LoadError> {
    let rotated = rotated(keys, figures)?;
    let divisors = match loader.has("rope_freqs.weight") {
        true => Some(divisors(loader, "rope_freqs.weight", rotated / 2)?),
        false => None,
    };
    let rope = Rope::new(Pairing::Neighbours, rotated, rope_base(keys)?, divisors.as_deref());
    Ok(Traits { biases: true, ..Traits::plain(figures, rope.slowed(linear_divisor(keys)?)) })
}
