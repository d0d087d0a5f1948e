//! Qwen 3 (dense).

use super::{Description, Family, OUTER, decoder, head_length, keep, no_windows, plain_decoder, rope_keys};
use crate::convert::ConvertError;
use crate::convert::config::Config;
use crate::convert::directory::Directory;
use crate::convert::rope::{Rope, Stretch};
use crate::gguf::Value;

pub(super) const FAMILY: Family = Family {
    names: &["Qwen3ForCausalLM", "qwen3"],
    architecture: "qwen3",
    prefixes: &["model."],
    unused: &[],
    outer: OUTER,
    layer: "layers.",
    inner: &[
        keep("input_layernorm", "attn_norm"),
        keep("self_attn.q_proj", "attn_q"),
        keep("self_attn.k_proj", "attn_k"),
        keep("self_attn.v_proj", "attn_v"),
        keep("self_attn.o_proj", "attn_output"),
        keep("self_attn.q_norm", "attn_q_norm"),
        keep("self_attn.k_norm", "attn_k_norm"),
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
    config.must_not("use_sliding_window", "every layer sees everything in this family")?;
    let mut description = decoder(config)?;
    let head = head_length(config, description.heads)?;
    let rope = Rope::read(config, "full_attention", 10_000.0)?.whole()?;
    let rope = rope.only(|stretch| matches!(stretch, Stretch::None | Stretch::Linear(_)))?;
    description.keys.extend(rope_keys(&rope));
    description.keys.push(("attention.key_length", Value::U32(head)));
    description.keys.push(("attention.value_length", Value::U32(head)));
    Ok(description)
}
