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

fn quiet() -> impl FnMut(usize, usize) {
    |_, _| {}
}

#[test]
fn perplexity_is_what_its_definition_says() {
    let model = model();
    let (tokens, context) = (words(&model), 24);
    let found = evaluate(&model, None, &tokens, context, &mut quiet()).expect("it can be scored");
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
    assert_eq!(found.windows, tokens.len() / context);
}

#[test]
fn a_model_agrees_with_itself_and_less_with_a_smaller_variant() {
    let model = model();
    let tokens = words(&model);
    let same = evaluate(&model, Some(&model), &tokens, 24, &mut quiet()).expect("it can be scored");
    let same = same.against.expect("there was a reference");
    assert!(same.mean_divergence.abs() < 1e-9, "{same:?}");
    assert!((same.top1_agreement - 1.0).abs() < f64::EPSILON, "{same:?}");

    let directory = tempfile::tempdir().expect("a directory for the variant");
    let path = directory.path().join("small.gguf");
    quantize(demo(), &path, Quantisation::Q4_0).expect("the demo model can be quantised");
    let small = Model::load(path, &LoadOptions::default()).expect("the variant loads");
    let apart = evaluate(&small, Some(&model), &tokens, 24, &mut quiet()).expect("it can be scored");
    let apart = apart.against.expect("there was a reference");
    assert!(apart.mean_divergence > 1e-6, "{apart:?}");
    assert!(apart.top1_agreement > 0.5, "{apart:?}");
}

#[test]
fn what_cannot_be_scored_is_refused_with_the_way_out() {
    let model = model();
    let refusal = |tokens: &[u32], context| {
        evaluate(&model, None, tokens, context, &mut quiet()).expect_err("it cannot be scored").to_string()
    };
    assert!(refusal(&[1; 10], 3).contains("at least 4"));
    assert!(refusal(&[1; 10], 16).contains("longer text"));
    assert!(refusal(&[1; 10], usize::MAX).contains("trained"));
    assert!(refusal(&[u32::MAX; 10], 8).contains("vocabulary"));
}
