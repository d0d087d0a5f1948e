//! Gemma 3, the text model: norms are stored as their distance from 1; the eye of the larger models is left out.

use super::{Description, Family, MOST, Treatment, head_length, keep, part, plain_decoder, rope_keys};
use crate::convert::ConvertError;
use crate::convert::config::{Config, unsupported};
use crate::convert::directory::Directory;
use crate::convert::rope::{Rope, Stretch};
use crate::gguf::Value;

/// Every sixth layer sees everything: the file's readers take it so.
const PERIOD: u32 = 6;
/// Layers of the 27B model, the one whose attention is scaled by another figure than a head's length.
const LAYERS_OF_27B: u32 = 62;

const fn norm(from: &'static str, to: &'static str) -> super::Part {
    part(from, to, Treatment::OffsetNorm)
}

pub(super) const FAMILY: Family = Family {
    names: &["Gemma3ForCausalLM", "Gemma3ForConditionalGeneration", "gemma3_text", "gemma3"],
    architecture: "gemma3",
    prefixes: &["language_model.model.", "model.language_model.", "language_model.", "model."],
    unused: &["vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector."],
    outer: &[
        keep("embed_tokens", "token_embd"),
        norm("norm", "output_norm"),
        part("lm_head", "output", Treatment::Output),
    ],
    layer: "layers.",
    inner: &[
        norm("input_layernorm", "attn_norm"),
        keep("self_attn.q_proj", "attn_q"),
        keep("self_attn.k_proj", "attn_k"),
        keep("self_attn.v_proj", "attn_v"),
        keep("self_attn.o_proj", "attn_output"),
        norm("self_attn.q_norm", "attn_q_norm"),
        norm("self_attn.k_norm", "attn_k_norm"),
        norm("post_attention_layernorm", "post_attention_norm"),
        norm("pre_feedforward_layernorm", "ffn_norm"),
        keep("mlp.gate_proj", "ffn_gate"),
        keep("mlp.up_proj", "ffn_up"),
        keep("mlp.down_proj", "ffn_down"),
        norm("post_feedforward_layernorm", "post_ffw_norm"),
    ],
    biases: false,
    describe,
};

fn describe(config: &Config, _: &Directory) -> Result<Description, ConvertError> {
    plain_decoder(config, &[])?;
    config.must_be("hidden_activation", &["gelu_pytorch_tanh"], "the family's feed-forward bends otherwise")?;
    config.must_be_absent("attn_logit_softcapping", "norms of query and key replaced it in this family")?;
    config.must_not("use_bidirectional_attention", "a token sees no later one here")?;
    // Published files leave out what is the family's default.
    let count =
        |key: &str, fallback: u32| Ok::<u32, ConvertError>(config.optional_count(key, MOST)?.unwrap_or(fallback));
    let layers = config.optional_count("num_hidden_layers", super::LAYERS)?.unwrap_or(26);
    let (heads, kv_heads) = (count("num_attention_heads", 8)?, count("num_key_value_heads", 4)?);
    let head = if config.get("head_dim").is_some() { head_length(config, heads)? } else { 256 };
    let embedding = count("hidden_size", 2_304)?;
    let scaled_by = if layers == LAYERS_OF_27B { embedding / heads } else { head };
    if count("query_pre_attn_scalar", 256)? != scaled_by {
        let found = count("query_pre_attn_scalar", 256)?.to_string();
        return Err(unsupported("query_pre_attn_scalar", found, "the format's readers scale by a head's length"));
    }
    check_layers(config, layers)?;
    let rope = Rope::read(config, "full_attention", 1_000_000.0)?.whole()?;
    let rope = rope.only(|stretch| matches!(stretch, Stretch::None | Stretch::Linear(_)))?;
    let mut keys = vec![
        ("block_count", Value::U32(layers)),
        ("context_length", Value::U32(count("max_position_embeddings", 131_072)?)),
        ("embedding_length", Value::U32(embedding)),
        ("feed_forward_length", Value::U32(count("intermediate_size", 9_216)?)),
        ("attention.head_count", Value::U32(heads)),
        ("attention.head_count_kv", Value::U32(kv_heads)),
        (
            "attention.layer_norm_rms_epsilon",
            Value::F32(config.optional_number("rms_norm_eps")?.unwrap_or(1e-6) as f32),
        ),
        ("attention.key_length", Value::U32(head)),
        ("attention.value_length", Value::U32(head)),
        ("attention.sliding_window", Value::U32(count("sliding_window", 4_096)?)),
        ("rope.freq_base_swa", Value::F32(windowed_base(config)? as f32)),
    ];
    keys.extend(rope_keys(&rope));
    if let Some(cap) = config.optional_number("final_logit_softcapping")? {
        keys.push(("final_logit_softcapping", Value::F32(cap as f32)));
    }
    Ok(Description {
        keys,
        layers,
        heads,
        kv_heads,
        tied: config.flag("tie_word_embeddings", true)?,
        ..Description::default()
    })
}

/// The base of layers that look through a window; nothing stretches there.
fn windowed_base(config: &Config) -> Result<f64, ConvertError> {
    let by_kind = match config.object("rope_parameters")? {
        Some(all) => all.get("sliding_attention").is_some(),
        None => false,
    };
    if by_kind {
        let rope = Rope::read(config, "sliding_attention", 10_000.0)?.whole()?;
        return Ok(rope.only(|stretch| *stretch == Stretch::None)?.base);
    }
    Ok(config.optional_number("rope_local_base_freq")?.unwrap_or(10_000.0))
}

fn check_layers(config: &Config, layers: u32) -> Result<(), ConvertError> {
    const WHY: &str = "the format's readers let every sixth layer see everything";
    for key in ["sliding_window_pattern", "_sliding_window_pattern"] {
        if let Some(period) = config.optional_count(key, MOST)?.filter(|period| *period != PERIOD) {
            return Err(unsupported(key, period.to_string(), WHY));
        }
    }
    let Some(kinds) = config.get("layer_types").and_then(serde_json::Value::as_array) else { return Ok(()) };
    let expected = (1..=layers).map(|layer| if layer % PERIOD == 0 { "full_attention" } else { "sliding_attention" });
    let found = kinds.iter().map(|kind| kind.as_str().unwrap_or_default());
    if found.eq(expected) { Ok(()) } else { Err(unsupported("layer_types", "another pattern", WHY)) }
}
