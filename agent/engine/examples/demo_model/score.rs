//! Scores every variant on thousands of fresh conversations: what sixty answers leave to luck, a million tokens do not.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context as _, Result};
use outpost_engine::evaluate::{Passage, evaluate};
use outpost_engine::quantize::{Quantisation, quantize};
use outpost_engine::template::{Message, RenderOptions};
use outpost_engine::{LoadOptions, Model, encode_chat};

use super::corpus::{self, Conversation};
use super::facts::Fact;
use super::random::Random;

/// Seeds of the corpus and of the conversations that are scored.
const SEEN: u64 = 1;
const FRESH: u64 = 7_777;
/// Conversations whose questions count as seen.
const CORPUS: usize = 40_000;

/// Prints perplexity, divergence from F16 and agreement of the F16 file and its variants.
#[expect(clippy::print_stdout, reason = "a tool prints its data on stdout")]
pub(crate) fn variants(directory: &Path, file: &Path, facts: &[Fact], count: usize) -> Result<()> {
    let reference = Model::load(file, &LoadOptions::default())?;
    let passages = fresh(facts, count).iter().map(|one| passage(&reference, one)).collect::<Result<Vec<_>>>()?;
    let original = evaluate(&reference, None, &passages, &mut |_, _| {})?;
    println!("F16: perplexity {:.7}, {} tokens of {} answers", original.perplexity, original.scored_tokens, count);
    for to in [Quantisation::Q8_0, Quantisation::Q6_K, Quantisation::Q5_1, Quantisation::Q4_0, Quantisation::TQ2_0] {
        let variant = directory.join(format!("outpost-demo-{}.gguf", to.name().to_lowercase()));
        quantize(file, &variant, to)?;
        let model = Model::load(&variant, &LoadOptions::default())?;
        let found = evaluate(&model, Some(&reference), &passages, &mut |_, _| {})?;
        let against = found.against.context("there was a reference")?;
        println!(
            "{}: perplexity {:.7}, divergence {:.2e} nats, same choice {:.3} %",
            to.name(),
            found.perplexity,
            against.mean_divergence,
            against.top1_agreement * 100.0
        );
    }
    Ok(())
}

/// Conversations with questions that are not in the corpus.
fn fresh(facts: &[Fact], count: usize) -> Vec<Conversation> {
    let mut random = Random::new(SEEN);
    let corpus = (0..CORPUS).map(|_| corpus::draw(facts, &mut random));
    let seen: HashSet<String> = corpus.flat_map(|one| one.turns).map(|(question, _)| question).collect();
    let mut random = Random::new(FRESH);
    std::iter::repeat_with(|| corpus::draw(facts, &mut random))
        .filter(|one| one.turns.last().is_some_and(|(question, _)| !seen.contains(question)))
        .take(count)
        .collect()
}

/// What is scored is the last answer: nobody trained the model to guess questions.
fn passage(model: &Model, conversation: &Conversation) -> Result<Passage> {
    let mut messages: Vec<Message> = conversation.system.iter().map(|system| Message::new("system", system)).collect();
    for (question, answer) in &conversation.turns {
        messages.extend([Message::new("user", question), Message::new("assistant", answer)]);
    }
    let answer = conversation.turns.last().map_or("", |(_, answer)| answer);
    messages.pop();
    let mut tokens = encode_chat(model, &messages, &RenderOptions::default())?;
    let scored_from = tokens.len() - 1;
    tokens.extend(model.tokenizer().encode(&format!("{answer}<|im_end|>"), true, false));
    Ok(Passage { tokens, scored_from })
}
