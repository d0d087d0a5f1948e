//! The graph against answers of an independent implementation, and files that lie about their graph.

use std::path::PathBuf;

use super::*;
use crate::gguf::write::{Outline, write};
use crate::gguf::{Array, Format, Value};
use crate::quantize::{Quantisation, quantize};
use crate::session::{KV_BYTES_PER_ELEMENT, PASS_TOKENS};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/golden").join(name)
}

fn load(name: &str) -> Arc<Model> {
    Model::load(golden(name), &LoadOptions::threads(2)).expect("the golden model loads")
}

fn numbers<T: std::str::FromStr>(text: &str) -> Vec<T> {
    text.split([',', ' ', '\n']).filter_map(|number| number.parse().ok()).collect()
}

fn check_golden(family: &str) {
    check_answers(&load(&format!("{family}.gguf")), family, family, 1e-3);
}

/// Compares a model's logits, read in each of the ways that the engine reads, with those that a fixture expects.
fn check_answers(model: &Model, tokens: &str, expected: &str, tolerance: f32) {
    let read = |name: String| std::fs::read_to_string(golden(&name)).expect("the fixture is there");
    let tokens: Vec<u32> = numbers(&read(format!("{tokens}.tokens")));
    let (family, expected) = (expected, read(format!("{expected}.logits")));
    let expected: Vec<Vec<f32>> = expected.lines().map(numbers).collect();
    assert_eq!((tokens.len(), expected.len(), expected[0].len()), (48, 2, 320));
    let check = |way: String, answers: Vec<Vec<f32>>| {
        assert_eq!(answers.iter().map(Vec::len).collect::<Vec<_>>(), [320, 320]);
        let pairs = answers.iter().flatten().zip(expected.iter().flatten());
        let worst = pairs.map(|(answer, expected)| (answer - expected).abs()).fold(0.0, f32::max);
        #[expect(clippy::print_stdout, reason = "the figures that the test is for")]
        {
            println!("{family:13} {way:32} largest error {worst:.2e}");
        }
        assert!(worst <= tolerance, "{family}, {way}: a logit is off by {worst}");
    };
    check("in one pass".to_owned(), logits_in_chunks(model, &tokens, &[20, 47], 48).expect("it computes"));
    for chunk in [1, 7, 16] {
        let answers = logits_in_chunks(model, &tokens, &[20, 47], chunk).expect("it computes");
        check(format!("in chunks of {chunk}"), answers);
        check(format!("in chunks of {chunk} among three others"), batched(model, &tokens, &[20, 47], chunk));
    }
}

/// The logits of one sequence that is read together with three others of other lengths, begun before it and elsewhere.
fn batched(model: &Model, tokens: &[u32], positions: &[usize], chunk: usize) -> Vec<Vec<f32>> {
    let mut workspace = Workspace::default();
    let session = |capacity: usize| Session::of(model, capacity, KvType::F32);
    let (mut own, mut others) = (session(48), [session(96), session(51), session(96)]);
    model.forward(&mut others[1], &[9, 8, 7], &[], &mut workspace).expect("it computes");
    model.forward(&mut others[2], &[40; 30], &[], &mut workspace).expect("it computes");
    let mut answers = Vec::new();
    for (step, tokens) in tokens.chunks(chunk).enumerate() {
        let first = own.length();
        let here = positions.iter().filter(|at| (first..first + tokens.len()).contains(at));
        let wanted: Vec<usize> = here.map(|at| at - first).collect();
        let [one, two, three] = &mut others;
        let other_tokens: Vec<u32> = (0..5).map(|at| (step as u32 * 17 + at * 31) % 256).collect();
        let mut parts = vec![
            Part { session: one, tokens: &other_tokens[..1], wanted: &[0] },
            Part { session: &mut own, tokens, wanted: &wanted },
            Part { session: two, tokens: &other_tokens[1..2], wanted: &[] },
        ];
        // The third goes on in long steps, while it has room.
        if three.length() + 5 <= three.capacity() {
            parts.insert(0, Part { session: three, tokens: &other_tokens, wanted: &[2, 4] });
        }
        let before = if parts.len() == 4 { 3 } else { 1 };
        model.forward_together(&mut parts, &mut workspace).expect("it computes");
        let own_logits = workspace.logits[before * 320..].chunks_exact(320);
        assert_eq!(own_logits.len(), wanted.len());
        answers.extend(own_logits.map(<[f32]>::to_vec));
    }
    answers
}

