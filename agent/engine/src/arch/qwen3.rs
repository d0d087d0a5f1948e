//! Qwen 3 (dense): halves rotate together; queries and keys are normed per head before they do.

use super::{Figures, Traits, no_rope_scaling, rope_base, rotated, uniform};
use crate::gguf::Gguf;
use crate::model::LoadError;
use crate::ops::{Pairing, Rope};
use crate::weights::Loader;

pub(super) fn describe(gguf: &Gguf, figures: &Figures, loader: &mut Loader<'_>) -> Result<Traits, LoadError> {
    no_rope_scaling(gguf)?;
    for name in ["blk.0.attn_q_norm.weight", "blk.0.attn_k_norm.weight"] {
        if !loader.has(name) {
            return Err(LoadError::MissingTensor { tensor: name.to_owned() });
        }
    }
    Ok(uniform(figures, Rope::new(Pairing::Halves, rotated(gguf, figures)?, rope_base(gguf)?, None)))
}
