//! Llama 2 and 3: neighbours rotate together, and 3.1 and later divide their speeds by `rope_freqs`.

use super::{Figures, Traits, no_rope_scaling, rope_base, rotated, uniform};
use crate::gguf::Gguf;
use crate::model::LoadError;
use crate::ops::{Pairing, Rope};
use crate::weights::Loader;

pub(super) fn describe(gguf: &Gguf, figures: &Figures, loader: &mut Loader<'_>) -> Result<Traits, LoadError> {
    no_rope_scaling(gguf)?;
    let rotated = rotated(gguf, figures)?;
    let divisors = loader.optional_vector("rope_freqs.weight", rotated / 2)?;
    let rope = Rope::new(Pairing::Neighbours, rotated, rope_base(gguf)?, divisors.as_deref());
    Ok(uniform(figures, rope))
}
