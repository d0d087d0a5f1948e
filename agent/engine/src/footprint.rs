//! What the engine will hold in memory of a model, counted from the file's header before anything is loaded.
//!
//! ```text
//! matrix that is multiplied   tiles of sixteen rows                 (cpu/pack.rs)
//! vector                      F32
//! table that is looked up,    where the file's map has it, resident once all of its rows were asked for
//! format without a kernel
//! vocabulary                  the header's own texts, then the tokenizer's, then the tree that grammars search
//! ```

use serde::Serialize;

use crate::arch;
use crate::cpu::Packed;
use crate::gguf::{Array, Format, Gguf, TensorEntry, Value};

/// Bytes that a page of memory has, which a map takes as a whole.
const MEMORY_PAGE: u64 = 4_096;

/// What the engine will hold of a model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Footprint {
    /// Bytes of all weights as they are kept.
    pub weight_bytes: u64,
    /// Bytes of the vocabulary, of what was read to make it, and of the tree that grammars search.
    pub tokenizer_bytes: u64,
    /// Heads of keys and values.
    pub kv_heads: u32,
    /// Elements of a head's key.
    pub key_length: u32,
    /// Elements of a head's value.
    pub value_length: u32,
    /// Elements of what attention answers for one token.
    pub attended_elements: u32,
    /// Pairs of elements that turn with the position, of all tables.
    pub rotary_pairs: u32,
    /// Layers that look through a window.
    pub windowed_layers: u32,
    /// How far those look, tokens; 0 where there are none.
    pub window_tokens: u32,
    /// The matrices that a pass multiplies with, by format.
    pub matrices: Vec<Matrices>,
}

/// The matrices of one format that a pass multiplies with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Matrices {
    /// Block format, as in `Q6_K`.
    pub format: &'static str,
    /// Weights of the layers.
    pub layer_weights: u64,
    /// Bytes of these.
    pub layer_bytes: u64,
    /// Bytes of the output matrix, which may be the table of embeddings.
    pub output_bytes: u64,
}

/// The figures that the file's description has found already.
pub(crate) struct Heads {
    pub(crate) heads: u32,
    pub(crate) kv_heads: u32,
    pub(crate) key_length: u32,
    pub(crate) value_length: u32,
    pub(crate) layers: u32,
    pub(crate) vocabulary: u32,
}

pub(crate) fn of(gguf: &Gguf, heads: &Heads) -> Footprint {
    let windows = arch::windows(gguf, heads.layers as usize);
    let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let architecture = gguf.text("general.architecture").unwrap_or_default();
    let rotated =
        gguf.count(&format!("{architecture}.rope.dimension_count")).and_then(|count| u32::try_from(count).ok());
    let tensors = gguf.tensors().iter().map(|TensorEntry { name, shape, format, range, .. }| {
        (name.as_str(), shape.as_slice(), *format, range.len() as u64)
    });
    let tables = if windows.iter().any(Option::is_some) { 2 } else { 1 };
    Footprint {
        weight_bytes: kept(tensors.clone()),
        tokenizer_bytes: tokenizer_bytes(gguf, u64::from(heads.vocabulary)),
        kv_heads: heads.kv_heads,
        key_length: heads.key_length,
        value_length: heads.value_length,
        attended_elements: heads.heads.saturating_mul(heads.value_length),
        rotary_pairs: (rotated.unwrap_or(heads.key_length) / 2).saturating_mul(tables),
        windowed_layers: narrow(windows.iter().flatten().count()),
        window_tokens: narrow(windows.into_iter().flatten().max().unwrap_or(0)),
        matrices: matrices(tensors),
    }
}

