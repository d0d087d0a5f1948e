//! A model known by its figures alone: which tensors a file of it would have, and in which format each.
//!
//! Enough to say what a model would take before there is a file of it, and to write one of random weights.

use serde::Deserialize;

use crate::gguf::write::Outline;
use crate::gguf::{Format, Gguf, GgufError, ModelInfo, Value};
use crate::quantize::{Quantisation, formats};

/// The name of BitNet's own format, which is read here and not made.
const TERNARY: &str = "I2_S";

/// The figures of a model, as its publisher's `config.json` states them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// `general.architecture` of its files.
    pub architecture: String,
    /// Transformer blocks.
    pub layers: u32,
    /// Width of the residual stream.
    pub embedding: u32,
    /// Width of the feed-forward layer.
    pub feed_forward: u32,
    /// Heads of queries.
    pub heads: u32,
    /// Heads of keys and values.
    pub kv_heads: u32,
    /// Elements of a head.
    pub head_length: u32,
    /// Rows of the embedding table.
    pub vocabulary: u32,
    /// Longest context that it was trained for, tokens.
    pub context_tokens: u32,
    /// The embedding serves as output too.
    #[serde(default)]
    pub tied: bool,
    /// How far windowed layers look, tokens; 0 where all see everything.
    #[serde(default)]
    pub window_tokens: u32,
    /// Elements of a head that rotate, if not all.
    #[serde(default)]
    pub rotated: Option<u32>,
    /// The file has divisors of the rotary speeds.
    #[serde(default)]
    pub rotary_divisors: bool,
    /// Pairs of tokens that its vocabulary merges; 0 for kinds that merge by score.
    #[serde(default)]
    pub merges: u32,
}

/// A tensor by name, with its dimensions, the fastest-running first.
type Named = (String, Vec<u64>);

impl Shape {
    /// The variants that can be spoken of by these names.
    #[must_use]
    pub fn knows(quantisation: &str) -> bool {
        quantisation == TERNARY || Quantisation::from_name(quantisation).is_some()
    }

    /// The header of a file of it in a quantisation, without a vocabulary; nothing where [`Shape::knows`] does not.
    #[must_use]
    pub fn outline(&self, quantisation: &str) -> Option<Outline> {
        let tensors = self.tensors();
        let named: Vec<_> = tensors.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect();
        let (formats, file_type) = match Quantisation::from_name(quantisation) {
            Some(to) => (formats(&named, to), Some(to.file_type())),
            None if quantisation == TERNARY => {
                let plain = formats(&named, Quantisation::F16);
                let in_layer = |name: &str| name.starts_with("blk.");
                let ternary = plain.into_iter().zip(&named).map(|(format, (name, _))| match format {
                    Format::F16 if in_layer(name) => Format::I2_S,
                    other => other,
                });
                (ternary.collect(), None)
            }
            None => return None,
        };
        let tensors = tensors.into_iter().zip(formats).map(|((name, shape), format)| (name, shape, format));
        Some(Outline { metadata: self.metadata(file_type), tensors: tensors.collect() })
    }

    /// What a file of it in a quantisation would be, its vocabulary counted as such vocabularies are written.
    ///
    /// # Errors
    /// If no sound file has such figures.
    pub fn info(&self, quantisation: &str) -> Result<ModelInfo, GgufError> {
        let outline = self.outline(quantisation).unwrap_or_default();
        let mut info = Gguf::outlined(&outline)?.info();
        info.file_bytes = info.file_bytes.saturating_add(self.vocabulary_bytes());
        Ok(info)
    }

    /// Bytes that the vocabulary takes in a file: per token its length, text, type and score, per merge its length and text.
    fn vocabulary_bytes(&self) -> u64 {
        const TOKEN: u64 = 8 + 7 + 4;
        const SCORE: u64 = 4;
        const MERGE: u64 = 8 + 8;
        let (tokens, merges) = (u64::from(self.vocabulary), u64::from(self.merges));
        let scores = if merges == 0 { tokens * SCORE } else { 0 };
        tokens * TOKEN + scores + merges * MERGE
    }

