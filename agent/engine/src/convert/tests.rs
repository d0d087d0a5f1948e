//! Directories that transformers and MLX wrote, converted and read against what they answer; and directories that lie.

mod golden;
mod hostile;

use std::path::{Path, PathBuf};

use super::*;
use crate::embedder::Embedder;
use crate::gguf::Gguf;
use crate::{LoadOptions, Model};

pub(super) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

pub(super) fn numbers<T: std::str::FromStr>(text: &str) -> Vec<T> {
    text.split([',', ' ', '\n']).filter_map(|number| number.parse().ok()).collect()
}

/// The largest error of a converted model's logits against those in two lines, after position 20 and the last.
pub(super) fn largest_error(directory: &Path, to: Precision, tokens: &str, logits: &str) -> f32 {
    let scratch = tempfile::tempdir().expect("there is room");
    let file = scratch.path().join("model.gguf");
    convert(directory, &file, to, &mut |_| {}).expect("it converts");
    let model = Model::load(&file, &LoadOptions::threads(2)).expect("it loads");
    let tokens: Vec<u32> = numbers(tokens);
    let expected: Vec<Vec<f32>> = logits.lines().map(numbers).collect();
    let answers = crate::logits(&model, &tokens, &[20, tokens.len() - 1]).expect("it computes");
    assert_eq!(answers.iter().map(Vec::len).collect::<Vec<_>>(), expected.iter().map(Vec::len).collect::<Vec<_>>());
    let pairs = answers.iter().flatten().zip(expected.iter().flatten());
    pairs.map(|(answer, expected)| (answer - expected).abs()).fold(0.0, f32::max)
}

fn check(name: &str, to: Precision, most: f32) {
    let directory = fixture("convert").join(name);
    let read = |file: &str| std::fs::read_to_string(directory.join(file)).expect("the fixture is there");
    let worst = largest_error(&directory, to, &read("tokens"), &read("logits"));
    #[expect(clippy::print_stdout, reason = "the figures that the test is for")]
    {
        println!("{name:16} {:4} largest error {worst:.2e}", to.name());
    }
    assert!(worst <= most, "{name}: a logit is off by {worst}");
}

#[test]
fn qwen3_in_shards_answers_as_transformers_does() {
    check("qwen3", Precision::F32, 1e-3);
}

#[test]
fn llama_with_stretched_positions_answers_as_transformers_does() {
    check("llama", Precision::F32, 1e-3);
}

#[test]
fn mistral_answers_as_transformers_does() {
    check("mistral", Precision::F32, 1e-3);
}

#[test]
fn phi3_with_two_lists_of_factors_answers_as_transformers_does() {
    check("phi3", Precision::F32, 1e-3);
}

#[test]
fn gemma3_answers_as_transformers_does() {
    // The engine's GELU is the half-precision table that the format's readers use; transformers' is exact.
    check("gemma3", Precision::F32, 3e-3);
}

#[test]
fn bitnet_answers_as_transformers_does_however_it_is_stored() {
    check("bitnet", Precision::F32, 1e-3);
    check("bitnet-master", Precision::F32, 1e-3);
    check("bitnet-packed", Precision::F32, 1e-3);
}

#[test]
fn weights_in_groups_that_mlx_packed_answer_as_what_mlx_unpacks() {
    check("mlx-4bit", Precision::F32, 1e-3);
    check("mlx-8bit", Precision::F32, 1e-3);
}

#[test]
fn nothing_is_lost_in_the_precision_that_a_model_was_published_in() {
    check("llama", Precision::BF16, 1e-3);
    check("phi3", Precision::F16, 1e-3);
}

#[test]
fn an_embedder_is_read_from_its_directory_without_a_file_between() {
    let directory = fixture("convert/bert");
    let gguf = Gguf::from_bytes(&directory, to_memory(&directory).expect("it converts")).expect("it is sound");
    let embedder = Embedder::from_gguf(&gguf, 2).expect("it loads");
    let read = |kind: &str| std::fs::read_to_string(fixture("golden").join(kind)).expect("the fixture is there");
    let (texts, vectors) = (read("bert.texts"), read("bert.vectors"));
    let answers = embedder.embed(&texts.lines().collect::<Vec<_>>()).expect("it computes");
    assert_eq!((answers.len(), vectors.lines().count()), (4, 4));
    for (answer, expected) in answers.iter().zip(vectors.lines().map(numbers::<f32>)) {
        let worst =
            answer.iter().zip(&expected).map(|(answer, expected)| (answer - expected).abs()).fold(0.0, f32::max);
        assert!(answer.len() == expected.len() && worst <= 1e-5, "a number is off by {worst}");
    }
}

#[test]
fn rows_without_a_token_get_one_that_no_text_contains() {
    let directory = fixture("convert/qwen3");
    let gguf = Gguf::from_bytes(&directory, to_memory(&directory).expect("it converts")).expect("it is sound");
    let tokens = gguf.get("tokenizer.ggml.tokens").and_then(Value::as_texts).expect("it has tokens");
    assert_eq!((tokens.len(), tokens[306].as_str(), tokens[307].as_str()), (320, "<|im_end|>", "[PAD307]"));
    let types = gguf.get("tokenizer.ggml.token_type").and_then(Value::as_counts).expect("it has types");
    assert_eq!((types.len(), types[306], types[307]), (320, 3, 5));
    assert_eq!(gguf.count("qwen3.vocab_size"), Some(320));
    let tokenizer = crate::tokenizer::Tokenizer::from_gguf(&gguf).expect("it loads");
    assert!(tokenizer.encode("[PAD307]", true, false).iter().all(|token| *token < 304));
}

#[test]
fn a_file_appears_whole_or_not_at_all() {
    let scratch = tempfile::tempdir().expect("there is room");
    let (directory, file) = (fixture("convert/llama"), scratch.path().join("model.gguf"));
    let mut told = Vec::new();
    let summary = convert(&directory, &file, Precision::F16, &mut |at| told.push((at.bytes_done, at.bytes)));
    let summary = summary.expect("it converts");
    assert_eq!((summary.architecture, summary.tensors), ("llama", 22));
    assert_eq!(told.last(), Some(&(summary.tensor_bytes, summary.tensor_bytes)));
    assert!(told.is_sorted());
    let before = std::fs::read(&file).expect("it is there");
    let error = convert(fixture("convert"), &file, Precision::F16, &mut |_| {}).expect_err("there is no model");
    assert!(matches!(error, ConvertError::Read { .. }), "{error}");
    assert_eq!(std::fs::read(&file).expect("it is there"), before);
    assert_eq!(std::fs::read_dir(scratch.path()).expect("it is there").count(), 1);
}
