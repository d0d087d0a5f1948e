//! Makes the demo model: writes its corpus, trains it, exports it as GGUF and asks it what it has not seen.
//!
//! `cargo run --release -p outpost-engine --example demo_model -- corpus|train|export|eval|score` in that order, with the working
//! files under `--directory`. Two cores need about an hour; no GPU, no network, no data but `facts.toml` beside this file.
//!
//! `RAYON_NUM_THREADS=1` is fastest while anything else runs on the machine: candle's own pool spins at its barriers. On
//! glibc, `MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=17179869184` keeps freed tensors in the process and
//! saves half of the time.
//!
//! The committed file saw 2,620 steps of 32 conversations: 800 with the defaults, then 400, 800 and 620 with `--resume` at
//! the highest rates 9e-4, 8e-4 and 6e-4, the last two each down their whole cosine.

mod ask;
mod corpus;
mod evaluate;
mod export;
mod facts;
mod frames;
mod fused;
mod network;
mod random;
mod score;
mod train;
mod vocabulary;
mod words;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, ensure};
use candle_core::quantized::GgmlDType;
use clap::{Parser, Subcommand, ValueEnum};
use outpost_engine::quantize::{Quantisation, quantize};

use facts::{Answered, Fact, HeldOut};
use network::Network;
use random::Random;
use train::TrainOptions;
use vocabulary::Vocabulary;

/// Makes the Outpost demo model.
#[derive(Parser)]
struct Arguments {
    /// Where the corpus, the vocabulary and the checkpoints lie.
    #[arg(long, global = true, default_value = "target/demo-model")]
    directory: PathBuf,
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    /// Write the corpus and train the vocabulary on it.
    Corpus {
        /// Conversations to write.
        #[arg(long, default_value_t = 40_000)]
        conversations: usize,
    },
    /// Train the weights.
    Train(TrainOptions),
    /// Answer the held-out phrasings with the training graph.
    Check {
        /// Round the matrices first.
        #[arg(long)]
        rounded: Option<Rounded>,
    },
    /// Write the GGUF.
    Export {
        #[arg(long, default_value = "tests/fixtures/outpost-demo-f16.gguf")]
        output: PathBuf,
    },
    /// Answer the held-out phrasings with the engine, in F16, Q8_0 and Q4_0.
    Eval {
        #[arg(long, default_value = "tests/fixtures/outpost-demo-f16.gguf")]
        model: PathBuf,
    },
    /// Score F16 and its variants on conversations that are not in the corpus.
    Score {
        #[arg(long, default_value = "tests/fixtures/outpost-demo-f16.gguf")]
        model: PathBuf,
        /// Conversations to draw.
        #[arg(long, default_value_t = 2_000)]
        conversations: usize,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Rounded {
    F16,
    Q8,
    Q4,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let directory = &arguments.directory;
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make `{}`", directory.display()))?;
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let facts = facts::read_facts(&here.join("examples/demo_model/facts.toml"))?;
    let held_out = facts::read_held_out(&here.join("../../tests/fixtures/demo-held-out.toml"))?;
    for phrasing in &held_out {
        ensure!(
            facts.iter().any(|fact| fact.id == phrasing.fact),
            "no fact `{}` for `{}`",
            phrasing.fact,
            phrasing.question
        );
    }
    match arguments.act {
        Act::Corpus { conversations } => write_corpus(directory, &facts, conversations),
        Act::Train(options) => train::train(directory, &facts, &held_out, &options),
        Act::Check { rounded } => check(directory, &held_out, rounded),
        Act::Export { output } => export::export(&load_network(directory)?, &load_vocabulary(directory)?, &output),
        Act::Eval { model } => evaluate_variants(directory, &model, &held_out),
        Act::Score { model, conversations } => score::variants(directory, &model, &facts, conversations),
    }
}

fn load_network(directory: &Path) -> Result<Network> {
    Network::load(&train::weights_path(directory))
}

fn load_vocabulary(directory: &Path) -> Result<Vocabulary> {
    Vocabulary::load(&directory.join("tokenizer.json"))
}

fn check(directory: &Path, held_out: &[HeldOut], rounded: Option<Rounded>) -> Result<()> {
    let rounded = rounded.map(|rounded| match rounded {
        Rounded::F16 => GgmlDType::F16,
        Rounded::Q8 => GgmlDType::Q8_0,
        Rounded::Q4 => GgmlDType::Q4_0,
    });
    report(
        "training graph",
        &evaluate::with_network(&load_network(directory)?, &load_vocabulary(directory)?, held_out, rounded)?,
    );
    Ok(())
}

fn evaluate_variants(directory: &Path, model: &Path, held_out: &[HeldOut]) -> Result<()> {
    report("F16", &ask::ask_file(model, held_out)?);
    for to in [Quantisation::Q8_0, Quantisation::Q4_0] {
        let file = directory.join(format!("outpost-demo-{}.gguf", to.name().to_lowercase()));
        quantize(model, &file, to)?;
        report(to.name(), &ask::ask_file(&file, held_out)?);
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a tool prints its data on stdout")]
fn report(name: &str, answers: &[Answered]) {
    for answered in answers.iter().filter(|answered| !answered.right) {
        println!("{name}: wrong: {}\n    {}", answered.question, answered.answer);
    }
    println!("{name}: {} of {} right", answers.iter().filter(|answered| answered.right).count(), answers.len());
}

#[expect(clippy::print_stdout, reason = "a tool prints its data on stdout")]
fn write_corpus(directory: &Path, facts: &[Fact], count: usize) -> Result<()> {
    let mut random = Random::new(1);
    let conversations: Vec<_> = (0..count).map(|_| corpus::draw(facts, &mut random)).collect();
    let lines = conversations.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
    std::fs::write(directory.join("corpus.jsonl"), lines.join("\n") + "\n").context("cannot write the corpus")?;
    let texts = conversations.iter().flat_map(|conversation| {
        let turns = conversation
            .turns
            .iter()
            .flat_map(|(question, answer)| [format!("user\n{question}"), "assistant\n".to_owned(), answer.clone()]);
        conversation.system.iter().map(|system| format!("system\n{system}")).chain(turns).collect::<Vec<_>>()
    });
    let tokenizer = Vocabulary::train(texts.collect())?;
    tokenizer
        .save(directory.join("tokenizer.json"), false)
        .map_err(|error| anyhow!("cannot save the vocabulary: {error}"))?;
    let vocabulary = load_vocabulary(directory)?;
    let lengths = conversations
        .iter()
        .map(|conversation| Ok(vocabulary.encode(conversation, false)?.tokens.len()))
        .collect::<Result<Vec<_>>>()?;
    let asked = conversations.iter().flat_map(|conversation| conversation.turns.iter().map(|(question, _)| question));
    println!(
        "{} facts, {} written questions; {count} conversations with {} distinct phrasings, {} tokens, longest {}; vocabulary {}",
        facts.len(),
        facts.iter().map(|fact| fact.questions.len()).sum::<usize>(),
        asked.collect::<HashSet<_>>().len(),
        lengths.iter().sum::<usize>(),
        lengths.iter().max().unwrap_or(&0),
        vocabulary.size(),
    );
    Ok(())
}
