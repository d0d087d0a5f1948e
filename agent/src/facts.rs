//! What a GGUF file is, in the catalogue's words: the one place where the engine's facts become the contract's.

use std::path::Path;

use anyhow::{Context, Result};
use outpost_contract::{Footprint, GoldenPrompts, Matrices, ModelFacts, ModelId, VariantFacts};
use outpost_engine::gguf::{Gguf, ModelInfo};

/// Smallest context that a box of its own accepts, tokens: below it a conversation is of no use.
pub(crate) const MINIMUM_CONTEXT_TOKENS: u32 = 256;

/// The facts of a file, for a catalogue entry or a plan.
#[must_use]
pub fn variant(model: ModelId, release: u64, info: &ModelInfo) -> VariantFacts {
    let bits_milli = info.weight_bytes.saturating_mul(8_000).checked_div(info.parameters).unwrap_or(0);
    VariantFacts {
        release,
        model: ModelFacts {
            model,
            architecture: info.architecture.clone(),
            licence: info.licence.clone(),
            parameters: info.parameters,
            context_tokens: info.context_tokens,
            layers: info.layers,
            embedding_length: info.embedding_length,
            vocabulary: info.vocabulary,
            kv_elements_per_layer: info.kv_elements_per_layer,
            feed_forward_length: info.feed_forward_length,
            query_elements: info.query_elements,
        },
        quantisation: info.quantisation.clone(),
        file_bytes: info.file_bytes,
        weight_bytes: info.weight_bytes,
        quality_milli: u32::try_from(bits_milli).unwrap_or(u32::MAX),
        golden: GoldenPrompts::default(),
        origin: None,
        footprint: Some(Box::new(footprint(&info.footprint))),
    }
}

fn footprint(counted: &outpost_engine::Footprint) -> Footprint {
    Footprint {
        weight_bytes: counted.weight_bytes,
        tokenizer_bytes: counted.tokenizer_bytes,
        kv_heads: counted.kv_heads,
        key_length: counted.key_length,
        value_length: counted.value_length,
        attended_elements: counted.attended_elements,
        rotary_pairs: counted.rotary_pairs,
        windowed_layers: counted.windowed_layers,
        window_tokens: counted.window_tokens,
        matrices: counted.matrices.iter().map(matrices).collect(),
    }
}

fn matrices(counted: &outpost_engine::Matrices) -> Matrices {
    Matrices {
        format: counted.format.to_owned(),
        layer_weights: counted.layer_weights,
        layer_bytes: counted.layer_bytes,
        output_bytes: counted.output_bytes,
    }
}

/// A model id made from the file's own name, or from `general.name`; what cannot stand in an id becomes `-`.
///
/// # Errors
/// If neither leaves a usable character.
pub fn model_id(path: &Path, info: &ModelInfo) -> Result<ModelId> {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let source = if info.name.is_empty() { &stem } else { &info.name };
    let spelled: String = source
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_') { c } else { '-' })
        .take(64)
        .collect();
    let spelled = spelled.trim_start_matches(['-', '.', '_']);
    spelled.parse().with_context(|| format!("no model id can be made from `{source}`"))
}

/// Where the file may be cut so that equal tensors of two files become equal chunks: the start of each tensor.
#[must_use]
pub fn cuts(gguf: &Gguf) -> Vec<u64> {
    let mut starts: Vec<u64> = gguf.tensors().iter().map(|tensor| tensor.range.start as u64).collect();
    starts.sort_unstable();
    starts
}