/// Every tensor of two dimensions that is multiplied with: those of the layers, and the output matrix or the table of
/// embeddings that stands for it; tensors as [`kept`] takes them. The formats in the order in which the file has them.
pub(crate) fn matrices<'a>(tensors: impl Iterator<Item = (&'a str, &'a [u64], Format, u64)> + Clone) -> Vec<Matrices> {
    let has_output = tensors.clone().any(|(name, ..)| name == "output.weight");
    let output = if has_output { "output.weight" } else { "token_embd.weight" };
    let mut all: Vec<Matrices> = Vec::new();
    for (name, shape, format, bytes) in tensors {
        let (&[columns, rows], is_layer) = (shape, name.starts_with("blk.")) else { continue };
        if !is_layer && name != output {
            continue;
        }
        let format = format.name();
        let place = all.iter().position(|matrices| matrices.format == format).unwrap_or_else(|| {
            all.push(Matrices { format, ..Matrices::default() });
            all.len() - 1
        });
        let matrices = &mut all[place];
        if is_layer {
            matrices.layer_weights = matrices.layer_weights.saturating_add(columns.saturating_mul(rows));
            matrices.layer_bytes = matrices.layer_bytes.saturating_add(bytes);
        } else {
            matrices.output_bytes = matrices.output_bytes.saturating_add(bytes);
        }
    }
    all
}

/// Bytes of these tensors as they are kept: each by its name, its dimensions, its format and its bytes in the file.
pub(crate) fn kept<'a>(tensors: impl Iterator<Item = (&'a str, &'a [u64], Format, u64)> + Clone) -> u64 {
    let has_output = tensors.clone().any(|(name, ..)| name == "output.weight");
    let kept = |(name, shape, format, bytes): (&str, &[u64], Format, u64)| match shape {
        [columns, rows] if !(has_output && name == "token_embd.weight") => {
            let packed = usize::try_from(*rows).ok().zip(usize::try_from(*columns).ok());
            let packed = packed.and_then(|(rows, columns)| Packed::bytes(format, rows, columns));
            packed.map_or(bytes, |bytes| bytes.next_multiple_of(MEMORY_PAGE))
        }
        [length] if matches!(format, Format::F32 | Format::F16 | Format::BF16) => length.saturating_mul(4),
        _ => bytes,
    };
    tensors.map(kept).fold(0, u64::saturating_add)
}

/// Bytes of a text of an array: itself, where it lies, and what the system's allocator adds.
fn text_bytes(length: u64) -> u64 {
    const OWN: u64 = size_of::<String>() as u64;
    OWN + (length + 8).next_multiple_of(16).max(32)
}

/// A token of which only the number is known: what real vocabularies have on average, bytes.
const TYPICAL_TOKEN: u64 = 8;

fn tokenizer_bytes(gguf: &Gguf, vocabulary: u64) -> u64 {
    let texts = |key: &str| match gguf.get(key) {
        Some(Value::Array(Array::Text(texts))) => texts.as_slice(),
        _ => &[],
    };
    let (tokens, merges) = (texts("tokenizer.ggml.tokens"), texts("tokenizer.ggml.merges"));
    let header = |texts: &[String]| texts.iter().map(|text| text_bytes(text.len() as u64)).sum::<u64>();
    let (count, header, spelled) = match tokens.len() as u64 {
        // A merge for every token, as in the largest kind.
        0 => (
            vocabulary,
            2 * vocabulary.saturating_mul(text_bytes(TYPICAL_TOKEN)),
            vocabulary.saturating_mul(TYPICAL_TOKEN),
        ),
        count => (count, header(tokens) + header(merges), tokens.iter().map(|text| text.len() as u64).sum()),
    };
    let merges = if tokens.is_empty() { vocabulary } else { merges.len() as u64 };
    tokenizer(count, merges, header, spelled)
}

/// What is kept: spellings and pieces with their ends, kinds, scores; the index, at most half full; the map of merges, at most
/// seven eighths full; the tree of tokens.
fn tokenizer(tokens: u64, merges: u64, header: u64, spelled: u64) -> u64 {
    const TREE_PER_TOKEN: u64 = 192;
    let power = |count: u64| count.min(1 << 40).next_power_of_two();
    let index = 4 * power(tokens.saturating_mul(2));
    let map = if merges == 0 { 0 } else { 17 * power(merges.saturating_mul(8) / 7) };
    let per_token = tokens.saturating_mul(8 + 1 + 4 + TREE_PER_TOKEN);
    [header, spelled.saturating_mul(2), index, map, per_token].into_iter().fold(0, u64::saturating_add)
}
