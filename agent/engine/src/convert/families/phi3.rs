//! Phi-3 and Phi-4: query, key and value stay in one tensor, gate and up in another; two lists of divisors for positions.

use super::{Description, Family, MOST, OUTER, decoder, head_length, keep, no_windows, plain_decoder};
use crate::convert::ConvertError;
use crate::convert::config::{Config, unsupported};
use crate::convert::directory::Directory;
use crate::convert::rope::{Rope, Stretch};
use crate::gguf::Value;
use crate::math;

pub(super) const FAMILY: Family = Family {
    names: &["Phi3ForCausalLM", "phi3"],
    architecture: "phi3",
    prefixes: &["model."],
    unused: &[],
    outer: OUTER,
    layer: "layers.",
    inner: &[
        keep("input_layernorm", "attn_norm"),
        keep("self_attn.qkv_proj", "attn_qkv"),
        keep("self_attn.o_proj", "attn_output"),
        keep("post_attention_layernorm", "ffn_norm"),
        keep("mlp.gate_up_proj", "ffn_up"),
        keep("mlp.down_proj", "ffn_down"),
    ],
    biases: false,
    describe,
};

fn describe(config: &Config, _: &Directory) -> Result<Description, ConvertError> {
    plain_decoder(config, &["silu"])?;
    no_windows(config)?;
    let mut description = decoder(config)?;
    let head = head_length(config, description.heads)?;
    if head != config.count("hidden_size", MOST)? / description.heads {
        return Err(unsupported("head_dim", head.to_string(), "heads share the embedding equally in this family"));
    }
    let rope = Rope::read(config, "full_attention", 10_000.0)?;
    let rope = rope.only(|stretch| matches!(stretch, Stretch::None | Stretch::Lists { .. }))?;
    let rotated = (f64::from(head) * rope.share) as u32;
    let context = config.count("max_position_embeddings", MOST)?;
    let original = config.optional_count("original_max_position_embeddings", MOST)?.unwrap_or(context);
    let window = config.optional_count("sliding_window", MOST)?;
    if let Some(window) = window.filter(|window| *window < context) {
        let note = format!(
            "the model was trained with a window of {window} tokens; the format's readers let it see everything"
        );
        description.notes.push(note);
    }
    description.keys.extend([
        ("rope.freq_base", Value::F32(rope.base as f32)),
        ("rope.dimension_count", Value::U32(rotated)),
        ("rope.scaling.original_context_length", Value::U32(original)),
        // 0 says that there is none.
        ("attention.sliding_window", Value::U32(window.unwrap_or(0))),
    ]);
    if let Stretch::Lists { short, long, magnitude } = rope.stretch {
        for (key, list) in [("short_factor", &short), ("long_factor", &long)] {
            if list.len() as u64 != u64::from(rotated / 2) {
                let why = "there must be one for each pair of a head that turns";
                return Err(unsupported(key, format!("a list of {}", list.len()), why));
            }
        }
        let magnitude = magnitude.unwrap_or_else(|| magnitude_of(f64::from(context), f64::from(original)));
        description.keys.push(("rope.scaling.attn_factor", Value::F32(magnitude as f32)));
        description.computed = vec![("rope_factors_long.weight", long), ("rope_factors_short.weight", short)];
    }
    Ok(description)
}

/// What LongRoPE multiplies sines and cosines by: √(1 + ln s / ln o), for a context stretched s times from o tokens.
fn magnitude_of(context: f64, original: f64) -> f64 {
    if context <= original { 1.0 } else { (1.0 + math::ln_f64(context / original) / math::ln_f64(original)).sqrt() }
}
