//! What a file says of its model, in the words of the catalogue and the planner.

use std::collections::HashMap;

use serde::Serialize;

use super::{Format, Gguf};
use crate::footprint::{self, Footprint};
use crate::quantize::calibrated::BUDGET_KEY;

/// Facts about a model file. What the file does not say is empty or 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelInfo {
    /// `general.name`.
    pub name: String,
    /// `general.architecture`, as in `qwen3`.
    pub architecture: String,
    /// Quantisation, as in `Q4_0`: from `general.file_type`, else the format that holds most bytes;
    /// `Q4_K_MIX_4.80` of a file that was mixed here.
    pub quantisation: String,
    /// Number of weights of all tensors.
    pub parameters: u64,
    /// `general.license`, an SPDX identifier in lower case by custom.
    pub licence: String,
    /// Longest context that the model was trained for, tokens.
    pub context_tokens: u32,
    /// Transformer blocks.
    pub layers: u32,
    /// Width of the residual stream.
    pub embedding_length: u32,
    /// Rows of the embedding table.
    pub vocabulary: u32,
    /// Key and value elements per token in one layer: `kv_heads * (key_length + value_length)`.
    pub kv_elements_per_layer: u32,
    /// Width of the feed-forward layer.
    pub feed_forward_length: u32,
    /// Query heads times key length.
    pub query_elements: u32,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Bytes of all tensors.
    pub weight_bytes: u64,
    /// What the engine will hold of it in memory.
    pub footprint: Footprint,
}

pub(super) fn of(gguf: &Gguf) -> ModelInfo {
    let architecture = gguf.text("general.architecture").unwrap_or_default().to_owned();
    let key = |name: &str| format!("{architecture}.{name}");
    let figure = |name: &str| first_count(gguf, &key(name)).and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
    let embedding_length = figure("embedding_length");
    let heads = figure("attention.head_count");
    let kv_heads = match figure("attention.head_count_kv") {
        0 => heads,
        count => count,
    };
    let default_length = embedding_length.checked_div(heads).unwrap_or(0);
    let or_default = |length: u32| if length == 0 { default_length } else { length };
    let key_length = or_default(figure("attention.key_length"));
    let value_length = or_default(figure("attention.value_length"));
    let vocabulary = gguf
        .tensor("token_embd.weight")
        .and_then(|tensor| tensor.shape.get(1).copied())
        .or_else(|| {
            gguf.get("tokenizer.ggml.tokens").and_then(|value| value.as_texts()).map(|texts| texts.len() as u64)
        })
        .and_then(|rows| u32::try_from(rows).ok())
        .unwrap_or(0);
    ModelInfo {
        name: gguf.text("general.name").unwrap_or_default().to_owned(),
        quantisation: quantisation(gguf),
        parameters: gguf.tensors().iter().map(super::TensorEntry::weights).fold(0, u64::saturating_add),
        licence: gguf.text("general.license").unwrap_or_default().to_owned(),
        context_tokens: figure("context_length"),
        layers: figure("block_count"),
        embedding_length,
        vocabulary,
        kv_elements_per_layer: kv_heads.saturating_mul(key_length.saturating_add(value_length)),
        feed_forward_length: figure("feed_forward_length"),
        query_elements: heads.saturating_mul(key_length),
        file_bytes: gguf.file_bytes(),
        weight_bytes: gguf.tensors().iter().map(|tensor| tensor.range.len() as u64).sum(),
        footprint: footprint::of(
            gguf,
            &footprint::Heads { kv_heads, key_length, value_length, heads, layers: figure("block_count"), vocabulary },
        ),
        architecture,
    }
}

/// Some families give one figure per layer: the first stands for all here.
fn first_count(gguf: &Gguf, key: &str) -> Option<u64> {
    let value = gguf.get(key)?;
    value.as_count().or_else(|| value.as_counts().and_then(|counts| counts.first().copied()))
}

/// `general.file_type` of `llama.cpp`, number and name.
pub(crate) const FILE_TYPES: &[(u64, &str)] = &[
    (0, "F32"),
    (1, "F16"),
    (2, "Q4_0"),
    (3, "Q4_1"),
    (7, "Q8_0"),
    (8, "Q5_0"),
    (9, "Q5_1"),
    (10, "Q2_K"),
    (11, "Q3_K_S"),
    (12, "Q3_K_M"),
    (13, "Q3_K_L"),
    (14, "Q4_K_S"),
    (15, "Q4_K_M"),
    (16, "Q5_K_S"),
    (17, "Q5_K_M"),
    (18, "Q6_K"),
    (25, "IQ4_NL"),
    (30, "IQ4_XS"),
    (32, "BF16"),
    (36, "TQ1_0"),
    (37, "TQ2_0"),
];

fn quantisation(gguf: &Gguf) -> String {
    // BitNet's fork and `llama.cpp` have given the same number to different file types: what the file holds decides.
    if gguf.tensors().iter().any(|tensor| tensor.format == Format::I2_S) {
        return Format::I2_S.name().to_owned();
    }
    // A mix says what most of it is, for programs that know no mixes; here it has a name that tells it from the rest.
    if let Some(name) = gguf.count(BUDGET_KEY).and_then(|_| mix_name(gguf)) {
        return name;
    }
    let declared = gguf.count("general.file_type").and_then(|id| FILE_TYPES.iter().find(|row| row.0 == id));
    if let Some((_, name)) = declared {
        return (*name).to_owned();
    }
    most_common(of_tensors(gguf)).map(|format| format.name().to_owned()).unwrap_or_default()
}

/// As in `Q4_K_MIX_4.8`: the format that most bytes have, so that its kernel's speed is taken for the whole, and the bits that
/// the weights have on average, so that two mixes of one model have two names.
fn mix_name(gguf: &Gguf) -> Option<String> {
    let most = most_common(of_tensors(gguf))?.name();
    let weights = gguf.tensors().iter().map(super::TensorEntry::weights).fold(0, u64::saturating_add).max(1);
    let bytes: u64 = of_tensors(gguf).map(|(_, bytes)| bytes).sum();
    Some(format!("{most}_MIX_{:.2}", bytes as f64 * 8.0 / weights as f64))
}

fn of_tensors(gguf: &Gguf) -> impl Iterator<Item = (Format, u64)> {
    gguf.tensors().iter().map(|tensor| (tensor.format, tensor.range.len() as u64))
}

/// The format that most bytes have; of equals, that with the larger number.
pub(crate) fn most_common(tensors: impl Iterator<Item = (Format, u64)>) -> Option<Format> {
    let mut all: HashMap<Format, u64> = HashMap::new();
    tensors.for_each(|(format, bytes)| *all.entry(format).or_default() += bytes);
    all.into_iter().max_by_key(|(format, bytes)| (*bytes, format.id())).map(|(format, _)| format)
}
