//! Vocabularies that no one trained: an error or a defined behaviour, never a panic.

use super::made::{Keys, hello, keys, put, words};
use super::*;
use crate::gguf::Array;

fn refusal(keys: &Keys) -> String {
    Tokenizer::from_metadata(keys).expect_err("it is refused").to_string()
}

fn with(mut keys: Keys, name: &str, value: Value) -> Keys {
    put(&mut keys, name, value);
    keys
}

#[test]
fn what_contradicts_the_vocabulary_is_refused_by_name() {
    let floats = |numbers: &[f32]| Value::Array(Array::F32(numbers.to_vec()));
    let small = || keys("llama", &[("a", 1, 0.0), ("b", 1, 0.0)]);
    assert!(refusal(&with(small(), "scores", floats(&[0.0, f32::NAN]))).contains("token 1 is no number"));
    assert!(refusal(&with(small(), "scores", floats(&[0.0]))).contains("1 scores for 2 tokens"));
    assert!(refusal(&with(small(), "scores", Value::U32(1))).contains("scores"));
    assert!(refusal(&with(small(), "token_type", Value::Array(Array::I32(vec![1])))).contains("1 types for 2 tokens"));
    assert!(refusal(&with(small(), "token_type", Value::Array(Array::I32(vec![1, -1])))).contains("token_type"));
    assert!(refusal(&with(small(), "eos_token_id", Value::U32(2))).contains("token 2 of 2"));
    assert!(refusal(&with(small(), "model", Value::Text("t5".to_owned()))).contains("gpt2, llama, bert"));
    assert!(refusal(&with(small(), "tokens", Value::Array(Array::Text(Vec::new())))).contains("tokens"));
    let gpt2 = || with(small(), "model", Value::Text("gpt2".to_owned()));
    assert!(refusal(&with(gpt2(), "pre", Value::Text("viking".to_owned()))).contains("llama-bpe"));
    assert!(refusal(&with(gpt2(), "merges", Value::Array(Array::Text(vec!["ab".to_owned()])))).contains("`ab`"));
    assert!(refusal(&with(gpt2(), "merges", Value::Bool(true))).contains("merges"));
    assert!(refusal(&keys("bert", &[("▁a", 1, 0.0)])).contains("unknown_token_id"));
    assert!(refusal(&with(words(), "cls_token_id", Value::U64(1 << 40))).contains("cls_token_id"));
    assert!(refusal(&Vec::new()).contains("tokenizer.ggml.model"));
    let many = Value::Array(Array::Text(vec![String::new(); keys::TOKENS + 1]));
    assert!(refusal(&with(small(), "tokens", many)).contains("too large"));
    assert!(
        refusal(&with(small(), "tokens", Value::Array(Array::Text(vec!["a".repeat(65 << 20)])))).contains("too large")
    );
}

#[test]
fn the_first_of_equal_tokens_is_taken_and_empty_ones_never() {
    let twice = keys("llama", &[("", 1, 0.0), ("▁", 1, 0.0), ("a", 1, 0.0), ("a", 1, 9.0), ("", 4, 0.0), ("", 3, 0.0)]);
    let tokenizer = Tokenizer::from_metadata(&twice).expect("the tokenizer builds");
    assert_eq!(tokenizer.encode("aa", true, false), [1, 2, 2]);
    assert_eq!(tokenizer.decode(&[0, 1, 3, 4, 5, u32::MAX]), "a");
}

#[test]
fn a_merge_that_names_no_token_never_applies() {
    let merges = ["a b", "ab c", "c a", "x y", "a a", "\u{120} b", "日 b"].map(str::to_owned).to_vec();
    let mut keys = keys("gpt2", &[("a", 1, 0.0), ("b", 1, 0.0), ("c", 1, 0.0), ("ab", 1, 0.0), ("ca", 3, 0.0)]);
    put(&mut keys, "pre", Value::Text("gpt-2".to_owned()));
    put(&mut keys, "merges", Value::Array(Array::Text(merges)));
    let tokenizer = Tokenizer::from_metadata(&keys).expect("the tokenizer builds");
    assert_eq!(tokenizer.encode("abcaab", false, false), [3, 2, 0, 3]);
    // A byte without a token is left out.
    assert_eq!(tokenizer.encode("a\u{1}b", false, false), [0, 1]);
}

#[test]
fn infinite_scores_order_like_any_other() {
    let scores = Value::Array(Array::F32(vec![0.0, 0.0, 0.0, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0]));
    let tokens =
        [("▁", 1, 0.0), ("a", 1, 0.0), ("b", 1, 0.0), ("ba", 1, 0.0), ("ab", 1, 0.0), ("▁a", 1, 0.0), ("▁b", 1, 0.0)];
    let tokenizer = Tokenizer::from_metadata(&with(keys("llama", &tokens), "scores", scores)).expect("it builds");
    assert_eq!(tokenizer.encode("aba", false, false), [5, 3]);
}

