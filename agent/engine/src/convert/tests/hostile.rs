//! Directories that lie: each must be an error that names what is wrong, never a panic and never a large allocation.

use std::fs;

use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};
use tempfile::TempDir;

use super::*;

/// A copy of a fixture to spoil.
struct Copy(TempDir);

impl Copy {
    fn of(name: &str) -> Self {
        let copy = tempfile::tempdir().expect("there is room");
        for entry in fs::read_dir(fixture("convert").join(name)).expect("the fixture is there") {
            let entry = entry.expect("the fixture is there");
            if entry.path().is_file() {
                fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("there is room");
            }
        }
        Self(copy)
    }

    fn write(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        fs::write(self.0.path().join(name), content).expect("there is room");
        self
    }

    fn without(self, name: &str) -> Self {
        fs::remove_file(self.0.path().join(name)).expect("it is there");
        self
    }

    fn object(&self, name: &str) -> Map<String, Json> {
        let bytes = fs::read(self.0.path().join(name)).expect("it is there");
        serde_json::from_slice(&bytes).expect("it is JSON")
    }

    fn setting(self, key: &str, value: Json) -> Self {
        let mut config = self.object("config.json");
        config.insert(key.to_owned(), value);
        self.write("config.json", Json::Object(config).to_string())
    }

    /// The only shard with another header in front of the same bytes.
    fn header(self, change: impl FnOnce(&mut Map<String, Json>)) -> Self {
        let bytes = fs::read(self.0.path().join("model.safetensors")).expect("it is there");
        let length = u64::from_le_bytes(*bytes.first_chunk().expect("it has a header")) as usize;
        let mut header = serde_json::from_slice(&bytes[8..8 + length]).expect("it is JSON");
        change(&mut header);
        let header = Json::Object(header).to_string();
        let spoilt = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &bytes[8 + length..]].concat();
        self.write("model.safetensors", spoilt)
    }

    fn fault(self) -> ConvertError {
        to_memory(self.0.path()).expect_err("it is refused")
    }
}

/// The error says this of the directory.
fn refused(copy: Copy, words: &str) {
    let error = copy.fault().to_string();
    assert!(error.contains(words), "`{error}` does not say `{words}`");
}

#[test]
fn a_header_that_promises_more_than_the_file_has_is_refused() {
    for length in [u64::MAX, 1 << 62, 1 << 40, 33 << 20] {
        refused(Copy::of("llama").write("model.safetensors", length.to_le_bytes()), "more than the limit");
    }
    refused(Copy::of("llama").write("model.safetensors", 100u64.to_le_bytes()), "ends before its header");
    refused(Copy::of("llama").write("model.safetensors", b""), "ends before its header");
    refused(Copy::of("llama").write("model.safetensors", b"GGUF"), "ends before its header");
    refused(Copy::of("llama").write("model.safetensors", [&2u64.to_le_bytes()[..], b"[]"].concat()), "is refused");
}

#[test]
fn tensors_that_overlap_or_leave_the_file_or_overflow_are_refused() {
    const NORM: &str = "model.norm.weight";
    let changed = |field: &str, value: Json| {
        let header = |header: &mut Map<String, Json>| header[NORM][field] = value;
        Copy::of("llama").header(header).fault()
    };
    for fault in [
        changed("data_offsets", json!([0, 96])),
        changed("data_offsets", json!([1u64 << 40, (1u64 << 40) + 96])),
        changed("data_offsets", json!([96, 0])),
        changed("data_offsets", json!([-1, 95])),
        changed("shape", json!([u64::MAX, u64::MAX])),
        changed("shape", json!([49])),
        changed("shape", json!([])),
        changed("dtype", json!("F32")),
        changed("dtype", json!("Q4_0")),
    ] {
        assert!(matches!(fault, ConvertError::File { .. }), "{fault}");
    }
    let fault = changed("dtype", json!("I16"));
    assert!(matches!(&fault, ConvertError::Tensor { tensor, .. } if tensor == NORM), "{fault}");
    let fault = changed("shape", json!([2, 3, 8]));
    assert!(matches!(&fault, ConvertError::Tensor { tensor, .. } if tensor == NORM), "{fault}");
}

