//! Qwen 3 (dense): halves rotate together; queries and keys are normed per head before they do.

use super::{Figures, Keys, Norms, Traits, linear_divisor, rope_base, rotated};
use crate::model::LoadError;
use crate::ops::{Pairing, Rope};
use crate::weights::Loader;

pub(super) fn describe(keys: &Keys<'_>, figures: &Figures, _: &mut Loader<'_>) -> Result<Traits, LoadError> {
    let rope = Rope::new(Pairing::Halves, rotated(keys, figures)?, rope_base(keys)?, None);
    let norms = Norms { query_and_key: true, ..Norms::default() };
    Ok(Traits { norms, ..Traits::plain(figures, rope.slowed(linear_divisor(keys)?)) })
}
