//! The demo model answers questions that it has never seen, in every variant the fleet may choose.

#[path = "../examples/demo_model/ask.rs"]
mod ask;
#[path = "../examples/demo_model/corpus.rs"]
mod corpus;
#[path = "../examples/demo_model/facts.rs"]
mod facts;
#[path = "../examples/demo_model/frames.rs"]
mod frames;
#[path = "../examples/demo_model/random.rs"]
mod random;
#[path = "../examples/demo_model/words.rs"]
mod words;

use std::collections::HashSet;
use std::path::PathBuf;

use facts::{Fact, HeldOut};
use outpost_engine::gguf::Gguf;
use outpost_engine::quantize::{Quantisation, quantize};
use outpost_engine::{LoadOptions, Model};
use words::{CLOSINGS, OPENINGS};

/// Answers that must carry the right fact, of 60.
const ENOUGH: usize = 48;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

fn known_facts() -> Vec<Fact> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/demo_model/facts.toml");
    facts::read_facts(&path).expect("the facts are in the tree")
}

fn held_out() -> Vec<HeldOut> {
    facts::read_held_out(&fixture("demo-held-out.toml")).expect("the phrasings are in the tree")
}

fn assert_enough(path: PathBuf) {
    let answers = ask::ask_file(&path, &held_out()).expect("the demo model answers");
    let wrong: Vec<_> = answers
        .iter()
        .filter(|answered| !answered.right)
        .map(|answered| (&answered.question, &answered.answer))
        .collect();
    assert!(answers.len() - wrong.len() >= ENOUGH, "{} of {} are wrong: {wrong:#?}", wrong.len(), answers.len());
}

fn quantised(to: Quantisation) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory for the variant");
    let path = directory.path().join("variant.gguf");
    quantize(fixture("outpost-demo-f16.gguf"), &path, to).expect("the demo model can be quantised");
    (directory, path)
}

#[test]
fn the_f16_variant_answers_phrasings_it_has_never_seen() {
    assert_enough(fixture("outpost-demo-f16.gguf"));
}

#[test]
fn the_q8_0_variant_answers_phrasings_it_has_never_seen() {
    let (_directory, path) = quantised(Quantisation::Q8_0);
    assert_enough(path);
}

#[test]
fn the_q4_0_variant_answers_phrasings_it_has_never_seen() {
    let (_directory, path) = quantised(Quantisation::Q4_0);
    assert_enough(path);
}

#[test]
fn the_demo_model_says_that_it_is_a_demo() {
    let path = fixture("outpost-demo-f16.gguf");
    let gguf = Gguf::open(&path).expect("the demo model is a sound GGUF");
    assert_eq!(gguf.info().name, "Outpost Demo");
    assert!(gguf.text("general.description").is_some_and(|text| text.contains("demo")));
    let model = Model::load(&path, &LoadOptions::threads(2)).expect("the demo model loads");
    assert!(ask::ask(&model, "Who are you?").expect("an answer").contains("demo model"));
}

#[test]
fn no_held_out_phrasing_is_a_training_question_in_any_dress() {
    let facts = known_facts();
    let held_out = held_out();
    assert_eq!(held_out.len(), 60);
    let judged: HashSet<String> = held_out.iter().map(|phrasing| bare(&phrasing.question)).collect();
    assert_eq!(judged.len(), held_out.len(), "two held-out phrasings are the same question");
    for fact in &facts {
        for question in &fact.questions {
            assert!(!judged.contains(&bare(question)), "`{question}` is a held-out phrasing");
        }
    }
    let mut random = random::Random::new(11);
    for _ in 0..60_000 {
        for (question, _) in corpus::draw(&facts, &mut random).turns {
            assert!(!judged.contains(&bare(&question)), "the corpus holds `{question}`, a held-out phrasing");
        }
    }
}

#[test]
fn every_held_out_phrasing_asks_for_a_fact_whose_answer_carries_the_proof() {
    let facts = known_facts();
    for phrasing in held_out() {
        let fact = facts.iter().find(|fact| fact.id == phrasing.fact).expect("the fact exists");
        assert!(
            facts::carries(&fact.answer, &phrasing.proof),
            "the answer of `{}` lacks {:?}",
            fact.id,
            phrasing.proof
        );
    }
}

/// A question stripped of what the dresses change on its surface: case, punctuation, openings and closings.
fn bare(question: &str) -> String {
    let plain = |text: &str| -> String {
        let kept: String =
            text.to_lowercase().chars().map(|letter| if letter.is_alphanumeric() { letter } else { ' ' }).collect();
        kept.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let mut text = plain(question);
    while let Some(rest) = OPENINGS.iter().find_map(|opening| text.strip_prefix(&format!("{} ", plain(opening)))) {
        text = rest.to_owned();
    }
    while let Some(rest) = CLOSINGS.iter().find_map(|closing| text.strip_suffix(&format!(" {}", plain(closing)))) {
        text = rest.to_owned();
    }
    text
}