    fn metadata(&self, file_type: Option<u32>) -> Vec<(String, Value)> {
        let own = |name: &str, value: Value| (format!("{}.{name}", self.architecture), value);
        let count = |name: &str, count: u32| own(name, Value::U32(count));
        let is_embedder = self.architecture == "bert";
        let epsilon = if is_embedder { "attention.layer_norm_epsilon" } else { "attention.layer_norm_rms_epsilon" };
        let mut metadata = vec![
            ("general.architecture".to_owned(), Value::Text(self.architecture.clone())),
            count("block_count", self.layers),
            count("embedding_length", self.embedding),
            count("feed_forward_length", self.feed_forward),
            count("attention.head_count", self.heads),
            count("attention.head_count_kv", self.kv_heads),
            count("attention.key_length", self.head_length),
            count("attention.value_length", self.head_length),
            count("context_length", self.context_tokens),
            count("rope.dimension_count", self.rotated.unwrap_or(self.head_length)),
            own(epsilon, Value::F32(1e-6)),
        ];
        if self.window_tokens > 0 {
            metadata.push(count("attention.sliding_window", self.window_tokens));
        }
        metadata.extend(file_type.map(|id| ("general.file_type".to_owned(), Value::U32(id))));
        metadata
    }

    fn tensors(&self) -> Vec<Named> {
        if self.architecture == "bert" { self.embedder() } else { self.decoder() }
    }

    fn decoder(&self) -> Vec<Named> {
        let [embedding, feed_forward, vocabulary, head] =
            [self.embedding, self.feed_forward, self.vocabulary, self.head_length].map(u64::from);
        let (queries, keys) = (u64::from(self.heads) * head, u64::from(self.kv_heads) * head);
        let family = self.architecture.as_str();
        let named = |name: &str, shape: &[u64]| (name.to_owned(), shape.to_vec());
        let mut tensors =
            vec![named("token_embd.weight", &[embedding, vocabulary]), named("output_norm.weight", &[embedding])];
        if !self.tied {
            tensors.push(named("output.weight", &[embedding, vocabulary]));
        }
        let pairs = u64::from(self.rotated.unwrap_or(self.head_length)) / 2;
        match (family, self.rotary_divisors) {
            ("phi3", true) => {
                tensors.push(named("rope_factors_long.weight", &[pairs]));
                tensors.push(named("rope_factors_short.weight", &[pairs]));
            }
            (_, true) => tensors.push(named("rope_freqs.weight", &[pairs])),
            (_, false) => {}
        }
        for layer in 0..self.layers {
            let mut of_layer =
                |part: &str, shape: &[u64]| tensors.push((format!("blk.{layer}.{part}.weight"), shape.to_vec()));
            of_layer("attn_norm", &[embedding]);
            if family == "phi3" {
                of_layer("attn_qkv", &[embedding, queries + 2 * keys]);
                of_layer("ffn_up", &[embedding, 2 * feed_forward]);
            } else {
                of_layer("attn_q", &[embedding, queries]);
                of_layer("attn_k", &[embedding, keys]);
                of_layer("attn_v", &[embedding, keys]);
                of_layer("ffn_gate", &[embedding, feed_forward]);
                of_layer("ffn_up", &[embedding, feed_forward]);
            }
            of_layer("attn_output", &[queries, embedding]);
            of_layer("ffn_norm", &[embedding]);
            of_layer("ffn_down", &[feed_forward, embedding]);
            if matches!(family, "qwen3" | "gemma3") {
                of_layer("attn_q_norm", &[head]);
                of_layer("attn_k_norm", &[head]);
            }
            if family == "gemma3" {
                of_layer("post_attention_norm", &[embedding]);
                of_layer("post_ffw_norm", &[embedding]);
            }
            if family.starts_with("bitnet") {
                of_layer("attn_sub_norm", &[queries]);
                of_layer("ffn_sub_norm", &[feed_forward]);
            }
        }
        tensors
    }

