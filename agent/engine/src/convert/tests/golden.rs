//! The golden files written back as Hugging Face directories, by the models' published definitions, and converted again:
//! every tensor and every key must come back, and with them the logits.

use std::collections::HashMap;
use std::fs;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value as Json, json};

use super::*;
use crate::gguf::TensorEntry;

/// Names in the files, names in the models' own code. Phi-3 has two of its own, Gemma's norms mean other places.
const NAMES: &[(&str, &str)] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_qkv", "self_attn.qkv_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("attn_sub_norm", "self_attn.attn_sub_norm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
    ("ffn_sub_norm", "mlp.ffn_sub_norm"),
];
const OWN_NAMES: &[(&str, &str, &str)] = &[
    ("phi3", "ffn_up", "mlp.gate_up_proj"),
    ("gemma3", "post_attention_norm", "post_attention_layernorm"),
    ("gemma3", "ffn_norm", "pre_feedforward_layernorm"),
    ("gemma3", "post_ffw_norm", "post_feedforward_layernorm"),
];

fn original_name(family: &str, name: &str) -> String {
    match name {
        "token_embd.weight" => return "model.embed_tokens.weight".to_owned(),
        "output_norm.weight" => return "model.norm.weight".to_owned(),
        "output.weight" => return "lm_head.weight".to_owned(),
        _ => {}
    }
    let mut parts = name.split('.');
    let (Some("blk"), Some(layer), Some(part)) = (parts.next(), parts.next(), parts.next()) else { panic!("{name}") };
    let own = OWN_NAMES.iter().find(|own| own.0 == family && own.1 == part).map(|own| own.2);
    let common = || NAMES.iter().find(|common| common.0 == part).map(|common| common.1);
    format!("model.layers.{layer}.{}.weight", own.or_else(common).expect("the name is known"))
}

fn weights(gguf: &Gguf, tensor: &TensorEntry) -> Vec<f32> {
    assert_eq!(tensor.format, Format::F32);
    gguf.bytes(tensor).as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// Rows of heads that turn by neighbours, in the order of those that turn by halves: the first half of each head are the
/// rows that begin a pair.
fn by_halves(rows: &[f32], columns: usize, head: usize) -> Vec<f32> {
    let heads = rows.chunks_exact(columns * head);
    let order = (0..head).step_by(2).chain((1..head).step_by(2)).collect::<Vec<_>>();
    heads.flat_map(|head| order.iter().flat_map(|row| &head[row * columns..(row + 1) * columns])).copied().collect()
}

/// Writes the directory that the file would have come from.
fn write_back(family: &str, gguf: &Gguf, directory: &Path) {
    let figure = |key: &str| gguf.number(&format!("{family}.{key}"));
    let mut config = json!({
        "model_type": family,
        "num_hidden_layers": figure("block_count"), "max_position_embeddings": figure("context_length"),
        "hidden_size": figure("embedding_length"), "intermediate_size": figure("feed_forward_length"),
        "num_attention_heads": figure("attention.head_count"), "num_key_value_heads": figure("attention.head_count_kv"),
        "head_dim": figure("attention.key_length"), "rope_theta": figure("rope.freq_base"),
        "rms_norm_eps": figure("attention.layer_norm_rms_epsilon"),
        "sliding_window": figure("attention.sliding_window").filter(|window| *window > 0.0),
        "query_pre_attn_scalar": figure("attention.key_length"),
        "original_max_position_embeddings": figure("rope.scaling.original_context_length"),
        "tie_word_embeddings": gguf.tensor("output.weight").is_none(),
    });
    if family == "bitnet" {
        config["hidden_act"] = json!("relu2");
    }
    if let (Some(short), Some(long)) =
        (gguf.tensor("rope_factors_short.weight"), gguf.tensor("rope_factors_long.weight"))
    {
        config["partial_rotary_factor"] = json!(0.75);
        // The magnitude that such a file would have to state, since the golden one is of another stretch.
        let magnitude = figure("rope.scaling.attn_factor");
        config["rope_scaling"] = json!({
            "type": "longrope", "short_factor": weights(gguf, short), "long_factor": weights(gguf, long),
            "attention_factor": magnitude,
        });
    }
    // Whole numbers are written as such.
    let whole = |value: &Json| value.as_f64().filter(|number| number.fract() == 0.0 && *number < 1e9).map(|n| n as u64);
    for (_, value) in config.as_object_mut().expect("it is one") {
        if let Some(number) = whole(value) {
            *value = json!(number);
        }
    }
    fs::write(directory.join("config.json"), config.to_string()).expect("there is room");
    fs::copy(fixture("convert/llama/tokenizer.json"), directory.join("tokenizer.json")).expect("there is room");

    let head = |tensor: &TensorEntry| match tensor.name.split('.').nth(2) {
        Some("attn_q" | "attn_k") if family == "llama" => figure("rope.dimension_count").map(|length| length as usize),
        _ => None,
    };
    let stored = gguf.tensors().iter().filter(|tensor| !tensor.name.starts_with("rope_"));
    let stored: HashMap<String, (Vec<usize>, Vec<u8>)> = stored
        .map(|tensor| {
            let mut numbers = weights(gguf, tensor);
            if let Some(head) = head(tensor) {
                numbers = by_halves(&numbers, tensor.shape[0] as usize, head);
            }
            if family == "gemma3" && tensor.shape.len() == 1 {
                numbers.iter_mut().for_each(|weight| *weight -= 1.0);
            }
            let shape = tensor.shape.iter().rev().map(|dimension| *dimension as usize).collect();
            let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            (original_name(family, &tensor.name), (shape, bytes))
        })
        .collect();
    let views = stored.iter().map(|(name, (shape, bytes))| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).expect("the shape fits"))
    });
    safetensors::serialize_to_file(views, None, &directory.join("model.safetensors")).expect("there is room");
}

