//! BitNet b1.58: ternary weights, a squared ReLU, and a norm before each of a layer's two closing matrices.
//!
//! The activation is what the model was trained with (`relu2`), where `llama.cpp` computes SiLU. Three spellings of the
//! architecture are in use (`bitnet`, `bitnet-b1.58`, `bitnet-25`), and the keys' prefix follows each.

use super::{Figures, Keys, Norms, Traits, linear_divisor, rope_base, rotated};
use crate::model::LoadError;
use crate::ops::{Activation, Pairing, Rope};
use crate::weights::Loader;

pub(super) fn describe(keys: &Keys<'_>, figures: &Figures, _: &mut Loader<'_>) -> Result<Traits, LoadError> {
    let rope = Rope::new(Pairing::Halves, rotated(keys, figures)?, rope_base(keys)?, None);
    Ok(Traits {
        activation: Activation::ReluSquared,
        norms: Norms { inside_blocks: true, ..Norms::default() },
        scales: true,
        ..Traits::plain(figures, rope.slowed(linear_divisor(keys)?))
    })
}
