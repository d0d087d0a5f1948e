//! What differs between model families, as data: one decoder loop (`model`) serves them all.
//!
//! A family's file says how its rotary positions pair and stretch, which activation bends its feed-forward, which norms it
//! has, which of its layers look through a window.

pub(crate) mod bert;
mod bitnet;
mod gemma3;
mod keys;
mod llama;
mod phi3;
mod qwen3;

pub(crate) use keys::Keys;

use crate::gguf::Gguf;
use crate::model::LoadError;
use crate::ops::{Activation, Rope};
use crate::weights::Loader;

/// Most tokens of context or window that a file may state.
const LARGEST_CONTEXT: usize = 1 << 28;
/// Most layers that a file may state.
const LARGEST_LAYERS: usize = 1_024;

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
    /// The rotary tables that layers choose from, two at the most.
    pub(crate) ropes: Vec<Rope>,
    pub(crate) activation: Activation,
    /// Multiplies the embedding of every token.
    pub(crate) embedding_scale: f32,
    /// Multiplies every attention score.
    pub(crate) attention_scale: f32,
    /// One entry per layer.
    pub(crate) layers: Vec<LayerTraits>,
    pub(crate) norms: Norms,
    /// Query, key and value lie in one tensor, gate and up in another.
    pub(crate) fused: bool,
    /// Matrices may have a bias.
    pub(crate) biases: bool,
    /// Matrices may have a scale for all their weights, in a tensor of its own.
    pub(crate) scales: bool,
    /// Holds the logits within ± this.
    pub(crate) softcap: Option<f32>,
}

/// What one layer says.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LayerTraits {
    /// Index into [`Traits::ropes`].
    pub(crate) rope: usize,
    /// How many positions back a token sees, itself included.
    pub(crate) window: Option<usize>,
}

/// Norms beyond the two that begin a layer's blocks. What a family has must be in its file.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Norms {
    /// Of each head's query and key, before they rotate.
    pub(crate) query_and_key: bool,
    /// Before the matrix that closes attention, and before the one that closes the feed-forward.
    pub(crate) inside_blocks: bool,
    /// After attention and after the feed-forward, before they join the residual stream.
    pub(crate) after_blocks: bool,
}

impl Traits {
    /// A family with nothing beyond SwiGLU and this rotary table.
    fn plain(figures: &Figures, rope: Rope) -> Self {
        Self {
            ropes: vec![rope],
            activation: Activation::Silu,
            embedding_scale: 1.0,
            attention_scale: 1.0 / (figures.key_length as f32).sqrt(),
            layers: vec![LayerTraits::default(); figures.layers],
            norms: Norms::default(),
            fused: false,
            biases: false,
            scales: false,
            softcap: None,
        }
    }
}

type Describe = fn(&Keys<'_>, &Figures, &mut Loader<'_>) -> Result<Traits, LoadError>;

/// `general.architecture` and the function that reads its traits.
const FAMILIES: &[(&str, Describe)] = &[
    ("llama", llama::describe),
    ("qwen3", qwen3::describe),
    ("phi3", phi3::describe),
    (gemma3::ARCHITECTURE, gemma3::describe),
    ("bitnet", bitnet::describe),
    ("bitnet-b1.58", bitnet::describe),
    ("bitnet-25", bitnet::describe),
];

/// The architectures that this engine runs.
#[must_use]
pub fn families() -> Vec<&'static str> {
    FAMILIES.iter().map(|family| family.0).collect()
}

/// The windows of a file's layers, one entry per layer; none where no layer has one or the file contradicts itself.
pub(crate) fn windows(gguf: &Gguf, layers: usize) -> Vec<Option<usize>> {
    let keys = Keys::of(gguf);
    if keys.architecture() != gemma3::ARCHITECTURE {
        return Vec::new();
    }
    let layers = gemma3::layers(&keys, layers.min(LARGEST_LAYERS)).unwrap_or_default();
    layers.into_iter().map(|layer| layer.window).collect()
}

