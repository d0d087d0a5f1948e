//! The encoder against transformers' own, and files that are no embedders.

use std::path::PathBuf;

use super::*;
use crate::gguf::{Value, write};
use crate::model::{LoadOptions, Model};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/golden").join(name)
}

fn lines<T: std::str::FromStr>(kind: &str) -> Vec<Vec<T>> {
    let text = std::fs::read_to_string(golden(&format!("bert.{kind}"))).expect("the fixture is there");
    text.lines().map(|line| line.split([',', ' ']).filter_map(|number| number.parse().ok()).collect()).collect()
}

fn encoder() -> Encoder {
    let gguf = Gguf::open(golden("bert.gguf")).expect("the fixture is sound");
    Encoder::load(&gguf, 2).expect("the fixture loads")
}

fn worst(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    left.iter().zip(right).map(|(left, right)| (left - right).abs()).fold(0.0, f32::max)
}

#[test]
fn vectors_are_those_of_an_independent_implementation_alone_and_together() {
    let (encoder, texts, expected) = (encoder(), lines::<u32>("tokens"), lines::<f32>("vectors"));
    assert_eq!((texts.len(), expected.len()), (4, 4));
    let together = encoder.encode(&texts).expect("it computes");
    for ((text, expected), together) in texts.iter().zip(&expected).zip(&together) {
        let alone = encoder.encode(std::slice::from_ref(text)).expect("it computes");
        let errors = [worst(&alone[0], expected), worst(together, expected)];
        #[expect(clippy::print_stdout, reason = "the figures that the test is for")]
        {
            println!(
                "bert     {:2} tokens, largest error alone {:.2e}, together {:.2e}",
                text.len(),
                errors[0],
                errors[1]
            );
        }
        assert!(errors.iter().all(|error| *error <= 1e-5), "{errors:?}");
    }
}