#[test]
fn qwen3_agrees_with_an_independent_implementation() {
    check_golden("qwen3");
}

#[test]
fn llama_with_rope_factors_agrees_with_an_independent_implementation() {
    check_golden("llama");
}

#[test]
fn phi3_with_partial_rotation_and_factors_agrees_with_an_independent_implementation() {
    check_golden("phi3");
}

#[test]
fn gemma3_with_windows_agrees_with_an_independent_implementation() {
    check_golden("gemma3");
}

#[test]
fn bitnet_with_its_own_activation_agrees_with_an_independent_implementation() {
    check_golden("bitnet");
}

#[test]
fn phi3_divides_by_the_long_factors_in_every_session_longer_than_the_original_context() {
    let original = |tokens: u32| {
        let change = |outline: &mut Outline| {
            set(outline, "phi3.rope.scaling.original_context_length", Value::U32(tokens));
        };
        changed("phi3.gguf", change).expect("the file is sound")
    };
    // The sessions of this check are made for 48 tokens: from the first token on they are long, or short to the last.
    check_answers(&original(47), "phi3", "phi3-long", 1e-3);
    check_answers(&original(48), "phi3", "phi3", 1e-3);
}

#[test]
fn gemma3_takes_pattern_factor_and_cap_from_its_keys() {
    let patterns = [Value::U32(3), Value::Array(Array::Bool(vec![true, true, false, true, true, false, true]))];
    for pattern in patterns {
        let change = |outline: &mut Outline| {
            set(outline, "gemma3.attention.sliding_window_pattern", pattern);
            set(outline, "gemma3.rope.scaling.type", Value::Text("linear".to_owned()));
            set(outline, "gemma3.rope.scaling.factor", Value::F32(8.0));
            set(outline, "gemma3.final_logit_softcapping", Value::F32(5.0));
        };
        let model = changed("gemma3.gguf", change).expect("the file is sound");
        // Expected by transformers, whose GELU is not in half precision: the plain file is 2.2e-3 away from it.
        check_answers(&model, "gemma3", "gemma3-scaled", 5e-3);
    }
}

#[test]
fn llama_with_wide_heads_biases_and_linear_scaling_agrees_with_an_independent_implementation() {
    check_answers(&load("wide.gguf"), "qwen3", "wide", 1e-3);
}

#[test]
fn the_three_spellings_of_bitnet_are_one_family() {
    for spelling in ["bitnet-b1.58", "bitnet-25"] {
        let respell = |outline: &mut Outline| {
            for (key, _) in &mut outline.metadata {
                if let Some(rest) = key.strip_prefix("bitnet.") {
                    *key = format!("{spelling}.{rest}");
                }
            }
            set(outline, "general.architecture", Value::Text(spelling.to_owned()));
        };
        check_answers(&changed("bitnet.gguf", respell).expect("the file is sound"), "bitnet", "bitnet", 1e-3);
    }
}

#[test]
fn a_scale_beside_a_ternary_matrix_multiplies_its_products() {
    let with = |fill: f32| {
        let add = |outline: &mut Outline| {
            for part in ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"] {
                outline.tensors.push((format!("blk.0.{part}.scale"), vec![1], Format::F32));
            }
        };
        changed_with("bitnet.gguf", add, &fill.to_le_bytes()).expect("the file is sound")
    };
    check_answers(&with(1.0), "bitnet", "bitnet", 1e-3);
    let (tokens, plain) = ([5, 6, 7, 8], load("bitnet.gguf"));
    let answers = |model: &Model| logits(model, &tokens, &[3]).expect("it computes").remove(0);
    let difference = answers(&with(2.0)).iter().zip(answers(&plain)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(difference > 0.1, "{difference}");
}