/// Reads figures and traits of a file.
pub(crate) fn describe(gguf: &Gguf, loader: &mut Loader<'_>) -> Result<(Figures, Traits), LoadError> {
    let keys = Keys::of(gguf);
    let architecture = keys.architecture();
    if architecture == bert::ARCHITECTURE {
        return Err(LoadError::Embedder { architecture: architecture.to_owned() });
    }
    let Some((_, describe)) = FAMILIES.iter().find(|family| family.0 == architecture) else {
        return Err(LoadError::Architecture { architecture: keys::shown(architecture), known: families().join(", ") });
    };
    let figures = figures(gguf, &keys, "attention.layer_norm_rms_epsilon")?;
    let traits = describe(&keys, &figures, loader)?;
    Ok((figures, traits))
}

/// The figures of a family whose norms add the epsilon under this key.
fn figures(gguf: &Gguf, keys: &Keys<'_>, epsilon_key: &str) -> Result<Figures, LoadError> {
    let embedding = keys.count("embedding_length", None, 1 << 20)?;
    let heads = keys.count("attention.head_count", None, 4_096)?;
    let kv_heads = keys.count("attention.head_count_kv", Some(heads), 4_096)?;
    let head_length = Some(embedding / heads);
    let rows = gguf.tensor("token_embd.weight").and_then(|tensor| tensor.shape.get(1)).copied();
    let Some(vocabulary) = rows.filter(|rows| (1..=1 << 24).contains(rows)) else {
        return Err(LoadError::MissingTensor { tensor: "token_embd.weight".to_owned() });
    };
    let epsilon = keys.number(epsilon_key, f64::MIN_POSITIVE, 0.999)?;
    let figures = Figures {
        layers: keys.count("block_count", None, LARGEST_LAYERS)?,
        embedding,
        feed_forward: keys.count("feed_forward_length", None, 1 << 22)?,
        heads,
        kv_heads,
        key_length: keys.count("attention.key_length", head_length, 4_096)?,
        value_length: keys.count("attention.value_length", head_length, 4_096)?,
        vocabulary: vocabulary as usize,
        context_tokens: keys.count("context_length", None, LARGEST_CONTEXT)?,
        epsilon: epsilon.ok_or_else(|| LoadError::MissingKey { key: keys.name(epsilon_key) })? as f32,
    };
    if !heads.is_multiple_of(kv_heads) {
        let value = format!("{kv_heads} (not a divisor of {heads} heads)");
        return Err(keys.bad("attention.head_count_kv", value));
    }
    Ok(figures)
}

/// How many elements of each head rotate: `rope.dimension_count`, or the whole head.
fn rotated(keys: &Keys<'_>, figures: &Figures) -> Result<usize, LoadError> {
    const KEY: &str = "rope.dimension_count";
    let count = keys.count(KEY, Some(figures.key_length), figures.key_length)?;
    if count.is_multiple_of(2) { Ok(count) } else { Err(keys.bad(KEY, count)) }
}

/// `rope.freq_base`, or 10,000.
fn rope_base(keys: &Keys<'_>) -> Result<f64, LoadError> {
    Ok(keys.number("rope.freq_base", 1.0, 1e12)?.unwrap_or(10_000.0))
}

/// What positions are divided by under linear scaling, 1 where there is none. Another kind of stretching would answer
/// nonsense far into a conversation: it is refused by name.
fn linear_divisor(keys: &Keys<'_>) -> Result<f64, LoadError> {
    const KIND: &str = "rope.scaling.type";
    match keys.text(KIND)? {
        Some("none") => Ok(1.0),
        // The file format's readers take a factor without a kind as linear; 0 says that there is none.
        None | Some("linear") => match keys.number("rope.scaling.factor", 0.0, 1e6)? {
            None | Some(0.0) => Ok(1.0),
            Some(factor) if factor >= 1e-3 => Ok(factor),
            Some(factor) => Err(keys.bad("rope.scaling.factor", factor)),
        },
        Some(kind) => Err(keys.bad(KIND, keys::shown(kind))),
    }
}

/// A tensor of so many divisors of rotary speeds.
fn divisors(loader: &mut Loader<'_>, name: &str, pairs: usize) -> Result<Vec<f32>, LoadError> {
    let divisors = loader.vector(name, pairs)?;
    match divisors.iter().find(|divisor| !(divisor.is_finite() && **divisor > 0.0)) {
        None => Ok(divisors),
        Some(divisor) => Err(LoadError::BadDivisor { tensor: name.to_owned(), divisor: *divisor }),
    }
}
