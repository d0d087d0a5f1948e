//! Perplexity against a slow transcription of its definition, and what the comparison of two variants must say.

use std::path::PathBuf;

use super::*;
use crate::model::{LoadOptions, logits};
use crate::quantize::{Quantisation, quantize};

fn demo() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/outpost-demo-f16.gguf")
}

fn model() -> std::sync::Arc<Model> {
    Model::load(demo(), &LoadOptions::default()).expect("the demo model loads")
}

fn words(model: &Model) -> Vec<u32> {
    let text = "A device enrols with a one-time code. The admin creates the code on the control plane. ".repeat(4);
    model.tokenizer().encode(&text, false, false)
}

fn score(model: &Model, reference: Option<&Model>, context: usize) -> Evaluation {
    let passages = windows(model, &words(model), context).expect("the text is long enough");
    evaluate(model, reference, &passages, &mut |_, _| {}).expect("it can be scored")
}

#[test]
fn perplexity_is_what_its_definition_says() {
    let model = model();
    let (tokens, context) = (words(&model), 24);
    let found = score(&model, None, context);
    let (mut sum, mut count) = (0.0f64, 0);
    for window in tokens.chunks_exact(context) {
        for position in context / 2..context - 1 {
            let row = &logits(&model, &window[..=position], &[position]).expect("the window can be read")[0];
            let total: f64 = row.iter().map(|logit| f64::from(*logit).exp()).sum();
            sum += total.ln() - f64::from(row[window[position + 1] as usize]);
            count += 1;
        }
    }
    let expected = (sum / f64::from(count)).exp();
    assert!((found.perplexity / expected - 1.0).abs() < 1e-4, "{} instead of {expected}", found.perplexity);
    assert_eq!(found.scored_tokens, tokens.len() / context * 11);
    assert_eq!(found.passages, tokens.len() / context);
}

#[test]
fn a_model_agrees_with_itself_and_less_with_a_smaller_variant() {
    let model = model();
    let same = score(&model, Some(&model), 24);
    let same = same.against.expect("there was a reference");
    assert!(same.mean_divergence.abs() < 1e-9, "{same:?}");
    assert!((same.top1_agreement - 1.0).abs() < f64::EPSILON, "{same:?}");

    let directory = tempfile::tempdir().expect("a directory for the variant");
    let path = directory.path().join("small.gguf");
    quantize(demo(), &path, Quantisation::Q4_0).expect("the demo model can be quantised");
    let small = Model::load(path, &LoadOptions::default()).expect("the variant loads");
    let apart = score(&small, Some(&model), 24);
    let apart = apart.against.expect("there was a reference");
    assert!(apart.mean_divergence > 1e-6, "{apart:?}");
    assert!(apart.top1_agreement > 0.5, "{apart:?}");
}

#[test]
fn what_cannot_be_scored_is_refused_with_the_way_out() {
    let model = model();
    let refusal = |count, context| windows(&model, &vec![1; count], context).expect_err("no window").to_string();
    assert!(refusal(10, 3).contains("at least 4"));
    assert!(refusal(10, 16).contains("longer text"));
    assert!(refusal(10, usize::MAX).contains("trained"));
    let refusal = |tokens: &[u32], scored_from| {
        let passage = Passage { tokens: tokens.to_vec(), scored_from };
        evaluate(&model, None, &[passage], &mut |_, _| {}).expect_err("it cannot be scored").to_string()
    };
    assert!(refusal(&[u32::MAX; 10], 0).contains("vocabulary"));
    assert!(refusal(&[1; 10], 9).contains("no token to score"));
    assert!(refusal(&[], 0).contains("no token to score"));
    assert!(refusal(&[1; 100_000], 0).contains("trained"));
}
