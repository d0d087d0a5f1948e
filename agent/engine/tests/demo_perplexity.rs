//! What each step of quantisation costs the demo model, on conversations that its training never saw.

#![expect(clippy::print_stdout, reason = "the figures are for who asks with --nocapture")]

#[path = "../examples/demo_model/facts.rs"]
#[expect(dead_code, reason = "the questions are for training")]
mod facts;

use std::path::{Path, PathBuf};

use outpost_engine::evaluate::{Evaluation, Passage, evaluate};
use outpost_engine::quantize::{Quantisation, quantize};
use outpost_engine::template::{Message, RenderOptions};
use outpost_engine::{LoadOptions, Model, encode_chat};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

/// Every held-out question with the answer that belongs to it; what is scored is the answer: nobody trained the model to
/// guess questions.
fn conversations(model: &Model) -> Vec<Passage> {
    let facts = facts::read_facts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo_model/facts.toml"));
    let facts = facts.expect("the facts are in the tree");
    let held_out = facts::read_held_out(&fixture("demo-held-out.toml")).expect("the phrasings are in the tree");
    let passage = |phrasing: &facts::HeldOut| {
        let answer = &facts.iter().find(|fact| fact.id == phrasing.fact).expect("the fact is known").answer;
        let question = [Message::new("user", &phrasing.question)];
        let mut tokens = encode_chat(model, &question, &RenderOptions::default()).expect("the template takes it");
        let scored_from = tokens.len() - 1;
        tokens.extend(model.tokenizer().encode(&format!("{answer}<|im_end|>"), true, false));
        Passage { tokens, scored_from }
    };
    held_out.iter().map(passage).collect()
}

fn score(path: &Path, reference: &Model) -> Evaluation {
    let model = Model::load(path, &LoadOptions::default()).expect("the variant loads");
    evaluate(&model, Some(reference), &conversations(&model), &mut |_, _| {}).expect("the conversations can be scored")
}

/// From the variant that is nearest to the original to the one that is furthest away.
const STEPS: [Quantisation; 5] =
    [Quantisation::Q8_0, Quantisation::Q6_K, Quantisation::Q5_1, Quantisation::Q4_0, Quantisation::TQ2_0];
/// How far any but the last may move the perplexity of right answers, either way: on 60 answers its order is luck, the
/// divergence's is not.
const PERPLEXITY_MOVES: f64 = 0.001;

#[test]
fn every_step_of_quantisation_moves_the_model_further_from_its_original() {
    let reference = Model::load(fixture("outpost-demo-f16.gguf"), &LoadOptions::default()).expect("it loads");
    let directory = tempfile::tempdir().expect("a directory for the variants");
    let original = score(&fixture("outpost-demo-f16.gguf"), &reference).perplexity;
    println!("F16: perplexity {original:.6}");
    let mut divergence = 0.0;
    for target in STEPS {
        let (name, path) = (target.name(), directory.path().join(target.name()));
        quantize(fixture("outpost-demo-f16.gguf"), &path, target).expect("the demo model can be quantised");
        let found = score(&path, &reference);
        let against = found.against.expect("there was a reference");
        println!(
            "{name}: perplexity {:.6}, divergence {:.6} nats, same choice {:.2} %",
            found.perplexity,
            against.mean_divergence,
            against.top1_agreement * 100.0
        );
        assert!(against.mean_divergence > divergence, "{name} diverges less than the step before");
        divergence = against.mean_divergence;
        if target != Quantisation::TQ2_0 {
            assert!((found.perplexity / original - 1.0).abs() < PERPLEXITY_MOVES, "{name}: {}", found.perplexity);
            assert!(against.top1_agreement > 0.995, "{name}: {}", against.top1_agreement);
        }
    }
}