#[test]
fn logits_come_in_the_order_they_were_asked_for() {
    let model = load("qwen3.gguf");
    let tokens = [5, 6, 7, 8];
    let all = logits(&model, &tokens, &[0, 1, 2, 3]).expect("it computes");
    let some = logits(&model, &tokens, &[3, 0, 3]).expect("it computes");
    assert_eq!(some, [all[3].clone(), all[0].clone(), all[3].clone()]);
    assert!(matches!(logits(&model, &tokens, &[4]), Err(ForwardError::NoSuchPosition { .. })));
    assert!(matches!(logits(&model, &[320], &[0]), Err(ForwardError::UnknownToken { token: 320, .. })));
}

/// A copy of a golden file with changes to what stands in front of the tensors.
fn changed(family: &str, change: impl FnOnce(&mut Outline)) -> Result<Arc<Model>, LoadError> {
    changed_with(family, change, &[0])
}

/// As [`changed`], new tensors being made of `fill`, again and again.
fn changed_with(family: &str, change: impl FnOnce(&mut Outline), fill: &[u8]) -> Result<Arc<Model>, LoadError> {
    let source = Gguf::open(golden(family)).expect("the golden model is sound");
    let entries = source.tensors().iter().map(|entry| (entry.name.clone(), entry.shape.clone(), entry.format));
    let mut outline = Outline { metadata: source.metadata().to_vec(), tensors: entries.collect() };
    change(&mut outline);
    let mut bytes = Vec::new();
    write(&mut bytes, &outline, |index, out| {
        let (name, shape, format) = &outline.tensors[index];
        let size = format.bytes_for(shape.iter().product()).expect("the size fits") as usize;
        match source.tensor(name) {
            Some(entry) => out.extend_from_slice(source.bytes(entry)),
            None => out.extend(fill.iter().cycle().take(size)),
        }
        Ok(())
    })
    .expect("memory takes it");
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path().join("changed.gguf");
    std::fs::write(&path, bytes).expect("it is written");
    Model::load(&path, &LoadOptions::threads(1))
}

fn set(outline: &mut Outline, key: &str, value: Value) {
    outline.metadata.retain(|(existing, _)| existing != key);
    outline.metadata.push((key.to_owned(), value));
}

#[test]
fn figures_that_lie_are_refused_by_name() {
    let cases: &[(&str, Value)] = &[
        ("qwen3.attention.head_count", Value::U32(0)),
        ("qwen3.attention.head_count_kv", Value::U32(3)),
        ("qwen3.block_count", Value::U32(u32::MAX)),
        ("qwen3.embedding_length", Value::U64(1 << 40)),
        ("qwen3.context_length", Value::U32(0)),
        ("qwen3.attention.key_length", Value::U64(u64::MAX)),
        ("qwen3.attention.layer_norm_rms_epsilon", Value::F32(f32::NAN)),
        ("qwen3.rope.freq_base", Value::F32(-1.0)),
        ("qwen3.rope.dimension_count", Value::U32(33)),
        ("qwen3.rope.scaling.type", Value::Text("yarn".to_owned())),
    ];
    for (key, value) in cases {
        let error = changed("qwen3.gguf", |outline| set(outline, key, value.clone())).expect_err("the figure lies");
        assert!(matches!(&error, LoadError::BadFigure { key: named, .. } if named == key), "{key}: {error}");
    }
    let error = changed("qwen3.gguf", |outline| set(outline, "qwen3.block_count", Value::U32(3))).expect_err("it lies");
    assert!(matches!(&error, LoadError::MissingTensor { tensor } if tensor.starts_with("blk.2.")), "{error}");
    let error = changed("qwen3.gguf", |outline| set(outline, "qwen3.feed_forward_length", Value::U32(64)));
    assert!(matches!(error, Err(LoadError::TensorShape { .. })));
}