#[test]
fn an_index_names_files_of_its_own_directory_only() {
    for name in [
        "../model.safetensors",
        "/etc/passwd",
        "a/b.safetensors",
        "..",
        ".hidden.safetensors",
        "a\\b.safetensors",
        "x.bin",
    ] {
        let copy = Copy::of("qwen3");
        let mut index = copy.object("model.safetensors.index.json");
        index["weight_map"]["model.norm.weight"] = json!(name);
        let fault = copy.write("model.safetensors.index.json", Json::Object(index).to_string()).fault();
        assert!(matches!(&fault, ConvertError::ShardName { name: found } if found == name), "{fault}");
    }
}

#[test]
fn a_missing_shard_and_a_tensor_in_the_wrong_one_are_refused() {
    refused(Copy::of("qwen3").without("model-00002-of-00003.safetensors"), "model-00002-of-00003.safetensors");
    let copy = Copy::of("qwen3");
    let mut index = copy.object("model.safetensors.index.json");
    index["weight_map"]["model.invented.weight"] = json!("model-00001-of-00003.safetensors");
    refused(copy.write("model.safetensors.index.json", Json::Object(index).to_string()), "model.invented.weight");
    let copy = Copy::of("qwen3");
    let mut index = copy.object("model.safetensors.index.json");
    index["weight_map"].as_object_mut().expect("it is one").remove("model.norm.weight");
    refused(copy.write("model.safetensors.index.json", Json::Object(index).to_string()), "model.norm.weight");
}

#[cfg(unix)]
#[test]
fn a_directory_or_a_device_in_place_of_a_file_is_refused_before_it_is_opened() {
    let copy = Copy::of("llama").without("model.safetensors");
    std::os::unix::fs::symlink("/dev/zero", copy.0.path().join("model.safetensors")).expect("there is room");
    refused(copy, "is not a file");
    let copy = Copy::of("llama").without("config.json");
    fs::create_dir(copy.0.path().join("config.json")).expect("there is room");
    refused(copy, "is not a file");
}

#[test]
fn a_setting_that_changes_the_graph_is_refused_by_name() {
    for (family, key, value) in [
        ("qwen3", "rope_scaling", json!({"rope_type": "yarn", "factor": 4.0})),
        ("qwen3", "use_sliding_window", json!(true)),
        ("qwen3", "hidden_act", json!("gelu")),
        ("qwen3", "num_experts", json!(8)),
        ("qwen3", "quantization_config", json!({"quant_method": "gptq", "bits": 4})),
        ("llama", "attention_bias", json!(true)),
        ("llama", "mlp_bias", json!(true)),
        ("mistral", "sliding_window", json!(64)),
        ("phi3", "head_dim", json!(32)),
        ("gemma3", "attn_logit_softcapping", json!(50.0)),
        ("gemma3", "query_pre_attn_scalar", json!(24)),
        ("gemma3", "sliding_window_pattern", json!(2)),
        ("gemma3", "use_bidirectional_attention", json!(true)),
        ("bitnet", "hidden_act", json!("silu")),
        ("bert", "position_embedding_type", json!("relative_key")),
        ("mlx-4bit", "quantization", json!({"group_size": 32, "bits": 3})),
        ("mlx-4bit", "quantization", json!({"group_size": 32, "bits": 4, "mode": "mxfp4"})),
    ] {
        let mut copy = Copy::of(family);
        if key == "rope_scaling" {
            copy = copy.setting("rope_parameters", Json::Null);
        }
        let fault = copy.setting(key, value).fault();
        let part = ["bits", "mode", "quant_method"].into_iter().find(|part| fault.to_string().contains(part));
        assert!(
            matches!(&fault, ConvertError::Unsupported { key: found, .. } if found == key || part.is_some()),
            "{fault}"
        );
    }
}

#[test]
fn a_model_of_another_family_and_a_tensor_without_a_place_are_refused_by_name() {
    let copy =
        Copy::of("llama").setting("architectures", json!(["MambaForCausalLM"])).setting("model_type", json!("mamba"));
    refused(copy, "`MambaForCausalLM` is not converted here");
    refused(Copy::of("qwen3").setting("architectures", json!(["LlamaForCausalLM"])), "has no place in family `llama`");
    refused(
        Copy::of("llama").setting("num_hidden_layers", json!(3)),
        "model.layers.2.input_layernorm.weight".trim_start_matches("model."),
    );
    refused(Copy::of("llama").setting("num_hidden_layers", json!(1)), "model.layers.1.");
}

