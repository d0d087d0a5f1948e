//! Llama 2 and 3, and Mistral: the file's heads turn by neighbours, the directory's by halves.

use super::rope_keys;
use super::{Description, Family, MOST, OUTER, Treatment, decoder, head_length, keep, no_windows, part, plain_decoder};
use crate::convert::ConvertError;
use crate::convert::config::{Config, unsupported};
use crate::convert::directory::Directory;
use crate::convert::rope::{Rope, Stretch, divisors_by_wavelength};
use crate::gguf::Value;

pub(super) const FAMILY: Family = Family {
    names: &["LlamaForCausalLM", "MistralForCausalLM", "llama", "mistral"],
    architecture: "llama",
    prefixes: &["model."],
    unused: &[],
    outer: OUTER,
    layer: "layers.",
    inner: &[
        keep("input_layernorm", "attn_norm"),
        part("self_attn.q_proj", "attn_q", Treatment::Query),
        part("self_attn.k_proj", "attn_k", Treatment::Key),
        keep("self_attn.v_proj", "attn_v"),
        keep("self_attn.o_proj", "attn_output"),
        keep("post_attention_layernorm", "ffn_norm"),
        keep("mlp.gate_proj", "ffn_gate"),
        keep("mlp.up_proj", "ffn_up"),
        keep("mlp.down_proj", "ffn_down"),
    ],
    biases: false,
    describe,
};

fn describe(config: &Config, _: &Directory) -> Result<Description, ConvertError> {
    plain_decoder(config, &["silu"])?;
    no_windows(config)?;
    let mut description = decoder(config)?;
    let context = config.count("max_position_embeddings", MOST)?;
    if let Some(window) = config.optional_count("sliding_window", MOST)?.filter(|window| *window < context) {
        let why = "every layer sees everything in this family";
        return Err(unsupported("sliding_window", window.to_string(), why));
    }
    let head = head_length(config, description.heads)?;
    let rope = Rope::read(config, "full_attention", 10_000.0)?.whole()?;
    let rope = rope.only(|stretch| !matches!(stretch, Stretch::Lists { .. }))?;
    if let Stretch::ByWavelength { factor, low, high, original } = rope.stretch {
        let divisors = divisors_by_wavelength(head, rope.base, factor, low, high, original);
        description.computed.push(("rope_freqs.weight", divisors));
    }
    description.keys.extend(rope_keys(&rope));
    description.keys.push(("rope.dimension_count", Value::U32(head)));
    if config.get("head_dim").is_some() {
        description.keys.push(("attention.key_length", Value::U32(head)));
        description.keys.push(("attention.value_length", Value::U32(head)));
    }
    Ok(description)
}