#[test]
fn a_long_text_takes_no_longer_than_its_length() {
    let tokenizer = Tokenizer::from_metadata(&hello()).expect("the tokenizer builds");
    for text in ["hello ", "a", " ", "<", "ö"].map(|text| text.repeat(100_000)) {
        for tokenizer in [&tokenizer, phi3(), qwen2()] {
            let start = std::time::Instant::now();
            assert_eq!(tokenizer.decode(&tokenizer.encode(&text, true, false)), text);
            assert!(start.elapsed().as_secs() < 30, "{:?}", start.elapsed());
        }
    }
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    let piece = prop_oneof![
        "[ab▁Ġ <>|]{0,4}",
        "<0x[0-9A-Fa-f]{2}>",
        "\\[(UNK|CLS|SEP)\\]",
        "<\\|[a-z]{0,4}\\|>",
        "\\PC{0,3}",
        "[a-c]",
    ];
    prop::collection::vec(piece, 0..40)
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        (0..60_u32).prop_map(Value::U32),
        any::<i64>().prop_map(Value::I64),
        any::<bool>().prop_map(Value::Bool),
        Just(Value::U32(0)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_vocabulary_makes_the_tokenizer_panic(
        model in prop_oneof![Just("gpt2"), Just("llama"), Just("bert"), Just("t5")],
        pre in prop_oneof![Just("qwen2"), Just("llama-bpe"), Just("gpt-4o"), Just("default"), Just("?")],
        tokens in texts(),
        types in prop::collection::vec(-1..9_i32, 0..40),
        scores in prop::collection::vec(any::<f32>(), 0..40),
        fits in prop::bool::weighted(0.9),
        merges in prop::collection::vec("[abĠ]{0,2} ?[abĠ]{0,3}", 0..20),
        ids in prop::collection::vec(number(), 6),
        text in "[ab <>|ö▁\n\\[\\]A-Z]{0,60}",
        decoded in prop::collection::vec(0..50_u32, 0..30),
    ) {
        let (mut types, mut scores) = (types, scores);
        if fits {
            types = types.iter().map(|kind| kind.abs()).collect();
            types.resize(tokens.len(), 1);
            scores.resize(tokens.len(), 0.5);
        }
        let mut keys = Keys::new();
        put(&mut keys, "model", Value::Text(model.to_owned()));
        put(&mut keys, "pre", Value::Text(pre.to_owned()));
        put(&mut keys, "tokens", Value::Array(Array::Text(tokens)));
        put(&mut keys, "token_type", Value::Array(Array::I32(types)));
        put(&mut keys, "scores", Value::Array(Array::F32(scores)));
        put(&mut keys, "merges", Value::Array(Array::Text(merges)));
        let names =
            ["bos_token_id", "eos_token_id", "unknown_token_id", "add_bos_token", "cls_token_id", "add_sep_token"];
        for (name, id) in names.iter().zip(ids) {
            put(&mut keys, name, id);
        }
        if let Ok(tokenizer) = Tokenizer::from_metadata(&keys) {
            for special in [false, true] {
                let tokens = tokenizer.encode(&text, special, true);
                prop_assert!(tokens.iter().all(|id| (*id as usize) < tokenizer.vocabulary()));
            }
            let mut stream = tokenizer.decode_stream_after(&decoded);
            let mut streamed: String = decoded.iter().filter_map(|id| stream.push(*id)).collect();
            streamed.extend(stream.finish());
            prop_assert!(tokenizer.decode(&decoded).ends_with(streamed.trim_start()));
            let _ = tokenizer.encode_for_embedding(&text);
        }
    }

    #[test]
    fn no_json_makes_the_reader_panic(
        tokens in prop::collection::hash_map("[ab#▁<>x0-9]{0,4}", 0..70_u64, 0..30),
        merges in prop::collection::vec(("[ab▁]{0,2}", "[ab▁ ]{0,2}"), 0..20),
        kind in prop_oneof![Just("BPE"), Just("WordPiece"), Just("Unigram")],
        cutter in prop_oneof![Just("ByteLevel"), Just("BertPreTokenizer"), Just("Metaspace"), Just("?")],
        fallback in any::<bool>(),
    ) {
        let normalizer = if kind == "WordPiece" { serde_json::json!({"type": "BertNormalizer"}) } else { ().into() };
        let file = serde_json::json!({
            "normalizer": normalizer,
            "pre_tokenizer": {"type": cutter, "replacement": "▁", "add_prefix_space": false},
            "model": {"type": kind, "vocab": tokens, "merges": merges, "byte_fallback": fallback, "unk_token": "a"},
        });
        let keys = huggingface::metadata(file.to_string().as_bytes(), None);
        if let Ok(Ok(tokenizer)) = keys.map(|keys| Tokenizer::from_metadata(&keys)) {
            let _ = tokenizer.decode(&tokenizer.encode("ab a<0x41>##b", false, true));
        }
    }
}