#[test]
fn traits_that_lie_are_refused_by_name() {
    let long_text = Value::Text("x".repeat(1_000));
    let cases: &[(&str, &str, Value)] = &[
        ("gemma3", "attention.sliding_window", Value::Text("wide".to_owned())),
        ("gemma3", "attention.sliding_window", Value::U64(u64::MAX)),
        ("gemma3", "attention.sliding_window_pattern", Value::U32(0)),
        ("gemma3", "attention.sliding_window_pattern", Value::Array(Array::Bool(vec![true; 6]))),
        ("gemma3", "attn_logit_softcapping", Value::F32(50.0)),
        ("gemma3", "final_logit_softcapping", Value::F32(f32::NAN)),
        ("gemma3", "rope.freq_base_swa", Value::F32(0.0)),
        ("gemma3", "rope.scaling.factor", Value::F32(1e-9)),
        ("phi3", "rope.scaling.original_context_length", Value::U32(0)),
        ("phi3", "rope.scaling.attn_factor", Value::F32(f32::INFINITY)),
        ("llama", "rope.scaling.type", Value::Text("yarn".to_owned())),
        ("llama", "rope.scaling.type", long_text),
        ("llama", "rope.freq_base", Value::Text("10000".to_owned())),
        ("llama", "attention.head_count_kv", Value::Array(Array::U32(vec![2, 1]))),
        ("bitnet", "attention.head_count", Value::F32(4.0)),
    ];
    for (family, name, value) in cases {
        let key = format!("{family}.{name}");
        let error = changed(&format!("{family}.gguf"), |outline| set(outline, &key, value.clone()));
        let error = error.expect_err("the figure lies");
        assert!(matches!(&error, LoadError::BadFigure { key: named, .. } if *named == key), "{key}: {error}");
        assert!(error.to_string().len() < 200, "{error}");
    }
}

#[test]
fn a_figure_that_is_the_same_for_every_layer_may_be_a_list() {
    let figure = Gguf::open(golden("llama.gguf")).expect("it is sound").count("llama.feed_forward_length");
    let each = vec![figure.expect("the file says it"); 2];
    let list = |outline: &mut Outline| set(outline, "llama.feed_forward_length", Value::Array(Array::U64(each)));
    changed("llama.gguf", list).expect("both layers agree");
}

#[test]
fn a_rotary_divisor_of_nothing_is_refused() {
    let add = |outline: &mut Outline| outline.tensors.push(("rope_freqs.weight".to_owned(), vec![12], Format::F32));
    for divisor in [0.0f32, -1.0, f32::NAN, f32::INFINITY] {
        let error = changed_with("wide.gguf", add, &divisor.to_le_bytes()).expect_err("it divides by nothing sensible");
        assert!(matches!(&error, LoadError::BadDivisor { .. }), "{error}");
    }
}

#[test]
fn an_unknown_family_is_refused_with_the_known_ones() {
    let unknown = |outline: &mut Outline| set(outline, "general.architecture", Value::Text("mamba".to_owned()));
    let error = changed("qwen3.gguf", unknown).expect_err("nobody runs that here");
    assert!(error.to_string().contains("mamba") && error.to_string().contains("qwen3"), "{error}");
}

#[test]
fn a_tensor_without_a_place_in_the_graph_is_refused() {
    let extra = |outline: &mut Outline| outline.tensors.push(("blk.0.attn_q.bias".to_owned(), vec![128], Format::F32));
    let error = changed("qwen3.gguf", extra).expect_err("its answers would be wrong");
    assert!(matches!(&error, LoadError::UnknownTensor { tensor } if tensor == "blk.0.attn_q.bias"), "{error}");
}

#[test]
fn a_file_without_a_tensor_of_the_graph_is_refused() {
    let less = |outline: &mut Outline| outline.tensors.retain(|(name, ..)| name != "blk.1.ffn_down.weight");
    assert!(matches!(changed("llama.gguf", less), Err(LoadError::MissingTensor { .. })));
    let no_norm = |outline: &mut Outline| outline.tensors.retain(|(name, ..)| !name.ends_with("attn_q_norm.weight"));
    assert!(matches!(changed("qwen3.gguf", no_norm), Err(LoadError::MissingTensor { .. })));
}

