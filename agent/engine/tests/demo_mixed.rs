//! What mixing formats tensor by tensor wins on the demo model, against the same bytes spent by rule.
//!
//! Measured on conversations about one half of the facts, judged on phrasings that training never saw of the other half. A short
//! form of it is the test; with `OUTPOST_LONG=1` more rules and all questions.

#![expect(clippy::print_stdout, reason = "the figures are for who asks with --nocapture")]

#[path = "../examples/demo_model/facts.rs"]
#[expect(dead_code, reason = "much of it is for training")]
mod facts;

use std::path::{Path, PathBuf};

use outpost_engine::evaluate::{Disagreement, Passage, evaluate};
use outpost_engine::gguf::Gguf;
use outpost_engine::quantize::calibrated::{Budget, Sample, Target, Workshop, provenance};
use outpost_engine::quantize::{Quantisation, quantize};
use outpost_engine::template::{Message, RenderOptions};
use outpost_engine::{LoadOptions, Model, encode_chat};

/// The rules whose bytes are spent otherwise, those of the short form first.
const RULES: [Quantisation; 4] = [Quantisation::Q4_K_M, Quantisation::Q4_0, Quantisation::Q5_1, Quantisation::Q6_K];
const SHORT_RULES: usize = 1;
/// Conversations that are measured on in the short form.
const SHORT: usize = 12;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

/// A question with its answer; what is scored is the answer: nobody trained the model to guess questions.
fn passage(model: &Model, question: &str, answer: &str) -> Passage {
    let question = [Message::new("user", question)];
    let mut tokens = encode_chat(model, &question, &RenderOptions::default()).expect("the template takes it");
    let scored_from = tokens.len() - 1;
    tokens.extend(model.tokenizer().encode(&format!("{answer}<|im_end|>"), true, false));
    Passage { tokens, scored_from }
}

/// What is measured on and what is judged on: no fact is in both.
fn passages(model: &Model) -> (Vec<Passage>, Vec<Passage>) {
    let facts = facts::read_facts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo_model/facts.toml"));
    let facts = facts.expect("the facts are in the tree");
    let held_out = facts::read_held_out(&fixture("demo-held-out.toml")).expect("the phrasings are in the tree");
    let (mut measured, mut judged) = (Vec::new(), Vec::new());
    for (index, fact) in facts.iter().enumerate() {
        if index % 2 == 1 {
            measured.extend(fact.questions.iter().map(|asked| passage(model, asked, &fact.answer)));
        } else {
            let own = held_out.iter().filter(|phrasing| phrasing.fact == fact.id);
            judged.extend(own.map(|phrasing| passage(model, &phrasing.question, &fact.answer)));
        }
    }
    (measured, judged)
}

fn score(path: &Path, reference: &Model, passages: &[Passage]) -> Disagreement {
    let model = Model::load(path, &LoadOptions::threads(1)).expect("the variant loads");
    let found = evaluate(&model, Some(reference), passages, &mut |_, _| {}).expect("the conversations can be scored");
    found.against.expect("there was a reference")
}

#[test]
fn a_mix_is_nearer_to_the_original_than_a_rule_that_spends_as_many_bytes() {
    let original = fixture("outpost-demo-f16.gguf");
    let reference = Model::load(&original, &LoadOptions::threads(1)).expect("it loads");
    let (mut measured, judged) = passages(&reference);
    let mut rules = RULES.as_slice();
    if std::env::var_os("OUTPOST_LONG").is_none() {
        let (all, step) = (measured.len(), measured.len() / SHORT);
        measured = measured.into_iter().step_by(step).take(SHORT).collect();
        rules = &rules[..SHORT_RULES];
        println!("short form: {SHORT} of {all} conversations");
    }
    let directory = tempfile::tempdir().expect("a directory for the variants");
    let sample = Sample::of_passages(measured, "facts").expect("there are enough");
    for rule in rules.iter().copied() {
        let files = ["rule", "weighted", "mix"].map(|kind| directory.path().join(format!("{}-{kind}", rule.name())));
        quantize(&original, &files[0], rule).expect("the demo model can be quantised");
        let mut predicted = 0.0;
        for (target, file) in [Target::Uniform(rule), Target::Mixed(Budget::Like(rule))].into_iter().zip(&files[1..]) {
            let workshop = Workshop::open(&original, 1).expect("it loads");
            let found = workshop.write(file, target, &sample, &mut |_| {}).expect("it can be made");
            predicted = found.predicted.unwrap_or(predicted);
        }
        let bytes = files.each_ref().map(|file| std::fs::metadata(file).expect("it was written").len());
        let found = files.each_ref().map(|file| score(file, &reference, &judged));
        let by_rule = found[0].mean_divergence;
        for ((file, bytes), found) in files.iter().zip(bytes).zip(&found) {
            println!(
                "{:<15} {bytes:>8} bytes, divergence {:.3e} nats, same choice {:.2} %, {:.3} of the rule's divergence",
                file.file_name().unwrap_or_default().to_string_lossy(),
                found.mean_divergence,
                found.top1_agreement * 100.0,
                found.mean_divergence / by_rule,
            );
        }
        let info = Gguf::open(&files[2]).expect("it is sound");
        let said = provenance(&info).expect("a mix says where it comes from");
        println!(
            "{:<15} {}, predicted {predicted:.3e}, held out {:.3e}",
            "",
            info.info().quantisation,
            said.divergence
        );
        assert!(bytes[2] <= bytes[0], "the mix is larger: {bytes:?}");
        assert!(found[2].mean_divergence < found[0].mean_divergence, "{}: {found:?}", rule.name());
    }
}
