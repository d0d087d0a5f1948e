//! BERT and its sentence embedders: every token sees every other, positions are learned rows, norms follow the blocks.

use super::keys::shown;
use super::{Figures, Keys, figures};
use crate::gguf::Gguf;
use crate::model::LoadError;

/// `general.architecture` of these files.
pub(super) const ARCHITECTURE: &str = "bert";

/// How the vectors of a text's tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pooling {
    /// Their mean.
    Mean,
    /// The first one.
    First,
    /// The last one.
    Last,
}

/// Reads figures and pooling of a file.
pub(crate) fn describe(gguf: &Gguf) -> Result<(Figures, Pooling), LoadError> {
    const POOLING: &str = "pooling_type";
    const CAUSAL: &str = "attention.causal";
    let keys = Keys::of(gguf);
    let architecture = keys.architecture();
    if super::families().contains(&architecture) {
        return Err(LoadError::Decoder { architecture: architecture.to_owned() });
    }
    if architecture != ARCHITECTURE {
        let known = ARCHITECTURE.to_owned();
        return Err(LoadError::Architecture { architecture: shown(architecture), known });
    }
    let figures = figures(gguf, &keys, "attention.layer_norm_epsilon")?;
    if keys.get(CAUSAL).is_some_and(|causal| causal.as_flag() != Some(false)) {
        return Err(keys.bad(CAUSAL, "not false: an embedder that only looks back is another graph"));
    }
    // The file format counts them so; 0 is no pooling, 4 a classifier's score for pairs of texts.
    let pooling = match keys.get(POOLING).map(|value| value.as_count()) {
        None => return Err(LoadError::MissingKey { key: keys.name(POOLING) }),
        Some(Some(1)) => Pooling::Mean,
        Some(Some(2)) => Pooling::First,
        Some(Some(3)) => Pooling::Last,
        Some(other) => {
            let value = other.map_or_else(|| "no number".to_owned(), |kind| kind.to_string());
            return Err(keys.bad(POOLING, format!("{value} (mean is 1, first 2, last 3)")));
        }
    };
    Ok((figures, pooling))
}