fn texts() -> Vec<String> {
    let text = std::fs::read_to_string(golden("bert.texts")).expect("the fixture is there");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn texts_become_the_vectors_of_an_independent_tokenizer_and_model() {
    let embedder = Embedder::load(golden("bert.gguf")).expect("the fixture loads");
    let (texts, expected) = (texts(), lines::<f32>("vectors"));
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let tokens: Vec<Vec<u32>> = texts.iter().map(|text| embedder.tokens(text, None)).collect();
    assert_eq!(tokens, lines::<u32>("tokens"));
    // Many at once are read in several passes.
    let many = embedder.embed(&texts.repeat(20)).expect("it computes");
    assert_eq!((many.len(), many[0].len()), (80, embedder.dimensions()));
    for (vector, expected) in many.iter().zip(expected.iter().cycle()) {
        assert!(worst(vector, expected) <= 1e-5);
    }
    assert!(embedder.embed(&[]).expect("nothing is nothing").is_empty());
}

#[test]
fn the_tokens_of_each_text_are_told_and_vectors_are_shortened_where_that_was_asked_for() {
    let embedder = Embedder::load(golden("bert.gguf")).expect("the fixture loads");
    let long = "oil ".repeat(100);
    let embed = |options: &EmbedOptions| embedder.embed_with(&["oil", "oil oil", &long], options);
    assert!(matches!(embed(&EmbedOptions::default()), Err(EmbedError::TooLong { text: 2, .. })));
    let truncate = EmbedOptions { truncate: true, ..EmbedOptions::default() };
    let whole = embed(&truncate).expect("it computes");
    assert_eq!(whole.tokens, [3, 4, 72]);
    let short = embed(&EmbedOptions { dimensions: Some(5), ..truncate.clone() }).expect("it computes");
    for (short, whole) in short.vectors.iter().zip(&whole.vectors) {
        let length = |vector: &[f32]| vector.iter().map(|number| number * number).sum::<f32>().sqrt();
        assert!(short.len() == 5 && (length(short) - 1.0).abs() < 1e-5);
        let scale = length(&whole[..5]);
        assert!(short.iter().zip(whole).all(|(short, whole)| (short * scale - whole).abs() < 1e-6));
    }
    for dimensions in [0, embedder.dimensions() + 1] {
        let options = EmbedOptions { dimensions: Some(dimensions), ..truncate.clone() };
        assert!(matches!(embed(&options), Err(EmbedError::Dimensions { asked, .. }) if asked == dimensions));
    }
    truncate.cancel.cancel();
    assert!(matches!(embed(&truncate), Err(EmbedError::Cancelled)));
}

#[test]
fn a_text_that_is_too_long_is_refused_or_cut_where_that_was_asked_for() {
    let embedder = Embedder::load(golden("bert.gguf")).expect("the fixture loads");
    assert_eq!(embedder.context_tokens(), 72);
    let long = "oil ".repeat(100);
    let error = embedder.embed(&["oil", &long]).expect_err("it is too long");
    assert!(matches!(error, EmbedError::TooLong { text: 1, tokens: 102, context_tokens: 72 }), "{error}");
    let cut = |tokens: usize| {
        let embedder = Embedder::load(golden("bert.gguf")).expect("the fixture loads").cutting_at(tokens);
        embedder.embed(&[&long]).expect("it is cut").remove(0)
    };
    let exactly = |words: usize| embedder.embed(&["oil ".repeat(words).as_str()]).expect("it fits").remove(0);
    assert!(worst(&cut(10), &exactly(8)) < 1e-6);
    assert!(worst(&cut(5_000), &exactly(70)) < 1e-6);
}

#[test]
fn what_a_person_typed_is_never_a_special_token() {
    let embedder = Embedder::load(golden("bert.gguf")).expect("the fixture loads");
    let tokens = embedder.tokens("oil [SEP] oil", None);
    assert_eq!(tokens.iter().filter(|token| **token == 3).count(), 1, "{tokens:?}");
}

#[test]
fn a_token_outside_the_vocabulary_is_refused() {
    let error = encoder().encode(&[vec![2, 3], vec![2, 999, 3]]).expect_err("there is no such token");
    assert!(matches!(error, EmbedError::UnknownToken { token: 999, .. }), "{error}");
}

#[test]
fn an_embedder_is_no_model_and_a_model_no_embedder() {
    let error = Model::load(golden("bert.gguf"), &LoadOptions::default()).expect_err("it generates nothing");
    assert!(matches!(&error, LoadError::Embedder { .. }), "{error}");
    assert!(error.to_string().contains("embedder"), "{error}");
    let error = Embedder::load(golden("qwen3.gguf")).expect_err("it embeds nothing");
    assert!(matches!(&error, LoadError::Decoder { architecture } if architecture == "qwen3"), "{error}");
}

/// Loads the fixture with one metadata value changed or, where there is none, taken out.
fn changed(key: &str, value: Option<Value>) -> Result<Encoder, LoadError> {
    let source = Gguf::open(golden("bert.gguf")).expect("the fixture is sound");
    let mut metadata = source.metadata().to_vec();
    metadata.retain(|(existing, _)| existing != key);
    metadata.extend(value.map(|value| (key.to_owned(), value)));
    let entries = source.tensors().iter().map(|entry| (entry.name.clone(), entry.shape.clone(), entry.format));
    let outline = write::Outline { metadata, tensors: entries.collect() };
    let mut bytes = Vec::new();
    write::write(&mut bytes, &outline, |index, out| {
        out.extend_from_slice(source.bytes(&source.tensors()[index]));
        Ok(())
    })
    .expect("memory takes it");
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path().join("changed.gguf");
    std::fs::write(&path, bytes).expect("it is written");
    Encoder::load(&Gguf::open(&path).expect("it is sound"), 1)
}

#[test]
fn figures_that_lie_are_refused_by_name() {
    let bad = [
        ("bert.pooling_type", Value::U32(0)),
        ("bert.pooling_type", Value::U32(4)),
        ("bert.attention.causal", Value::Bool(true)),
        ("bert.attention.head_count", Value::U32(0)),
        ("bert.attention.layer_norm_epsilon", Value::F32(f32::NAN)),
        ("bert.block_count", Value::U64(1 << 40)),
    ];
    for (key, value) in bad {
        let error = changed(key, Some(value)).expect_err("the figure lies");
        assert!(matches!(&error, LoadError::BadFigure { key: named, .. } if named == key), "{key}: {error}");
    }
    for key in ["bert.pooling_type", "bert.attention.layer_norm_epsilon"] {
        assert!(matches!(changed(key, None), Err(LoadError::MissingKey { key: named }) if named == key));
    }
    let error = changed("bert.context_length", Some(Value::U32(73)));
    assert!(matches!(&error, Err(LoadError::TensorShape { tensor, .. }) if tensor == "position_embd.weight"));
    assert!(matches!(changed("bert.block_count", Some(Value::U32(1))), Err(LoadError::UnknownTensor { .. })));
}

#[test]
fn pooling_takes_the_mean_the_first_or_the_last_token() {
    let text = [vec![2, 86, 87, 91, 3]];
    let vectors = [1, 2, 3].map(|kind| {
        let encoder = changed("bert.pooling_type", Some(Value::U32(kind))).expect("a pooling that we know");
        let rows = encoder.read(&text).expect("it computes");
        let expected = match kind {
            1 => (0..48).map(|at| rows.iter().skip(at).step_by(48).sum::<f32>()).collect(),
            2 => rows[..48].to_vec(),
            _ => rows[4 * 48..].to_vec(),
        };
        let length = expected.iter().map(|element| element * element).sum::<f32>().sqrt();
        let expected: Vec<f32> = expected.iter().map(|element| element / length).collect();
        let vector = encoder.encode(&text).expect("it computes").remove(0);
        assert!(worst(&vector, &expected) < 1e-6, "pooling {kind}");
        vector
    });
    assert!(worst(&vectors[0], &vectors[1]) > 0.01 && worst(&vectors[1], &vectors[2]) > 0.01);
}