fn check(family: &str) {
    let scratch = tempfile::tempdir().expect("there is room");
    let golden = Gguf::open(fixture("golden").join(format!("{family}.gguf"))).expect("the fixture is sound");
    write_back(family, &golden, scratch.path());
    let made = Gguf::from_bytes(scratch.path(), to_memory(scratch.path()).expect("it converts")).expect("it is sound");

    for (key, value) in golden.metadata().iter().filter(|(key, _)| key.starts_with(family)) {
        assert_eq!(made.get(key), Some(value), "{key}");
    }
    for tensor in golden.tensors().iter().filter(|tensor| tensor.name != "rope_freqs.weight") {
        let back = made.tensor(&tensor.name).expect("the tensor came back");
        assert_eq!(back.shape, tensor.shape, "{}", tensor.name);
        let pairs = weights(&golden, tensor).into_iter().zip(weights(&made, back));
        let worst = pairs.map(|(before, after)| (before - after).abs()).fold(0.0, f32::max);
        // Only Gemma's norms are computed with: 1 is taken off and put back.
        let most = if family == "gemma3" && tensor.shape.len() == 1 { 1e-6 } else { 0.0 };
        assert!(worst <= most, "{}: {worst}", tensor.name);
    }
    // No configuration computes the divisors that the golden llama was given, so its logits cannot come back.
    if family != "llama" {
        assert_eq!(made.tensors().len(), golden.tensors().len());
        let read =
            |kind: &str| fs::read_to_string(fixture("golden").join(format!("{family}.{kind}"))).expect("it is there");
        let worst = largest_error(scratch.path(), Precision::F32, &read("tokens"), &read("logits"));
        assert!(worst <= 1e-3, "{family}: a logit is off by {worst}");
    }
}

#[test]
fn every_golden_file_comes_back_from_the_directory_it_would_have_come_from() {
    for family in ["qwen3", "llama", "phi3", "gemma3", "bitnet"] {
        check(family);
    }
}