#[test]
fn tokens_beyond_the_embedding_are_refused() {
    let more = |outline: &mut Outline| {
        let tokens = (0..400).map(|index| format!("token{index}")).collect();
        set(outline, "tokenizer.ggml.tokens", Value::Array(Array::Text(tokens)));
        outline.metadata.retain(|(key, _)| key != "tokenizer.ggml.token_type");
    };
    assert!(matches!(changed("qwen3.gguf", more), Err(LoadError::VocabularyMismatch { tokens: 400, rows: 320 })));
}

#[test]
fn a_session_never_holds_more_bytes_than_were_foretold_and_in_the_end_nearly_as_many() {
    for family in ["qwen3", "llama", "phi3", "gemma3", "bitnet"] {
        let model = load(&format!("{family}.gguf"));
        for context in [1, 100, 300] {
            let mut session = Session::new(&model, context);
            let foretold = model.session_bytes(context as u32);
            let mut most = 0;
            for part in vec![7; context].chunks(PASS_TOKENS) {
                session.make_room(part.len());
                most = most.max(session.bytes());
                session.length += part.len();
            }
            assert!(most <= foretold && 2 * most > foretold, "{family}, {context} tokens: {most} of {foretold}");
        }
    }
}

#[test]
fn a_window_keeps_a_long_context_small() {
    let model = load("gemma3.gguf");
    let no_window = changed("gemma3.gguf", |outline| set(outline, "gemma3.attention.sliding_window", Value::U32(0)));
    let no_window = no_window.expect("a file without windows is sound");
    // Seven layers of one key and one value of 32 elements each; six of them see 12 positions, within pages of 32.
    let row = 2 * 32 * KV_BYTES_PER_ELEMENT;
    assert_eq!(no_window.session_bytes(4_096), 7 * 4_096 * row);
    assert_eq!(model.session_bytes(4_096), (4_096 + 6 * 224) * row);
    assert_eq!(model.session_bytes(100), no_window.session_bytes(100));
}

#[test]
fn positions_that_were_taken_back_are_read_again_as_if_nothing_had_been() {
    for family in ["qwen3", "gemma3"] {
        let model = load(&format!("{family}.gguf"));
        let tokens: Vec<u32> = (0..70).map(|at| at * 13 % 256).collect();
        let mut workspace = Workspace::default();
        let mut logits = |session: &mut Session, tokens: &[u32]| {
            model.forward(session, tokens, &[tokens.len() - 1], &mut workspace).expect("it computes");
            workspace.logits.clone()
        };
        let mut straight = Session::new(&model, 96);
        let expected = logits(&mut straight, &tokens);
        let mut session = Session::new(&model, 96);
        logits(&mut session, &tokens[..60]);
        logits(&mut session, &[1, 2, 3, 4]);
        session.truncate(60);
        assert!(logits(&mut session, &tokens[60..]) == expected, "{family}");
    }
}

#[test]
fn all_instructions_and_any_number_of_threads_give_the_same_bits() {
    let directory = tempfile::tempdir().expect("a directory");
    let demo = golden("../outpost-demo-f16.gguf");
    let mut files = vec![golden("qwen3.gguf"), golden("gemma3.gguf"), demo.clone()];
    for to in [Quantisation::Q8_0, Quantisation::Q4_0, Quantisation::Q4_K_M, Quantisation::TQ2_0] {
        let path = directory.path().join(format!("{to:?}.gguf"));
        quantize(&demo, &path, to).expect("it converts");
        files.push(path);
    }
    let tokens: Vec<u32> = (0..40).map(|at| at * 29 % 250).collect();
    for file in files {
        let logits = |threads, instructions| {
            let options = LoadOptions { threads, instructions: Some(instructions), ..LoadOptions::default() };
            let model = Model::load(&file, &options).expect("it loads");
            assert_eq!((model.instructions(), model.threads()), (instructions, threads));
            crate::logits(&model, &tokens, &[0, 39]).expect("it computes")
        };
        let expected = logits(1, Instructions::Scalar);
        for instructions in Instructions::available() {
            assert!(logits(2, instructions) == expected, "{}, {instructions:?}", file.display());
        }
    }
}