    fn embedder(&self) -> Vec<Named> {
        let [embedding, feed_forward, vocabulary, context] =
            [self.embedding, self.feed_forward, self.vocabulary, self.context_tokens].map(u64::from);
        let mut tensors = vec![
            ("token_embd.weight".to_owned(), vec![embedding, vocabulary]),
            ("position_embd.weight".to_owned(), vec![embedding, context]),
            ("token_types.weight".to_owned(), vec![embedding, 2]),
        ];
        let norm = |name: String, tensors: &mut Vec<Named>| {
            tensors.extend([".weight", ".bias"].map(|part| (format!("{name}{part}"), vec![embedding])));
        };
        norm("token_embd_norm".to_owned(), &mut tensors);
        for layer in 0..self.layers {
            let matrices = [
                ("attn_q", embedding, embedding),
                ("attn_k", embedding, embedding),
                ("attn_v", embedding, embedding),
                ("attn_output", embedding, embedding),
                ("ffn_up", embedding, feed_forward),
                ("ffn_down", feed_forward, embedding),
            ];
            for (part, columns, rows) in matrices {
                tensors.push((format!("blk.{layer}.{part}.weight"), vec![columns, rows]));
                tensors.push((format!("blk.{layer}.{part}.bias"), vec![rows]));
            }
            norm(format!("blk.{layer}.attn_output_norm"), &mut tensors);
            norm(format!("blk.{layer}.layer_output_norm"), &mut tensors);
        }
        tensors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(architecture: &str) -> Shape {
        Shape {
            architecture: architecture.to_owned(),
            layers: 3,
            embedding: 256,
            feed_forward: 512,
            heads: 4,
            kv_heads: 2,
            head_length: 64,
            vocabulary: 1_000,
            context_tokens: 2_048,
            tied: architecture != "llama",
            window_tokens: if architecture == "gemma3" { 512 } else { 0 },
            rotated: None,
            rotary_divisors: matches!(architecture, "llama" | "phi3"),
            merges: 0,
        }
    }

    #[test]
    fn a_shape_has_the_parameters_of_its_figures() {
        // Attention 256 · (256 + 128 + 128) + 256 · 256, feed-forward 3 · 256 · 512, norms.
        let layer = 256 * 512 + 256 * 256 + 3 * 256 * 512 + 2 * 256;
        let info = small("llama").info("F16").expect("such files are sound");
        assert_eq!(info.parameters, 3 * layer + 2 * 1_000 * 256 + 256 + 32);
        assert_eq!((info.layers, info.kv_elements_per_layer, info.quantisation.as_str()), (3, 256, "F16"));
        let info = small("qwen3").info("Q8_0").expect("such files are sound");
        assert_eq!(info.parameters, 3 * (layer + 128) + 1_000 * 256 + 256);
        assert_eq!(info.weight_bytes, 34 * (3 * (layer - 512) + 256_000) / 32 + 4 * (3 * (512 + 128) + 256));
    }

    #[test]
    fn every_family_has_an_outline_in_every_quantisation_that_is_known() {
        for family in crate::families().into_iter().chain(["bert"]) {
            for quantisation in Quantisation::ALL {
                let info = small(family).info(quantisation.name()).expect("such files are sound");
                assert_eq!(info.architecture, family);
                assert!(info.footprint.weight_bytes > 0 && info.file_bytes > info.weight_bytes);
            }
        }
        let ternary = small("bitnet").info("I2_S").expect("such files are sound");
        assert_eq!(ternary.quantisation, "I2_S");
        assert!(!Shape::knows("Q9_9") && small("llama").outline("Q9_9").is_none());
    }

    #[test]
    fn windows_are_counted_and_a_table_that_is_only_looked_up_is_not_packed() {
        let gemma = small("gemma3").info("Q4_0").expect("such files are sound").footprint;
        assert_eq!((gemma.windowed_layers, gemma.window_tokens, gemma.rotary_pairs), (3, 512, 64));
        let llama = small("llama").info("Q4_K_M").expect("such files are sound");
        assert_eq!((llama.footprint.windowed_layers, llama.footprint.rotary_pairs), (0, 32));
        // Packed Q4_K takes a little more than the file's.
        assert!(llama.footprint.weight_bytes > llama.weight_bytes);
    }
}
