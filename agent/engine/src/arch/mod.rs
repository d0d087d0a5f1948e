//! What differs between model families, as data: one decoder loop (`model`) serves them all.
//!
//! A family's file says how its rotary positions pair and stretch, which activation bends its feed-forward, which of its
//! layers look through a window. Norms that a family has or has not are found by their tensors.

mod llama;
mod qwen3;

use crate::gguf::Gguf;
use crate::model::LoadError;
use crate::ops::{Activation, Rope};
use crate::weights::Loader;

/// Figures that every family's file states.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    pub(crate) layers: usize,
    pub(crate) embedding: usize,
    pub(crate) feed_forward: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) key_length: usize,
    pub(crate) value_length: usize,
    pub(crate) vocabulary: usize,
    pub(crate) context_tokens: usize,
    pub(crate) epsilon: f32,
}

/// What one family says beyond its figures.
#[derive(Debug)]
pub(crate) struct Traits {
    /// The rotary tables that layers choose from.
    pub(crate) ropes: Vec<Rope>,
    pub(crate) activation: Activation,
    /// Multiplies the embedding of every token.
    pub(crate) embedding_scale: f32,
    /// Multiplies every attention score.
    pub(crate) attention_scale: f32,
    /// One entry per layer.
    pub(crate) layers: Vec<LayerTraits>,
    /// Query, key and value lie in one tensor, gate and up in another.
    pub(crate) fused: bool,
}

/// What one layer says.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LayerTraits {
    /// Index into [`Traits::ropes`].
    pub(crate) rope: usize,
    /// How many positions back a token sees, itself included.
    pub(crate) window: Option<usize>,
}

type Describe = fn(&Gguf, &Figures, &mut Loader<'_>) -> Result<Traits, LoadError>;

/// `general.architecture` and the function that reads its traits.
const FAMILIES: &[(&str, Describe)] = &[("llama", llama::describe), ("qwen3", qwen3::describe)];

/// The architectures that this engine runs.
#[must_use]
pub fn families() -> Vec<&'static str> {
    FAMILIES.iter().map(|family| family.0).collect()
}

/// Reads figures and traits of a file.
pub(crate) fn describe(gguf: &Gguf, loader: &mut Loader<'_>) -> Result<(Figures, Traits), LoadError> {
    let architecture = gguf.text("general.architecture").unwrap_or_default();
    let Some((_, describe)) = FAMILIES.iter().find(|family| family.0 == architecture) else {
        return Err(LoadError::Architecture { architecture: architecture.to_owned(), known: families().join(", ") });
    };
    let figures = figures(gguf, architecture)?;
    let traits = describe(gguf, &figures, loader)?;
    Ok((figures, traits))
}

/// Bounds that keep a damaged figure from becoming a giant allocation or an overflow: (key, smallest, largest).
fn figures(gguf: &Gguf, architecture: &str) -> Result<Figures, LoadError> {
    let bounded = |name: &str, fallback: Option<u64>, most: u64| -> Result<usize, LoadError> {
        let key = format!("{architecture}.{name}");
        let Some(value) = gguf.count(&key).or(fallback) else {
            return Err(LoadError::MissingKey { key });
        };
        if value == 0 || value > most {
            return Err(LoadError::BadFigure { key, value: value.to_string() });
        }
        usize::try_from(value).map_err(|_| LoadError::BadFigure { key, value: value.to_string() })
    };
    let embedding = bounded("embedding_length", None, 1 << 20)?;
    let heads = bounded("attention.head_count", None, 4_096)?;
    let kv_heads = bounded("attention.head_count_kv", Some(heads as u64), 4_096)?;
    let head_length = Some((embedding / heads) as u64);
    let vocabulary = gguf.tensor("token_embd.weight").and_then(|tensor| tensor.shape.get(1)).copied();
    let key = |name: &str| format!("{architecture}.{name}");
    let epsilon = gguf.number(&key("attention.layer_norm_rms_epsilon"));
    let epsilon = epsilon.ok_or_else(|| LoadError::MissingKey { key: key("attention.layer_norm_rms_epsilon") })?;
    let figures = Figures {
        layers: bounded("block_count", None, 1_024)?,
        embedding,
        feed_forward: bounded("feed_forward_length", None, 1 << 22)?,
        heads,
        kv_heads,
        key_length: bounded("attention.key_length", head_length, 4_096)?,
        value_length: bounded("attention.value_length", head_length, 4_096)?,
        vocabulary: usize::try_from(vocabulary.filter(|rows| *rows <= 1 << 24).unwrap_or(0)).unwrap_or(0),
        context_tokens: bounded("context_length", None, 1 << 28)?,
        epsilon: epsilon as f32,
    };
    if !figures.heads.is_multiple_of(figures.kv_heads) {
        return Err(LoadError::BadFigure {
            key: key("attention.head_count_kv"),
            value: format!("{} (not a divisor of {} heads)", figures.kv_heads, figures.heads),
        });
    }
    if figures.vocabulary == 0 {
        return Err(LoadError::MissingTensor { tensor: "token_embd.weight".to_owned() });
    }
    if !(figures.epsilon > 0.0 && figures.epsilon < 1.0) {
        return Err(LoadError::BadFigure {
            key: key("attention.layer_norm_rms_epsilon"),
            value: figures.epsilon.to_string(),
        });
    }
    Ok(figures)
}

/// How many elements of each head rotate: `rope.dimension_count`, or the whole head.
fn rotated(gguf: &Gguf, figures: &Figures) -> Result<usize, LoadError> {
    let key = format!("{}.rope.dimension_count", gguf.text("general.architecture").unwrap_or_default());
    match gguf.count(&key) {
        None => Ok(figures.key_length),
        Some(count) => usize::try_from(count)
            .ok()
            .filter(|count| count.is_multiple_of(2) && (2..=figures.key_length).contains(count))
            .ok_or(LoadError::BadFigure { key, value: count.to_string() }),
    }
}

/// `rope.freq_base`, or 10,000.
fn rope_base(gguf: &Gguf) -> Result<f64, LoadError> {
    let key = format!("{}.rope.freq_base", gguf.text("general.architecture").unwrap_or_default());
    match gguf.number(&key) {
        None => Ok(10_000.0),
        Some(base) if base.is_finite() && base >= 1.0 => Ok(base),
        Some(base) => Err(LoadError::BadFigure { key, value: base.to_string() }),
    }
}

/// A stretched context that this family does not know how to stretch would answer nonsense far into a conversation.
fn no_rope_scaling(gguf: &Gguf) -> Result<(), LoadError> {
    let key = format!("{}.rope.scaling.type", gguf.text("general.architecture").unwrap_or_default());
    match gguf.text(&key) {
        None | Some("none") => Ok(()),
        Some(kind) => Err(LoadError::BadFigure { key, value: kind.to_owned() }),
    }
}

fn uniform(figures: &Figures, rope: Rope) -> Traits {
    Traits {
        ropes: vec![rope],
        activation: Activation::Silu,
        embedding_scale: 1.0,
        attention_scale: 1.0 / (figures.key_length as f32).sqrt(),
        layers: vec![LayerTraits::default(); figures.layers],
        fused: false,
    }
}
