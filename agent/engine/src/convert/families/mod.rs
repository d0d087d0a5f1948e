//! What differs between model families, as data: names of tensors, figures of the file, what is changed on the way.

mod bert;
mod bitnet;
mod gemma3;
mod llama;
mod phi3;
mod qwen3;

use super::config::Config;
use super::directory::Directory;
use super::{ConvertError, rope::Rope};
use crate::gguf::{Format, Value};

/// Most layers of a model.
const LAYERS: u32 = 1_024;
/// Most of any other figure: the widest vocabularies and contexts stay far below.
const MOST: u32 = 1 << 28;

/// One family.
#[derive(Debug)]
pub(super) struct Family {
    /// What `config.json` calls it: classes and types.
    pub(super) names: &'static [&'static str],
    /// `general.architecture` of the file.
    pub(super) architecture: &'static str,
    /// What a tensor's name may begin with, to be cut off.
    pub(super) prefixes: &'static [&'static str],
    /// Beginnings of names of tensors that the text model does not use.
    pub(super) unused: &'static [&'static str],
    /// Tensors outside of layers.
    pub(super) outer: &'static [Part],
    /// What a layer's tensors begin with, before its number.
    pub(super) layer: &'static str,
    /// Tensors of each layer.
    pub(super) inner: &'static [Part],
    /// Every tensor may have a bias.
    pub(super) biases: bool,
    pub(super) describe: Describe,
}

pub(super) type Describe = fn(&Config, &Directory) -> Result<Description, ConvertError>;

/// A tensor's name here and there, without `.weight` and `.bias`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) from: &'static str,
    pub(super) to: &'static str,
    pub(super) treatment: Treatment,
}

/// What is done to a tensor on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Treatment {
    /// Kept; a matrix in the format that was asked for.
    Keep,
    /// Kept, in F32 even when it is a matrix.
    KeepWide,
    /// The table of outputs, which is not there where the table of embeddings is also that.
    Output,
    /// A norm that is stored as its distance from 1.
    OffsetNorm,
    /// Query rows, to be paired by neighbours.
    Query,
    /// Key rows, likewise.
    Key,
    /// BitNet's ternary matrices, in whichever way they are stored.
    Ternary,
}

/// What one model of a family says of itself.
#[derive(Debug, Default)]
pub(super) struct Description {
    /// Keys of the file, without the architecture in front.
    pub(super) keys: Vec<(&'static str, Value)>,
    /// Tensors that are computed from figures.
    pub(super) computed: Vec<(&'static str, Vec<f32>)>,
    pub(super) layers: u32,
    pub(super) heads: u32,
    pub(super) kv_heads: u32,
    /// The table of embeddings is the table of outputs too.
    pub(super) tied: bool,
    /// How BitNet's matrices come by their scales.
    pub(super) ternary: Ternary,
    /// What an operator should know of the result.
    pub(super) notes: Vec<String>,
}

/// How BitNet's matrices are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Ternary {
    /// As they are used.
    #[default]
    Plain,
    /// To be rounded.
    Master,
    /// Packed; the number beside multiplies.
    Multiplied,
    /// Packed; the number beside divides.
    Divided,
}

const FAMILIES: &[&Family] =
    &[&qwen3::FAMILY, &llama::FAMILY, &phi3::FAMILY, &gemma3::FAMILY, &bitnet::FAMILY, &bert::FAMILY];

/// The family that `config.json` names: its classes first, then its type.
pub(super) fn find(config: &Config) -> Result<&'static Family, ConvertError> {
    let names = config.names();
    let by_name = |name: &&str| FAMILIES.iter().find(|family| family.names.contains(name)).copied();
    names.iter().find_map(by_name).ok_or_else(|| ConvertError::Family {
        found: names.first().map_or_else(|| "without a name".to_owned(), |name| (*name).to_owned()),
        known: FAMILIES.iter().map(|family| family.architecture).collect::<Vec<_>>().join(", "),
    })
}

const fn part(from: &'static str, to: &'static str, treatment: Treatment) -> Part {
    Part { from, to, treatment }
}

const fn keep(from: &'static str, to: &'static str) -> Part {
    part(from, to, Treatment::Keep)
}

/// Outside of layers, decoders are alike.
const OUTER: &[Part] =
    &[keep("embed_tokens", "token_embd"), keep("norm", "output_norm"), part("lm_head", "output", Treatment::Output)];

/// Figures that every decoder states by the same names.
fn decoder(config: &Config) -> Result<Description, ConvertError> {
    let heads = config.count("num_attention_heads", MOST)?;
    let mut description = Description {
        layers: config.count("num_hidden_layers", LAYERS)?,
        heads,
        kv_heads: config.optional_count("num_key_value_heads", MOST)?.unwrap_or(heads),
        tied: config.flag("tie_word_embeddings", false)?,
        ..Description::default()
    };
    let count = |key: &str| config.count(key, MOST).map(Value::U32);
    description.keys = vec![
        ("block_count", Value::U32(description.layers)),
        ("context_length", count("max_position_embeddings")?),
        ("embedding_length", count("hidden_size")?),
        ("feed_forward_length", count("intermediate_size")?),
        ("attention.head_count", Value::U32(description.heads)),
        ("attention.head_count_kv", Value::U32(description.kv_heads)),
        ("attention.layer_norm_rms_epsilon", Value::F32(config.number("rms_norm_eps")? as f32)),
    ];
    Ok(description)
}

/// The length of a head, where the file does not say: an equal share of the embedding.
fn head_length(config: &Config, heads: u32) -> Result<u32, ConvertError> {
    Ok(match config.optional_count("head_dim", MOST)? {
        Some(length) => length,
        None => config.count("hidden_size", MOST)? / heads,
    })
}

/// Settings under which no decoder here computes what the model does.
fn plain_decoder(config: &Config, activation: &[&str]) -> Result<(), ConvertError> {
    config.must_not("attention_bias", "this family has no biases")?;
    config.must_not("mlp_bias", "this family has no biases")?;
    config.must_be("hidden_act", activation, "the family's feed-forward bends otherwise")?;
    config.must_be_absent("num_local_experts", "mixtures of experts are not read here")?;
    config.must_be_absent("num_experts", "mixtures of experts are not read here")
}

/// Refuses layers of which some look through a window.
fn no_windows(config: &Config) -> Result<(), ConvertError> {
    let kinds = config.get("layer_types").and_then(serde_json::Value::as_array).into_iter().flatten();
    match kinds.filter_map(serde_json::Value::as_str).find(|kind| *kind != "full_attention") {
        Some(kind) => {
            Err(super::config::unsupported("layer_types", kind, "every layer sees everything in this family"))
        }
        None => Ok(()),
    }
}

/// Keys of positions that turn plainly, or stretched evenly.
fn rope_keys(rope: &Rope) -> Vec<(&'static str, Value)> {
    let mut keys = vec![("rope.freq_base", Value::F32(rope.base as f32))];
    if let super::rope::Stretch::Linear(factor) = rope.stretch {
        keys.push(("rope.scaling.type", Value::Text("linear".to_owned())));
        keys.push(("rope.scaling.factor", Value::F32(factor as f32)));
    }
    keys
}

impl Treatment {
    /// What a tensor of so many dimensions is written in, when matrices are wanted in `matrix`.
    pub(super) fn format(self, dimensions: usize, matrix: Format) -> Format {
        if dimensions < 2 || self == Self::KeepWide { Format::F32 } else { matrix }
    }
}