#[test]
fn absurd_figures_are_refused_by_name() {
    let absurd =
        [json!(0), json!(-1), json!(1u64 << 60), json!(1e300), json!("many"), json!([1]), json!({}), json!(2.5)];
    for key in [
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "hidden_size",
        "rms_norm_eps",
        "max_position_embeddings",
    ] {
        for value in absurd.clone().into_iter().filter(|value| key != "rms_norm_eps" || *value != json!(2.5)) {
            if key == "rms_norm_eps" && value == json!(1u64 << 60) {
                continue;
            }
            let fault = Copy::of("llama").setting(key, value.clone()).fault();
            assert!(
                matches!(&fault, ConvertError::BadKey { key: found, .. } if found == key),
                "{key} {value}: {fault}"
            );
        }
    }
    refused(Copy::of("llama").setting("hidden_size", json!(96)), "the table of embeddings");
    refused(Copy::of("llama").setting("num_attention_heads", json!(5)), "5 heads");
    refused(Copy::of("llama").write("config.json", "{"), "it is no JSON");
    refused(Copy::of("llama").write("config.json", "[".repeat(100_000)), "it is no JSON");
    refused(Copy::of("llama").write("config.json", "[]"), "no JSON object");
    refused(Copy::of("llama").without("tokenizer.json"), "tokenizer.json");
    refused(Copy::of("llama").write("tokenizer.json", "{}"), "");
}

#[test]
fn packed_weights_whose_parts_do_not_belong_together_are_refused() {
    const MODULE: &str = "model.layers.0.mlp.up_proj";
    let wrong = |name: String, field: &str, value: Json| {
        Copy::of("mlx-4bit").header(|header| header[&name][field] = value).fault().to_string()
    };
    assert!(wrong(format!("{MODULE}.scales"), "shape", json!([2, 96])).contains("shape [96, 2]"));
    assert!(wrong(format!("{MODULE}.weight"), "dtype", json!("F32")).contains("a U32 matrix"));
    refused(Copy::of("mlx-4bit").setting("quantization", json!({"group_size": 48, "bits": 4})), "whole groups of 48");
    refused(Copy::of("mlx-4bit").setting("quantization", json!({"bits": 4})), "`group_size`");
    refused(Copy::of("mlx-4bit").setting("quantization", Json::Null), "has no place");
    refused(Copy::of("bitnet-packed").setting("quantization_config", Json::Null), "has no place");
}

#[test]
fn a_number_beyond_half_precision_is_refused_and_not_made_infinite() {
    let copy = Copy::of("mistral");
    let path = copy.0.path().join("model.safetensors");
    let mut bytes = fs::read(&path).expect("it is there");
    let length = u64::from_le_bytes(*bytes.first_chunk().expect("it has a header")) as usize;
    let header: Map<String, Json> = serde_json::from_slice(&bytes[8..8 + length]).expect("it is JSON");
    let begin = 8 + length + header["lm_head.weight"]["data_offsets"][0].as_u64().expect("it is a number") as usize;
    // BF16's largest.
    bytes[begin..begin + 2].copy_from_slice(&0x7f7fu16.to_le_bytes());
    let copy = copy.write("model.safetensors", bytes);
    let out = copy.0.path().join("out.gguf");
    let last = convert(copy.0.path(), &out, Precision::F16, &mut |_| {});
    let error = last.expect_err("it does not fit").to_string();
    assert!(error.contains("more than F16 can") && !out.exists(), "{error}");
    convert(copy.0.path(), &out, Precision::BF16, &mut |_| {}).expect("it fits");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a few bytes of a file are turned into, the answer is a file or an error.
    #[test]
    fn spoilt_bytes_never_panic(
        which in 0usize..4,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let (family, name, within) = [
            ("bitnet-packed", "model.safetensors", 3_000),
            ("mlx-8bit", "model.safetensors", 6_000),
            ("qwen3", "model.safetensors.index.json", 2_000),
            ("gemma3", "config.json", 1_200),
        ][which];
        let copy = Copy::of(family);
        let mut bytes = fs::read(copy.0.path().join(name)).expect("it is there");
        for (at, byte) in changes {
            let at = at.index(bytes.len().min(within));
            bytes[at] = byte;
        }
        let copy = copy.write(name, bytes);
        if let Ok(bytes) = to_memory(copy.0.path()) {
            prop_assert!(bytes.starts_with(b"GGUF"));
        }
    }
}
